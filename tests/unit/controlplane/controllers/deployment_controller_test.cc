// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/deployment_controller.h"

#include "common/random.h"
#include "controlplane/controllers/rollout.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/controlplane/controllers/cluster_world.h"

namespace mesh::controlplane {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class DeploymentControllerTest : public ::testing::Test {
 protected:
  ReconcileResult Reconcile() {
    return controller.Reconcile(world.state, InDefault("web"), world.now);
  }
  void Settle() { world.Settle(controller, InDefault("web")); }
  void SetImage(const std::string& image) {
    v1::Deployment next = world.deployment("web");
    next.mutable_spec()->mutable_template_()->mutable_spec()->mutable_containers(0)->set_image(
        image);
    world.Put(Wrap(next));
  }
  void Scale(int replicas) {
    v1::Deployment next = world.deployment("web");
    next.mutable_spec()->set_replicas(replicas);
    world.Put(Wrap(next));
  }
  // The ReplicaSet of an image.
  v1::ReplicaSet& Of(const std::string& image) {
    for (const auto& [key, rs] : world.state.replica_sets)
      if (rs->spec().template_().spec().containers(0).image() == image)
        return world.replica_set(key.name);
    ADD_FAILURE() << "no replica set of " << image;
    return world.only_replica_set();
  }
  // What the ReplicaSet controller and the agents would have reached.
  void Report(const std::string& image, int pods, int available) {
    v1::ReplicaSet next = Of(image);
    next.mutable_status()->set_replicas(pods);
    next.mutable_status()->set_ready_replicas(available);
    next.mutable_status()->set_available_replicas(available);
    next.mutable_status()->set_observed_generation(next.metadata().generation());
    world.Put(Wrap(next));
  }
  void ReportAll(const std::string& image) {
    const int replicas = ReplicasOf(Of(image));
    Report(image, replicas, replicas);
  }
  int Size(const std::string& image) { return ReplicasOf(Of(image)); }
  // A finished rollout of `one`.
  void StartWith(int replicas, const std::string& surge, const std::string& unavailable) {
    world.AddDeployment("web", replicas, surge, unavailable);
    Settle();
    ReportAll(one);
    Settle();
  }
  const v1::Condition& Condition(const std::string& type) {
    const v1::Condition* out = FindCondition(world.deployment("web").status().conditions(), type);
    EXPECT_NE(out, nullptr) << type;
    static const v1::Condition none;
    return out == nullptr ? none : *out;
  }

