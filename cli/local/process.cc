// SPDX-License-Identifier: Apache-2.0
#include "cli/local/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "common/status.h"
#include "common/unique_fd.h"
#include "fmt/format.h"

extern char** environ;

namespace mesh::cli::local {
namespace {

std::vector<std::string> SearchFolders() {
  std::vector<std::string> folders;
  const std::string path = SearchPath();
  size_t start = 0;
  while (start <= path.size()) {
    const size_t end = std::min(path.find(':', start), path.size());
    if (end > start) folders.push_back(path.substr(start, end - start));
    start = end + 1;
  }
  return folders;
}

// The unsigned number that `text` starts with; 0 when there is none.
pid_t LeadingNumber(std::string_view text) {
  pid_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

int ExitCode(int wait_status) {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

absl::Status RemoveAt(int parent, const char* name, const std::string& shown, dev_t device) {
  struct stat info {};
  if (::fstatat(parent, name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno == ENOENT ? absl::OkStatus() : ErrnoStatus(errno, "stat " + shown);
  }
  if (!S_ISDIR(info.st_mode)) {
    if (::unlinkat(parent, name, 0) == 0 || errno == ENOENT) return absl::OkStatus();
    return ErrnoStatus(errno, "remove " + shown);
  }
  if (device != 0 && info.st_dev != device) {
    return absl::FailedPreconditionError(
        fmt::format("{} is a mount point: unmount it, then run this again", shown));
  }
  const int fd = ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, "open " + shown);
  DIR* directory = ::fdopendir(fd);
  absl::Status status;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string_view child = entry->d_name;
    if (child == "." || child == "..") continue;
    if (absl::Status removed =
            RemoveAt(fd, entry->d_name, fmt::format("{}/{}", shown, child), info.st_dev);
        !removed.ok() && status.ok()) {
      status = removed;
    }
  }
  ::closedir(directory);
  if (!status.ok()) return status;
  if (::unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT) return absl::OkStatus();
  return ErrnoStatus(errno, "remove " + shown);
}

}  // namespace

std::string SearchPath() {
  const char* path = ::getenv("PATH");
  return fmt::format("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                     path == nullptr ? "" : path);
}

std::optional<std::string> FindProgram(std::string_view name) {
  if (name.find('/') != std::string_view::npos) {
    const std::string path(name);
    return ::access(path.c_str(), X_OK) == 0 ? std::optional(path) : std::nullopt;
  }
  for (const std::string& folder : SearchFolders()) {
    const std::string path = fmt::format("{}/{}", folder, name);
    if (::access(path.c_str(), X_OK) == 0) return path;
  }
  return std::nullopt;
}

absl::StatusOr<Output> RunProgram(const std::vector<std::string>& argv, std::string_view input,
                                  int input_fd) {
  const std::optional<std::string> program = FindProgram(argv.front());
  if (!program) {
    return absl::NotFoundError(fmt::format("program \"{}\" is not installed", argv.front()));
  }
  int in[2] = {-1, -1}, out[2] = {-1, -1};
  if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0)
    return ErrnoStatus(errno, "pipe");
  UniqueFd in_read(in[0]), in_write(in[1]), out_read(out[0]), out_write(out[1]);

  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, input_fd >= 0 ? input_fd : in_read.get(), 0);
  ::posix_spawn_file_actions_adddup2(&actions, out_write.get(), 1);
  ::posix_spawn_file_actions_adddup2(&actions, out_write.get(), 2);
  std::vector<char*> args;
  for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
  args.push_back(nullptr);
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, program->c_str(), &actions, nullptr, args.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return ErrnoStatus(error, "run " + *program);
  in_read.reset();
  out_write.reset();
  if (input.empty()) in_write.reset();

  Output output;
  while (true) {
    pollfd fds[2] = {{out_read.get(), POLLIN, 0}, {in_write.get(), POLLOUT, 0}};
    if (::poll(fds, 2, -1) < 0 && errno != EINTR) break;
    if (in_write && fds[1].revents != 0) {
      const ssize_t sent =
          ::write(in_write.get(), input.data(), std::min<size_t>(input.size(), 4096));
      if (sent > 0) input.remove_prefix(static_cast<size_t>(sent));
      if (sent < 0 || input.empty()) in_write.reset();
    }
    if (fds[0].revents != 0) {
      char buffer[16384];
      const ssize_t got = ::read(out_read.get(), buffer, sizeof buffer);
      if (got <= 0) break;
      output.text.append(buffer, static_cast<size_t>(got));
    }
  }
  int wait_status = 0;
  while (::waitpid(pid, &wait_status, 0) < 0 && errno == EINTR) {
  }
  output.exit_code = ExitCode(wait_status);
  return output;
}

absl::StatusOr<std::string> RunOrFail(const std::vector<std::string>& argv, std::string_view input,
                                      int input_fd) {
  ASSIGN_OR_RETURN(Output output, RunProgram(argv, input, input_fd));
  if (output.exit_code == 0) return output.text;
  while (!output.text.empty() && output.text.back() == '\n') output.text.pop_back();
  std::string command;
  for (const std::string& arg : argv) command += (command.empty() ? "" : " ") + arg;
  return absl::InternalError(
      fmt::format("`{}` exited with {}: {}", command, output.exit_code, output.text));
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return ErrnoStatus(errno, "open " + path);
  std::string content;
  char buffer[16384];
  while (true) {
    const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got == 0) return content;
    if (got < 0) return ErrnoStatus(errno, "read " + path);
    content.append(buffer, static_cast<size_t>(got));
  }
}

