// SPDX-License-Identifier: Apache-2.0
// The edge while parts of the cluster die: requests from outside go on.
#include <gmock/gmock.h>
#include <signal.h>

#include "tests/cluster/edge_world.h"

namespace mesh::testing {
namespace {

using ::testing::SizeIs;

class EdgeFailureTest : public ClusterTest {
 protected:
  void SetUp() override {
    ClusterTest::SetUp();
    if (HasFatalFailure()) return;
    std::string manifest;
    for (const char* node : {"n1", "n2", "n3"})
      manifest += ServerPod(std::string("echo-") + node, "echo", node, "-");
    cluster().Apply(manifest);
    ASSERT_TRUE(cluster().WaitForPods("app=echo", 3));
  }

  // The hardware address that the outside has for `ip`; empty when it has none.
  std::string NeighborMac(const std::string& ip) {
    const auto output =
        cluster().Meshctl({"local", "outside", "--name", cluster().layout().cluster(), "--", "ip",
                           "-json", "neigh", "show", "to", ip});
    const Json list = Json::parse(output.text, nullptr, false);
    return list.is_array() && !list.empty() ? list[0].value("lladdr", "") : "";
  }
  std::string MacOf(const std::string& node) {
    const auto output = cluster().Meshctl({"local", "exec", "--name", cluster().layout().cluster(),
                                           node, "--", "cat", "/sys/class/net/eth0/address"});
    return output.text.substr(0, output.text.find('\n'));
  }
};

TEST_F(EdgeFailureTest, AnAgentThatIsKilledCostsNoRequestFromOutside) {
  cluster().Apply(EdgeService("np", "echo", "  type: NodePort\n"));
  int port = 0;
  ASSERT_TRUE(Eventually([&] { return (port = NodePort(cluster(), "np")) != 0; }));
  std::vector<std::unique_ptr<RunningLoad>> loads, helds;  // one of each family
  for (const int family : kFamilies) {
    const std::string target = HostPort(NodeAddress(1, family), port);
    ASSERT_TRUE(Eventually([&] {
      return cluster().LoadOutside("tcp", target, 30).answers.size() == 3;
    })) << target;
    loads.push_back(cluster().StartLoadOutside("tcp", target));
    helds.push_back(cluster().StartLoadOutside("hold", target));
  }

  for (const char* node : {"n1", "n2", "n3"}) {
    const pid_t before = cluster().Pid(node, "agent");
    ASSERT_EQ(::kill(before, SIGKILL), 0);
    ASSERT_TRUE(Eventually([&] {
      const pid_t now = cluster().Pid(node, "agent");
      return now != 0 && now != before;
    }));
  }
  // Until the new agents have taken over.
  ASSERT_TRUE(Eventually([&] {
    const Json status = cluster().Status();
    if (status.is_discarded()) return false;
    for (const Json& node : status["nodes"]) {
      if (node["ready"] != true) return false;
    }
    return true;
  }));

  for (const auto& load : loads) {
    const LoadResult result = load->Stop();
    EXPECT_EQ(result.failures, 0) << result.text;
    EXPECT_THAT(result.answers, SizeIs(3)) << result.text;
  }
  for (const auto& held : helds) EXPECT_EQ(held->Stop().failures, 0);
}

// Shorter than it takes for a node to count as silent, and longer than a heartbeat.
TEST_F(EdgeFailureTest, AnAgentThatStandsStillCostsNoRequestFromOutside) {
  cluster().Apply(EdgeService("lb", "echo", "  type: LoadBalancer\n"));
  std::vector<std::unique_ptr<RunningLoad>> loads, helds;  // one of each family
  for (const int family : kFamilies) {
    std::string address;
    ASSERT_TRUE(
        Eventually([&] { return !(address = BalancerAddress(cluster(), "lb", family)).empty(); }));
    const std::string target = HostPort(address, 80);
    ASSERT_TRUE(Eventually([&] {
      return cluster().LoadOutside("tcp", target, 30).answers.size() == 3;
    })) << target;
    loads.push_back(cluster().StartLoadOutside("tcp", target));
    helds.push_back(cluster().StartLoadOutside("hold", target));
  }

  for (const char* node : {"n1", "n2", "n3"}) {
    const pid_t agent = cluster().Pid(node, "agent");
    ASSERT_EQ(::kill(agent, SIGSTOP), 0);
    const absl::Time until = absl::Now() + absl::Seconds(3);
    EXPECT_TRUE(Eventually([&] { return absl::Now() >= until; }));
    ASSERT_EQ(::kill(agent, SIGCONT), 0);
    EXPECT_EQ(cluster().Pid(node, "agent"), agent);
  }

  for (const auto& load : loads) {
    const LoadResult result = load->Stop();
    EXPECT_EQ(result.failures, 0) << result.text;
    EXPECT_THAT(result.answers, SizeIs(3)) << result.text;
  }
  for (const auto& held : helds) EXPECT_EQ(held->Stop().failures, 0);
}

// With policy Local the node that answers for the address may have no ready pod left, and
// connections that go on.
TEST_F(EdgeFailureTest, ABalancerAddressMovesWithoutEndingConnectionsWhenItsPodStops) {
  std::string manifest;
  for (const char* node : {"n1", "n2"}) {
    std::string pod = ServerPod(std::string("stay-") + node, "stay", node, "-");
    const std::string none = "terminationGracePeriodSeconds: 0";
    manifest += pod.replace(pod.find(none), none.size(), "terminationGracePeriodSeconds: 10");
  }
  cluster().Apply(manifest + EdgeService("stay", "stay",
                                         "  type: LoadBalancer\n  externalTrafficPolicy: Local\n"));
  ASSERT_TRUE(cluster().WaitForPods("app=stay", 2));
  std::vector<std::string> addresses, targets;
  std::vector<std::unique_ptr<RunningLoad>> loads, helds, later;  // one of each family
  for (const int family : kFamilies) {
    ASSERT_TRUE(Eventually([&] {
      addresses.resize(targets.size() + 1);
      return !(addresses.back() = BalancerAddress(cluster(), "stay", family)).empty();
    }));
    targets.push_back(HostPort(addresses.back(), 80));
    ASSERT_TRUE(Eventually([&] {
      return cluster().LoadOutside("tcp", targets.back(), 10).failures == 0;
    })) << targets.back();
    loads.push_back(cluster().StartLoadOutside("tcp", targets.back()));
    helds.push_back(cluster().StartLoadOutside("hold", targets.back()));
  }
  const bool first = NeighborMac(addresses[0]) == MacOf("n1");
  const std::string stops = first ? "n1" : "n2", stays = first ? "n2" : "n1";

  cluster().Meshctl({"delete", "pod", "stay-" + stops, "--wait=false"});
  for (const std::string& target : targets) {
    EXPECT_TRUE(Eventually([&] {
      const LoadResult result = cluster().LoadOutside("tcp", target, 10);
      return result.failures == 0 && result.answers.size() == 1 &&
             result.answers.contains("stay-" + stays);
    })) << cluster().LoadOutside("tcp", target, 5).text;
    later.push_back(cluster().StartLoadOutside("hold", target));
  }
  EXPECT_EQ(NeighborMac(addresses[0]), MacOf(stops)) << "its connections are known there";
  for (const auto& held : helds) {
    const LoadResult result = held->Stop();
    EXPECT_EQ(result.failures, 0) << result.text;
  }
  EXPECT_FALSE(cluster().Get({"pod", "stay-" + stops}).is_discarded()) << "not over by then";

  for (size_t i = 0; i < addresses.size(); ++i) {
    EXPECT_TRUE(Eventually([&] { return NeighborMac(addresses[i]) == MacOf(stays); }));
    EXPECT_EQ(cluster().LoadOutside("tcp", targets[i], 20).failures, 0);
  }
  for (const auto* some : {&later, &loads}) {
    for (const auto& load : *some) {
      const LoadResult result = load->Stop();
      EXPECT_EQ(result.failures, 0) << result.text;
    }
  }
}

TEST_F(EdgeFailureTest, ABalancerAddressMovesWhenItsNodeDies) {
  // Services are spread over the nodes: one of them is announced by another node than meshd's.
  std::string address, address6, announcer;
  for (int i = 0; announcer.empty() && i < 8; ++i) {
    const std::string name = fmt::format("lb{}", i);
    cluster().Apply(EdgeService(name, "echo", "  type: LoadBalancer\n"));
    ASSERT_TRUE(Eventually([&] { return !(address = BalancerAddress(cluster(), name)).empty(); }));
    ASSERT_TRUE(
        Eventually([&] { return !(address6 = BalancerAddress(cluster(), name, 6)).empty(); }));
    for (const std::string& ip : {address, address6}) {
      ASSERT_TRUE(Eventually([&] {
        return cluster().LoadOutside("tcp", HostPort(ip, 80), 10).failures == 0;
      })) << ip;
    }
    const std::string mac = NeighborMac(address);
    EXPECT_EQ(NeighborMac(address6), mac) << "one node announces both";
    for (const char* node : {"n2", "n3"}) {
      if (MacOf(node) == mac) announcer = node;
    }
  }
  ASSERT_FALSE(announcer.empty());

  // Its cable as well: the kernel of a machine goes with its processes, here it would go on.
  ASSERT_EQ(::kill(cluster().Pid(announcer, "node-init"), SIGKILL), 0);
  const auto cut = cluster().Meshctl({"local", "outside", "--name", cluster().layout().cluster(),
                                      "--", "ip", "link", "set", announcer, "down"});
  ASSERT_EQ(cut.exit_code, 0) << cut.text;

  for (const std::string& ip : {address, address6}) {
    EXPECT_TRUE(Eventually([&] {
      const LoadResult result = cluster().LoadOutside("tcp", HostPort(ip, 80), 20);
      return result.failures == 0 && result.answers.size() == 2;
    })) << cluster().LoadOutside("tcp", HostPort(ip, 80), 5).text;
  }
}

}  // namespace
}  // namespace mesh::testing
