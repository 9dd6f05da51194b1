// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <csignal>
#include <ostream>
#include <thread>

#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/commands/targets.h"
#include "cli/commands/terminal.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

struct Flags {
  std::vector<std::string> args;
  std::string container;
  bool stdin = false;
  bool tty = false;
  bool quiet = false;
};

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

// A descriptor that reads when the window changes; the signal is blocked for the whole process, so
// that threads of gRPC leave it alone too.
UniqueFd WatchResize() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGWINCH);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return UniqueFd(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
}

absl::StatusOr<int> Run(Flags flags, Context& context) {
  if (flags.args.empty()) {
    return UsageError("pod, type/name or --filename must be specified");
  }
  if (!context.after_dash || context.after_dash->empty()) {
    if (flags.args.size() > 1) {
      return UsageError(
          "exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead");
    }
    return UsageError("you must specify at least one command for the container");
  }
  if (flags.args.size() > 1) {
    return UsageError(fmt::format("unexpected argument \"{}\"", flags.args[1]));
  }
  // Before the first thread starts.
  UniqueFd resized;
  if (flags.tty) resized = WatchResize();
  ASSIGN_OR_RETURN(Target target, ParsePodTarget(flags.args[0], context.ns()));
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  std::string note;
  ASSIGN_OR_RETURN(v1::Pod pod, FindPod(target, *client, &note));
  std::string container_note;
  ASSIGN_OR_RETURN(std::string container, ChooseContainer(pod, flags.container, &container_note));
  if (!flags.quiet && !container_note.empty()) context.err << container_note << "\n";
  if (pod.status().phase() == "Succeeded" || pod.status().phase() == "Failed") {
    return absl::FailedPreconditionError(
        fmt::format("cannot exec into a container in a completed pod; current phase is {}",
                    pod.status().phase()));
  }
  const bool terminal = flags.stdin && isatty(context.in_fd);
  if (flags.tty && !terminal) {
    context.err << "Unable to use a TTY - input is not a terminal or the right kind of file\n";
    flags.tty = false;
  }

  ASSIGN_OR_RETURN(std::unique_ptr<ExecStream> stream, client->Exec());
  v1::ExecInput first;
  v1::ExecStart& start = *first.mutable_start();
  start.set_namespace_(pod.metadata().namespace_());
  start.set_pod(pod.metadata().name());
  start.set_container(container);
  for (const std::string& word : *context.after_dash) start.add_command(word);
  start.set_tty(flags.tty);
  start.set_stdin(flags.stdin);
  if (flags.tty) {
    if (auto size = SizeOfTerminal(context.in_fd)) *start.mutable_size() = *size;
  }
  if (!stream->Write(first)) {
    absl::Status status = stream->Finish();
    return status.ok() ? absl::UnavailableError("the server ended the command before it began")
                       : status;
  }

  std::optional<RawTerminal> raw;
  if (flags.tty) raw.emplace(context.in_fd);
  const UniqueFd stop(eventfd(0, EFD_CLOEXEC));
  std::thread pump;
  if (flags.stdin || flags.tty) {
    pump = std::thread([&] {
      InputPump(flags.stdin ? context.in_fd : -1, resized.get(), stop.get(), *stream).Run();
    });
  }
  int exit_code = -1;
  v1::ExecOutput output;
  while (stream->Read(&output)) {
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
  if (ended) stream->Cancel();
  const uint64_t one = 1;
  if (write(stop.get(), &one, sizeof(one)) != sizeof(one)) stream->Cancel();
  if (pump.joinable()) pump.join();
  raw.reset();
  const absl::Status status = stream->Finish();
  if (!ended) {
    RETURN_IF_ERROR(status);
    return absl::UnavailableError("the connection to the container was lost");
  }
  if (exit_code != 0 && !flags.quiet) {
    context.err << fmt::format("command terminated with exit code {}\n", exit_code);
  }
  return exit_code;
}

}  // namespace

Command ExecCommand() {
  return {.name = "exec",
          .summary = "Execute a command in a container",
          .group = kGroupTroubleshoot,
          .usage = "(POD | TYPE/NAME) [-c CONTAINER] [-i] [-t] -- COMMAND [args...]",
          .examples =
              "  meshctl exec web-1 -- date\n"
              "  meshctl exec -it deployment/web -- sh\n",
          .define = [](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            app.add_option("pod", flags->args);
            app.add_option("-c,--container", flags->container, "The container");
            app.add_flag("-i,--stdin", flags->stdin, "Pass standard input to the container");
            app.add_flag("-t,--tty", flags->tty, "Standard input is a terminal");
            app.add_flag("-q,--quiet", flags->quiet, "Only what the command itself prints");
            return [flags, &context] { return Run(*flags, context); };
          },
          .takes_dash = true};
}

}  // namespace mesh::cli
