// SPDX-License-Identifier: Apache-2.0
// Goal: the order and timing of what is done for a pod. Method: the pure plan over hand-made
// observations.
#include "agent/pods/pod_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/agent/pods/pod_builder.h"

namespace mesh::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const absl::Time kNow = absl::FromUnixSeconds(2000);

PodPlan Plan(const v1::Pod& pod, const ObservedPod& observed, const PodMemory& memory = {},
             absl::Time now = kNow) {
  return ComputePodPlan(&pod, observed, memory, absl::InfiniteFuture(), now);
}

TEST(ComputePodPlan, BeginsWithASandbox) {
  EXPECT_THAT(Plan(MakePod(), {}).actions, ElementsAre(PodAction(RunSandbox{0})));
}

TEST(ComputePodPlan, StartsContainersOneAfterTheOtherInTheOrderOfTheSpec) {
  const v1::Pod pod = MakePod({"zeta", "alpha"});
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};

  EXPECT_THAT(Plan(pod, observed).actions, ElementsAre(PodAction(RunContainer{"zeta", 0, "s0"})));

  observed.containers = {MakeRunning("zeta")};
  EXPECT_THAT(Plan(pod, observed).actions, ElementsAre(PodAction(RunContainer{"alpha", 0, "s0"})));
}

TEST(ComputePodPlan, IsEmptyAtRest) {
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  observed.containers = {MakeRunning("app")};

  const PodPlan plan = Plan(MakePod(), observed);

  EXPECT_THAT(plan.actions, IsEmpty());
  EXPECT_EQ(plan.look_again_at, std::nullopt);
  EXPECT_FALSE(plan.gone);
}

TEST(ComputePodPlan, RestartsAnExitedContainerAtOnceTheFirstTime) {
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  observed.containers = {MakeExited("app", 137, 0, kNow - absl::Seconds(5), kNow)};

  EXPECT_THAT(Plan(MakePod(), observed).actions,
              ElementsAre(PodAction(RunContainer{"app", 1, "s0"})));
}

TEST(ComputePodPlan, EndsWhatAnInterruptedStartMayHaveLeftBeforeItStartsAgain) {
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  observed.containers = {MakeExited("app", 128, 0, absl::UnixEpoch(), kNow)};
  observed.containers[0].reason = "StartError";
  PodMemory memory;

  EXPECT_THAT(Plan(MakePod(), observed).actions, ElementsAre(PodAction(EndTask{"app", "app-0"})));
  EXPECT_THAT(ComputePodPlan(nullptr, observed, memory, kNow, kNow).actions,
              ElementsAre(PodAction(EndTask{"app", "app-0"})));

  memory.ended_tasks = {"app-0"};
  EXPECT_THAT(Plan(MakePod(), observed, memory).actions,
              ElementsAre(PodAction(RunContainer{"app", 1, "s0"})));
}

TEST(ComputePodPlan, LooksForTasksOfAllThatHaveExitedWhenACleanUpFails) {
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0", 0, false)};
  observed.containers = {MakeExited("app", 0, 0, kNow, kNow)};
  PodMemory memory;
  memory.stopped_sandboxes = {"s0"};
  memory.cleanup.reason = "Cleanup";
  memory.cleanup.next_at = kNow + absl::Seconds(1);

  const PodPlan early = ComputePodPlan(nullptr, observed, memory, kNow, kNow);
  EXPECT_THAT(early.actions, IsEmpty());
  EXPECT_EQ(early.look_again_at, kNow + absl::Seconds(1));
  const absl::Time later = kNow + absl::Seconds(1);
  EXPECT_THAT(ComputePodPlan(nullptr, observed, memory, kNow, later).actions,
              ElementsAre(PodAction(EndTask{"app", "app-0"})));
  memory.ended_tasks = {"app-0"};
  EXPECT_THAT(ComputePodPlan(nullptr, observed, memory, kNow, later).actions,
              ElementsAre(PodAction(RemoveSandbox{"s0"})));
}

