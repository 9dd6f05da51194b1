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
  };
  for (const auto& test : cases) {
    const absl::Status status = CheckClusterRanges(test.cluster, test.service);
    EXPECT_EQ(status.ok(), *test.want == 0) << test.cluster << " " << test.service;
    EXPECT_NE(std::string(status.message()).find(test.want), std::string::npos) << status;
  }
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
