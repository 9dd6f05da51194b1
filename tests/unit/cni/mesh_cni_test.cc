// SPDX-License-Identifier: Apache-2.0
// Goal: the binary answers on its own what needs no agent, and says what to do when none is there.
// Method: it is executed with a literal environment and standard input; no privileges.
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/cni/execute.h"

namespace mesh::cni {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

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
    EXPECT_EQ(outcome.code(), 11) << command;
    EXPECT_THAT(outcome.out,
                HasSubstr("mesh-agent does not answer at /nonexistent/cni.sock: is it running?"));
  }
}

TEST(MeshCni, StatusIsNotAvailableWhileTheAgentIsAway) {
  const Outcome outcome = Execute({"CNI_COMMAND=STATUS"}, kConfig);

  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.code(), 50);
}

TEST(MeshCni, RefusesCommandsOlderVersionsDoNotHave) {
  const std::string old = R"({"cniVersion":"0.3.1","name":"mesh","type":"mesh-cni"})";

  EXPECT_EQ(Execute(Command("CHECK"), old).code(), 1);
  EXPECT_EQ(Execute(Command("STATUS"), old).code(), 1);
  EXPECT_EQ(Execute(Command("GC"), old).code(), 1);
}

TEST(MeshCni, NamesANamespaceThatIsNone) {
  auto environment = Command("ADD");
  environment[2] = "CNI_NETNS=/nonexistent";
  const Outcome missing = Execute(environment, kConfig);
  environment[2] = "CNI_NETNS=/dev/null";
  const Outcome other = Execute(environment, kConfig);

  EXPECT_EQ(missing.code(), 4);
  EXPECT_THAT(missing.out, HasSubstr("CNI_NETNS"));
  EXPECT_EQ(other.code(), 4);
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
