// SPDX-License-Identifier: Apache-2.0
// Where spec.topologySpreadConstraints put pods.
#include "controlplane/scheduler/spread.h"

#include <map>
#include <string>

#include "controlplane/scheduler/scheduler.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "tests/unit/controlplane/controllers/cluster_world.h"

namespace mesh::controlplane {
namespace {

using ::testing::HasSubstr;

constexpr char kWeb[] = "label_selector { match_labels { key: 'app' value: 'web' } } ";

template <typename T>
T Text(const std::string& text) {
  T out;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &out)) << text;
  return out;
}

// Two nodes in the east, one in the west, one of no zone.
class SpreadTest : public ::testing::Test {
 protected:
  void SetUp() override {
    world.AddNode("a", "4", "8Gi", {{"zone", "east"}, {"host", "a"}});
    world.AddNode("b", "4", "8Gi", {{"zone", "east"}, {"host", "b"}, {"disk", "ssd"}});
    world.AddNode("c", "4", "8Gi", {{"zone", "west"}, {"host", "c"}});
    world.AddNode("d", "64", "99Gi", {{"host", "d"}});
  }
  void Waits(const std::string& name, const std::string& constraint, const std::string& spec = "") {
    world.AddPod(name, "web");
    world.pod(name).mutable_spec()->MergeFrom(
        Text<v1::PodSpec>("topology_spread_constraints { " + constraint + " } " + spec));
  }
  void Runs(const std::string& name, const std::string& node, const std::string& app = "web") {
    world.AddPod(name, app, node);
  }
  // Node of each pod that was placed; `why` of the others.
  std::map<std::string, std::string> Place() {
    std::map<std::string, std::string> out;
    const ReconcileResult result = scheduler.Schedule(world.state, world.now);
    for (const Write& write : result.writes) {
      const v1::Pod& pod = write.resource.pod();
      if (write.type == Write::Type::kBind) {
        out[pod.metadata().name()] = pod.spec().node_name();
      } else {
        why = FindCondition(pod.status().conditions(), "PodScheduled")->message();
      }
    }
    world.Apply(result);
    return out;
  }
  // Zones of pods that were placed one after the other, for a constraint.
  std::string ZoneOf(const std::string& name) {
    const auto placed = Place();
    const auto it = placed.find(name);
    if (it == placed.end()) return "";
    const auto& labels = world.node(it->second).metadata().labels();
    return labels.contains("zone") ? labels.at("zone") : "none";
  }

  ClusterWorld world;
  Scheduler scheduler;
  std::string why;
};

constexpr char kHard[] = "max_skew: 1 topology_key: 'zone' when_unsatisfiable: 'DoNotSchedule' ";
constexpr char kSoft[] = "max_skew: 1 topology_key: 'zone' when_unsatisfiable: 'ScheduleAnyway' ";

TEST_F(SpreadTest, FillsTheEmptiestDomainFirst) {
  Runs("w1", "a");
  Waits("p", std::string(kHard) + kWeb);
  EXPECT_EQ(ZoneOf("p"), "west");
}

TEST_F(SpreadTest, OnePassCountsWhatItHasPlaced) {
  for (const char* name : {"p1", "p2", "p3", "p4"}) Waits(name, std::string(kHard) + kWeb);
  std::map<std::string, int> zones;
  for (const auto& [name, node] : Place()) ++zones[world.node(node).metadata().labels().at("zone")];
  EXPECT_EQ(zones["east"], 2);
  EXPECT_EQ(zones["west"], 2);
}

TEST_F(SpreadTest, AllowsASkewUpToTheLimit) {
  Runs("w1", "a");
  Runs("w2", "b");
  // 3 to 0 would be too many, with the west cordoned.
  world.node("c").mutable_spec()->set_unschedulable(true);
  Waits("p", "max_skew: 2 topology_key: 'zone' when_unsatisfiable: 'DoNotSchedule' " +
                 std::string(kWeb));
  EXPECT_TRUE(Place().empty());
  EXPECT_THAT(why, HasSubstr("2 node(s) didn't match pod topology spread constraints,"));
  EXPECT_THAT(why, HasSubstr("1 node(s) didn't match pod topology spread constraints (missing "
                             "required label)"));
  EXPECT_THAT(why, HasSubstr("1 node(s) were unschedulable"));

  Waits("q", "max_skew: 3 topology_key: 'zone' when_unsatisfiable: 'DoNotSchedule' " +
                 std::string(kWeb));
  EXPECT_EQ(ZoneOf("q"), "east");
}

