// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/garbage_controllers.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/controlplane/controllers/cluster_world.h"

namespace mesh::controlplane {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class GarbageTest : public ::testing::Test {
 protected:
  GarbageTest() {
    world.AddNode("a");
    world.AddReplicaSet("web", "web", 1);
    world.AddPodOf("web", "web-1", "a", true);
  }
  std::shared_ptr<const v1::Resource> Take(v1::Kind kind, const ObjectKey& key) {
    auto out = world.state.Find(kind, key);
    world.state.Remove(kind, key);
    return out;
  }

  ClusterWorld world;
  GarbageController garbage;
  PodGarbageController pod_garbage;
};

TEST_F(GarbageTest, DeletesWhatAnOwnerLeavesBehind) {
  const Change change{Take(v1::KIND_REPLICA_SET, InDefault("web")), nullptr};

  const auto keys = garbage.Affected(world.state, change);

  ASSERT_EQ(keys.size(), 1u);
  EXPECT_THAT(Describe(garbage.Reconcile(world.state, keys[0], world.now)),
              ElementsAre("delete web-1"));
  world.Settle(garbage, keys[0], 1);
}

TEST_F(GarbageTest, NoticesADependentThatComesAfterItsOwnerWent) {
  Take(v1::KIND_REPLICA_SET, InDefault("web"));
  const Change change{nullptr, world.state.Find(v1::KIND_POD, InDefault("web-1"))};

  const auto keys = garbage.Affected(world.state, change);

  ASSERT_EQ(keys.size(), 1u);
  EXPECT_THAT(Describe(garbage.Reconcile(world.state, keys[0], world.now)),
              ElementsAre("delete web-1"));
}

TEST_F(GarbageTest, IsNotFooledByANewOwnerOfTheSameName) {
  const auto before = Take(v1::KIND_REPLICA_SET, InDefault("web"));
  world.AddReplicaSet("web", "web", 1);
  const Change change{before, world.state.Find(v1::KIND_REPLICA_SET, InDefault("web"))};

  const auto keys = garbage.Affected(world.state, change);

  ASSERT_EQ(keys.size(), 1u);
  EXPECT_THAT(Describe(garbage.Reconcile(world.state, keys[0], world.now)),
              ElementsAre("delete web-1"));
}

TEST_F(GarbageTest, KeepsWhatHasAnOwnerLeft) {
  world.AddReplicaSet("second", "web", 1);
  *world.pod("web-1").mutable_metadata()->add_owner_references() =
      ControllerRef("apps/v1", "ReplicaSet", world.replica_set("second").metadata());
  const Change change{Take(v1::KIND_REPLICA_SET, InDefault("web")), nullptr};

  for (const ObjectKey& key : garbage.Affected(world.state, change))
    EXPECT_THAT(Describe(garbage.Reconcile(world.state, key, world.now)), IsEmpty());
}

TEST_F(GarbageTest, TakesOwnersOfKindsItDoesNotKnowAsAlive) {
  world.pod("web-1").mutable_metadata()->mutable_owner_references(0)->set_kind("Job");

  EXPECT_THAT(
      garbage.Affected(world.state, {nullptr, world.state.Find(v1::KIND_POD, InDefault("web-1"))}),
      IsEmpty());
}

TEST_F(GarbageTest, RemovesPodsOfANodeThatIsGone) {
  const Change change{Take(v1::KIND_NODE, {"", "a"}), nullptr};

  EXPECT_THAT(pod_garbage.Affected(world.state, change), ElementsAre(InDefault("web-1")));
  EXPECT_THAT(Describe(pod_garbage.Reconcile(world.state, InDefault("web-1"), world.now)),
              ElementsAre("remove web-1"));
}

TEST_F(GarbageTest, RemovesTerminatingPodsThatNeverGotANode) {
  world.AddPodOf("web", "unplaced");
  EXPECT_THAT(Describe(pod_garbage.Reconcile(world.state, InDefault("unplaced"), world.now)),
              IsEmpty());

  world.Terminate("unplaced");
  EXPECT_THAT(Describe(pod_garbage.Reconcile(world.state, InDefault("unplaced"), world.now)),
              ElementsAre("remove unplaced"));
  world.Terminate("web-1");
  EXPECT_THAT(Describe(pod_garbage.Reconcile(world.state, InDefault("web-1"), world.now)),
              IsEmpty());
}

}  // namespace
}  // namespace mesh::controlplane
