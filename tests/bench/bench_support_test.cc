// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/bench/figures.h"
#include "tests/bench/kube_proxy_rules.h"

namespace mesh::bench {
namespace {

int Count(const std::string& text, const std::string& what) {
  int count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

TEST(Figures, AreOneJsonObjectALine) {
  EXPECT_EQ(ToJson({.name = "a", .value = 12.4, .unit = "us"}),
            R"({"name":"a","value":12.4,"unit":"us"})");
  EXPECT_EQ(
      ToJson({.name = "b", .value = 18'912.3, .unit = "1/s", .reference = "veth", .ratio = 0.9512}),
      R"({"name":"b","value":18912,"unit":"1/s","reference":"veth","ratio":0.951})");
}

TEST(Figures, TakeTheMiddle) {
  EXPECT_EQ(Median({3, 1, 2}), 2);
  EXPECT_EQ(Median({4, 1, 2, 3}), 2.5);
}

TEST(Figures, TakeTheMiddleOfRatiosOfTheSameMinute) {
  // The second round was slow for both.
  EXPECT_DOUBLE_EQ(MedianRatio({11, 55, 12}, {10, 50, 10}), 1.1);
}

TEST(KubeProxyRules, PutTheRealServiceLastSoThatALinearWalkSeesAll) {
  const ProxyRules rules{.services = 3,
                         .endpoints = 2,
                         .vip = "10.96.0.9",
                         .backend = "10.1.2.2",
                         .port = 80,
                         .backend_port = 8080};

  const std::string iptables = IptablesRules(rules);
  const std::string nftables = NftablesRules(rules);

  EXPECT_EQ(Count(iptables, "-A KUBE-SERVICES -d"), 3);
  EXPECT_EQ(Count(iptables, "-j DNAT"), 5);
  EXPECT_GT(iptables.rfind("10.96.0.9/32"), iptables.rfind("10.97.0.1/32"));
  EXPECT_EQ(Count(nftables, "goto service-"), 3);
  EXPECT_EQ(Count(nftables, "dnat to"), 5);
}

}  // namespace
}  // namespace mesh::bench
