// SPDX-License-Identifier: Apache-2.0
// Goal: the binary answers on its own what needs no agent, and says what to do when none is there.
// Method: it is executed with a literal environment and standard input; no privileges.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "common/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace mesh::cni {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

struct Outcome {
  int exit_code = -1;
  std::string out, err;
};

std::string ReadAll(int fd) {
  std::string text;
  char buffer[4096];
  ssize_t n;
  while ((n = ::read(fd, buffer, sizeof buffer)) > 0) text.append(buffer, static_cast<size_t>(n));
  return text;
}

Outcome Execute(std::vector<std::string> environment, const std::string& input,
                const char* name = "mesh-cni") {
  int in[2], out[2], err[2];
  EXPECT_EQ(::pipe2(in, O_CLOEXEC), 0);
  EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
  EXPECT_EQ(::pipe2(err, O_CLOEXEC), 0);
  std::vector<char*> envp;
  for (std::string& variable : environment) envp.push_back(variable.data());
  envp.push_back(nullptr);
  std::string path = MESH_BIN_DIR "/mesh-cni", argv0 = name;
  char* argv[] = {argv0.data(), nullptr};
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(in[0], 0);
    ::dup2(out[1], 1);
    ::dup2(err[1], 2);
    ::execve(path.c_str(), argv, envp.data());
    ::_exit(127);
  }
  UniqueFd in_read(in[0]), in_write(in[1]), out_read(out[0]), err_read(err[0]);
  ::close(out[1]);
  ::close(err[1]);
  EXPECT_EQ(::write(in_write.get(), input.data(), input.size()),
            static_cast<ssize_t>(input.size()));
  in_write.reset();
  Outcome outcome;
  outcome.out = ReadAll(out_read.get());
  outcome.err = ReadAll(err_read.get());
  int status = 0;
  ::waitpid(pid, &status, 0);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

int CodeOf(const Outcome& outcome) {
  const auto json = nlohmann::json::parse(outcome.out, nullptr, false);
  return json.is_object() && json.contains("code") ? json["code"].get<int>() : -1;
}

const std::string kConfig =
    R"({"cniVersion":"1.1.0","name":"mesh","type":"mesh-cni","agentSocket":"/nonexistent/cni.sock"})";

std::vector<std::string> Command(const std::string& command) {
  return {"CNI_COMMAND=" + command, "CNI_CONTAINERID=abc", "CNI_NETNS=/proc/self/ns/net",
          "CNI_IFNAME=eth0"};
}

TEST(MeshCni, AnswersVersionWithoutAnAgent) {
  const Outcome outcome = Execute({"CNI_COMMAND=VERSION"}, R"({"cniVersion":"0.4.0"})");

  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.out,
            R"({"cniVersion":"0.4.0","supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]})"
            "\n");
}

TEST(MeshCni, SaysWhatItIsWhenNoRuntimeCallsIt) {
  const Outcome outcome = Execute({}, "");

  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.out, IsEmpty());
  EXPECT_THAT(outcome.err, HasSubstr("CNI protocol versions supported: 0.3.1 0.4.0 1.0.0 1.1.0"));
}

TEST(MeshCni, AsksToTryAgainWhileTheAgentIsAway) {
  for (const char* command : {"ADD", "DEL", "CHECK", "GC"}) {
    const Outcome outcome = Execute(Command(command), kConfig);
    EXPECT_EQ(outcome.exit_code, 1) << command;
    EXPECT_EQ(CodeOf(outcome), 11) << command;
    EXPECT_THAT(outcome.out,
                HasSubstr("mesh-agent does not answer at /nonexistent/cni.sock: is it running?"));
  }
}

TEST(MeshCni, StatusIsNotAvailableWhileTheAgentIsAway) {
  const Outcome outcome = Execute({"CNI_COMMAND=STATUS"}, kConfig);

  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(CodeOf(outcome), 50);
}

TEST(MeshCni, RefusesCommandsOlderVersionsDoNotHave) {
  const std::string old = R"({"cniVersion":"0.3.1","name":"mesh","type":"mesh-cni"})";

  EXPECT_EQ(CodeOf(Execute(Command("CHECK"), old)), 1);
  EXPECT_EQ(CodeOf(Execute(Command("STATUS"), old)), 1);
  EXPECT_EQ(CodeOf(Execute(Command("GC"), old)), 1);
}

TEST(MeshCni, NamesANamespaceThatIsNone) {
  auto environment = Command("ADD");
  environment[2] = "CNI_NETNS=/nonexistent";
  const Outcome missing = Execute(environment, kConfig);
  environment[2] = "CNI_NETNS=/dev/null";
  const Outcome other = Execute(environment, kConfig);

  EXPECT_EQ(CodeOf(missing), 4);
  EXPECT_THAT(missing.out, HasSubstr("CNI_NETNS"));
  EXPECT_EQ(CodeOf(other), 4);
  EXPECT_THAT(other.out, HasSubstr("not a network namespace"));
}

TEST(MeshCni, LoopbackDeletesWhatIsGone) {
  const Outcome outcome = Execute(
      {"CNI_COMMAND=DEL", "CNI_CONTAINERID=abc", "CNI_NETNS=/nonexistent", "CNI_IFNAME=lo"},
      R"({"cniVersion":"0.3.1","name":"cni-loopback","type":"loopback"})", "/opt/cni/bin/loopback");

  EXPECT_EQ(outcome.exit_code, 0) << outcome.out;
  EXPECT_THAT(outcome.out, IsEmpty());
}

}  // namespace
}  // namespace mesh::cni
