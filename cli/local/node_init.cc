// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <optional>

#include "absl/time/clock.h"
#include "cli/local/cgroups.h"
#include "cli/local/log_file.h"
#include "cli/local/node.h"
#include "cli/local/process.h"
#include "common/log.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "fmt/format.h"

namespace mesh::cli::local {
namespace {

// A service that ran this long has recovered: its next end counts as the first.
constexpr absl::Duration kHealthyRun = absl::Seconds(10);
constexpr absl::Duration kRotateEvery = absl::Seconds(30);

absl::Status Mount(const char* source, const char* target, const char* type, unsigned long flags,
                   const char* data = nullptr) {
  if (::mount(source, target, type, flags, data) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, fmt::format("mount {} at {}", source, target));
}

absl::Status MountFilesystems(const NodeSpec& spec) {
  // What the machine mounts later appears here too (a namespace made with `ip netns add`), nothing
  // of ours appears there.
  RETURN_IF_ERROR(Mount("none", "/", nullptr, MS_REC | MS_SLAVE));
  ASSIGN_OR_RETURN(const std::vector<Hierarchy> hierarchies, HostHierarchies());
  constexpr unsigned long kPlain = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  // The machine's own go out of sight, with all that is mounted below them; that they stay behind
  // the new ones is no harm.
  ::umount2("/proc", MNT_DETACH);
  ::umount2("/sys", MNT_DETACH);
  RETURN_IF_ERROR(Mount("proc", "/proc", "proc", kPlain));
  // sysfs shows the network namespace of the one who mounts it.
  RETURN_IF_ERROR(Mount("sysfs", "/sys", "sysfs", kPlain));
  RETURN_IF_ERROR(MountCgroups(hierarchies));
  RETURN_IF_ERROR(Mount("bpf", "/sys/fs/bpf", "bpf", kPlain, "mode=700"));
  return Mount(spec.shim_dir.c_str(), "/run/containerd", nullptr, MS_BIND);
}

class Supervisor {
 public:
  explicit Supervisor(const NodeSpec& spec) : run_dir_(spec.run_dir), logs_({spec.log_file}) {
    for (const ServiceSpec& service : spec.services) {
      services_.push_back({.spec = &service});
      logs_.push_back(service.log_file);
    }
  }

  // Ends at SIGTERM.
  absl::Status Run() {
    sigset_t signals;
    ::sigemptyset(&signals);
    ::sigaddset(&signals, SIGCHLD);
    ::sigaddset(&signals, SIGTERM);
    ::sigprocmask(SIG_BLOCK, &signals, nullptr);
    const UniqueFd fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!fd) return ErrnoStatus(errno, "signalfd");
    while (true) {
      StartDue();
      RotateLogs();
      pollfd poll_fd = {fd.get(), POLLIN, 0};
      ::poll(&poll_fd, 1, WaitMs());
      signalfd_siginfo info;
      while (::read(fd.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
        if (info.ssi_signo == SIGTERM) return absl::OkStatus();
      }
      Reap();
    }
  }

 private:
  struct Service {
    const ServiceSpec* spec;
    pid_t pid = 0;  // 0: not running
    absl::Time started;
    absl::Time due = absl::InfinitePast();
    int failures = 0;
  };

  void RotateLogs() {
    const absl::Time now = absl::Now();
    if (now < rotate_due_) return;
    rotate_due_ = now + kRotateEvery;
    for (const std::string& log : logs_) {
      if (const absl::Status status = RotateLog(log); !status.ok())
        spdlog::warn("log {}: {}", log, std::string(status.message()));
    }
  }

  void StartDue() {
    for (Service& service : services_) {
      if (service.pid == 0 && absl::Now() >= service.due) Start(&service);
    }
  }

  void Start(Service* service) {
    service->started = absl::Now();
    const pid_t pid = ::fork();
    if (pid == 0) Exec(*service->spec);
    if (pid < 0) {
      spdlog::error("cannot start {}: {}", service->spec->name,
                    ErrnoStatus(errno, "fork").ToString());
      service->due = absl::Now() + RestartDelay(++service->failures);
      return;
    }
    service->pid = pid;
    if (absl::Status status =
            WriteFile(ServicePidFile(run_dir_, service->spec->name), fmt::format("{}\n", pid));
        !status.ok()) {
      spdlog::error("{}", status.ToString());
    }
    spdlog::info("started {} (pid {} in the node)", service->spec->name, pid);
  }

  [[noreturn]] static void Exec(const ServiceSpec& spec) {
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::setsid();
    const int log = ::open(spec.log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    ::dup2(log, 1);
    ::dup2(log, 2);
    ::setenv("PATH", SearchPath().c_str(), 1);
    std::vector<char*> argv;
    for (const std::string& arg : spec.argv) argv.push_back(const_cast<char*>(arg.c_str()));
    argv.push_back(nullptr);
    ::execv(argv.front(), argv.data());
    ::dprintf(2, "cannot execute %s\n", argv.front());
    ::_exit(127);
  }

  // Collects services and orphans (shims) alike.
  void Reap() {
    int status = 0;
    while (true) {
      const pid_t pid = ::waitpid(-1, &status, WNOHANG);
      if (pid <= 0) return;
      for (Service& service : services_) {
        if (service.pid == pid) Ended(&service, status);
      }
    }
  }

  static void Ended(Service* service, int status) {
    const absl::Time now = absl::Now();
    service->pid = 0;
    service->failures = now - service->started >= kHealthyRun ? 1 : service->failures + 1;
    const absl::Duration delay = RestartDelay(service->failures);
    service->due = now + delay;
    spdlog::warn("{} ended ({} {}), starts again in {}", service->spec->name,
                 WIFSIGNALED(status) ? "signal" : "exit code",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
                 absl::FormatDuration(delay));
  }

  int WaitMs() const {
    absl::Duration wait = rotate_due_ - absl::Now();
    for (const Service& service : services_) {
      if (service.pid == 0) wait = std::min(wait, service.due - absl::Now());
    }
    return static_cast<int>(std::max<int64_t>(0, absl::ToInt64Milliseconds(wait) + 1));
  }

  const std::string run_dir_;
  std::vector<Service> services_;
  std::vector<std::string> logs_;
  absl::Time rotate_due_ = absl::InfinitePast();
};

}  // namespace

absl::Status RunNodeInit(const std::string& spec_file) {
  InitLog("info");
  ASSIGN_OR_RETURN(const std::string json, ReadFile(spec_file));
  ASSIGN_OR_RETURN(const NodeSpec spec, NodeSpecFromJson(json));
  if (::getpid() != 1) {
    return absl::FailedPreconditionError(
        "node-init is the first process of a node: `local up` starts it");
  }
  RETURN_IF_ERROR(MountFilesystems(spec));
  RETURN_IF_ERROR(DelegateControllers());
  if (::sethostname(spec.name.data(), spec.name.size()) != 0)
    return ErrnoStatus(errno, "sethostname");
  return Supervisor(spec).Run();
}

}  // namespace mesh::cli::local
