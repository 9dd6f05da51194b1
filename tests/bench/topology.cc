// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/topology.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "common/status.h"
#include "common/unique_fd.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::bench {

absl::Status Run(const std::vector<std::string>& argv, const std::string& input) {
  // Input and output go through files: neither side can block on the other.
  char in_path[] = "/tmp/mesh-bench-in-XXXXXX", out_path[] = "/tmp/mesh-bench-out-XXXXXX";
  UniqueFd in(mkstemp(in_path)), out(mkstemp(out_path));
  unlink(in_path);
  unlink(out_path);
  if (write(in.get(), input.data(), input.size()) != static_cast<ssize_t>(input.size()))
    return ErrnoStatus(errno, "write");
  lseek(in.get(), 0, SEEK_SET);
  const pid_t pid = fork();
  if (pid < 0) return ErrnoStatus(errno, "fork");
  if (pid == 0) {
    dup2(in.get(), 0);
    dup2(out.get(), 1);
    dup2(out.get(), 2);
    std::vector<char*> arguments;
    for (const std::string& argument : argv)
      arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  if (status == 0) return absl::OkStatus();
  char text[2048];
  const ssize_t size = pread(out.get(), text, sizeof text, 0);
  return absl::UnknownError(fmt::format("{} failed ({}): {}", fmt::join(argv, " "),
                                        WEXITSTATUS(status),
                                        std::string(text, size > 0 ? size : 0)));
}

absl::Status RunIn(const std::string& netns, const std::vector<std::string>& argv,
                   const std::string& input) {
  std::vector<std::string> full = {"ip", "netns", "exec", netns};
  full.insert(full.end(), argv.begin(), argv.end());
  return Run(full, input);
}

namespace {

constexpr char kFolder[] = "/run/netns";

// Forks a process that deletes the namespaces with this prefix once all copies of what is returned
// are closed: also when this process is killed.
absl::StatusOr<UniqueFd> StartSweeper(const std::string& prefix) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  const pid_t pid = fork();
  if (pid < 0) return ErrnoStatus(errno, "fork");
  if (pid > 0) return write_end;
  // A Ctrl-C at the terminal is for the whole group.
  setsid();
  write_end.reset();
  char byte;
  while (read(read_end.get(), &byte, 1) < 0 && errno == EINTR) {
  }
  std::vector<std::string> left;
  for (const auto& file : std::filesystem::directory_iterator(kFolder))
    if (file.path().filename().string().starts_with(prefix)) left.push_back(file.path().filename());
  for (const std::string& name : left) Run({"ip", "netns", "del", name}).IgnoreError();
  _exit(0);
}

}  // namespace

Namespaces::~Namespaces() {
  for (const std::string& name : names_) Run({"ip", "netns", "del", name}).IgnoreError();
}

absl::StatusOr<std::string> Namespaces::Add(const std::string& name) {
  const std::string prefix = fmt::format("mesh-bench-{}-", getpid()), full = prefix + name;
  if (!sweeper_) {
    ASSIGN_OR_RETURN(sweeper_, StartSweeper(prefix));
  }
  RETURN_IF_ERROR(Run({"ip", "netns", "add", full}));
  names_.push_back(full);
  RETURN_IF_ERROR(Run({"ip", "-n", full, "link", "set", "lo", "up"}));
  return full;
}

absl::Status AddVeth(const VethEnd& a, const VethEnd& b) {
  RETURN_IF_ERROR(Run({"ip", "link", "add", a.link, "netns", a.netns, "type", "veth", "peer",
                       "name", b.link, "netns", b.netns}));
  for (const VethEnd& end : {a, b}) {
    if (!end.address.empty())
      RETURN_IF_ERROR(Run({"ip", "-n", end.netns, "address", "add", end.address, "dev", end.link}));
    RETURN_IF_ERROR(Run({"ip", "-n", end.netns, "link", "set", end.link, "up"}));
  }
  return absl::OkStatus();
}

}  // namespace mesh::bench