TEST(ComputePodPlan, WaitsForTheBackOffOfACrashLoop) {
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  observed.containers = {MakeExited("app", 1, 4, kNow - absl::Seconds(1), kNow)};
  PodMemory memory;
  memory.containers["app"].restart_delay = absl::Seconds(3);

  const PodPlan early = Plan(MakePod(), observed, memory, kNow + absl::Seconds(2));
  EXPECT_THAT(early.actions, IsEmpty());
  EXPECT_EQ(early.look_again_at, kNow + absl::Seconds(3));

  const PodPlan due = Plan(MakePod(), observed, memory, kNow + absl::Seconds(3));
  EXPECT_THAT(due.actions, ElementsAre(PodAction(RunContainer{"app", 5, "s0"})));
}

TEST(ComputePodPlan, ForgetsTheBackOffAfterTenMinutesOfHealth) {
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  observed.containers = {MakeExited("app", 1, 4, kNow - absl::Minutes(10), kNow)};
  PodMemory memory;
  memory.containers["app"].restart_delay = absl::Minutes(5);

  EXPECT_THAT(Plan(MakePod(), observed, memory).actions,
              ElementsAre(PodAction(RunContainer{"app", 5, "s0"})));
}

TEST(ComputePodPlan, OneContainerInBackOffDoesNotHoldUpTheOthers) {
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  PodMemory memory;
  memory.containers["first"].start = Retry{.reason = "ErrImagePull",
                                           .failed_at = kNow,
                                           .next_at = kNow + absl::Seconds(10),
                                           .delay = absl::Seconds(10)};

  const PodPlan plan = Plan(MakePod({"first", "second"}), observed, memory);

  EXPECT_THAT(plan.actions, ElementsAre(PodAction(RunContainer{"second", 0, "s0"})));
}

TEST(ComputePodPlan, StartsAContainerThatAnEarlierAgentOnlyCreated) {
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  ObservedContainer created = MakeRunning("app");
  created.state = RunState::kCreated;
  observed.containers = {created};

  EXPECT_THAT(Plan(MakePod(), observed).actions,
              ElementsAre(PodAction(StartContainer{"app", "app-0"})));
}

struct PolicyCase {
  const char* policy;
  int exit_code;
  bool restarts;
};
class RestartPolicy : public ::testing::TestWithParam<PolicyCase> {};

