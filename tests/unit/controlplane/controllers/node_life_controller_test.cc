// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/node_life_controller.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/controlplane/controllers/cluster_world.h"

namespace mesh::controlplane {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class NodeLifeControllerTest : public ::testing::Test {
 protected:
  NodeLifeControllerTest() {
    world.AddNode("a");
    world.AddNode("b");
    world.AddReplicaSet("web", "web", 1);
    world.AddPodOf("web", "web-1", "a", true);
    world.AddPod("bare", "bare", "a", true);
  }
  ReconcileResult Reconcile() { return controller.Reconcile(world.state, {"", "a"}, world.now); }
  std::string Ready() {
    return FindCondition(world.node("a").status().conditions(), "Ready")->status();
  }
  void Beat(const std::string& node) {
    *world.node(node).mutable_status()->mutable_last_heartbeat() = ToTimestamp(world.now);
  }

  ClusterWorld world;
  NodeLifeController controller{{.grace = absl::Seconds(3), .evict_after = absl::Seconds(5)}};
};

TEST_F(NodeLifeControllerTest, LooksAgainWhenTheGraceEnds) {
  const ReconcileResult result = Reconcile();
  EXPECT_THAT(result.writes, IsEmpty());
  EXPECT_EQ(result.requeue_at, world.now + absl::Seconds(3));
}

TEST_F(NodeLifeControllerTest, MarksASilentNodeUnknownAndEvictsLater) {
  world.now += absl::Seconds(3);
  ReconcileResult result = Reconcile();
  EXPECT_THAT(Describe(result), ElementsAre("status a"));
  ASSERT_EQ(result.events.size(), 1u);
  EXPECT_EQ(result.events[0].reason, "NodeNotReady");
  EXPECT_EQ(result.requeue_at, world.now + absl::Seconds(2));
  world.Apply(result);
  EXPECT_EQ(Ready(), "Unknown");

  world.now += absl::Seconds(2);
  Beat("b");
  // The pod that nobody would make anew waits for its node.
  EXPECT_THAT(Describe(Reconcile()), ElementsAre("delete web-1"));
  world.Settle(controller, {"", "a"});
  EXPECT_TRUE(IsTerminating(world.pod("web-1").metadata()));
}

TEST_F(NodeLifeControllerTest, BelievesAStreamThatIsAheadOfTheStore) {
  world.now += absl::Seconds(10);
  world.state.heard["a"] = world.now - absl::Seconds(1);

  const ReconcileResult result = Reconcile();

  EXPECT_THAT(result.writes, IsEmpty());
  EXPECT_EQ(result.requeue_at, world.now + absl::Seconds(2));
}

TEST_F(NodeLifeControllerTest, EvictsNothingWhileNoNodeIsHeard) {
  world.now += absl::Seconds(10);
  // The store still calls both ready.
  ReconcileResult result = Reconcile();
  EXPECT_THAT(Describe(result), ElementsAre("status a"));
  EXPECT_EQ(result.requeue_at, world.now + absl::Seconds(3)) << "b may be heard meanwhile";
  world.Apply(result);
  world.Silence("b");

  result = Reconcile();
  EXPECT_THAT(Describe(result), IsEmpty());
  EXPECT_EQ(result.requeue_at, std::nullopt);
}

TEST_F(NodeLifeControllerTest, EvictsWhenAnotherNodeIsHeardAfterAll) {
  world.now += absl::Seconds(10);
  world.Apply(Reconcile());
  world.state.heard["b"] = world.now;

  EXPECT_THAT(Describe(Reconcile()), ElementsAre("delete web-1"));
}

// All were cut off together (a switch, the control plane's machine): they come back one by one.
TEST_F(NodeLifeControllerTest, GivesTheOthersTimeWhenTheFirstOneIsHeardAgain) {
  world.now += absl::Seconds(10);
  world.Silence("b");
  world.Apply(Reconcile());
  SetCondition(world.node("b").mutable_status()->mutable_conditions(), "Ready", "True",
               "AgentReady", "", world.now);
  Beat("b");

  ReconcileResult result = Reconcile();
  EXPECT_THAT(Describe(result), IsEmpty());
  EXPECT_EQ(result.requeue_at, world.now + absl::Seconds(5));

  world.now += absl::Seconds(5);
  Beat("b");
  EXPECT_THAT(Describe(Reconcile()), ElementsAre("delete web-1"));
}

TEST_F(NodeLifeControllerTest, TakesTheVerdictBackWithTheNextHeartbeat) {
  world.now += absl::Seconds(4);
  world.Apply(Reconcile());
  ASSERT_EQ(Ready(), "Unknown");

  Beat("a");
  world.Settle(controller, {"", "a"});

  EXPECT_EQ(Ready(), "True");
}

TEST_F(NodeLifeControllerTest, LeavesWhatTheAgentSaysOfItselfAlone) {
  SetCondition(world.node("a").mutable_status()->mutable_conditions(), "Ready", "False",
               "ContainerdDown", "containerd does not answer", world.now);

  EXPECT_THAT(Describe(Reconcile()), IsEmpty());
}

TEST_F(NodeLifeControllerTest, GivesAgentsTimeToFindAControlPlaneThatWasAway) {
  const absl::Time start = world.now + absl::Minutes(5);
  const NodeLifeController late({.grace = absl::Seconds(3),
                                 .evict_after = absl::Seconds(5),
                                 .not_before = start + absl::Seconds(10)});
  world.now = start + absl::Seconds(9);
  EXPECT_THAT(late.Reconcile(world.state, {"", "a"}, world.now).writes, IsEmpty());
  world.now = start + absl::Seconds(10);
  EXPECT_FALSE(late.Reconcile(world.state, {"", "a"}, world.now).writes.empty());
}

TEST_F(NodeLifeControllerTest, CountsANodeThatNeverReportedFromItsCreation) {
  world.node("a").mutable_status()->clear_last_heartbeat();

  EXPECT_EQ(Reconcile().requeue_at, world.now + absl::Seconds(3));
}

TEST(ParseEvictAfter, TakesWhatLeavesANodeItsGrace) {
  EXPECT_EQ(ParseEvictAfter("3s").value(), absl::Seconds(3));
  EXPECT_EQ(ParseEvictAfter("1m30s").value(), absl::Seconds(90));
  EXPECT_EQ(ParseEvictAfter("24h").value(), absl::Hours(24));
}

TEST(ParseEvictAfter, SaysWhatItCannotTake) {
  EXPECT_EQ(ParseEvictAfter("2999ms").status().message(),
            "--evict-after 2999ms: must be from 3s, when a silent node stops being ready, to 24h");
  for (const char* bad : {"5", "", "-5s", "soon", "inf", "24h1s", "0"}) {
    const absl::Status status = ParseEvictAfter(bad).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(status.message()), HasSubstr("--evict-after")) << bad;
  }
}

}  // namespace
}  // namespace mesh::controlplane