TEST_F(SpreadTest, CountsOnlyPodsOfTheSelectorAndTheNamespaceThatStay) {
  Runs("other", "c", "db");
  Runs("leaving", "c");
  world.Terminate("leaving");
  Runs("w1", "a");
  Waits("p", std::string(kHard) + kWeb);
  EXPECT_EQ(ZoneOf("p"), "west");
}

TEST_F(SpreadTest, APodThatDoesNotCountItselfMayJoinAnyDomainWithinTheSkew) {
  Runs("w1", "a");
  world.node("c").mutable_spec()->set_unschedulable(true);
  world.AddPod("p", "db");
  world.pod("p").mutable_spec()->MergeFrom(
      Text<v1::PodSpec>("topology_spread_constraints { " + std::string(kHard) + kWeb + " }"));
  EXPECT_EQ(ZoneOf("p"), "east");
}

TEST_F(SpreadTest, FewerDomainsThanAskedForMakeTheEmptiestEmpty) {
  Runs("w1", "a");
  Runs("w2", "c");
  Waits("p", std::string(kHard) + "min_domains: 3 " + kWeb);
  EXPECT_TRUE(Place().empty());
  Waits("q", std::string(kHard) + "min_domains: 2 " + kWeb);
  EXPECT_NE(ZoneOf("q"), "");
}

TEST_F(SpreadTest, DomainsAreThoseThatThePodMayHave) {
  // Only b is selected: the west is no domain then, unless affinity is ignored.
  Runs("w1", "b");
  const std::string selected = "node_selector { key: 'disk' value: 'ssd' }";
  Waits("p", std::string(kHard) + kWeb, selected);
  EXPECT_EQ(ZoneOf("p"), "east");

  Waits("q", std::string(kHard) + "node_affinity_policy: 'Ignore' " + kWeb, selected);
  EXPECT_TRUE(Place().empty());
}

TEST_F(SpreadTest, TaintedNodesCountUnlessTheyAreToBeHonoured) {
  Runs("w1", "a");
  *world.node("c").mutable_spec()->add_taints() =
      Text<v1::Taint>("key: 'gpu' effect: 'NoSchedule'");
  Waits("p", std::string(kHard) + kWeb);
  EXPECT_TRUE(Place().empty());
  Waits("q", std::string(kHard) + "node_taints_policy: 'Honor' " + kWeb);
  EXPECT_EQ(ZoneOf("q"), "east");
}

TEST_F(SpreadTest, MatchLabelKeysCountOnlyPodsOfTheSameRevision) {
  Runs("old", "c");
  (*world.pod("old").mutable_metadata()->mutable_labels())["revision"] = "1";
  Runs("new", "a");
  (*world.pod("new").mutable_metadata()->mutable_labels())["revision"] = "2";
  Waits("p", std::string(kHard) + "match_label_keys: 'revision' " + kWeb);
  (*world.pod("p").mutable_metadata()->mutable_labels())["revision"] = "2";
  EXPECT_EQ(ZoneOf("p"), "west");
}

TEST_F(SpreadTest, WhatIsOnlyAskedForKeepsNobodyWaiting) {
  Runs("w1", "a");
  Waits("p", std::string(kSoft) + kWeb);
  EXPECT_EQ(ZoneOf("p"), "west");

  world.node("c").mutable_spec()->set_unschedulable(true);
  world.node("d").mutable_spec()->set_unschedulable(true);
  Waits("q", std::string(kSoft) + kWeb);
  EXPECT_EQ(ZoneOf("q"), "east");
}

TEST_F(SpreadTest, WithoutASelectorNothingIsCounted) {
  Runs("w1", "a");
  Runs("w2", "c");
  Waits("p", kHard);
  EXPECT_NE(ZoneOf("p"), "");
}

}  // namespace
}  // namespace mesh::controlplane
