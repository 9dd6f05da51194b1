// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/local/cluster.h"

namespace mesh::cli::local {
namespace {

using ::testing::HasSubstr;

UpOptions Made(UpOptions options) {
  UpOptions out = Resolve(options, true).value();
  out.runtime = "runc";
  return out;
}

TEST(CheckSame, NamesEveryOptionThatTheClusterWasNotMadeWith) {
  const Settings running = SettingsOf(Made({.nodes = 2}));
  UpOptions wanted = Made({.nodes = 4, .routing = "native", .load_balancer_pool = ""});
  wanted.asked = {"--nodes", "--routing", "--load-balancer-pool", "--name", "--timeout"};

  const absl::Status status = CheckSame("try", running, wanted);

  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(),
            "cluster \"try\" runs already with --load-balancer-pool "
            "10.89.0.200-10.89.0.250,fd00:10:89::200-fd00:10:89::250, not \"\"; --nodes 2, not 4; "
            "--routing vxlan, not native: leave the option out to keep it, or run `meshctl local "
            "down --name try` first");
}

TEST(CheckSame, ComparesOnlyWhatIsAskedFor) {
  const Settings running =
      SettingsOf(Made({.nodes = 2, .families = IpFamilies::kIpv4, .xdp = "off"}));
  UpOptions wanted = Made({});
  EXPECT_TRUE(CheckSame("local", running, wanted).ok());
  wanted = Made({.families = IpFamilies::kIpv4, .xdp = "off"});
  wanted.asked = {"--ip-family", "--xdp", "--routing"};
  EXPECT_TRUE(CheckSame("local", running, wanted).ok());
  wanted = Made({.families = IpFamilies::kDual});
  wanted.asked = {"--ip-family"};
  EXPECT_THAT(std::string(CheckSame("local", running, wanted).message()),
              HasSubstr("--ip-family ipv4, not dual"));
  // Made by a meshctl that did not write them down.
  EXPECT_TRUE(CheckSame("local", {}, wanted).ok());
}

TEST(Resolve, LooksAtTheNumberOfNodesBeforeWhatFollowsFromIt) {
  for (const int nodes : {-1, 0, 65, 999}) {
    EXPECT_EQ(Resolve({.nodes = nodes}, true).status().message(),
              "--nodes " + std::to_string(nodes) + ": give a number from 1 to 64");
  }
}

TEST(NotRunningText, NamesTheClusterAndTheFlagThatStartsIt) {
  EXPECT_EQ(NotRunningText(*Layout::Create("local")),
            "no cluster is running: start one with `meshctl local up`");
  EXPECT_EQ(NotRunningText(*Layout::Create("zz")),
            "no cluster \"zz\" is running: start one with `meshctl local up --name zz`");
}

TEST(Resolve, IsDualStackWhereTheKernelIs) {
  const auto dual = Resolve({}, true);
  ASSERT_TRUE(dual.ok()) << dual.status();
  EXPECT_TRUE(dual->dual());
  EXPECT_EQ(dual->cluster_cidr, "10.244.0.0/16,fd00:10:244::/48");
  EXPECT_EQ(dual->service_cidr, "10.96.0.0/16,fd00:10:96::/112");
  EXPECT_EQ(dual->load_balancer_pool, "10.89.0.200-10.89.0.250,fd00:10:89::200-fd00:10:89::250");

  const auto single = Resolve({}, false);
  ASSERT_TRUE(single.ok()) << single.status();
  EXPECT_FALSE(single->dual());
  EXPECT_EQ(single->cluster_cidr, "10.244.0.0/16");
  EXPECT_EQ(single->load_balancer_pool, "10.89.0.200-10.89.0.250");
}

TEST(Resolve, TheRangesSayTheFamiliesToo) {
  const auto single = Resolve({.cluster_cidr = "10.1.0.0/16"}, true);
  ASSERT_TRUE(single.ok()) << single.status();
  EXPECT_EQ(single->service_cidr, "10.96.0.0/16");

  const auto dual = Resolve({.service_cidr = "10.2.0.0/16,fd00:2::/112"}, true);
  ASSERT_TRUE(dual.ok()) << dual.status();
  EXPECT_EQ(dual->cluster_cidr, "10.244.0.0/16,fd00:10:244::/48");
}

TEST(Resolve, KeepsWhatIsAskedFor) {
  const auto out =
      Resolve({.families = IpFamilies::kIpv4, .routing = "native", .load_balancer_pool = ""}, true);

  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_FALSE(out->dual());
  EXPECT_EQ(out->routing, "native");
  EXPECT_EQ(out->load_balancer_pool, "") << "none";
}

TEST(Resolve, TakesPoolsOfTheLink) {
  for (const char* pool : {"10.89.0.64/28,fd00:10:89::60/124", "fd00:10:89::200-fd00:10:89::250"}) {
    const auto out = Resolve({.load_balancer_pool = pool}, true);
    EXPECT_TRUE(out.ok()) << out.status();
  }
}

TEST(Resolve, KeepsRangesWithoutMasquerade) {
  const auto out = Resolve({.non_masquerade_cidrs = {"192.168.0.0/16", "fd00:7::/64"}}, true);

  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ(SettingsOf(*out).at("--non-masquerade-cidrs"), "192.168.0.0/16,fd00:7::/64");
}

TEST(Resolve, LeavesTheAddressesOfNodesThatAreNotThere) {
  EXPECT_TRUE(Resolve({.nodes = 1, .load_balancer_pool = "10.89.0.12-10.89.0.20"}, true).ok());
}

TEST(Resolve, NamesWhatDoesNotGoTogether) {
  const struct {
    UpOptions options;
    bool kernel_has_ipv6;
    const char* want;
  } cases[] = {
      {{.families = IpFamilies::kDual, .cluster_cidr = "10.1.0.0/16"},
       true,
       "--ip-family dual and the range 10.1.0.0/16 do not go together"},
      {{.families = IpFamilies::kIpv4, .cluster_cidr = "10.1.0.0/16,fd00::/48"},
       true,
       "--ip-family ipv4 and the range 10.1.0.0/16,fd00::/48"},
      {{.families = IpFamilies::kDual}, false, "this kernel has no IPv6"},
      {{.cluster_cidr = "10.1.0.0/16,fd00::/48", .service_cidr = "10.2.0.0/16"},
       true,
       "--service-cidr"},
      {{.cluster_cidr = "10.96.0.0/12"}, true, "overlap"},
      {{.load_balancer_pool = "10.89.0.200/29,10.1.0.1-10.1.0.4"},
       true,
       "--load-balancer-pool 10.1.0.1-10.1.0.4: not addresses of the nodes' link"},
      {{.load_balancer_pool = "10.89.0.250-10.89.1.10"}, true, "10.89.0.250-10.89.1.10: not"},
      {{.load_balancer_pool = "10.89.0.0/16"}, true, "10.89.0.0/16: not"},
      {{.load_balancer_pool = "many"}, true, "many: not"},
      {{.families = IpFamilies::kIpv4, .load_balancer_pool = "fd00:10:89::200/124"},
       true,
       "--load-balancer-pool fd00:10:89::200/124: the cluster has no IPv6"},
      {{.nodes = 2, .load_balancer_pool = "10.89.0.12-10.89.0.20"},
       true,
       "--load-balancer-pool 10.89.0.12-10.89.0.20: has 10.89.0.12, of node n2: give others"},
      {{.load_balancer_pool = "10.89.0.0/29"}, true, "has 10.89.0.1, of the outside"},
      {{.load_balancer_pool = "10.89.0.200/29,fd00:10:89::10/124"},
       true,
       "has fd00:10:89::11, of node n1"},
      {{.cluster_cidr = "10.89.0.0/16"},
       true,
       "--cluster-cidr 10.89.0.0/16: overlaps 10.89.0.0/24, the nodes' link"},
      {{.cluster_cidr = "10.1.0.0/16,fd00:1::/48", .service_cidr = "10.2.0.0/16,fd00:10:89::/112"},
       true,
       "--service-cidr fd00:10:89::/112: overlaps fd00:10:89::/64"},
      {{.families = IpFamilies::kIpv4, .non_masquerade_cidrs = {"10.0.0.0/8", "fd00:7::/64"}},
       true,
       "--non-masquerade-cidrs: fd00:7::/64 is of IPv6"},
      {{.non_masquerade_cidrs = {"everywhere"}}, true, "--non-masquerade-cidrs: "},
      {{.xdp = "on"}, true, "--xdp on: the uplinks of these nodes are veths"},
  };
  for (const auto& c : cases) {
    const auto out = Resolve(c.options, c.kernel_has_ipv6);
    EXPECT_FALSE(out.ok()) << c.want;
    EXPECT_THAT(std::string(out.status().message()), HasSubstr(c.want));
  }
}

}  // namespace
}  // namespace mesh::cli::local
