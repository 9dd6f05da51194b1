// SPDX-License-Identifier: Apache-2.0
// Goal: pods leave a node with a NoExecute taint when they do not, or no longer, tolerate it.
#include "controlplane/controllers/taint_controller.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/controlplane/controllers/cluster_world.h"

namespace mesh::controlplane {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const ObjectKey kNode = {"", "a"};

class TaintControllerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    world.AddNode("a");
    world.AddNode("b");
    v1::Taint* taint = world.node("a").mutable_spec()->add_taints();
    taint->set_key("maintenance");
    taint->set_effect("NoExecute");
  }
  ReconcileResult Step() {
    const ReconcileResult result = controller.Reconcile(world.state, kNode, world.now);
    world.Apply(result);
    return result;
  }
  void Tolerate(const std::string& pod, int64_t seconds) {
    v1::Toleration* toleration = world.pod(pod).mutable_spec()->add_tolerations();
    toleration->set_key("maintenance");
    toleration->set_operator_("Exists");
    if (seconds >= 0) {
      toleration->set_effect("NoExecute");
      toleration->set_toleration_seconds(seconds);
    }
  }

  ClusterWorld world;
  const TaintController controller;
};

TEST_F(TaintControllerTest, SaysSinceWhenBeforeItEvicts) {
  world.AddPod("here", "web", "a");
  world.AddPod("there", "web", "b");

  EXPECT_THAT(Describe(Step()), ElementsAre("update a"));
  EXPECT_EQ(ToTime(world.node("a").spec().taints(0).time_added()), world.now);

  EXPECT_THAT(Describe(Step()), ElementsAre("delete here"));
  EXPECT_THAT(Describe(Step()), IsEmpty());
}

TEST_F(TaintControllerTest, WaitsForAsLongAsItIsTolerated) {
  world.AddPod("for-good", "web", "a");
  Tolerate("for-good", -1);
  world.AddPod("a-while", "web", "a");
  Tolerate("a-while", 60);
  Step();

  const ReconcileResult waiting = Step();
  EXPECT_THAT(Describe(waiting), IsEmpty());
  EXPECT_EQ(waiting.requeue_at, world.now + absl::Seconds(60));

  world.now += absl::Seconds(60);
  EXPECT_THAT(Describe(Step()), ElementsAre("delete a-while"));
  EXPECT_EQ(Step().requeue_at, std::nullopt);
}

TEST_F(TaintControllerTest, LeavesOtherEffectsAlone) {
  world.node("a").mutable_spec()->mutable_taints(0)->set_effect("NoSchedule");
  world.AddPod("here", "web", "a");
  EXPECT_THAT(Describe(Step()), IsEmpty());
}

TEST_F(TaintControllerTest, LooksWhenThePlaceOrThePodChanges) {
  const auto of = [&](const v1::Resource& after) {
    return controller.Affected(world.state, {nullptr, std::make_shared<const v1::Resource>(after)});
  };
  EXPECT_THAT(of(Wrap(world.node("a"))), ElementsAre(kNode));
  EXPECT_THAT(of(Wrap(world.node("b"))), IsEmpty());
  EXPECT_THAT(of(Wrap(world.AddPod("here", "web", "a"))), ElementsAre(kNode));
  EXPECT_THAT(of(Wrap(world.AddPod("there", "web", "b"))), IsEmpty());
}

}  // namespace
}  // namespace mesh::controlplane
