// SPDX-License-Identifier: Apache-2.0
// Policies in maps that are in memory: order, refusal and failure. What they mean to a packet is in
// tests/bpf/policy_packet_test.cc.
#include "dataplane/tables/policy_tables.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "dataplane/bpf/fake_map.h"

namespace mesh::dataplane {
namespace {

constexpr uint32_t kPod = 300, kFriend = 301, kStranger = 302;

class PolicyTablesTest : public ::testing::Test {
 protected:
  PolicyTablesTest() {
    EndpointRecord record;
    record.ifname = "eth0";
    record.endpoint.ip = ip_;
    record.endpoint.ifindex = 12;
    record.endpoint.container_id = "c1";
    record.policy.identity = kPod;
    EXPECT_TRUE(endpoints_.Put(record).ok());
    desired_.complete = true;
    desired_.policy_epoch = 1;
    desired_.pods[ip_] = kPod;
    desired_.identities[kPod] = {.ns = 256, .ingress = 7, .ingress6 = 7};
    desired_.identities[kFriend] = {.ns = 256, .selectors = {1}};
    desired_.identities[kStranger] = {.ns = 257};
    desired_.policy_sets[7] = SetOf({1, 443});
  }
  // Who selector 1 selects may reach these ports.
  static PolicySet SetOf(const std::vector<uint16_t>& ports) {
    PolicyRule rule{.id = 1, .selectors = {1}};
    for (const uint16_t port : ports) rule.ports.push_back({6, port, port});
    return {.rules = {rule}};
  }
  absl::Status Apply(PolicyTables& tables) {
    judge_again_ = false;
    const absl::Status written = tables.Write(desired_, &judge_again_);
    const absl::Status enforced = tables.Enforce(desired_, &judge_again_);
    return written.ok() ? enforced : written;
  }
  EndpointPolicy Row() { return endpoints_.Dump()->front().policy; }

