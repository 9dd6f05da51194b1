// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/cni/execute.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "absl/time/clock.h"
#include "common/check.h"
#include "common/unique_fd.h"
#include "nlohmann/json.hpp"

namespace mesh::cni {
namespace {

struct Pipe {
  UniqueFd read, write;
  Pipe() {
    int fds[2];
    MESH_CHECK(::pipe2(fds, O_CLOEXEC) == 0) << "pipe, errno " << errno;
    read.reset(fds[0]);
    write.reset(fds[1]);
  }
};

std::string ReadAll(int fd) {
  std::string text;
  char buffer[4096];
  ssize_t n;
  while ((n = ::read(fd, buffer, sizeof buffer)) > 0) text.append(buffer, static_cast<size_t>(n));
  return text;
}

}  // namespace

int Outcome::code() const {
  const auto json = nlohmann::json::parse(out, nullptr, /*allow_exceptions=*/false);
  return json.is_object() && json.contains("code") ? json["code"].get<int>() : 0;
}

Outcome Execute(std::vector<std::string> environment, const std::string& input, std::string argv0) {
  // Inputs fit a pipe (64 KiB) and outputs are smaller still: no reading and writing at a time.
  MESH_CHECK(input.size() < 65536) << input.size();
  std::vector<char*> envp;
  for (std::string& variable : environment) envp.push_back(variable.data());
  envp.push_back(nullptr);
  char* argv[] = {argv0.data(), nullptr};
  Pipe in, out, err;
  MESH_CHECK(::write(in.write.get(), input.data(), input.size()) ==
             static_cast<ssize_t>(input.size()));
  in.write.reset();

  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, in.read.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, out.write.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, err.write.get(), STDERR_FILENO);
  Outcome outcome;
  const absl::Time start = absl::Now();
  pid_t pid = -1;
  const int error =
      ::posix_spawn(&pid, MESH_BIN_DIR "/mesh-cni", &actions, nullptr, argv, envp.data());
  ::posix_spawn_file_actions_destroy(&actions);
  MESH_CHECK(error == 0) << "cannot start " MESH_BIN_DIR "/mesh-cni, errno " << error;
  out.write.reset();
  err.write.reset();
  outcome.out = ReadAll(out.read.get());
  outcome.err = ReadAll(err.read.get());
  int status = 0;
  MESH_CHECK(::waitpid(pid, &status, 0) == pid) << "errno " << errno;
  outcome.wall = absl::Now() - start;
  if (WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
  return outcome;
}

}  // namespace mesh::cni
