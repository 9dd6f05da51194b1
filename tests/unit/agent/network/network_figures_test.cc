// SPDX-License-Identifier: Apache-2.0
#include "agent/network/network_figures.h"

#include <gtest/gtest.h>

namespace mesh::agent {
namespace {

NodeState StateOf(const std::map<uint32_t, std::vector<std::string>>& sets) {
  NodeState out;
  for (const auto& [number, policies] : sets) {
    v1::PolicySetState set;
    set.set_number(number);
    set.set_egress(number >= 100);
    for (const std::string& policy : policies) set.add_policies(policy);
    out.policy_sets[number] = set;
  }
  return out;
}

std::string Text(const PolicyDropTotals& totals) {
  std::string out;
  for (const NetworkFigures::PolicyDrops& row : totals.Totals()) {
    out += row.ns + " " + row.policies + (row.egress ? " egress " : " ingress ") +
           std::to_string(row.packets) + "\n";
  }
  return out;
}

TEST(PolicyDropTotals, GoOnWhenAnotherSetTakesThePlaceOfOne) {
  PolicyDropTotals totals;
  totals.Note({{.row = 1, .set = 7, .packets = 5}, {.row = 2, .set = 100, .packets = 9}},
              StateOf({{7, {"shop/allow", "shop/deny"}}, {100, {"bank/quiet"}}}));
  EXPECT_EQ(Text(totals), "bank quiet egress 9\nshop allow,deny ingress 5\n");
  totals.Note({{.row = 1, .set = 7, .packets = 6}, {.row = 2, .set = 100, .packets = 9}},
              StateOf({{7, {"shop/allow", "shop/deny"}}, {100, {"bank/quiet"}}}));
  EXPECT_EQ(Text(totals), "bank quiet egress 9\nshop allow,deny ingress 6\n");
  // Another version of the policy, in another row.
  totals.Note({{.row = 3, .set = 8, .packets = 10}}, StateOf({{8, {"shop/allow", "shop/deny"}}}));
  EXPECT_EQ(Text(totals), "shop allow,deny ingress 16\nbank quiet egress 9\n");
  // What should have taken its place was refused.
  totals.Note({{.row = 3, .set = 8, .packets = 12}}, StateOf({{9, {"shop/allow"}}}));
  EXPECT_EQ(Text(totals), "shop allow,deny ingress 18\nbank quiet egress 9\n");
}

TEST(PolicyDropTotals, LeaveOutWhatNobodyCanName) {
  PolicyDropTotals totals;
  totals.Note({{.row = 1, .set = 7, .packets = 5}}, StateOf({}));
  EXPECT_EQ(Text(totals), "");
  totals.Note({{.row = 1, .set = 7, .packets = 6}}, StateOf({{7, {"shop/deny"}}}));
  EXPECT_EQ(Text(totals), "shop deny ingress 6\n");
}

// IPv4 and IPv6 may have a set each.
TEST(PolicyDropTotals, AddUpSetsOfTheSamePolicies) {
  PolicyDropTotals totals;
  totals.Note({{.row = 1, .set = 7, .packets = 5}, {.row = 2, .set = 8, .packets = 3}},
              StateOf({{7, {"shop/deny"}}, {8, {"shop/deny"}}}));
  EXPECT_EQ(Text(totals), "shop deny ingress 8\n");
}

}  // namespace
}  // namespace mesh::agent
