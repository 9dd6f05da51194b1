// SPDX-License-Identifier: Apache-2.0
// Goal: what leaves by the nodes' uplinks has the addresses that were asked for. Method: a cluster
// of two nodes in both families, and its outside with two addresses.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "tests/cluster/edge_world.h"

namespace mesh::testing {
namespace {

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

  std::unique_ptr<LocalCluster> cluster_;
  std::map<std::string, std::string> netns_;
};

TEST_F(UplinkTest, PodsKeepTheirAddressesTowardsRangesWithoutMasquerade) {
  Up({"--non-masquerade-cidrs", OutsideAddress() + "/32," + OutsideAddress(6) + "/128"});
  const std::map<int, std::string> others = {{4, "10.89.0.2"}, {6, "fd00:10:89::2"}};
  Ip("outside", {"addr", "add", others.at(4) + "/24", "dev", "br0"});
  Ip("outside", {"addr", "add", others.at(6) + "/64", "dev", "br0", "nodad"});
  const Json node = cluster().Get({"node", "n1"});
  for (const std::string& range : node["spec"]["podCIDRs"])
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