absl::Status WriteFile(const std::string& path, std::string_view content) {
  const std::string beside = fmt::format("{}.{}.tmp", path, ::getpid());
  UniqueFd fd(::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd) return ErrnoStatus(errno, "create " + path);
  while (!content.empty()) {
    const ssize_t wrote = ::write(fd.get(), content.data(), content.size());
    if (wrote < 0) return ErrnoStatus(errno, "write " + path);
    content.remove_prefix(static_cast<size_t>(wrote));
  }
  if (::rename(beside.c_str(), path.c_str()) != 0) return ErrnoStatus(errno, "rename " + path);
  return absl::OkStatus();
}

absl::Status WriteControlFile(const std::string& path, std::string_view content) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return ErrnoStatus(errno, "open " + path);
  if (::write(fd.get(), content.data(), content.size()) < 0) {
    return ErrnoStatus(errno, fmt::format("write \"{}\" to {}", content, path));
  }
  return absl::OkStatus();
}

absl::Status MakeDirectories(const std::string& path) {
  for (size_t at = 1; at <= path.size(); ++at) {
    if (at != path.size() && path[at] != '/') continue;
    const std::string part = path.substr(0, at);
    if (::mkdir(part.c_str(), 0755) != 0 && errno != EEXIST) {
      return ErrnoStatus(errno, "create folder " + part);
    }
  }
  return absl::OkStatus();
}

absl::Status RemoveTree(const std::string& path) {
  return RemoveAt(AT_FDCWD, path.c_str(), path, 0);
}

std::vector<ProcessInfo> ListProcesses() {
  std::vector<ProcessInfo> processes;
  DIR* directory = ::opendir("/proc");
  if (directory == nullptr) return processes;
  while (const dirent* entry = ::readdir(directory)) {
    ProcessInfo process;
    process.pid = LeadingNumber(entry->d_name);
    if (process.pid == 0) continue;
    const auto status = ReadFile(fmt::format("/proc/{}/status", process.pid));
    if (!status.ok()) continue;
    bool zombie = false;
    size_t start = 0;
    while (start < status->size()) {
      const size_t end = std::min(status->find('\n', start), status->size());
      const std::string_view line = std::string_view(*status).substr(start, end - start);
      start = end + 1;
      const size_t tab = line.find('\t');
      if (tab == std::string_view::npos) continue;
      const std::string_view key = line.substr(0, tab);
      const std::string_view value = line.substr(tab + 1);
      if (key == "State:") zombie = value.front() == 'Z' || value.front() == 'X';
      if (key == "PPid:") process.parent = LeadingNumber(value);
      if (key == "NSpid:") process.inner_pid = LeadingNumber(value.substr(value.rfind('\t') + 1));
    }
    if (!zombie) processes.push_back(process);
  }
  ::closedir(directory);
  return processes;
}

bool IsAlive(pid_t pid) {
  const auto stat = ReadFile(fmt::format("/proc/{}/stat", pid));
  if (!stat.ok()) return false;
  const size_t name_end = stat->rfind(')');
  return name_end != std::string::npos && name_end + 2 < stat->size() &&
         (*stat)[name_end + 2] != 'Z' && (*stat)[name_end + 2] != 'X';
}

ino_t NamespaceInode(pid_t pid, std::string_view kind) {
  struct stat info {};
  const std::string path = fmt::format("/proc/{}/ns/{}", pid, kind);
  return ::stat(path.c_str(), &info) == 0 ? info.st_ino : 0;
}

absl::Status KillAndWait(const std::set<pid_t>& pids, absl::Duration timeout) {
  std::map<pid_t, UniqueFd> handles;
  for (const pid_t pid : pids) {
    UniqueFd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!handle) continue;
    ::syscall(SYS_pidfd_send_signal, handle.get(), SIGKILL, nullptr, 0);
    handles.emplace(pid, std::move(handle));
  }
  const absl::Time deadline = absl::Now() + timeout;
  for (const auto& [pid, handle] : handles) {
    pollfd fd = {handle.get(), POLLIN, 0};
    const int64_t left = std::max<int64_t>(0, absl::ToInt64Milliseconds(deadline - absl::Now()));
    if (::poll(&fd, 1, static_cast<int>(left)) == 1) continue;
    return absl::DeadlineExceededError(fmt::format("process {} does not end after SIGKILL", pid));
  }
  return absl::OkStatus();
}

bool SocketAccepts(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, path.data(), path.size());
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

void Pause(absl::Duration duration) {
  const timespec time = absl::ToTimespec(duration);
  ::clock_nanosleep(CLOCK_MONOTONIC, 0, &time, nullptr);
}

}  // namespace mesh::cli::local
