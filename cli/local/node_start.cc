// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "cli/local/cgroups.h"
#include "cli/local/node.h"
#include "cli/local/process.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "fmt/format.h"

namespace mesh::cli::local {
namespace {

constexpr int kExecFailed = 126, kNotFound = 127;

absl::Status EnterNamespace(const std::string& path, int kind) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return ErrnoStatus(errno, "open " + path);
  if (::setns(fd.get(), kind) != 0) return ErrnoStatus(errno, "enter namespace " + path);
  return absl::OkStatus();
}

// Gives up the caller's files and session: the node outlives the command that starts it.
[[noreturn]] void BecomeNodeInit(const NodeSpec& spec, const std::string& spec_file) {
  ::setsid();
  const int null = ::open("/dev/null", O_RDONLY);
  const int log = ::open(spec.log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  ::dup2(null, 0);
  ::dup2(log, 1);
  ::dup2(log, 2);
  ::syscall(SYS_close_range, 3U, ~0U, 0U);
  const char* const argv[] = {"meshctl", "local", "node-init", spec_file.c_str(), nullptr};
  ::execv("/proc/self/exe", const_cast<char* const*>(argv));
  ::_exit(kExecFailed);
}

}  // namespace

absl::Status StartNode(const std::string& spec_file) {
  ASSIGN_OR_RETURN(const std::string json, ReadFile(spec_file));
  ASSIGN_OR_RETURN(const NodeSpec spec, NodeSpecFromJson(json));
  ASSIGN_OR_RETURN(const std::vector<Hierarchy> hierarchies, HostHierarchies());
  RETURN_IF_ERROR(EnterCgroup(hierarchies, spec.cgroup));
  RETURN_IF_ERROR(EnterNamespace(spec.netns, CLONE_NEWNET));
  if (::unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP) != 0) {
    return ErrnoStatus(errno, "create namespaces of node " + spec.name);
  }
  const pid_t pid = ::fork();
  if (pid < 0) return ErrnoStatus(errno, "start node " + spec.name);
  if (pid == 0) BecomeNodeInit(spec, spec_file);
  return WriteFile(fmt::format("{}/{}", spec.run_dir, kInitPidFile), fmt::format("{}\n", pid));
}

absl::StatusOr<int> ExecInNode(pid_t init, const std::string& cgroup,
                               const std::vector<std::string>& argv) {
  const UniqueFd node(static_cast<int>(::syscall(SYS_pidfd_open, init, 0)));
  if (!node) return ErrnoStatus(errno, fmt::format("open process {}", init));
  ASSIGN_OR_RETURN(const std::vector<Hierarchy> hierarchies, HostHierarchies());
  // Version 2 has processes in leaves only; what the node hands down decides where the leaf is.
  RETURN_IF_ERROR(EnterCgroup(hierarchies, cgroup + "/exec"));
  char folder[4096];
  const bool has_folder = ::getcwd(folder, sizeof folder) != nullptr;
  if (::setns(node.get(), CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC |
                              CLONE_NEWCGROUP) != 0) {
    return ErrnoStatus(errno, "enter the node's namespaces");
  }
  if (has_folder && ::chdir(folder) != 0)
    return ErrnoStatus(errno, "enter folder " + std::string(folder));

  const pid_t pid = ::fork();
  if (pid < 0) return ErrnoStatus(errno, "fork");
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const auto program = FindProgram(argv.front());
    if (!program) {
      ::dprintf(2, "error: %s: command not found\n", argv.front().c_str());
      ::_exit(kNotFound);
    }
    std::vector<char*> args;
    for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
    args.push_back(nullptr);
    ::execv(program->c_str(), args.data());
    ::dprintf(2, "error: %s: %s\n", program->c_str(), std::strerror(errno));
    ::_exit(kExecFailed);
  }
  // The terminal sends its signals to the command as well; it decides what they mean.
  ::signal(SIGINT, SIG_IGN);
  ::signal(SIGQUIT, SIG_IGN);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return ErrnoStatus(errno, "wait for the command");
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace mesh::cli::local