  const std::string one = "registry.local/app:1";
  const std::string two = "registry.local/app:2";
  const std::string three = "registry.local/app:3";
  ClusterWorld world;
  DeploymentController controller;
};

TEST_F(DeploymentControllerTest, CreatesOneReplicaSetForItsTemplate) {
  world.AddDeployment("web", 3);

  Settle();

  const v1::ReplicaSet& rs = world.only_replica_set();
  EXPECT_THAT(rs.metadata().name(),
              ::testing::MatchesRegex("web-[bcdfghjklmnpqrstvwxz2456789]{10}"));
  const std::string hash = rs.metadata().labels().at(kTemplateHashLabel);
  EXPECT_EQ(rs.metadata().name(), "web-" + hash);
  EXPECT_EQ(rs.spec().replicas(), 3);
  EXPECT_EQ(rs.spec().selector().match_labels().at(kTemplateHashLabel), hash);
  EXPECT_EQ(rs.spec().selector().match_labels().at("app"), "web");
  EXPECT_EQ(rs.spec().template_().metadata().labels().at(kTemplateHashLabel), hash);
  EXPECT_EQ(rs.metadata().annotations().at(kRevisionAnnotation), "1");
  EXPECT_EQ(rs.metadata().annotations().at(kDesiredReplicasAnnotation), "3");
  EXPECT_EQ(rs.metadata().annotations().at(kMaxReplicasAnnotation), "4");
  EXPECT_EQ(world.deployment("web").metadata().annotations().at(kRevisionAnnotation), "1");
  EXPECT_EQ(Condition("Progressing").reason(), "NewReplicaSetCreated");
}

TEST_F(DeploymentControllerTest, ReportsAFinishedRollout) {
  StartWith(3, "25%", "25%");

  const v1::DeploymentStatus& status = world.deployment("web").status();
  EXPECT_EQ(status.replicas(), 3);
  EXPECT_EQ(status.updated_replicas(), 3);
  EXPECT_EQ(status.available_replicas(), 3);
  EXPECT_EQ(status.unavailable_replicas(), 0);
  EXPECT_EQ(Condition("Available").status(), "True");
  EXPECT_EQ(Condition("Progressing").reason(), "NewReplicaSetAvailable");
}

struct RolloutStep {
  const char* surge;
  const char* unavailable;
  int replicas;
  int new_size;  // of the first step
  int old_size;
};

TEST_F(DeploymentControllerTest, MovesAsFarAsSurgeAndUnavailabilityAllow) {
  const RolloutStep cases[] = {
      {"25%", "25%", 10, 3, 8}, {"1", "0", 3, 1, 3},    {"0", "1", 3, 0, 2},
      {"100%", "0", 4, 4, 4},   {"0", "100%", 4, 0, 0}, {"50%", "50%", 4, 2, 2},
  };
  for (const RolloutStep& c : cases) {
    SCOPED_TRACE(fmt::format("surge {} unavailable {} of {}", c.surge, c.unavailable, c.replicas));
    world = ClusterWorld();
    StartWith(c.replicas, c.surge, c.unavailable);

    SetImage(two);
    world.Apply(Reconcile());

    EXPECT_EQ(Size(two), c.new_size);
    EXPECT_EQ(Size(one), c.old_size);
  }
}

TEST_F(DeploymentControllerTest, WaitsForOldPodsToBeGoneBeforeItAddsMore) {
  StartWith(10, "25%", "25%");
  SetImage(two);
  Settle();
  ASSERT_EQ(Size(two), 3);
  ASSERT_EQ(Size(one), 8);

  // Ten old pods still exist although eight are wanted: 10 + 3 is the limit of 13.
  EXPECT_EQ(Size(two), 3);
  Report(one, 8, 8);
  Settle();

  EXPECT_EQ(Size(two), 5);
}

TEST_F(DeploymentControllerTest, DoesNotCountAvailablePodsThatItHasGivenUp) {
  StartWith(10, "25%", "25%");
  SetImage(two);
  Settle();
  ASSERT_EQ(Size(one), 8);

  // One new pod is available; the old set still reports the ten it had.
  Report(two, 3, 1);
  Settle();

  // 7 old + 1 new = the promised 8.
  EXPECT_EQ(Size(one), 7);
}

TEST_F(DeploymentControllerTest, RemovesOldPodsThatDoNotServeFirst) {
  StartWith(4, "1", "0");
  SetImage(two);
  Settle();
  Report(two, 1, 0);
  Report(one, 4, 2);
  Settle();

  // Room: 4 + 1 - 4 wanted - 1 not available yet = 0. Nothing may go.
  EXPECT_EQ(Size(one), 4);

  SetImage(three);
  Settle();
  Report(two, 0, 0);
  Settle();

  // The set of image two, which never served, made room.
  EXPECT_EQ(Size(two), 0);
  EXPECT_EQ(Size(three), 1);
  EXPECT_EQ(Size(one), 4);
}

TEST_F(DeploymentControllerTest, ReachesTheEndOfARollout) {
  StartWith(5, "25%", "25%");
  SetImage(two);
  for (int round = 0; round < 20; ++round) {
    Settle();
    ReportAll(one);
    ReportAll(two);
  }
  Settle();

  EXPECT_EQ(Size(one), 0);
  EXPECT_EQ(Size(two), 5);
  EXPECT_EQ(world.deployment("web").metadata().annotations().at(kRevisionAnnotation), "2");
  EXPECT_EQ(Condition("Progressing").reason(), "NewReplicaSetAvailable");
}

TEST_F(DeploymentControllerTest, GoesBackToTheReplicaSetOfAnEarlierTemplate) {
  StartWith(2, "1", "0");
  SetImage(two);
  Settle();

  SetImage(one);
  Settle();

  EXPECT_EQ(world.state.replica_sets.size(), 2u);
  EXPECT_EQ(Of(one).metadata().annotations().at(kRevisionAnnotation), "3");
  EXPECT_EQ(Size(one), 2);
  EXPECT_EQ(Size(two), 0);
}

TEST_F(DeploymentControllerTest, RecreatesOnlyWhenAllOldPodsAreGone) {
  world.AddNode("a");
  world.AddDeployment("web", 2).mutable_spec()->mutable_strategy()->set_type("Recreate");
  Settle();
  const std::string old_set = world.only_replica_set().metadata().name();
  world.AddPodOf(old_set, "web-1", "a", true);
  ReportAll(one);
  Settle();

  SetImage(two);
  Settle();
  EXPECT_EQ(Size(one), 0);
  EXPECT_EQ(world.state.replica_sets.size(), 1u);

  Report(one, 0, 0);
  world.Terminate("web-1");
  Settle();
  EXPECT_EQ(world.state.replica_sets.size(), 1u) << "a terminating pod still runs";

  world.state.Remove(v1::KIND_POD, InDefault("web-1"));
  Settle();
  EXPECT_EQ(Size(two), 2);
}

TEST_F(DeploymentControllerTest, ScalesTheOnlyReplicaSetDirectly) {
  StartWith(2, "25%", "25%");

  Scale(7);
  Settle();
  EXPECT_EQ(Size(one), 7);

  Scale(0);
  Settle();
  EXPECT_EQ(Size(one), 0);
}

TEST_F(DeploymentControllerTest, ScalesInProportionInTheMiddleOfARollout) {
  StartWith(10, "0", "5");
  SetImage(two);
  Settle();
  Report(one, 5, 5);
  Settle();
  ASSERT_EQ(Size(one), 5);
  ASSERT_EQ(Size(two), 5);

  Scale(20);
  world.Apply(Reconcile());

  EXPECT_EQ(Size(one), 10);
  EXPECT_EQ(Size(two), 10);
}

TEST_F(DeploymentControllerTest, KeepsTheHistoryThatIsAskedFor) {
  world.AddDeployment("web", 1, "1", "0").mutable_spec()->set_revision_history_limit(2);
  for (int version = 1; version <= 6; ++version) {
    SetImage(fmt::format("registry.local/app:{}", version));
    for (int round = 0; round < 5; ++round) {
      Settle();
      for (const auto& [key, rs] : ObjectMap<v1::ReplicaSet>(world.state.replica_sets))
        ReportAll(rs->spec().template_().spec().containers(0).image());
    }
  }
  Settle();

  std::vector<std::string> revisions;
  for (const auto& [key, rs] : world.state.replica_sets)
    revisions.push_back(rs->metadata().annotations().at(kRevisionAnnotation));
  EXPECT_THAT(revisions, ::testing::UnorderedElementsAre("4", "5", "6"));
}

TEST_F(DeploymentControllerTest, TellsWhenARolloutMakesNoProgressInTime) {
  world.AddDeployment("web", 2).mutable_spec()->set_progress_deadline_seconds(60);
  Settle();
  Report(one, 2, 0);
  Settle();
  EXPECT_EQ(Reconcile().requeue_at, world.now + absl::Seconds(60));

  world.now += absl::Seconds(60);
  Settle();
  EXPECT_EQ(Condition("Progressing").status(), "False");
  EXPECT_EQ(Condition("Progressing").reason(), "ProgressDeadlineExceeded");
  EXPECT_EQ(Reconcile().requeue_at, std::nullopt);

  ReportAll(one);
  Settle();
  EXPECT_EQ(Condition("Progressing").reason(), "NewReplicaSetAvailable");
}

TEST_F(DeploymentControllerTest, ProgressMovesTheDeadline) {
  world.AddDeployment("web", 2).mutable_spec()->set_progress_deadline_seconds(60);
  Settle();
  world.now += absl::Seconds(50);
  Report(one, 2, 1);
  Settle();

  EXPECT_EQ(Reconcile().requeue_at, world.now + absl::Seconds(60));
}

TEST_F(DeploymentControllerTest, IsAvailableDownToTheMinimumItPromises) {
  StartWith(4, "25%", "25%");
  Report(one, 4, 3);
  Settle();
  EXPECT_EQ(Condition("Available").status(), "True");

  Report(one, 4, 2);
  Settle();
  EXPECT_EQ(Condition("Available").status(), "False");
  EXPECT_EQ(Condition("Available").reason(), "MinimumReplicasUnavailable");
}

TEST_F(DeploymentControllerTest, AdoptsAMatchingReplicaSetThatBelongsToNobody) {
  world.AddDeployment("web", 1);
  Settle();
  v1::ReplicaSet& rs = world.only_replica_set();
  rs.mutable_metadata()->clear_owner_references();

  Settle();

  ASSERT_EQ(world.state.replica_sets.size(), 1u);
  EXPECT_NE(ControllerOf(world.only_replica_set().metadata()), nullptr);
}

TEST_F(DeploymentControllerTest, PassesOverNamesThatAreTaken) {
  world.AddDeployment("web", 1);
  Settle();
  const std::string taken = world.only_replica_set().metadata().name();
  world = ClusterWorld();
  world.AddReplicaSet(taken, "foreign", 1);
  world.AddDeployment("web", 1);

  Settle();

  EXPECT_EQ(world.state.replica_sets.size(), 2u);
  EXPECT_EQ(world.replica_set(taken).spec().selector().match_labels().at("app"), "foreign");
}

TEST_F(DeploymentControllerTest, DoesNotRollForDefaultsThatAnOlderVersionDidNotWrite) {
  StartWith(1, "1", "0");
  world.deployment("web")
      .mutable_spec()
      ->mutable_template_()
      ->mutable_spec()
      ->clear_termination_grace_period_seconds();

  Settle();

  EXPECT_EQ(world.state.replica_sets.size(), 1u);
}

TEST_F(DeploymentControllerTest, ComesToRestFromAnyState) {
  Random random(1);
  for (int round = 0; round < 300; ++round) {
    SCOPED_TRACE(fmt::format("round {}", round));
    world = ClusterWorld();
    const char* amounts[] = {"0", "1", "25%", "100%", "3"};
    world.AddDeployment("web", static_cast<int>(random.Below(8)), amounts[random.Below(5)],
                        amounts[random.Below(5)]);
    for (int step = 0; step < 8; ++step) {
      if (random.Below(3) == 0) SetImage(fmt::format("registry.local/app:{}", random.Below(3)));
      if (random.Below(3) == 0) Scale(static_cast<int>(random.Below(9)));
      Settle();
      for (const auto& [key, rs] : ObjectMap<v1::ReplicaSet>(world.state.replica_sets)) {
        const int pods = static_cast<int>(random.Below(ReplicasOf(*rs) + 1));
        Report(rs->spec().template_().spec().containers(0).image(), pods,
               pods == 0 ? 0 : static_cast<int>(random.Below(pods + 1)));
      }
    }
  }
}

TEST_F(DeploymentControllerTest, AnnouncesWhatItScales) {
  world.AddDeployment("web", 3);

  const ReconcileResult result = Reconcile();

  ASSERT_EQ(result.events.size(), 1u);
  EXPECT_EQ(result.events[0].reason, "ScalingReplicaSet");
  EXPECT_THAT(result.events[0].message,
              ::testing::MatchesRegex("Scaled up replica set web-.* from 0 to 3"));
}

}  // namespace
}  // namespace mesh::controlplane
