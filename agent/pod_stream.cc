// SPDX-License-Identifier: Apache-2.0
#include "agent/pod_stream.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/cri/exec_stream.h"
#include "common/status.h"

namespace mesh::agent {
namespace {

constexpr size_t kBlockBytes = 64 * 1024;

class ProcessStream : public PodStream {
 public:
  explicit ProcessStream(std::unique_ptr<ExecStream> exec) : exec_(std::move(exec)) {}

  absl::StatusOr<v1::StreamOutput> Read() override {
    ASSIGN_OR_RETURN(ExecEvent event, exec_->Read());
    v1::StreamOutput out;
    v1::ExecOutput& data = *out.mutable_data();
    switch (event.kind) {
      case ExecEvent::Kind::kStdout:
        data.set_stdout(std::move(event.data));
        break;
      case ExecEvent::Kind::kStderr:
        data.set_stderr(std::move(event.data));
        break;
      case ExecEvent::Kind::kExit:
        data.set_exit_code(event.exit_code);
        break;
    }
    return out;
  }
  absl::Status WriteStdin(std::string_view data) override { return exec_->WriteStdin(data); }
  absl::Status CloseStdin() override { return exec_->CloseStdin(); }
  absl::Status Resize(const v1::TerminalSize& size) override {
    return exec_->Resize(size.rows(), size.columns());
  }
  void Abort() override { exec_->Abort(); }

 private:
  const std::unique_ptr<ExecStream> exec_;
};

class TcpStream : public PodStream {
 public:
  explicit TcpStream(UniqueFd fd) : fd_(std::move(fd)) {}

  absl::StatusOr<v1::StreamOutput> Read() override {
    v1::StreamOutput out;
    if (output_ended_) {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&input_ended_));
      out.mutable_data()->set_exit_code(0);
      return out;
    }
    std::string block(kBlockBytes, '\0');
    while (true) {
      const ssize_t n = ::recv(fd_.get(), block.data(), block.size(), 0);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoStatus(errno, "read from the pod");
      if (n == 0) {
        output_ended_ = true;
        out.set_closed(true);
      } else {
        block.resize(static_cast<size_t>(n));
        out.mutable_data()->set_stdout(std::move(block));
      }
      return out;
    }
  }
  absl::Status WriteStdin(std::string_view data) override {
    while (!data.empty()) {
      const ssize_t n = ::send(fd_.get(), data.data(), data.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        const int error = errno;
        EndInput();  // nothing more can be said to it
        return ErrnoStatus(error, "write to the pod");
      }
      data.remove_prefix(static_cast<size_t>(n));
    }
    return absl::OkStatus();
  }
  absl::Status CloseStdin() override {
    ::shutdown(fd_.get(), SHUT_WR);
    EndInput();
    return absl::OkStatus();
  }
  void Abort() override {
    ::shutdown(fd_.get(), SHUT_RDWR);
    EndInput();
  }

 private:
  void EndInput() {
    absl::MutexLock lock(&mutex_);
    input_ended_ = true;
  }

  const UniqueFd fd_;
  bool output_ended_ = false;  // the reader's
  absl::Mutex mutex_;
  bool input_ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PodStream>> OpenProcess(const std::string& url, bool tty,
                                                       bool stdin) {
  ASSIGN_OR_RETURN(auto exec, ExecStream::Open(url, {.tty = tty, .stdin = stdin}));
  return std::make_unique<ProcessStream>(std::move(exec));
}

std::unique_ptr<PodStream> ConnectionStream(UniqueFd connected) {
  return std::make_unique<TcpStream>(std::move(connected));
}

absl::StatusOr<ContainerTarget> FindContainer(const PodDirectory& directory, const std::string& ns,
                                              const std::string& name,
                                              const std::string& container) {
  auto it = directory.find(ns + "/" + name);
  if (it == directory.end()) {
    return absl::NotFoundError(fmt::format("pods \"{}\" not found", name));
  }
  const PodEntry& pod = it->second;
  std::vector<std::string> names;
  for (const ContainerEntry& entry : pod.containers) {
    if (entry.name == container || (container.empty() && pod.containers.size() == 1)) {
      return ContainerTarget{pod, entry};
    }
    names.push_back(entry.name);
  }
  if (container.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("a container name must be specified for pod {}, choose one of: [{}]", name,
                    fmt::join(names, " ")));
  }
  return absl::InvalidArgumentError(
      fmt::format("container {} is not valid for pod {}", container, name));
}

absl::StatusOr<ContainerEntry> FindRunning(const PodDirectory& directory, const std::string& ns,
                                           const std::string& pod, const std::string& container) {
  ASSIGN_OR_RETURN(ContainerTarget target, FindContainer(directory, ns, pod, container));
  if (!target.container.running) {
    return absl::InvalidArgumentError(
        fmt::format("container {} of pod {} is not running{}", target.container.name, pod,
                    target.container.waiting.empty() ? "" : ": " + target.container.waiting));
  }
  return std::move(target.container);
}

}  // namespace mesh::agent
