// SPDX-License-Identifier: Apache-2.0
// Goal: postStart holds a container back, preStop comes before its end, and neither can stop the
// life of a pod. Method: the whole reconciler on a virtual clock against the runtime in memory.
#include "agent/pods/pod_hooks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/agent/pods/pod_world.h"

namespace mesh::agent {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class PodHooksTest : public PodWorld {
 protected:
  void SetUp() override {
    PodWorld::SetUp();
    cri.on_exec = [this](const std::string&, const std::string&, std::string* out) {
      *out = output;
      return exit_code;
    };
  }
  v1::LifecycleHandler& PostStart() { return *App().mutable_lifecycle()->mutable_post_start(); }
  v1::LifecycleHandler& PreStop() { return *App().mutable_lifecycle()->mutable_pre_stop(); }

  int exit_code = 0;
  std::string output;
};

TEST_F(PodHooksTest, AContainerIsNeitherStartedNorAskedNorFollowedBeforeItsPostStartIsOver) {
  pod = MakePod({"app", "side"});
  PostStart().mutable_sleep()->set_seconds(5);
  App().mutable_readiness_probe()->mutable_tcp_socket()->mutable_port()->set_int_value(80);
  Want(pod);
  ASSERT_TRUE(Eventually([&] { return Running("app"); }));
  loop.RunFor(absl::Seconds(4));

  EXPECT_FALSE(status.container_statuses(0).started());
  EXPECT_FALSE(status.container_statuses(0).ready());
  EXPECT_THAT(network.asked, IsEmpty());
  EXPECT_EQ(cri.Find("web", "side"), nullptr) << "the next one waits";

  ASSERT_TRUE(Eventually([&] { return Ready(); }));
  EXPECT_TRUE(status.container_statuses(0).started());
  EXPECT_TRUE(Running("side"));
}

TEST_F(PodHooksTest, APostStartThatFailsKillsTheContainerAndSaysWhatItAnswered) {
  PostStart().mutable_exec()->add_command("/register");
  exit_code = 3;
  output = "no registry\xff";
  Want(pod);
  ASSERT_TRUE(Eventually([&] {
    return !status.container_statuses().empty() &&
           status.container_statuses(0).state().waiting().reason() == "PostStartHookError" &&
           status.container_statuses(0).restart_count() > 0;
  }));

  EXPECT_EQ(status.container_statuses(0).state().waiting().message(),
            "postStart hook: exec [/register]: no registry\xef\xbf\xbd");
  EXPECT_THAT(events, Contains("FailedPostStartHook: PostStartHook failed"));
  EXPECT_THAT(events, Contains("Killing: Container app failed postStart hook, will be restarted"));
  EXPECT_FALSE(Ready());

  exit_code = 0;
  EXPECT_TRUE(Eventually([&] { return Ready(); }));
  EXPECT_EQ(status.container_statuses(0).state().waiting().reason(), "");
}

TEST_F(PodHooksTest, ThePolicyDecidesWhatComesAfterAFailedPostStart) {
  pod = MakePod({"app"}, "Never");
  PostStart().mutable_exec()->add_command("/register");
  exit_code = 1;
  Want(pod);

  ASSERT_TRUE(Eventually([&] { return status.phase() == "Failed"; }));
  loop.RunFor(absl::Seconds(30));
  EXPECT_EQ(cri.CountCalls("StartContainer"), 1);
}

TEST_F(PodHooksTest, AnAgentThatIsStartedAgainDoesNotRepeatAPostStartThatIsOver) {
  PostStart().mutable_exec()->add_command("/register");
  Want(pod);
  ASSERT_TRUE(Eventually([&] { return Ready(); }));

  Restart();
  Want(pod);
  loop.RunFor(absl::Seconds(5));

  EXPECT_EQ(cri.CountCalls("ExecSync"), 1);
  EXPECT_TRUE(Ready());
  EXPECT_EQ(cri.CountCalls("StartContainer"), 1);

  // The container after it is another one.
  cri.Kill(cri.Find("web", "app")->status.id(), 1);
  ASSERT_TRUE(Eventually([&] { return cri.CountCalls("ExecSync") == 2; }));
}

TEST_F(PodHooksTest, AnAgentThatIsStartedAgainRepeatsAPostStartThatWasUnderWay) {
  PostStart().mutable_sleep()->set_seconds(5);
  Want(pod);
  ASSERT_TRUE(Eventually([&] { return Running("app"); }));
  loop.RunFor(absl::Seconds(4));

  Restart();
  Want(pod);
  loop.RunFor(absl::Seconds(4));

  EXPECT_FALSE(Ready());
  EXPECT_TRUE(Eventually([&] { return Ready(); }));
}

TEST_F(PodHooksTest, AnyAnswerOverHttpIsASuccess) {
  PostStart().mutable_http_get()->mutable_port()->set_int_value(8080);
  PostStart().mutable_http_get()->set_path("/warm");
  network.answer = {.text = "HTTP probe failed with statuscode: 503", .answered = true};
  Want(pod);

  EXPECT_TRUE(Eventually([&] { return Ready(); }));
  EXPECT_THAT(network.asked, Contains("GET 10.244.1.7:8080/warm"));
}

TEST_F(PodHooksTest, ASlowPostStartIsTold) {
  PostStart().mutable_sleep()->set_seconds(60);
  Want(pod);

  ASSERT_TRUE(Eventually(
      [&] {
        return !status.container_statuses().empty() &&
               !status.container_statuses(0).probe_failure().empty();
      },
      absl::Seconds(15)));
  EXPECT_EQ(status.container_statuses(0).probe_failure(),
            "postStart hook: sleep 60s: has not ended after 10s");
}

TEST_F(PodHooksTest, PreStopComesBeforeTheStopAndTakesFromItsGrace) {
  PreStop().mutable_sleep()->set_seconds(10);
  Want(pod);
  ASSERT_TRUE(Eventually([&] { return Ready(); }));

  Delete(absl::Seconds(30));
  loop.RunFor(absl::Seconds(9));
  EXPECT_TRUE(Running("app"));
  EXPECT_THAT(events, Contains("Killing: Stopping container app"));
  EXPECT_EQ(cri.CountCalls("StopContainer"), 0);

  ASSERT_TRUE(Eventually([&] { return !Running("app"); }));
  ASSERT_EQ(cri.CountCalls("StopContainer app"), 1);
  const std::string& call = cri.calls[CallAt("StopContainer app")];
  EXPECT_THAT(call, ::testing::AnyOf("StopContainer app 19", "StopContainer app 20"));
  EXPECT_THAT(events, Not(Contains(HasSubstr("FailedPreStopHook"))));
}

TEST_F(PodHooksTest, APreStopThatDoesNotEndLeavesTwoSecondsToTheContainer) {
  PreStop().mutable_exec()->add_command("/hang");
  Want(pod);
  ASSERT_TRUE(Eventually([&] { return Ready(); }));
  exit_code = -1;

  Delete(absl::Seconds(5));
  ASSERT_TRUE(Eventually([&] { return !Running("app"); }, absl::Seconds(8)));

  EXPECT_THAT(cri.calls, Contains("StopContainer app 2"));
  EXPECT_THAT(events, Contains("FailedPreStopHook: PreStopHook not completed in grace period"));
}

TEST_F(PodHooksTest, APreStopThatFailsIsToldAndDelaysNothing) {
  PreStop().mutable_exec()->add_command("/drain");
  Want(pod);
  ASSERT_TRUE(Eventually([&] { return Ready(); }));
  exit_code = 1;

  Delete(absl::Seconds(30));
  ASSERT_TRUE(Eventually([&] { return !Running("app"); }, absl::Seconds(1)));

  EXPECT_LT(CallAt("ExecSync app /drain"), CallAt("StopContainer app"));
  EXPECT_THAT(events, Contains("FailedPreStopHook: PreStopHook failed"));
}

TEST_F(PodHooksTest, AContainerThatEndsDuringItsPreStopIsNotWaitedFor) {
  PreStop().mutable_sleep()->set_seconds(20);
  Want(pod);
  ASSERT_TRUE(Eventually([&] { return Ready(); }));
  Delete(absl::Seconds(30));
  loop.RunFor(absl::Seconds(1));

  cri.Kill(cri.Find("web", "app")->status.id(), 0);

  EXPECT_TRUE(Eventually([&] { return cri.sandboxes.empty(); }, absl::Seconds(2)));
}

TEST_F(PodHooksTest, LessPatienceShortensAPreStopThatRuns) {
  PreStop().mutable_sleep()->set_seconds(25);
  Want(pod);
  ASSERT_TRUE(Eventually([&] { return Ready(); }));
  Delete(absl::Seconds(30));
  loop.RunFor(absl::Seconds(1));

  Delete(absl::Seconds(3));
  EXPECT_TRUE(Eventually([&] { return !Running("app"); }, absl::Seconds(4)));
  EXPECT_EQ(cri.CountCalls("StopContainer"), 1);

  EXPECT_TRUE(Eventually([&] { return cri.sandboxes.empty(); }));
}

TEST_F(PodHooksTest, WithoutGraceThereIsNoPreStop) {
  PreStop().mutable_exec()->add_command("/drain");
  Want(pod);
  ASSERT_TRUE(Eventually([&] { return Ready(); }));

  Delete(absl::ZeroDuration());
  ASSERT_TRUE(Eventually([&] { return !Running("app"); }));

  EXPECT_EQ(cri.CountCalls("ExecSync"), 0);
}

TEST_F(PodHooksTest, AContainerThatItsLivenessProbeGivesUpHasItsPreStop) {
  PreStop().mutable_exec()->add_command("/drain");
  v1::Probe& probe = *App().mutable_liveness_probe();
  probe.mutable_tcp_socket()->mutable_port()->set_int_value(80);
  probe.set_period_seconds(1);
  probe.set_failure_threshold(1);
  network.answer = {.text = "refused"};
  Want(pod);

  ASSERT_TRUE(Eventually([&] { return cri.CountCalls("StopContainer app") == 1; }));
  EXPECT_LT(CallAt("ExecSync app /drain"), CallAt("StopContainer app"));
}

TEST_F(PodHooksTest, SidecarsHaveHooksToo) {
  v1::Container* side = pod.mutable_spec()->add_init_containers();
  side->set_name("side");
  side->set_image("registry.local/side:1");
  side->set_image_pull_policy("IfNotPresent");
  side->set_restart_policy("Always");
  side->mutable_lifecycle()->mutable_post_start()->mutable_sleep()->set_seconds(3);
  side->mutable_lifecycle()->mutable_pre_stop()->mutable_exec()->add_command("/drain");
  Want(pod);
  ASSERT_TRUE(Eventually([&] { return Running("side"); }));
  loop.RunFor(absl::Seconds(2));
  EXPECT_EQ(cri.Find("web", "app"), nullptr);
  ASSERT_TRUE(Eventually([&] { return Ready(); }));

  Delete(absl::Seconds(30));
  ASSERT_TRUE(Eventually([&] { return !Running("side"); }));
  EXPECT_LT(CallAt("StopContainer app"), CallAt("ExecSync side /drain"));
  EXPECT_LT(CallAt("ExecSync side /drain"), CallAt("StopContainer side"));
}

TEST_F(PodHooksTest, APostStartThatTheRuntimeBrokeOffIsRunAgain) {
  PostStart().mutable_exec()->add_command("/register");
  cri.failures.emplace("ExecSync", absl::UnavailableError("connection reset"));
  Want(pod);

  EXPECT_TRUE(Eventually([&] { return Ready(); }, absl::Seconds(20)));
  EXPECT_EQ(cri.CountCalls("ExecSync"), 2);
  EXPECT_EQ(cri.CountCalls("StopContainer"), 0);
}

}  // namespace
}  // namespace mesh::agent
