// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/pod_deadline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/pods/pod_plan.h"
#include "agent/pods/pod_status.h"
#include "tests/unit/agent/pods/pod_world.h"

namespace mesh::agent {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

const absl::Time kStart = absl::FromUnixSeconds(1000);
const absl::Time kDeadline = kStart + absl::Seconds(60);

v1::Pod LimitedPod(const std::vector<std::string>& containers = {"app"}) {
  v1::Pod pod = MakePod(containers);
  pod.mutable_spec()->set_active_deadline_seconds(60);
  pod.mutable_status()->mutable_start_time()->set_seconds(1000);
  return pod;
}

PodMemory Memory(const v1::Pod& pod) {
  PodMemory memory;
  memory.deadline_at = DeadlineOf(pod.spec(), pod.status());
  return memory;
}

ObservedPod Running() {
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  observed.containers = {MakeRunning("app", 0, kStart)};
  return observed;
}

TEST(DeadlineOf, CountsFromTheStartUntilThePodEndsByItself) {
  v1::Pod pod = LimitedPod();
  EXPECT_EQ(DeadlineOf(pod.spec(), pod.status()), kDeadline);
  EXPECT_EQ(DeadlineOf(pod.spec(), {}), absl::InfiniteFuture()) << "not started";
  EXPECT_EQ(DeadlineOf(MakePod().spec(), pod.status()), absl::InfiniteFuture());

  pod.mutable_status()->set_phase("Succeeded");
  EXPECT_EQ(DeadlineOf(pod.spec(), pod.status()), absl::InfiniteFuture());
  pod.mutable_status()->set_phase("Failed");
  EXPECT_EQ(DeadlineOf(pod.spec(), pod.status()), absl::InfiniteFuture());
  pod.mutable_status()->set_reason(kDeadlineExceeded);
  EXPECT_EQ(DeadlineOf(pod.spec(), pod.status()), kDeadline) << "it stays what it was";
}

TEST(Deadline, EndsEveryContainerWithTheGraceOfThePodAndStartsNone) {
  const v1::Pod pod = LimitedPod();
  ObservedPod observed = Running();
  const auto plan = [&](absl::Time now) {
    return ComputePodPlan(&pod, observed, Memory(pod), absl::InfiniteFuture(), now);
  };

  EXPECT_THAT(plan(kStart).actions, IsEmpty());
  EXPECT_EQ(plan(kStart).look_again_at, kDeadline);
  const PodPlan late = plan(kDeadline + absl::Seconds(5));
  EXPECT_THAT(late.actions,
              ElementsAre(PodAction(StopContainer{"app", "app-0", kDeadline + absl::Seconds(30)})));

  observed.containers = {MakeExited("app", 143, 0, kStart, kDeadline + absl::Seconds(6))};
  EXPECT_THAT(plan(kDeadline + absl::Seconds(7)).actions,
              ElementsAre(PodAction(StopSandbox{"s0"})));
}

TEST(Deadline, FailsThePodOnceNothingOfItRuns) {
  v1::Pod pod = LimitedPod();
  ObservedPod observed = Running();
  const auto status = [&](absl::Time now) {
    const PodMemory memory = Memory(pod);
    StatusInput input{.pod = &pod, .observed = &observed, .memory = &memory};
    input.previous = &pod.status();
    input.now = now;
    return ComputePodStatus(input).status;
  };
  const auto ready = [](const v1::PodStatus& of) {
    for (const v1::Condition& condition : of.conditions()) {
      if (condition.type() == "Ready") return condition.status() + " " + condition.reason();
    }
    return std::string();
  };

  EXPECT_EQ(ready(status(kStart)), "True ");
  const v1::PodStatus ending = status(kDeadline);
  EXPECT_EQ(ending.phase(), "Running");
  EXPECT_EQ(ready(ending), "False DeadlineExceeded");

  observed.containers = {MakeExited("app", 143, 0, kStart, kDeadline + absl::Seconds(1))};
  const v1::PodStatus ended = status(kDeadline + absl::Seconds(2));
  EXPECT_EQ(ended.phase(), "Failed");
  EXPECT_EQ(ended.reason(), "DeadlineExceeded");
  EXPECT_EQ(ended.message(), kDeadlineMessage);
  EXPECT_TRUE(ended.container_statuses(0).state().has_terminated()) << "no back-off";

  *pod.mutable_status() = ended;
  observed.containers.clear();
  EXPECT_EQ(status(kDeadline + absl::Hours(1)).reason(), "DeadlineExceeded");
}

using DeadlineTest = PodWorld;

TEST_F(DeadlineTest, TheNextAgentCountsOn) {
  pod.mutable_spec()->set_active_deadline_seconds(60);
  Want(pod);
  ASSERT_TRUE(Eventually([&] { return Ready(); }));
  loop.RunFor(absl::Seconds(50));

  Restart();
  Want(pod);
  loop.RunFor(absl::Seconds(5));
  ASSERT_TRUE(Ready());
  ASSERT_TRUE(Eventually([&] { return status.phase() == "Failed"; }, absl::Seconds(10)));
  loop.RunFor(absl::Minutes(1));

  EXPECT_EQ(status.reason(), "DeadlineExceeded");
  EXPECT_EQ(cri.CountCalls("StartContainer"), 1);
  EXPECT_EQ(cri.CountCalls("StopContainer app"), 1);
  EXPECT_THAT(events, Contains("DeadlineExceeded: Pod was active on the node longer than the "
                               "specified deadline"));
}

TEST_F(DeadlineTest, APreStopHasItsTimeBeforeTheEnd) {
  pod.mutable_spec()->set_active_deadline_seconds(60);
  App().mutable_lifecycle()->mutable_pre_stop()->mutable_sleep()->set_seconds(10);
  Want(pod);
  ASSERT_TRUE(Eventually([&] { return Ready(); }));

  loop.RunFor(absl::Seconds(65));
  EXPECT_TRUE(Running("app"));
  EXPECT_EQ(status.phase(), "Running");
  EXPECT_FALSE(Ready());
  EXPECT_TRUE(Eventually([&] { return status.phase() == "Failed"; }, absl::Seconds(10)));
}

}  // namespace
}  // namespace mesh::agent
