// SPDX-License-Identifier: Apache-2.0
// Goal: a policy that its node has no room for is told wherever one looks, what was in force goes
// on, new pods that need it are shut, and all of it ends when the policy is smaller. Method: three
// nodes; a policy of some hundred lines that needs more rows for ports than a node has, because
// each of its ranges of addresses is told apart from the others.
#include <gmock/gmock.h>

#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"

namespace mesh::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kHead[] = R"(apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: room
  namespace: blue
spec:
  podSelector:
    matchExpressions:
    - {key: app, operator: In, values: [echo, late]}
  ingress:
)";

// Who is of the namespace is admitted.
std::string Small() { return std::string(kHead) + "  - from:\n    - podSelector: {}\n"; }

// Nobody of the cluster is. The first rule has 2 x 64 ranges of 18 rows and 127 addresses; seven
// more tell each address from the others: 127 x 2304 rows.
std::string Large() {
  std::string out = std::string(kHead) + "  - from:\n";
  const auto block = [&](int i) {
    out += fmt::format("    - ipBlock: {{cidr: 198.51.100.{}/32}}\n", i);
  };
  for (int i = 1; i < 128; ++i) block(i);
  out += "    ports:\n";
  for (const char* protocol : {"TCP", "UDP"}) {
    for (int i = 0; i < 64; ++i) {
      out += fmt::format("    - {{protocol: {}, port: {}, endPort: {}}}\n", protocol, 1024 * i + 1,
                         1024 * i + 1022);
    }
  }
  for (int bit = 0; bit < 7; ++bit) {
    out += "  - from:\n";
    for (int i = 1; i < 128; ++i) {
      if ((i >> bit & 1) != 0) block(i);
    }
    out += fmt::format("    ports:\n    - {{protocol: TCP, port: {}}}\n", 1024 * (bit + 1));
  }
  return out;
}

class PolicyRoomTest : public ClusterTest {
 protected:
  bool Tells(const std::vector<std::string>& command, const std::string& what) {
    cli::local::Output last;
    const bool told = Eventually([&] {
      last = cluster().Meshctl(command);
      return last.text.find(what) != std::string::npos;
    });
    EXPECT_TRUE(told) << command.front() << ": no \"" << what << "\" in:\n" << last.text;
    return told;
  }
  bool Reaches(const Json& pod) {
    return cluster()
               .Load(cluster().PodPid("client"), "tcp", HostPort(PodIp(pod), 9000), 1)
               .failures == 0;
  }
};

TEST_F(PolicyRoomTest, WhatIsNotInForceIsToldEverywhereUntilItIs) {
  cluster().Apply("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: blue\n---\n" + Small() +
                  "---\n" + EchoManifest("echo", 1, "blue") + "---\n" +
                  ClientManifest("client", "n2", "blue"));
  ASSERT_TRUE(cluster().WaitForPods("app=echo", 1, "blue"));
  ASSERT_TRUE(cluster().WaitForPods("app=client", 1, "blue"));
  const Json echo = cluster().ReadyPods("app=echo", "blue").at(0);
  const std::string name = echo["metadata"]["name"], node = echo["spec"]["nodeName"];
  ASSERT_TRUE(Eventually([&] { return Reaches(echo); }));

  cluster().Apply(Large());

  ASSERT_TRUE(Tells({"get", "nodes"}, "Ready,PolicyNotInForce"));
  EXPECT_TRUE(Tells({"describe", "networkpolicy", "room", "-n", "blue"}, "NotInForce"));
  EXPECT_TRUE(Tells({"describe", "node", node}, "PoliciesInForce"));
  EXPECT_TRUE(Tells({"why", "netpol/room", "-n", "blue"},
                    fmt::format("is not in force on node {}: policies need ", node)));
  EXPECT_TRUE(Tells({"why", name, "-n", "blue"}, "what was in force for it before still is"));
  const auto asked = cluster().Meshctl({"why", "blue/client -> blue/echo:80"});
  EXPECT_EQ(asked.exit_code, 1);
  EXPECT_THAT(asked.text, AllOf(HasSubstr("policy blue/room selects it but is not in force on "),
                                HasSubstr("once its policies are in force: is isolated")));
  EXPECT_TRUE(Reaches(echo)) << "what was in force still is";
  const std::string trace =
      cluster().MustMeshctl({"trace", "blue/client", fmt::format("blue/{}:9000", name)});
  EXPECT_THAT(trace,
              AllOf(HasSubstr("policy blue/room is not in force on this node: policies need"),
                    Not(HasSubstr("on its way"))));

  cluster().Apply(EchoManifest("late", 1, "blue"));
  ASSERT_TRUE(cluster().WaitForPods("app=late", 1, "blue"));
  const Json late = cluster().ReadyPods("app=late", "blue").at(0);
  const std::string late_name = late["metadata"]["name"];
  EXPECT_TRUE(Tells({"why", late_name, "-n", "blue"}, "it is new there and shut"));
  EXPECT_FALSE(Reaches(late));
  EXPECT_THAT(
      cluster().MustMeshctl({"trace", "blue/client", fmt::format("blue/{}:9000", late_name)}),
      HasSubstr(fmt::format("pod blue/{} is shut for ingress: policy blue/room is not in "
                            "force on this node",
                            late_name)));

  cluster().Apply(Small());

  EXPECT_TRUE(Eventually([&] { return Reaches(late); }));
  EXPECT_TRUE(Eventually([&] {
    return cluster().MustMeshctl({"get", "nodes"}).find("PolicyNotInForce") == std::string::npos;
  }));
  EXPECT_EQ(cluster().Meshctl({"why", "netpol/room", "-n", "blue"}).exit_code, 0);
  EXPECT_EQ(cluster().Meshctl({"why", late_name, "-n", "blue"}).exit_code, 0);
}

}  // namespace
}  // namespace mesh::testing
