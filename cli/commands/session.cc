// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/session.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <optional>
#include <ostream>
#include <thread>

#include "cli/commands/terminal.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

// Sends what is typed and the window's size until `stop` is readable or the stream ends.
class InputPump {
 public:
  InputPump(int in, int resized, int stop, ExecStream& stream)
      : in_(in), resized_(resized), stop_(stop), stream_(stream) {}

  void Run() {
    while (true) {
      // poll ignores negative descriptors: what is absent or at its end.
      std::array<pollfd, 3> fds = {pollfd{stop_, POLLIN, 0}, pollfd{in_, POLLIN, 0},
                                   pollfd{resized_, POLLIN, 0}};
      if (poll(fds.data(), fds.size(), /*timeout=*/-1) < 0) {
        if (errno == EINTR) continue;
        return;
      }
      if (fds[0].revents) return;
      if (fds[2].revents && !SendSize()) return;
      if (fds[1].revents && !SendInput()) return;
    }
  }

 private:
  bool SendInput() {
    std::array<char, 16 * 1024> buffer;
    const ssize_t count = read(in_, buffer.data(), buffer.size());
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) return true;
    v1::ExecInput input;
    if (count > 0) {
      input.set_stdin(buffer.data(), static_cast<size_t>(count));
    } else {
      input.set_stdin_closed(true);
      in_ = -1;
    }
    return stream_.Write(input);
  }

  bool SendSize() {
    signalfd_siginfo info;
    while (read(resized_, &info, sizeof(info)) > 0) {
    }
    auto size = SizeOfTerminal(in_);
    if (!size) return true;
    v1::ExecInput input;
    *input.mutable_resize() = *size;
    return stream_.Write(input);
  }

  int in_;
  const int resized_;
  const int stop_;
  ExecStream& stream_;
};

}  // namespace

absl::StatusOr<Place> FindPlace(const std::string& word, const std::string& container, bool quiet,
                                Context& context) {
  ASSIGN_OR_RETURN(const Target target, ParsePodTarget(word, context.ns()));
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  Place out;
  std::string note;
  ASSIGN_OR_RETURN(out.pod, FindPod(target, *client, &note));
  std::string container_note;
  ASSIGN_OR_RETURN(out.container, ChooseContainer(out.pod, container, &container_note));
  if (!quiet && !container_note.empty()) context.err << container_note << "\n";
  return out;
}

v1::ExecStart StartAt(const Place& place) {
  v1::ExecStart start;
  start.set_namespace_(place.pod.metadata().namespace_());
  start.set_pod(place.pod.metadata().name());
  start.set_container(place.container);
  return start;
}

absl::StatusOr<std::unique_ptr<ExecStream>> OpenSession(const v1::ExecStart& start,
                                                        ControlClient& client) {
  ASSIGN_OR_RETURN(std::unique_ptr<ExecStream> stream, client.Exec());
  v1::ExecInput first;
  *first.mutable_start() = start;
  if (!stream->Write(first)) {
    absl::Status status = stream->Finish();
    return status.ok() ? absl::UnavailableError("the server ended the command before it began")
                       : status;
  }
  return stream;
}

UniqueFd WatchResize() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGWINCH);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return UniqueFd(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
}

absl::StatusOr<int> RunSession(ExecStream& stream, const SessionInput& input, Context& context) {
  std::optional<RawTerminal> raw;
  if (input.tty) raw.emplace(context.in_fd);
  const UniqueFd stop(eventfd(0, EFD_CLOEXEC));
  std::thread pump;
  if (input.stdin || input.tty) {
    pump = std::thread([&] {
      InputPump(input.stdin ? context.in_fd : -1, input.resized, stop.get(), stream).Run();
    });
  }
  int exit_code = -1;
  v1::ExecOutput output;
  while (stream.Read(&output)) {
    if (output.has_stdout()) {
      context.out.write(output.stdout().data(),
                        static_cast<std::streamsize>(output.stdout().size()));
      context.out.flush();
    } else if (output.has_stderr()) {
      context.err.write(output.stderr().data(),
                        static_cast<std::streamsize>(output.stderr().size()));
      context.err.flush();
    } else if (output.has_exit_code()) {
      exit_code = output.exit_code();
      break;
    }
  }
  const bool ended = exit_code >= 0;
  if (ended) stream.Cancel();
  const uint64_t one = 1;
  if (write(stop.get(), &one, sizeof(one)) != sizeof(one)) stream.Cancel();
  if (pump.joinable()) pump.join();
  raw.reset();
  const absl::Status status = stream.Finish();
  if (!ended) {
    RETURN_IF_ERROR(status);
    return absl::UnavailableError("the connection to the container was lost");
  }
  return exit_code;
}

}  // namespace mesh::cli
