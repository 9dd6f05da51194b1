// SPDX-License-Identifier: Apache-2.0
// Goal: what changes at the nodes' uplinks is followed or told, and what is asked of them at the
// start holds: the MTU, and ranges without masquerade. Method: a cluster of two nodes in both
// families, and its outside.
#include <gmock/gmock.h>
#include <netinet/in.h>

#include "fmt/format.h"
#include "tests/cluster/edge_world.h"
#include "tests/support/cluster/prober.h"

namespace mesh::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kServerPort = 7300;

class UplinkTest : public ::testing::Test {
 protected:
  void Up(const std::vector<std::string>& flags = {}) {
    cluster_ = std::make_unique<LocalCluster>(2, flags);
    ASSERT_TRUE(cluster_->running());
    netns_ = {{"n1", cluster_->layout().NetnsName("n1")},
              {"n2", cluster_->layout().NetnsName("n2")},
              {"outside", cluster_->layout().FabricNetns()}};
  }
  LocalCluster& cluster() { return *cluster_; }
  void Ip(const std::string& where, std::vector<std::string> args) {
    args.insert(args.begin(), {"ip", "-netns", netns_.at(where)});
    const auto done = cli::local::RunOrFail(args);
    EXPECT_TRUE(done.ok()) << done.status();
  }
  // The link between the nodes, all of it.
  void SetMtu(int mtu) {
    for (const char* node : {"n1", "n2"}) {
      Ip("outside", {"link", "set", node, "mtu", std::to_string(mtu)});
      Ip(node, {"link", "set", "eth0", "mtu", std::to_string(mtu)});
    }
  }
  std::string NodeStatuses() { return cluster().MustMeshctl({"get", "nodes"}); }

  std::unique_ptr<LocalCluster> cluster_;
  std::map<std::string, std::string> netns_;
};

TEST_F(UplinkTest, ItsMtuIsFollowedUnderConnectionsOrTold) {
  Up();
  cluster().Apply(ClientManifest("asks", "n1") + "---\n" +
                  ServerPod("answers", "answers", "n2", "answers"));
  ASSERT_TRUE(cluster().WaitForPods("app=asks", 1));
  ASSERT_TRUE(cluster().WaitForPods("app=answers", 1));
  const Json server = cluster().ReadyPods("app=answers").at(0);
  const pid_t asks = cluster().PodPid("asks");
  Prober prober;
  prober.AddPlace("asks", fmt::format("/proc/{}/ns/net", asks));
  prober.AddPlace("answers", fmt::format("/proc/{}/ns/net", cluster().PodPid("answers")));
  prober.Serve("answers", IPPROTO_UDP, 9100);
  // As long as the pods' first MTU: one packet, or as many as are needed.
  const auto long_ones_arrive = [&](int family) {
    std::vector<Probe> probes = {{.from = "asks",
                                  .address = PodIp(server, family),
                                  .protocol = IPPROTO_UDP,
                                  .port = 9100,
                                  .datagram = std::string(family == 4 ? 1422 : 1402, 'd')}};
    return Eventually([&] {
      prober.Run(&probes, absl::Seconds(1));
      return probes[0].reached;
    });
  };
  std::vector<std::unique_ptr<RunningLoad>> loads;
  for (const int family : kFamilies) {
    loads.push_back(cluster().StartLoad(asks, "hold", HostPort(PodIp(server, family), 9000)));
    EXPECT_TRUE(long_ones_arrive(family)) << family;
  }

  for (const int mtu : {1400, 1500}) {
    SetMtu(mtu);
    for (const int family : kFamilies) EXPECT_TRUE(long_ones_arrive(family)) << mtu << family;
  }
  EXPECT_THAT(NodeStatuses(), Not(HasSubstr("MtuNotFollowed")));
  for (const auto& load : loads) {
    const LoadResult result = load->Stop();
    EXPECT_EQ(result.failures, 0) << result.text;
    EXPECT_GT(result.requests, 0);
  }

  // No room for IPv6 in the tunnel.
  Ip("n2", {"link", "set", "eth0", "mtu", "1320"});
  EXPECT_TRUE(
      Eventually([&] { return NodeStatuses().find("MtuNotFollowed") != std::string::npos; }));
  EXPECT_THAT(cluster().MustMeshctl({"describe", "node", "n2"}),
              HasSubstr("uplink MTU 1320: 1270 remain for the tunnel, IPv6 needs 1280"));
  EXPECT_THAT(cluster().Meshctl({"why", "answers"}).text, HasSubstr("give it a larger MTU"));
  Ip("n2", {"link", "set", "eth0", "mtu", "1500"});
  EXPECT_TRUE(
      Eventually([&] { return NodeStatuses().find("MtuNotFollowed") == std::string::npos; }));
  for (const int family : kFamilies) EXPECT_TRUE(long_ones_arrive(family)) << family;
}

TEST_F(UplinkTest, PodsKeepTheirAddressesTowardsRangesWithoutMasquerade) {
  Up({"--non-masquerade-cidrs", OutsideAddress() + "/32," + OutsideAddress(6) + "/128"});
  // A link whose address is not its own yet asks for no neighbor.
  for (const auto& [name, netns] : netns_) {
    const auto tentative =
        cli::local::RunOrFail({"ip", "-netns", netns, "-6", "addr", "show", "tentative"});
    ASSERT_TRUE(tentative.ok()) << tentative.status();
    EXPECT_EQ(*tentative, "") << name;
  }
  const std::map<int, std::string> others = {{4, "10.89.0.2"}, {6, "fd00:10:89::2"}};
  Ip("outside", {"addr", "add", others.at(4) + "/24", "dev", "br0"});
  Ip("outside", {"addr", "add", others.at(6) + "/64", "dev", "br0", "nodad"});
  const Json node = cluster().Get({"node", "n1"});
  for (const std::string range : node["spec"]["podCIDRs"])
    Ip("outside", {"route", "add", range, "via",
                   NodeAddress(0, range.find(':') == std::string::npos ? 4 : 6)});
  cluster().Apply(ClientManifest("asks", "n1"));
  ASSERT_TRUE(cluster().WaitForPods("app=asks", 1));
  const Json pod = cluster().ReadyPods("app=asks").at(0);
  const pid_t asks = cluster().PodPid("asks");
  const auto server = cluster().ServeOutside(kServerPort, "@");
  ASSERT_TRUE(Eventually([&] {
    return cluster().Load(asks, "tcp", HostPort(OutsideAddress(), kServerPort), 1).failures == 0;
  }));

  for (const int family : kFamilies) {
    for (const auto& [address, seen] : {std::pair(OutsideAddress(family), PodIp(pod, family)),
                                        std::pair(others.at(family), NodeAddress(0, family))}) {
      // Over TCP: who answers a datagram picks one of the outside's two addresses.
      const LoadResult result = cluster().Load(asks, "tcp", HostPort(address, kServerPort), 5);
      EXPECT_EQ(result.failures, 0) << address << result.text;
      EXPECT_EQ(result.answers, (std::map<std::string, long>{{seen, 5}})) << result.text;
    }
  }
}

}  // namespace
}  // namespace mesh::testing