TEST_P(RestartPolicy, DecidesAfterAnExit) {
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  observed.containers = {MakeExited("app", GetParam().exit_code, 0, kNow - absl::Seconds(5), kNow)};

  const PodPlan plan = Plan(MakePod({"app"}, GetParam().policy), observed);

  if (GetParam().restarts) {
    EXPECT_THAT(plan.actions, ElementsAre(PodAction(RunContainer{"app", 1, "s0"})));
  } else {
    EXPECT_TRUE(plan.finished);
    EXPECT_THAT(plan.actions, ElementsAre(PodAction(StopSandbox{"s0"})));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Table, RestartPolicy,
    ::testing::Values(PolicyCase{"Always", 0, true}, PolicyCase{"Always", 1, true},
                      PolicyCase{"OnFailure", 0, false}, PolicyCase{"OnFailure", 1, true},
                      PolicyCase{"Never", 0, false}, PolicyCase{"Never", 1, false}));

TEST(ComputePodPlan, KeepsTheContainersOfAFinishedPodForTheirLogs) {
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0", 0, /*ready=*/false)};
  observed.containers = {MakeExited("app", 0, 0, kNow - absl::Seconds(5), kNow)};
  PodMemory memory;
  memory.stopped_sandboxes = {"s0"};

  const PodPlan plan = Plan(MakePod({"app"}, "Never"), observed, memory);

  EXPECT_TRUE(plan.finished);
  EXPECT_THAT(plan.actions, IsEmpty());
}

TEST(ComputePodPlan, NeverRunsAFinishedPodAgainWhenTheRuntimeHasForgottenIt) {
  v1::Pod pod = MakePod({"app"}, "Never");
  pod.mutable_status()->set_phase("Succeeded");

  EXPECT_THAT(Plan(pod, {}).actions, IsEmpty());
}

TEST(ComputePodPlan, FreesTheAddressOfALostSandboxBeforeMakingTheNext) {
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0", 0, /*ready=*/false)};
  observed.containers = {MakeExited("app", 255, 0, kNow - absl::Seconds(5), kNow)};

  EXPECT_THAT(Plan(MakePod(), observed).actions, ElementsAre(PodAction(StopSandbox{"s0"})));

  PodMemory memory;
  memory.stopped_sandboxes = {"s0"};
  EXPECT_THAT(Plan(MakePod(), observed, memory).actions, ElementsAre(PodAction(RunSandbox{1})));
}

TEST(ComputePodPlan, KeepsTheLostSandboxUntilEveryContainerHasASuccessor) {
  PodMemory memory;
  memory.stopped_sandboxes = {"s0"};
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s1", 1), MakeSandbox("s0", 0, false)};
  observed.containers = {MakeExited("app", 255, 0, kNow - absl::Seconds(5), kNow)};

  EXPECT_THAT(Plan(MakePod(), observed, memory).actions,
              ElementsAre(PodAction(RunContainer{"app", 1, "s1"})));

  ObservedContainer next = MakeRunning("app", 1);
  next.sandbox_id = "s1";
  observed.containers.insert(observed.containers.begin(), next);
  EXPECT_THAT(Plan(MakePod(), observed, memory).actions,
              ElementsAre(PodAction(RemoveSandbox{"s0"})));
}

TEST(ComputePodPlan, ReplacesASandboxWhoseNetworkNamespaceIsGone) {
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  observed.sandboxes[0].ip.clear();
  observed.containers = {MakeRunning("app")};

  const PodPlan plan = Plan(MakePod(), observed);

  ASSERT_EQ(plan.actions.size(), 1u);
  EXPECT_EQ(std::get<StopContainer>(plan.actions[0]).id, "app-0");
}

TEST(ComputePodPlan, KeepsOneExitedContainerPerNameForPreviousLogs) {
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  observed.containers = {
      MakeRunning("app", 3),
      MakeExited("app", 1, 2, kNow - absl::Seconds(9), kNow - absl::Seconds(8)),
      MakeExited("app", 1, 1, kNow - absl::Seconds(19), kNow - absl::Seconds(18)),
  };

  EXPECT_THAT(Plan(MakePod(), observed).actions,
              ElementsAre(PodAction(RemoveContainer{"app", "app-1", 1})));
}

TEST(ComputePodPlan, StopsAllContainersOfADeletedPodTogetherUntilItsDeadline) {
  v1::Pod pod = MakePod({"a", "b"});
  MarkDeleted(pod, kNow + absl::Seconds(30));
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  observed.containers = {MakeRunning("a"), MakeRunning("b")};

  EXPECT_THAT(Plan(pod, observed).actions,
              ElementsAre(PodAction(StopContainer{"a", "a-0", kNow + absl::Seconds(30)}),
                          PodAction(StopContainer{"b", "b-0", kNow + absl::Seconds(30)})));
}

TEST(ComputePodPlan, StopsThenRemovesTheSandboxOfADeletedPodThenIsGone) {
  v1::Pod pod = MakePod();
  MarkDeleted(pod, kNow + absl::Seconds(30));
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  observed.containers = {MakeExited("app", 143, 0, kNow - absl::Seconds(5), kNow)};
  PodMemory memory;

  EXPECT_THAT(Plan(pod, observed, memory).actions, ElementsAre(PodAction(StopSandbox{"s0"})));
  memory.stopped_sandboxes = {"s0"};
  EXPECT_THAT(Plan(pod, observed, memory).actions, ElementsAre(PodAction(RemoveSandbox{"s0"})));
  EXPECT_TRUE(Plan(pod, {}, memory).gone);
}

TEST(ComputePodPlan, StopsAPodThatTheControlPlaneDoesNotKnow) {
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  observed.containers = {MakeRunning("app")};

  const PodPlan plan = ComputePodPlan(nullptr, observed, {}, kNow, kNow);

  EXPECT_THAT(plan.actions,
              ElementsAre(PodAction(StopContainer{"app", "app-0", kNow + absl::Seconds(2)})));
}

TEST(ComputePodPlan, ReplacesAContainerWhoseSpecHasChanged) {
  v1::Pod pod = MakePod();
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  observed.containers = {MakeRunning("app")};
  observed.containers[0].spec_hash = SpecHash(pod.spec().containers(0));
  EXPECT_THAT(Plan(pod, observed).actions, IsEmpty());

  pod.mutable_spec()->mutable_containers(0)->set_image("registry.local/app:2");

  EXPECT_THAT(Plan(pod, observed).actions,
              ElementsAre(PodAction(StopContainer{"app", "app-0", kNow + absl::Seconds(30)})));
}

TEST(NextRestartDelay, TakesAContainerThatNeverStartedForACrash) {
  const ObservedContainer never = MakeExited("app", 128, 0, absl::UnixEpoch(), kNow);

  EXPECT_EQ(NextRestartDelay(never, absl::Seconds(1)), absl::Seconds(2));
}

TEST(NextRestartDelay, DoublesFromAFifthOfASecondToFiveMinutes) {
  const ObservedContainer crash = MakeExited("app", 1, 0, kNow, kNow + absl::Seconds(1));
  absl::Duration delay = absl::ZeroDuration();
  std::vector<int64_t> ms;
  for (int i = 0; i < 13; ++i) {
    delay = NextRestartDelay(crash, delay);
    ms.push_back(absl::ToInt64Milliseconds(delay));
  }

  EXPECT_THAT(ms, ElementsAre(200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 102400, 204800,
                              300000, 300000));
}

// ---- init containers and sidecars

void AddInit(v1::Pod& pod, const std::string& name, bool sidecar = false) {
  v1::Container* init = pod.mutable_spec()->add_init_containers();
  init->set_name(name);
  init->set_image("registry.local/" + name + ":1");
  if (sidecar) init->set_restart_policy("Always");
}

TEST(ComputePodPlan, RunsInitContainersEachToItsEndBeforeTheContainers) {
  v1::Pod pod = MakePod();
  AddInit(pod, "zeta");
  AddInit(pod, "alpha");
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};

  EXPECT_THAT(Plan(pod, observed).actions, ElementsAre(PodAction(RunContainer{"zeta", 0, "s0"})));
  observed.containers = {MakeRunning("zeta")};
  EXPECT_THAT(Plan(pod, observed).actions, IsEmpty());
  observed.containers = {MakeExited("zeta", 0, 0, kNow, kNow)};
  EXPECT_THAT(Plan(pod, observed).actions, ElementsAre(PodAction(RunContainer{"alpha", 0, "s0"})));
  observed.containers = {MakeExited("alpha", 0, 0, kNow, kNow),
                         MakeExited("zeta", 0, 0, kNow, kNow)};
  EXPECT_THAT(Plan(pod, observed).actions, ElementsAre(PodAction(RunContainer{"app", 0, "s0"})));
}