  const IpAddress ip_ = *IpAddress::Parse("10.244.1.10");
  FakeMap<mesh_endpoint_key, mesh_endpoint_value> endpoint_;
  FakeMap<mesh_endpoint_key, mesh_endpoint_name> name_;
  FakeMap<mesh_pod_namespace_key, mesh_pod_namespace_value> ns_;
  FakeMap<mesh_policy_peer_key, mesh_policy_class> peer_;
  FakeMap<mesh_policy_block_key, mesh_policy_class> block_;
  FakeMap<mesh_policy_port_key, mesh_policy_decision> port_;
  EndpointTable endpoints_{endpoint_, name_};
  PolicyTables::Maps maps_{ns_, peer_, block_, nullptr, port_};
  DesiredState desired_;
  bool judge_again_ = false;
};

TEST_F(PolicyTablesTest, PodsNameASetWhoseRowsAreThere) {
  PolicyTables tables(maps_, endpoints_);
  bool whole = false;
  endpoint_.fault = [&] {
    whole = peer_.size() == 1 && port_.size() == 2;
    return absl::OkStatus();
  };
  ASSERT_TRUE(Apply(tables).ok());
  EXPECT_TRUE(whole) << "named before it was written";
  EXPECT_TRUE(judge_again_);
  EXPECT_EQ(Row().ns, 256u);
  EXPECT_NE(Row().v4.ingress, 0u);
  EXPECT_EQ(Row().v4.egress, 0u);
  EXPECT_EQ(ns_.size(), 3u);
  endpoint_.fault = nullptr;

  // The same again writes nothing.
  desired_.changed_identities.emplace();
  const int writes = peer_.writes + port_.writes + endpoint_.writes;
  ASSERT_TRUE(Apply(tables).ok());
  EXPECT_EQ(peer_.writes + port_.writes + endpoint_.writes, writes);
  EXPECT_FALSE(judge_again_);
}

TEST_F(PolicyTablesTest, RowsAreReadBackBySetAndClass) {
  PolicyTables tables(maps_, endpoints_);
  desired_.policy_sets[7].rules[0].blocks = {{*IpPrefix::Parse("192.0.2.0/24"), {}}};
  ASSERT_TRUE(Apply(tables).ok());
  const auto rows = tables.Rows();
  ASSERT_TRUE(rows.ok());
  ASSERT_EQ(rows->size(), 2u);
  const PolicyClassRow& some = (*rows)[0].everybody ? (*rows)[1] : (*rows)[0];
  const PolicyClassRow& rest = (*rows)[0].everybody ? (*rows)[0] : (*rows)[1];
  EXPECT_EQ(some.set, Row().v4.ingress);
  EXPECT_FALSE(some.egress);
  EXPECT_FALSE(some.ipv6);
  EXPECT_THAT(some.pods, testing::ElementsAre(ip_));
  EXPECT_THAT(some.identities, testing::ElementsAre(kFriend));
  EXPECT_THAT(some.blocks, testing::ElementsAre(*IpPrefix::Parse("192.0.2.0/24")));
  EXPECT_EQ(some.ports, (PortRows{{{6, 1, 24}, {PolicyVerdict::kAllow, 1}},
                                  {{6, 443, 24}, {PolicyVerdict::kAllow, 1}}}));
  EXPECT_TRUE(rest.everybody);
  EXPECT_EQ(rest.number, Row().v4.ingress_class);
  EXPECT_TRUE(rest.ports.empty());
}

TEST_F(PolicyTablesTest, AMemberIsOneRowAndOfANewPodNobodyIsJudgedAgain) {
  PolicyTables tables(maps_, endpoints_);
  ASSERT_TRUE(Apply(tables).ok());
  desired_.identities[303] = {.ns = 257, .selectors = {1}};
  desired_.changed_identities = {303};
  const int writes = peer_.writes;
  ASSERT_TRUE(Apply(tables).ok());
  EXPECT_EQ(peer_.writes, writes + 1);
  EXPECT_FALSE(judge_again_) << "nothing was judged of it yet";

  desired_.identities[kStranger].selectors = {1};
  desired_.changed_identities = {kStranger};
  ASSERT_TRUE(Apply(tables).ok());
  EXPECT_TRUE(judge_again_);
  desired_.identities[kStranger].selectors = {};
  ASSERT_TRUE(Apply(tables).ok());
  EXPECT_TRUE(judge_again_);
  EXPECT_EQ(peer_.size(), 2u);
}

// In between addresses get the new identity: before, nobody knows it; after, nobody has the old
// one.
TEST_F(PolicyTablesTest, APodThatGetsAnotherIdentityIsKnownByBothMeanwhile) {
  PolicyTables tables(maps_, endpoints_);
  ASSERT_TRUE(Apply(tables).ok());
  const auto known = [&] {
    std::set<uint32_t> out;
    for (const auto& [key, value] : *peer_.Dump()) out.insert(key.identity);
    return out;
  };
  desired_.identities[900] = {.ns = 256, .selectors = {1}};
  desired_.changed_identities = {900};
  ASSERT_TRUE(Apply(tables).ok());
  ASSERT_EQ(known().count(900), 1U);

  desired_.identities.erase(900);
  desired_.identities[901] = {.ns = 256, .selectors = {1}};
  desired_.changed_identities = {900, 901};
  const EndpointPolicy row = Row();
  ASSERT_TRUE(tables.Write(desired_, &judge_again_).ok());
  EXPECT_EQ(known().count(900), 1U);
  EXPECT_EQ(known().count(901), 1U);
  EXPECT_EQ(Row(), row);
  ASSERT_TRUE(tables.Enforce(desired_, &judge_again_).ok());
  EXPECT_EQ(known().count(900), 0U);
  EXPECT_EQ(known().count(901), 1U);
}

TEST_F(PolicyTablesTest, WhatDoesNotFitIsRefusedAndNewPodsAreShut) {
  PolicyTables tables(maps_, endpoints_, {.peers = 10, .blocks = 10, .ports = 3});
  ASSERT_TRUE(Apply(tables).ok());
  const EndpointPolicy before = Row();
  desired_.policy_sets[8] = SetOf({1, 3, 5, 7});
  desired_.identities[kPod].ingress = 8;
  desired_.changed_identities = {kPod};

  EXPECT_TRUE(absl::IsInvalidArgument(Apply(tables))) << "to be tried again only with others";
  EXPECT_EQ(Row(), before);
  EXPECT_EQ(port_.size(), 2u);
  EXPECT_THAT(tables.refused().sets, testing::ElementsAre(8));
  EXPECT_THAT(tables.refused().text, testing::HasSubstr("rows for ports, more than 3"));
  EXPECT_NE(tables.PolicyOf(999).v4.ingress, 0u);
  EXPECT_NE(tables.PolicyOf(999).v4.egress, 0u);

  // Less fits again, though the hint does not name it any more.
  desired_.policy_sets[8] = SetOf({1, 3});
  desired_.changed_identities.emplace();
  ASSERT_TRUE(Apply(tables).ok());
  EXPECT_TRUE(tables.refused().sets.empty());
  EXPECT_NE(Row(), before);
  ASSERT_TRUE(tables.Collect().ok());
  EXPECT_EQ(port_.size(), 2u);
}

TEST_F(PolicyTablesTest, ANewPodThatNeedsNothingOfWhatIsRefusedIsNotShut) {
  PolicyTables tables(maps_, endpoints_, {.peers = 10, .blocks = 10, .ports = 3});
  ASSERT_TRUE(Apply(tables).ok());
  desired_.policy_sets[8] = SetOf({1, 3, 5, 7});
  desired_.identities[kPod].ingress = 8;
  const uint32_t there = desired_.policy_sets.begin()->first;
  desired_.identities[900] = {.ns = 256};
  desired_.identities[901] = {.ns = 256, .ingress = there};
  desired_.identities[902] = {.ns = 256, .ingress = 8};
  desired_.changed_identities = {kPod, 900, 901, 902};
  EXPECT_TRUE(absl::IsInvalidArgument(Apply(tables)));

  EXPECT_EQ(tables.PolicyOf(900).v4, EndpointPolicy::Sets());
  EXPECT_EQ(tables.PolicyOf(901).v4.ingress, Row().v4.ingress);
  const EndpointPolicy shut = tables.PolicyOf(999);
  EXPECT_EQ(tables.PolicyOf(902).v4.ingress, shut.v4.ingress);
  EXPECT_THAT(tables.refused().shut, testing::IsEmpty()) << "who is here keeps his sets";
  Endpoint late;
  late.ip = *IpAddress::Parse("10.244.1.11");
  tables.Attached(late, tables.PolicyOf(902));
  const RefusedPolicies::Shut both{.ingress = true, .egress = true};
  EXPECT_THAT(tables.refused().shut, testing::ElementsAre(testing::Pair(late.ip, both)));
  tables.Detached(late.ip);

  // Its selectors come in force with the rest.
  desired_.identities[900].selectors = {1};
  desired_.policy_sets[8] = SetOf({1, 3});
  const size_t peers = peer_.size();
  ASSERT_TRUE(Apply(tables).ok());
  EXPECT_GT(peer_.size(), peers);
}

TEST_F(PolicyTablesTest, WhereMembersDoNotFitTheSetsThatSelectThemAreTold) {
  PolicyTables tables(maps_, endpoints_, {.peers = 1, .blocks = 10, .ports = 10});
  ASSERT_TRUE(Apply(tables).ok());
  const uint32_t set = desired_.identities[kPod].ingress;
  const uint32_t selector = desired_.policy_sets.at(set).rules.at(0).selectors.at(0);
  desired_.identities[900] = {.ns = 256, .selectors = {selector}};
  desired_.changed_identities = {900};
  EXPECT_TRUE(absl::IsInvalidArgument(Apply(tables)));
  EXPECT_THAT(tables.refused().sets, testing::ElementsAre(set));
}

TEST_F(PolicyTablesTest, AFailedWriteIsMadeGoodUnderOtherNumbers) {
  PolicyTables tables(maps_, endpoints_);
  ASSERT_TRUE(Apply(tables).ok());
  const EndpointPolicy before = Row();
  desired_.policy_sets[8] = SetOf({80, 90});
  desired_.identities[kPod].ingress = 8;
  desired_.changed_identities = {kPod};
  peer_.fault = [] { return absl::InternalError("no"); };
  EXPECT_FALSE(Apply(tables).ok());
  EXPECT_EQ(Row(), before) << "the set that is whole";
  EXPECT_EQ(tables.refused().text, "no");
  EXPECT_THAT(tables.refused().sets, testing::ElementsAre(8));

  peer_.fault = nullptr;
  desired_.changed_identities.emplace();
  ASSERT_TRUE(Apply(tables).ok());
  EXPECT_THAT(tables.refused().text, testing::IsEmpty());
  EXPECT_NE(Row().v4.ingress, before.v4.ingress);
  EXPECT_TRUE(judge_again_);
  ASSERT_TRUE(tables.Collect().ok());
  EXPECT_EQ(peer_.size(), 1u);
  EXPECT_EQ(port_.size(), 2u);
}

// A row that stays would go on admitting whom no selector selects any more.
TEST_F(PolicyTablesTest, AMemberThatCannotBeRemovedIsShutOutWithTheNextTry) {
  PolicyTables tables(maps_, endpoints_);
  ASSERT_TRUE(Apply(tables).ok());
  ASSERT_TRUE(tables.Collect().ok());
  const auto admitted = [&] { return peer_.Lookup({Row().v4.ingress, kFriend}).ok(); };
  ASSERT_TRUE(admitted());
  desired_.identities[kFriend].selectors = {};
  desired_.changed_identities = {kFriend};
  peer_.fault = [] { return absl::UnavailableError("not now"); };
  EXPECT_FALSE(Apply(tables).ok());
  peer_.fault = nullptr;
  desired_.changed_identities.emplace();
  ASSERT_TRUE(Apply(tables).ok());
  EXPECT_FALSE(admitted());
  ASSERT_TRUE(tables.Collect().ok());
  EXPECT_EQ(peer_.size(), 0u);
}

TEST_F(PolicyTablesTest, ASuccessorTakesOverWithAWholeStateOnly) {
  {
    PolicyTables tables(maps_, endpoints_);
    ASSERT_TRUE(Apply(tables).ok());
  }
  const EndpointPolicy before = Row();
  PolicyTables tables(maps_, endpoints_);
  desired_.complete = false;
  desired_.identities.clear();
  ASSERT_TRUE(Apply(tables).ok());
  EXPECT_EQ(Row(), before);
  EXPECT_EQ(peer_.size(), 1u);

  desired_.complete = true;
  desired_.policy_epoch = 2;
  desired_.identities[kPod] = {.ns = 256, .ingress = 1, .ingress6 = 1};
  desired_.identities[kFriend] = {.ns = 256, .selectors = {9}};
  desired_.policy_sets = {{1, {.rules = {{.id = 1, .selectors = {9}}}}}};
  ASSERT_TRUE(Apply(tables).ok());
  EXPECT_GT(Row().v4.ingress, before.v4.ingress);
  ASSERT_TRUE(tables.Collect().ok());
  EXPECT_EQ(peer_.size(), 1u);
  EXPECT_EQ(port_.size(), 1u);
  EXPECT_EQ(ns_.size(), 2u);
}

}  // namespace
}  // namespace mesh::dataplane
