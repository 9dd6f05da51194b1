// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/replica_set_controller.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/controlplane/controllers/cluster_world.h"

namespace mesh::controlplane {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;

class ReplicaSetControllerTest : public ::testing::Test {
 protected:
  ReplicaSetControllerTest() {
    world.AddNode("a");
    world.AddNode("b");
  }
  ReconcileResult Reconcile() {
    return controller.Reconcile(world.state, InDefault("web"), world.now);
  }
  // Names of the pods that the next step deletes.
  std::vector<std::string> Victims() {
    std::vector<std::string> out;
    for (const Write& write : Reconcile().writes)
      if (write.type == Write::Type::kDelete) out.push_back(KeyOf(write.resource).name);
    return out;
  }

  ClusterWorld world;
  ReplicaSetController controller;
};

TEST_F(ReplicaSetControllerTest, CreatesTheMissingPodsFromTheTemplate) {
  v1::ReplicaSet& rs = world.AddReplicaSet("web", "web", 3);
  world.AddPodOf("web", "web-old", "a", true);

  const ReconcileResult result = Reconcile();

  ASSERT_EQ(CountWrites(result, Write::Type::kCreate), 2);
  const v1::Pod& pod = result.writes[0].resource.pod();
  EXPECT_THAT(pod.metadata().name(), MatchesRegex("web-[bcdfghjklmnpqrstvwxz2456789]{5}"));
  EXPECT_EQ(pod.metadata().namespace_(), "default");
  EXPECT_EQ(pod.metadata().labels().at("app"), "web");
  ASSERT_NE(ControllerOf(pod.metadata()), nullptr);
  EXPECT_EQ(ControllerOf(pod.metadata())->uid(), rs.metadata().uid());
  EXPECT_EQ(pod.spec().containers(0).image(), "registry.local/app:1");
  EXPECT_EQ(result.events[0].reason, "SuccessfulCreate");
}

TEST_F(ReplicaSetControllerTest, ComputesTheSameNamesFromTheSameSnapshot) {
  world.AddReplicaSet("web", "web", 20);

  const auto first = Describe(Reconcile());
  const auto second = Describe(Reconcile());

  EXPECT_EQ(first, second);
  EXPECT_EQ(std::set<std::string>(first.begin(), first.end()).size(), first.size());
}

TEST_F(ReplicaSetControllerTest, GivesAReplacementAnotherNameThanThePodThatServed) {
  world.AddReplicaSet("web", "web", 1);
  std::set<std::string> names;
  for (int i = 0; i < 50; ++i) {
    world.Settle(controller, InDefault("web"));
    ASSERT_EQ(world.state.pods.size(), 1u);
    const std::string name = world.state.pods.begin()->first.name;
    EXPECT_TRUE(names.insert(name).second) << name;
    v1::Pod& pod = world.pod(name);
    pod.mutable_spec()->set_node_name("a");
    SetCondition(pod.mutable_status()->mutable_conditions(), "Ready", "True", "", "", world.now);
    world.Settle(controller, InDefault("web"));
    world.state.Remove(v1::KIND_POD, InDefault(name));
  }
}

TEST_F(ReplicaSetControllerTest, DoesNotCountPodsThatAreTerminating) {
  world.AddReplicaSet("web", "web", 1);
  world.AddPodOf("web", "web-1", "a", true);
  world.Terminate("web-1");

  EXPECT_EQ(CountWrites(Reconcile(), Write::Type::kCreate), 1);
}

TEST_F(ReplicaSetControllerTest, ReplacesFailedPodsAndKeepsTheNewestToLookAt) {
  world.AddReplicaSet("web", "web", 1);
  world.AddPodOf("web", "web-1", "a").mutable_status()->set_phase("Failed");
  world.now += absl::Seconds(1);
  world.AddPodOf("web", "web-2", "a").mutable_status()->set_phase("Failed");

  const ReconcileResult result = Reconcile();

  EXPECT_EQ(CountWrites(result, Write::Type::kCreate), 1);
  EXPECT_THAT(Victims(), ElementsAre("web-1"));
}

TEST_F(ReplicaSetControllerTest, DeletesInTheOrderOfKubernetes) {
  world.AddReplicaSet("web", "web", 0);
  world.AddPodOf("web", "old-ready", "a", true);
  world.AddPodOf("web", "old-ready-crowded", "b", true);
  world.now += absl::Seconds(10);
  world.AddPodOf("web", "new-ready-crowded", "b", true);
  world.AddPodOf("web", "not-ready", "a").mutable_status()->set_phase("Running");
  world.AddPodOf("web", "pending", "b");
  world.AddPodOf("web", "unassigned");

  // Node b has three of them, a has two; the older of two equal ones stays longer.
  EXPECT_THAT(Victims(), ElementsAre("unassigned", "pending", "not-ready", "new-ready-crowded",
                                     "old-ready-crowded", "old-ready"));
}

TEST_F(ReplicaSetControllerTest, DeletesPodsOfSilentNodesBeforeReadyOnes) {
  world.AddReplicaSet("web", "web", 1);
  world.AddPodOf("web", "on-silent", "a", true);
  world.now += absl::Seconds(10);
  world.AddPodOf("web", "on-heard", "b", true);
  world.Silence("a");

  EXPECT_THAT(Victims(), ElementsAre("on-silent"));
}

TEST_F(ReplicaSetControllerTest, HonoursTheDeletionCost) {
  world.AddReplicaSet("web", "web", 1);
  world.AddPodOf("web", "cheap", "a", true);
  v1::Pod& dear = world.AddPodOf("web", "dear", "b", true);
  (*dear.mutable_metadata()->mutable_annotations())["controller.kubernetes.io/pod-deletion-cost"] =
      "100";

  EXPECT_THAT(Victims(), ElementsAre("cheap"));
}

TEST_F(ReplicaSetControllerTest, AdoptsMatchingOrphansInsteadOfCreating) {
  const std::string uid = world.AddReplicaSet("web", "web", 1).metadata().uid();
  world.AddPod("stray", "web", "a", true);
  world.AddPod("other", "other", "a", true);

  world.Settle(controller, InDefault("web"));

  EXPECT_EQ(world.state.pods.size(), 2u);
  ASSERT_NE(ControllerOf(world.pod("stray").metadata()), nullptr);
  EXPECT_EQ(ControllerOf(world.pod("stray").metadata())->uid(), uid);
  EXPECT_EQ(ControllerOf(world.pod("other").metadata()), nullptr);
}

TEST_F(ReplicaSetControllerTest, LetsGoOfPodsWhoseLabelsChanged) {
  world.AddReplicaSet("web", "web", 1);
  (*world.AddPodOf("web", "web-1", "a", true).mutable_metadata()->mutable_labels())["app"] =
      "debug";

  world.Settle(controller, InDefault("web"));

  EXPECT_EQ(ControllerOf(world.pod("web-1").metadata()), nullptr);
  EXPECT_EQ(world.state.pods.size(), 2u);
}

TEST_F(ReplicaSetControllerTest, LeavesPodsOfOthersAlone) {
  world.AddReplicaSet("web", "web", 0);
  world.AddReplicaSet("web-2", "web", 1);
  world.AddPodOf("web-2", "theirs", "a", true);

  EXPECT_THAT(Victims(), IsEmpty());
}

TEST_F(ReplicaSetControllerTest, BoundsItsWritesPerStepAndGoesOn) {
  world.AddReplicaSet("web", "web", 1200);

  const ReconcileResult first = Reconcile();
  EXPECT_LE(first.writes.size(), static_cast<size_t>(kMaxWritesPerStep));
  EXPECT_EQ(first.requeue_at, world.now);
  world.Settle(controller, InDefault("web"), 6);

  EXPECT_EQ(world.state.pods.size(), 1200u);
}

TEST_F(ReplicaSetControllerTest, CountsAPodAsAvailableAfterMinReadySeconds) {
  world.AddReplicaSet("web", "web", 1).mutable_spec()->set_min_ready_seconds(10);
  world.AddPodOf("web", "web-1", "a", true);

  world.Apply(Reconcile());
  EXPECT_EQ(world.replica_set("web").status().ready_replicas(), 1);
  EXPECT_EQ(world.replica_set("web").status().available_replicas(), 0);
  EXPECT_EQ(Reconcile().requeue_at, world.now + absl::Seconds(10));

  world.now += absl::Seconds(10);
  world.Apply(Reconcile());
  EXPECT_EQ(world.replica_set("web").status().available_replicas(), 1);
}

TEST_F(ReplicaSetControllerTest, CountsPodsOfSilentNodesAsNotReady) {
  world.AddReplicaSet("web", "web", 2);
  world.AddPodOf("web", "web-1", "a", true);
  world.AddPodOf("web", "web-2", "b", true);
  world.Silence("a");

  world.Settle(controller, InDefault("web"));

  EXPECT_EQ(world.replica_set("web").status().replicas(), 2);
  EXPECT_EQ(world.replica_set("web").status().ready_replicas(), 1);
}

TEST_F(ReplicaSetControllerTest, ComesToRestInOneStep) {
  for (int have = 0; have <= 6; ++have) {
    for (int want = 0; want <= 6; ++want) {
      ClusterWorld w;
      w.AddNode("a");
      w.AddReplicaSet("web", "web", want);
      for (int i = 0; i < have; ++i)
        w.AddPodOf("web", "p" + std::to_string(i), i % 2 ? "a" : "", i % 2);
      w.Settle(controller, InDefault("web"), 1);
      EXPECT_EQ(w.replica_set("web").status().replicas(), want);
    }
  }
}

TEST_F(ReplicaSetControllerTest, IsAskedAboutPodsNodesAndItself) {
  v1::ReplicaSet& rs = world.AddReplicaSet("web", "web", 1);
  auto pod = std::make_shared<v1::Resource>(Wrap(world.AddPodOf("web", "web-1", "a", true)));
  auto stray = std::make_shared<v1::Resource>(Wrap(world.AddPod("stray", "web")));
  auto set = std::make_shared<v1::Resource>(Wrap(rs));
  auto before = std::make_shared<v1::Resource>(Wrap(world.node("a")));
  world.Silence("a");
  auto after = std::make_shared<v1::Resource>(Wrap(world.node("a")));

  for (const Change& change : {Change{nullptr, pod}, Change{pod, nullptr}, Change{nullptr, stray},
                               Change{set, set}, Change{before, after}, Change{after, before}})
    EXPECT_THAT(controller.Affected(world.state, change), ::testing::Contains(InDefault("web")));
  EXPECT_THAT(controller.Affected(world.state, {before, before}), IsEmpty());
}

}  // namespace
}  // namespace mesh::controlplane