TEST(ComputePodPlan, RunsAFailedInitContainerAgainUnlessThePodsPolicyIsNever) {
  v1::Pod pod = MakePod();
  AddInit(pod, "init");
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  observed.containers = {MakeExited("init", 1, 0, kNow, kNow)};

  EXPECT_THAT(Plan(pod, observed).actions, ElementsAre(PodAction(RunContainer{"init", 1, "s0"})));
  pod.mutable_spec()->set_restart_policy("Never");
  const PodPlan plan = Plan(pod, observed);
  EXPECT_TRUE(plan.finished);
  EXPECT_THAT(plan.actions, ElementsAre(PodAction(StopSandbox{"s0"})));
}

TEST(ComputePodPlan, AnInitContainerWaitsForItsBackOffAndHoldsUpTheOthers) {
  v1::Pod pod = MakePod();
  AddInit(pod, "init");
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  observed.containers = {MakeExited("init", 1, 3, kNow, kNow)};
  PodMemory memory;
  memory.containers["init"].restart_delay = absl::Seconds(5);

  const PodPlan plan = Plan(pod, observed, memory);

  EXPECT_THAT(plan.actions, IsEmpty());
  EXPECT_EQ(plan.look_again_at, kNow + absl::Seconds(5));
}

TEST(ComputePodPlan, RunsInitContainersAgainInANewSandbox) {
  v1::Pod pod = MakePod();
  AddInit(pod, "init");
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s1", 1), MakeSandbox("s0", 0, false)};
  observed.containers = {MakeExited("app", 255, 0, kNow, kNow),
                         MakeExited("init", 0, 0, kNow, kNow)};
  PodMemory memory;
  memory.stopped_sandboxes = {"s0"};

  EXPECT_THAT(Plan(pod, observed, memory).actions,
              ElementsAre(PodAction(RunContainer{"init", 1, "s1"})));
}

