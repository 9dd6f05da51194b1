// SPDX-License-Identifier: Apache-2.0
// Goal: statuses read as Kubernetes' do. Method: the pure function over hand-made observations.
#include "agent/pods/pod_status.h"

#include <gtest/gtest.h>

#include "tests/unit/agent/pods/pod_builder.h"

namespace mesh::agent {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(2000);

class PodStatusTest : public ::testing::Test {
 protected:
  StatusOutput Compute() {
    return ComputePodStatus({.pod = &pod,
                             .observed = &observed,
                             .memory = &memory,
                             .previous = &previous,
                             .node_ip = "192.0.2.1",
                             .now = now});
  }
  std::string ConditionOf(const v1::PodStatus& status, const std::string& type) {
    for (const v1::Condition& condition : status.conditions()) {
      if (condition.type() == type) return condition.status() + " " + condition.reason();
    }
    return "absent";
  }

  v1::Pod pod = MakePod();
  ObservedPod observed{.sandboxes = {MakeSandbox("s0")}, .containers = {}};
  PodMemory memory;
  v1::PodStatus previous;
  absl::Time now = kNow;
};

TEST_F(PodStatusTest, IsPendingWhileAContainerIsBeingMade) {
  const v1::PodStatus status = Compute().status;

  EXPECT_EQ(status.phase(), "Pending");
  EXPECT_EQ(status.container_statuses(0).state().waiting().reason(), "ContainerCreating");
  EXPECT_EQ(ConditionOf(status, "Ready"), "False ContainersNotReady");
  EXPECT_EQ(ConditionOf(status, "PodScheduled"), "True ");
}

TEST_F(PodStatusTest, IsRunningAndReadyWithEveryContainerUp) {
  observed.containers = {MakeRunning("app", 2)};
  observed.containers[0].image_ref = "sha256:abc";

  const v1::PodStatus status = Compute().status;

  EXPECT_EQ(status.phase(), "Running");
  EXPECT_EQ(status.host_ip(), "192.0.2.1");
  EXPECT_EQ(status.pod_ip(), "10.244.1.7");
  EXPECT_EQ(ConditionOf(status, "Ready"), "True ");
  EXPECT_EQ(ConditionOf(status, "ContainersReady"), "True ");
  const v1::ContainerStatus& container = status.container_statuses(0);
  EXPECT_TRUE(container.ready());
  EXPECT_TRUE(container.started());
  EXPECT_EQ(container.restart_count(), 2);
  EXPECT_EQ(container.container_id(), "containerd://app-2");
  EXPECT_EQ(container.image_id(), "sha256:abc");
  EXPECT_EQ(container.state().running().started_at().seconds(), 1000);
}

TEST_F(PodStatusTest, TellsTheExitBeforeARestart) {
  observed.containers = {MakeRunning("app", 1),
                         MakeExited("app", 3, 0, kNow - absl::Seconds(9), kNow)};

  const v1::ContainerStatus container = Compute().status.container_statuses(0);

  EXPECT_EQ(container.last_state().terminated().exit_code(), 3);
  EXPECT_EQ(container.last_state().terminated().reason(), "Error");
}

// Its sandbox was lost before it was started: the node died in between.
TEST_F(PodStatusTest, DoesNotTellOfAnExitOfOneThatNeverRan) {
  observed.containers = {MakeRunning("app", 1), MakeRunning("app", 0)};
  observed.containers[1].state = RunState::kCreated;
  observed.containers[1].started_at = absl::UnixEpoch();
  EXPECT_FALSE(Compute().status.container_statuses(0).has_last_state());

  // What was known of an exit before it stays.
  v1::ContainerStatus* before = previous.add_container_statuses();
  before->set_name("app");
  before->mutable_last_state()->mutable_terminated()->set_exit_code(3);
  EXPECT_EQ(Compute().status.container_statuses(0).last_state().terminated().exit_code(), 3);
}

TEST_F(PodStatusTest, ShowsACrashLoopInKubernetesWords) {
  observed.containers = {MakeExited("app", 1, 7, kNow - absl::Seconds(1), kNow)};
  memory.containers["app"].restart_delay = absl::Minutes(5);

  const v1::PodStatus status = Compute().status;

  const v1::ContainerStatus& container = status.container_statuses(0);
  EXPECT_EQ(container.state().waiting().reason(), "CrashLoopBackOff");
  EXPECT_EQ(container.state().waiting().message(),
            "back-off 5m0s restarting failed container=app pod=web_default(uid-web)");
  EXPECT_EQ(container.last_state().terminated().exit_code(), 1);
  EXPECT_EQ(status.phase(), "Running");
}

TEST_F(PodStatusTest, ShowsAPullErrorFirstByNameThenAsBackOff) {
  memory.containers["app"].start = Retry{.reason = "ErrImagePull",
                                         .message = "not found",
                                         .failed_at = kNow,
                                         .next_at = kNow + absl::Seconds(10)};

  const StatusOutput fresh = Compute();
  EXPECT_EQ(fresh.status.container_statuses(0).state().waiting().reason(), "ErrImagePull");
  EXPECT_EQ(fresh.look_again_at, kNow + absl::Seconds(1));

  now = kNow + absl::Seconds(1);
  const v1::ContainerStatus later = Compute().status.container_statuses(0);
  EXPECT_EQ(later.state().waiting().reason(), "ImagePullBackOff");
  EXPECT_EQ(later.state().waiting().message(),
            "Back-off pulling image \"registry.local/app:1\": ErrImagePull: not found");
}

// Its words never change; a look in the past would be due again at once, for ever.
TEST_F(PodStatusTest, DoesNotLookAgainAtAnImageThatMayNotBePulled) {
  memory.containers["app"].start = Retry{.reason = "ErrImageNeverPull",
                                         .message = "not present",
                                         .failed_at = kNow,
                                         .next_at = kNow + absl::Seconds(10)};
  for (const absl::Duration after : {absl::ZeroDuration(), absl::Seconds(5)}) {
    now = kNow + after;
    const StatusOutput output = Compute();
    EXPECT_EQ(output.status.container_statuses(0).state().waiting().reason(), "ErrImageNeverPull");
    EXPECT_EQ(output.look_again_at, absl::InfiniteFuture());
  }
}

TEST_F(PodStatusTest, PassesOnThatTheKernelKilledForMemory) {
  observed.containers = {MakeRunning("app", 1),
                         MakeExited("app", 137, 0, kNow - absl::Seconds(9), kNow)};
  observed.containers[1].reason = "OOMKilled";

  EXPECT_EQ(Compute().status.container_statuses(0).last_state().terminated().reason(), "OOMKilled");
}

struct PhaseCase {
  const char* policy;
  std::vector<int> exit_codes;
  const char* phase;
};
class TerminalPhase : public PodStatusTest, public ::testing::WithParamInterface<PhaseCase> {};

TEST_P(TerminalPhase, FollowsPolicyAndExitCodes) {
  std::vector<std::string> names;
  for (size_t i = 0; i < GetParam().exit_codes.size(); ++i)
    names.push_back("c" + std::to_string(i));
  pod = MakePod(names, GetParam().policy);
  for (size_t i = 0; i < names.size(); ++i) {
    observed.containers.push_back(
        MakeExited(names[i], GetParam().exit_codes[i], 0, kNow - absl::Seconds(9), kNow));
  }

  EXPECT_EQ(Compute().status.phase(), GetParam().phase);
}

INSTANTIATE_TEST_SUITE_P(Table, TerminalPhase,
                         ::testing::Values(PhaseCase{"Never", {0, 0}, "Succeeded"},
                                           PhaseCase{"Never", {0, 1}, "Failed"},
                                           PhaseCase{"OnFailure", {0}, "Succeeded"},
                                           PhaseCase{"OnFailure", {1}, "Running"},
                                           PhaseCase{"Always", {0}, "Running"}));

TEST_F(PodStatusTest, IsCompletedWhenItHasSucceeded) {
  pod = MakePod({"app"}, "Never");
  observed.containers = {MakeExited("app", 0, 0, kNow - absl::Seconds(9), kNow)};

  const v1::PodStatus status = Compute().status;

  EXPECT_EQ(status.container_statuses(0).state().terminated().reason(), "Completed");
  EXPECT_EQ(ConditionOf(status, "Ready"), "False PodCompleted");
}

TEST_F(PodStatusTest, KeepsTransitionTimesUntilAConditionChanges) {
  observed.containers = {MakeRunning("app")};
  previous = Compute().status;
  now = kNow + absl::Seconds(60);

  EXPECT_EQ(Compute().status.SerializeAsString(), previous.SerializeAsString());

  observed.containers = {MakeExited("app", 1, 0, kNow, now)};
  const v1::PodStatus status = Compute().status;
  for (const v1::Condition& condition : status.conditions()) {
    const int64_t changed =
        condition.type() == "Ready" || condition.type() == "ContainersReady" ? 2060 : 2000;
    EXPECT_EQ(condition.last_transition_time().seconds(), changed) << condition.type();
  }
}

TEST_F(PodStatusTest, IsReadyAsItsProbesSay) {
  observed.containers = {MakeRunning("app")};
  pod.mutable_spec()->mutable_containers(0)->mutable_readiness_probe();
  EXPECT_EQ(ConditionOf(Compute().status, "Ready"), "False ContainersNotReady") << "not asked yet";

  memory.health["app-0"] = {.ready = false, .failing = "Readiness probe: GET http://x: nothing"};
  v1::PodStatus status = Compute().status;
  EXPECT_EQ(status.phase(), "Running");
  EXPECT_FALSE(status.container_statuses(0).ready());
  EXPECT_TRUE(status.container_statuses(0).started());
  EXPECT_EQ(status.container_statuses(0).probe_failure(), "Readiness probe: GET http://x: nothing");
  memory.health["app-0"] = {};
  EXPECT_EQ(ConditionOf(Compute().status, "Ready"), "True ");
}

TEST_F(PodStatusTest, TellsHowFarInitializationHasCome) {
  v1::Container* init = pod.mutable_spec()->add_init_containers();
  init->set_name("init");
  v1::Container* proxy = pod.mutable_spec()->add_init_containers();
  proxy->set_name("proxy");
  proxy->set_restart_policy("Always");
  observed.containers = {MakeRunning("init")};

  v1::PodStatus status = Compute().status;
  EXPECT_EQ(status.phase(), "Pending");
  EXPECT_EQ(ConditionOf(status, "Initialized"), "False ContainersNotInitialized");
  EXPECT_FALSE(status.init_container_statuses(0).ready());
  EXPECT_TRUE(status.init_container_statuses(0).state().has_running());
  EXPECT_EQ(status.init_container_statuses(1).state().waiting().reason(), "PodInitializing");
  EXPECT_EQ(status.container_statuses(0).state().waiting().reason(), "PodInitializing");

  observed.containers = {MakeRunning("app"), MakeExited("init", 0, 0, kNow, kNow),
                         MakeRunning("proxy")};
  status = Compute().status;
  EXPECT_EQ(status.phase(), "Running");
  EXPECT_EQ(ConditionOf(status, "Initialized"), "True ");
  EXPECT_TRUE(status.init_container_statuses(0).ready());
  EXPECT_TRUE(status.init_container_statuses(1).started());
  EXPECT_EQ(ConditionOf(status, "Ready"), "True ");

  observed.containers[2] = MakeExited("proxy", 1, 0, kNow, kNow);
  EXPECT_EQ(ConditionOf(Compute().status, "Ready"), "False ContainersNotReady");
}

TEST_F(PodStatusTest, HasFailedWithAnInitContainerThatMayNotRunAgain) {
  pod.mutable_spec()->set_restart_policy("Never");
  pod.mutable_spec()->add_init_containers()->set_name("init");
  observed.containers = {MakeExited("init", 1, 0, kNow, kNow)};

  EXPECT_EQ(Compute().status.phase(), "Failed");
  EXPECT_EQ(Compute().status.init_container_statuses(0).state().terminated().exit_code(), 1);
}

}  // namespace
}  // namespace mesh::agent
