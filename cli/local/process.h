// SPDX-License-Identifier: Apache-2.0
// Running programs, small files, and what /proc says about processes.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace mesh::cli::local {

struct Output {
  int exit_code = 0;  // 128 + signal when one ended it
  std::string text;   // standard output and standard error, as they came
};

// Runs a program, found in $PATH and the system's sbin folders, and waits. `input` is its standard
// input; with `input_fd` >= 0 it reads from there instead. NOT_FOUND when there is no such program.
absl::StatusOr<Output> RunProgram(const std::vector<std::string>& argv, std::string_view input = {},
                                  int input_fd = -1);
// The same; INTERNAL with the program's words when it does not exit with 0.
absl::StatusOr<std::string> RunOrFail(const std::vector<std::string>& argv,
                                      std::string_view input = {}, int input_fd = -1);

// Absolute path of a program; nullopt when it is in none of the folders RunProgram looks into.
std::optional<std::string> FindProgram(std::string_view name);
// $PATH with the sbin folders that a plain user's shell may lack.
std::string SearchPath();

absl::StatusOr<std::string> ReadFile(const std::string& path);
// Writes beside the file and renames.
absl::Status WriteFile(const std::string& path, std::string_view content);
// One write() to a file that exists: for /proc, cgroups.
absl::Status WriteControlFile(const std::string& path, std::string_view content);
// mkdir -p.
absl::Status MakeDirectories(const std::string& path);
// rm -r, without crossing into mounts. OK when it is not there.
absl::Status RemoveTree(const std::string& path);

struct ProcessInfo {
  pid_t pid = 0;
  pid_t parent = 0;
  // In the innermost PID namespace of the process.
  pid_t inner_pid = 0;
};
// All processes that /proc shows, zombies left out.
std::vector<ProcessInfo> ListProcesses();
bool IsAlive(pid_t pid);
// Inode of a namespace of a process ("net", "mnt", "pid"); 0 when it is gone.
ino_t NamespaceInode(pid_t pid, std::string_view kind);
// Sends SIGKILL and waits until none of them exists. DEADLINE_EXCEEDED names one that stays.
absl::Status KillAndWait(const std::set<pid_t>& pids, absl::Duration timeout);

// Whether something accepts connections at a unix socket.
bool SocketAccepts(const std::string& path);
// Calls `condition` every few milliseconds until it holds or the deadline is there.
template <typename Condition>
bool WaitUntil(absl::Time deadline, Condition&& condition);

void Pause(absl::Duration duration);

template <typename Condition>
bool WaitUntil(absl::Time deadline, Condition&& condition) {
  while (!condition()) {
    if (absl::Now() >= deadline) return false;
    Pause(absl::Milliseconds(5));
  }
  return true;
}

}  // namespace mesh::cli::local
