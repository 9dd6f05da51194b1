// SPDX-License-Identifier: Apache-2.0
#include "common/cluster_ranges.h"

#include <gtest/gtest.h>

namespace mesh {
namespace {

TEST(CheckClusterRanges, NamesTheFlagThatIsWrong) {
  const struct {
    const char* cluster;
    const char* service;
    const char* want;
  } cases[] = {
      {"10.244.0.0/16", "10.96.0.0/16", ""},
      {"banana", "10.96.0.0/16", "--cluster-cidr"},
      {"10.244.0.0/25", "10.96.0.0/16", "--cluster-cidr 10.244.0.0/25: must be an IPv4 range"},
      {"fd00::/16", "10.96.0.0/16", "--cluster-cidr fd00::/16: must be an IPv4 range"},
      {"10.244.0.0/16", "10.96.0.0/29", "--service-cidr 10.96.0.0/29: must be an IPv4 range"},
      {"10.0.0.0/8", "10.96.0.0/16", "overlap"},
      {"10.96.4.0/24", "10.96.0.0/16", "overlap"},
      {"10.244.0.0/16,fd00:10:244::/48", "10.96.0.0/16,fd00:10:96::/108", ""},
      {"10.244.0.0/16,fd00:10:244::/56", "10.96.0.0/16,fd00:10:96::/64", ""},
      {"10.244.0.0/16,10.245.0.0/16", "10.96.0.0/16", "two ranges of IPv4"},
      {"fd00::/56,fd01::/56", "10.96.0.0/16", "two ranges of IPv6"},
      {"fd00::/56,10.244.0.0/16", "10.96.0.0/16", "the IPv4 range first: 10.244.0.0/16,fd00::/56"},
      {"10.244.0.0/16,", "10.96.0.0/16", "--cluster-cidr"},
      {"10.244.0.0/16,fd00::/56,fd01::/56", "10.96.0.0/16", "--cluster-cidr"},
      {"10.244.0.0/16,fd00::/56", "10.96.0.0/16",
       "--cluster-cidr 10.244.0.0/16,fd00::/56 has an IPv6 range, --service-cidr 10.96.0.0/16 has "
       "none"},
      {"10.244.0.0/16", "10.96.0.0/16,fd01::/108", "--service-cidr 10.96.0.0/16,fd01::/108 has an"},
      {"10.244.0.0/16,fd00::/57", "10.96.0.0/16,fd01::/108",
       "10.244.0.0/16 has room for 256 nodes (/24 each), fd00::/57 for 128 (/64 each); give a /56"},
      {"10.244.0.0/24,fd00::/65", "10.96.0.0/16,fd01::/108",
       "--cluster-cidr fd00::/65: must be an IPv6 range of /64 or larger"},
      {"10.244.0.0/16,fd00::/56", "10.96.0.0/16,fd01::/125",
       "--service-cidr fd01::/125: must be an IPv6 range of /124 or larger"},
      {"10.244.0.0/16,fd00::/48", "10.96.0.0/16,fd00:0:0:7::/108", "overlap"},
      {"10.244.0.0/16,fe80::/48", "10.96.0.0/16,fd01::/108", "fe80::/48: overlaps fe80::/10"},
      {"10.244.0.0/16,fd00::/48", "10.96.0.0/16,ff05::/108", "ff05::/108: overlaps ff00::/8"},
      {"127.0.0.0/16", "10.96.0.0/16",
       "--cluster-cidr 127.0.0.0/16: overlaps 127.0.0.0/8, which is not for hosts; use a range of "
       "10.0.0.0/8"},
      {"169.254.8.0/24,fd00::/56", "10.96.0.0/16,fd01::/108", "overlaps 169.254.0.0/16"},
      {"10.244.0.0/16", "224.1.0.0/16", "--service-cidr 224.1.0.0/16: overlaps 224.0.0.0/4"},
      {"10.244.0.0/16", "0.0.0.0/5", "--service-cidr 0.0.0.0/5: overlaps 0.0.0.0/8"},
  };
  for (const auto& test : cases) {
    const absl::Status status = CheckClusterRanges(test.cluster, test.service);
    EXPECT_EQ(status.ok(), *test.want == 0) << test.cluster << " " << test.service;
    EXPECT_NE(std::string(status.message()).find(test.want), std::string::npos) << status;
  }
}

TEST(ParseClusterRanges, KnowsTheFamiliesApart) {
  const auto ranges =
      ParseClusterRanges("10.244.0.0/16,fd00:10:244::/56", "10.96.0.0/16,fd00:10:96::/108");
  ASSERT_TRUE(ranges.ok()) << ranges.status();

  EXPECT_TRUE(ranges->dual_stack());
  EXPECT_TRUE(ranges->pods.Contains(*IpAddress::Parse("10.244.3.4")));
  EXPECT_TRUE(ranges->pods.Contains(*IpAddress::Parse("fd00:10:244:0:3::")));
  EXPECT_FALSE(ranges->pods.Contains(*IpAddress::Parse("fd00:10:96::1")));
  EXPECT_EQ(ranges->services.Of(false)->ToString(), "fd00:10:96::/108");
  EXPECT_EQ(ranges->pods.ToString(), "10.244.0.0/16,fd00:10:244::/56");
}

TEST(ParseClusterRanges, LeavesOneFamilyAlone) {
  const auto ranges = ParseClusterRanges("10.244.0.0/16", "10.96.0.0/16");
  ASSERT_TRUE(ranges.ok()) << ranges.status();

  EXPECT_FALSE(ranges->dual_stack());
  EXPECT_EQ(ranges->pods.Of(false), nullptr);
}

TEST(CheckClusterDomain, TakesWhatNamesMayEndWith) {
  for (const char* good : {"cluster.local", "mesh", "a-1.b2.c", "10.example"}) {
    EXPECT_TRUE(CheckClusterDomain(good).ok()) << good;
  }
  EXPECT_TRUE(CheckClusterDomain(std::string(60, 'a') + "." + std::string(60, 'b')).ok());

  const std::string long_label(64, 'a');
  for (const std::string& bad :
       {std::string(), std::string("a..b"), std::string(".a"), std::string("a."),
        std::string("Cluster.local"), std::string("a_b"), std::string("-a"), std::string("a-.b"),
        std::string("a b"), long_label}) {
    const absl::Status status = CheckClusterDomain(bad);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_NE(status.message().find("--cluster-domain \"" + bad + "\": must be labels"),
              std::string::npos)
        << status;
  }
  EXPECT_NE(CheckClusterDomain(std::string(61, 'a') + "." + std::string(60, 'b'))
                .message()
                .find("no more than 121 bytes"),
            std::string::npos);
}

TEST(ParseNodePortRange, TakesARangeApartFromMasqueradedConnections) {
  const auto range = ParseNodePortRange("30000-32767");
  ASSERT_TRUE(range.ok()) << range.status();
  EXPECT_EQ(range->first, 30000);
  EXPECT_EQ(range->last, 32767);

  for (const char* bad : {"", "30000", "30000-", "-32767", "32767-30000", "0-10", "60000-65536",
                          "30000-32767x", "a-b", "9000-10000", "29999-31000", "12000-13000"}) {
    const absl::Status status = ParseNodePortRange(bad).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_NE(status.message().find("--node-port-range"), std::string::npos) << bad;
  }
}

}  // namespace
}  // namespace mesh
