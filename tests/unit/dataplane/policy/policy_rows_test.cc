// SPDX-License-Identifier: Apache-2.0
#include "dataplane/policy/policy_rows.h"

#include "gtest/gtest.h"

namespace mesh::dataplane {
namespace {

constexpr uint8_t kTcp = 6, kUdp = 17, kIcmp = 1;

PolicyRule Rule(uint32_t id, std::vector<PortRange> ports,
                PolicyVerdict verdict = PolicyVerdict::kAllow) {
  return {.id = id, .verdict = verdict, .about_everybody = true, .ports = std::move(ports)};
}

uint32_t DeciderOf(const PortRows& rows, uint8_t protocol, uint16_t port) {
  const auto decision = Decide(rows, protocol, port);
  return decision ? decision->rule : 0;
}

IpPrefix Range(const char* text) { return *IpPrefix::Parse(text); }

TEST(PortRowsOf, NoRuleIsNoRow) { EXPECT_TRUE(PortRowsOf({}, {}).empty()); }

TEST(PortRowsOf, EverythingIsOneRow) {
  const PolicySet set{{Rule(7, {})}};
  const PortRows rows = PortRowsOf(set, {0});
  EXPECT_EQ(rows.size(), 1u);
  EXPECT_EQ(DeciderOf(rows, kIcmp, 0), 7u);
  EXPECT_EQ(DeciderOf(rows, kTcp, 65535), 7u);
}

TEST(PortRowsOf, OnePortIsOneRow) {
  const PolicySet set{{Rule(7, {{kTcp, 80, 80}})}};
  const PortRows rows = PortRowsOf(set, {0});
  EXPECT_EQ(rows.size(), 1u);
  EXPECT_EQ(DeciderOf(rows, kTcp, 80), 7u);
  EXPECT_EQ(DeciderOf(rows, kTcp, 81), 0u);
  EXPECT_EQ(DeciderOf(rows, kUdp, 80), 0u);
  EXPECT_EQ(DeciderOf(rows, kIcmp, 0), 0u);
}

TEST(PortRowsOf, AllPortsOfAProtocolAreOneRow) {
  const PolicySet set{{Rule(7, {{kUdp, 0, 65535}})}};
  const PortRows rows = PortRowsOf(set, {0});
  EXPECT_EQ(rows, (PortRows{{{kUdp, 0, 8}, {PolicyVerdict::kAllow, 7}}}));
}

TEST(PortRowsOf, ARangeIsAtMostThirtyRows) {
  const PolicySet set{{Rule(7, {{kTcp, 1, 65534}})}};
  const PortRows rows = PortRowsOf(set, {0});
  EXPECT_EQ(rows.size(), 30u);
  EXPECT_EQ(DeciderOf(rows, kTcp, 0), 0u);
  EXPECT_EQ(DeciderOf(rows, kTcp, 1), 7u);
  EXPECT_EQ(DeciderOf(rows, kTcp, 65534), 7u);
  EXPECT_EQ(DeciderOf(rows, kTcp, 65535), 0u);
}

TEST(PortRowsOf, TheFirstRuleDecidesWhereTwoSpeak) {
  const PolicySet set{{Rule(1, {{kTcp, 100, 200}}, PolicyVerdict::kDeny), Rule(2, {}),
                       Rule(3, {{kTcp, 150, 300}})}};
  const PortRows rows = PortRowsOf(set, {0, 1, 2});
  EXPECT_EQ(DeciderOf(rows, kTcp, 99), 2u);
  EXPECT_EQ(DeciderOf(rows, kTcp, 100), 1u);
  EXPECT_EQ(DeciderOf(rows, kTcp, 150), 1u);
  EXPECT_EQ(DeciderOf(rows, kTcp, 200), 1u);
  EXPECT_EQ(DeciderOf(rows, kTcp, 201), 2u);
  EXPECT_EQ(DeciderOf(rows, kUdp, 150), 2u);
  EXPECT_EQ(Decide(rows, kTcp, 150)->verdict, PolicyVerdict::kDeny);
  // Without the first one:
  EXPECT_EQ(DeciderOf(PortRowsOf(set, {1, 2}), kTcp, 150), 2u);
  EXPECT_EQ(DeciderOf(PortRowsOf(set, {2}), kTcp, 150), 3u);
  EXPECT_EQ(DeciderOf(PortRowsOf(set, {2}), kTcp, 149), 0u);
}

TEST(PortRowsOf, WhatTheRestSaysAnywayNeedsNoRow) {
  const PolicySet set{{Rule(1, {}), Rule(2, {{kTcp, 80, 80}})}};
  EXPECT_EQ(PortRowsOf(set, {0, 1}).size(), 1u);
}

TEST(BlockRowsOf, HolesHaveARowThatLeavesTheRuleOut) {
  PolicySet set{{{.id = 1, .blocks = {{Range("10.0.0.0/8"), {Range("10.1.0.0/16")}}}},
                 {.id = 2, .blocks = {{Range("10.1.2.0/24"), {}}}},
                 {.id = 3, .about_everybody = true}}};
  EXPECT_EQ(BlockRowsOf(set), (std::map<IpPrefix, RuleList>{
                                  {Range("10.0.0.0/8"), {0, 2}},
                                  {Range("10.1.0.0/16"), {2}},
                                  {Range("10.1.2.0/24"), {1, 2}},
                              }));
}

TEST(BlockRowsOf, ABlockInTheHoleOfAnotherOfTheSameRuleCounts) {
  PolicySet set{
      {{.id = 1,
        .blocks = {{Range("10.0.0.0/8"), {Range("10.1.0.0/16")}}, {Range("10.1.2.0/24"), {}}}}}};
  EXPECT_EQ(BlockRowsOf(set), (std::map<IpPrefix, RuleList>{
                                  {Range("10.0.0.0/8"), {0}},
                                  {Range("10.1.0.0/16"), {}},
                                  {Range("10.1.2.0/24"), {0}},
                              }));
}

TEST(BlockRowsOf, FamiliesAreApart) {
  PolicySet set{{{.id = 1, .blocks = {{Range("0.0.0.0/0"), {}}}},
                 {.id = 2, .blocks = {{Range("::/0"), {Range("fd00::/8")}}}}}};
  EXPECT_EQ(BlockRowsOf(set), (std::map<IpPrefix, RuleList>{
                                  {Range("::/0"), {1}},
                                  {Range("0.0.0.0/0"), {0}},
                                  {Range("fd00::/8"), {}},
                              }));
}

}  // namespace
}  // namespace mesh::dataplane