TEST(ComputePodPlan, NeverRunsInitContainersAgainOnceTheContainersHaveBegun) {
  v1::Pod pod = MakePod();
  AddInit(pod, "init");
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  observed.containers = {MakeExited("app", 1, 0, kNow, kNow)};  // the runtime forgot the other

  EXPECT_THAT(Plan(pod, observed).actions, ElementsAre(PodAction(RunContainer{"app", 1, "s0"})));
}

TEST(ComputePodPlan, TheNextStartsOnceASidecarHasStarted) {
  v1::Pod pod = MakePod();
  AddInit(pod, "proxy", /*sidecar=*/true);
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  observed.containers = {MakeRunning("proxy")};
  PodMemory memory;
  memory.health["proxy-0"].started = false;

  EXPECT_THAT(Plan(pod, observed, memory).actions, IsEmpty());
  memory.health["proxy-0"].started = true;
  EXPECT_THAT(Plan(pod, observed, memory).actions,
              ElementsAre(PodAction(RunContainer{"app", 0, "s0"})));
}

TEST(ComputePodPlan, RestartsASidecarHoweverItEnds) {
  v1::Pod pod = MakePod({"app"}, "Never");
  AddInit(pod, "proxy", /*sidecar=*/true);
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  observed.containers = {MakeRunning("app"), MakeExited("proxy", 0, 0, kNow, kNow)};

  EXPECT_THAT(Plan(pod, observed).actions, ElementsAre(PodAction(RunContainer{"proxy", 1, "s0"})));
}

TEST(ComputePodPlan, StopsSidecarsAfterTheContainersAndTheLastOneFirst) {
  v1::Pod pod = MakePod();
  AddInit(pod, "proxy", /*sidecar=*/true);
  AddInit(pod, "logger", /*sidecar=*/true);
  const absl::Time deadline = kNow + absl::Seconds(30);
  MarkDeleted(pod, deadline);
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  observed.containers = {MakeRunning("app"), MakeRunning("logger"), MakeRunning("proxy")};

  const auto stop = [&] { return ComputePodPlan(&pod, observed, {}, kNow, kNow).actions; };
  EXPECT_THAT(stop(), ElementsAre(PodAction(StopContainer{"app", "app-0", deadline})));
  observed.containers[0] = MakeExited("app", 0, 0, kNow, kNow);
  EXPECT_THAT(stop(), ElementsAre(PodAction(StopContainer{"logger", "logger-0", deadline})));
  observed.containers[1] = MakeExited("logger", 0, 0, kNow, kNow);
  EXPECT_THAT(stop(), ElementsAre(PodAction(StopContainer{"proxy", "proxy-0", deadline})));
}

TEST(ComputePodPlan, SidecarsEndWhenTheContainersHave) {
  v1::Pod pod = MakePod({"app"}, "Never");
  AddInit(pod, "proxy", /*sidecar=*/true);
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  observed.containers = {MakeExited("app", 0, 0, kNow, kNow), MakeRunning("proxy")};

  EXPECT_THAT(Plan(pod, observed).actions,
              ElementsAre(PodAction(StopContainer{"proxy", "proxy-0", kNow + absl::Seconds(30)})));
}

TEST(ComputePodPlan, StopsAContainerThatAProbeHasGivenUp) {
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  observed.containers = {MakeRunning("app")};
  PodMemory memory;
  memory.health["app-0"].kill_by = kNow + absl::Seconds(7);

  EXPECT_THAT(Plan(MakePod(), observed, memory).actions,
              ElementsAre(PodAction(StopContainer{"app", "app-0", kNow + absl::Seconds(7)})));
}

}  // namespace
}  // namespace mesh::agent
