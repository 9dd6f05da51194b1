// SPDX-License-Identifier: Apache-2.0
// Goal: when containers are asked, and what their answers make of them. Method: the probes on a
// virtual clock, against answers that the test gives.
#include "agent/pods/pod_probes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/cri/fake_cri.h"
#include "agent/probes/fake_probe_client.h"
#include "common/sim_loop.h"
#include "tests/unit/agent/pods/pod_builder.h"

namespace mesh::agent {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const ProbeAnswer kFails{.text = "HTTP probe failed with statuscode: 503"};
const ProbeAnswer kPasses{.ok = true};

class PodProbesTest : public ::testing::Test {
 protected:
  PodProbesTest() {
    pod.mutable_spec()->mutable_containers(0)->add_ports()->set_name("http");
    pod.mutable_spec()->mutable_containers(0)->mutable_ports(0)->set_container_port(8080);
  }
  v1::Container& App() { return *pod.mutable_spec()->mutable_containers(0); }
  static void Fill(v1::Probe* probe, int period = 10) {
    probe->mutable_http_get()->set_path("/healthz");
    probe->mutable_http_get()->mutable_port()->set_string_value("http");
    probe->set_period_seconds(period);
    probe->set_failure_threshold(3);
    probe->set_success_threshold(1);
    probe->set_timeout_seconds(1);
  }
  void Watch(bool stopping = false) {
    if (observed.containers.empty()) observed.containers = {MakeRunning("app", 0, loop.Now())};
    probes.Watch(pod, observed, known, stopping);
  }
  ContainerHealth Health() { return probes.Health("uid-web")["app-0"]; }

  SimLoop loop;
  FakeCri cri{&loop};
  FakeProbeClient network{&loop};
  std::vector<std::string> events;
  int changes = 0;
  v1::Pod pod = MakePod();
  ObservedPod observed;
  v1::PodStatus known;
  PodProbes probes{
      &loop,
      &cri,
      &network,
      {.changed = [this](const std::string&) { ++changes; },
       .event =
           [this](const std::string&, const char*, const char* reason, std::string message) {
             events.push_back(std::string(reason) + ": " + message);
           }}};
};

TEST_F(PodProbesTest, AContainerIsNotReadyUntilItAnswersAndThenMillisecondsLater) {
  Fill(App().mutable_readiness_probe());
  network.answer = kFails;
  Watch();
  EXPECT_FALSE(Health().ready);
  EXPECT_TRUE(Health().started);

  loop.RunFor(absl::Milliseconds(50));
  EXPECT_FALSE(Health().ready);
  EXPECT_THAT(events, IsEmpty()) << "tries between the periods are quiet";
  network.answer = kPasses;
  loop.RunFor(absl::Milliseconds(50));

  EXPECT_TRUE(Health().ready);
  EXPECT_EQ(changes, 1);
  EXPECT_EQ(network.asked.front(), "GET 10.244.1.7:8080/healthz");
}

TEST_F(PodProbesTest, IsUnreadyAfterThatManyFailuresInARow) {
  Fill(App().mutable_readiness_probe(), 1);
  Watch();
  loop.RunFor(absl::Seconds(1));
  ASSERT_TRUE(Health().ready);

  network.answer = kFails;
  loop.RunFor(absl::Seconds(2));
  EXPECT_TRUE(Health().ready);
  EXPECT_EQ(Health().failing,
            "Readiness probe: GET http://10.244.1.7:8080/healthz: HTTP probe failed with "
            "statuscode: 503");
  loop.RunFor(absl::Seconds(1));

  EXPECT_FALSE(Health().ready);
  EXPECT_THAT(
      events,
      Contains("Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 503"));
  EXPECT_FALSE(Health().given_up());
}

TEST_F(PodProbesTest, WaitsForTheInitialDelayAndThenAsksOncePerPeriod) {
  Fill(App().mutable_readiness_probe());
  App().mutable_readiness_probe()->set_initial_delay_seconds(5);
  Watch();

  loop.RunFor(absl::Milliseconds(4990));
  EXPECT_THAT(network.asked, IsEmpty());
  loop.RunFor(absl::Milliseconds(20));
  EXPECT_THAT(network.asked, SizeIs(1));
  loop.RunFor(absl::Seconds(31));
  EXPECT_THAT(network.asked, SizeIs(5));
}

TEST_F(PodProbesTest, ALivenessProbeGivesTheContainerUpWithItsOwnGrace) {
  Fill(App().mutable_liveness_probe(), 1);
  App().mutable_liveness_probe()->set_termination_grace_period_seconds(7);
  network.answer = kFails;
  Watch();
  EXPECT_TRUE(Health().ready);

  loop.RunFor(absl::Milliseconds(2900));
  EXPECT_FALSE(Health().given_up());
  loop.RunFor(absl::Milliseconds(200));

  EXPECT_TRUE(Health().given_up());
  EXPECT_EQ(Health().kill_why, "failed liveness probe");
  const absl::Duration left = Health().kill_by - loop.Now();
  EXPECT_GT(left, absl::Milliseconds(6800));
  EXPECT_LE(left, absl::Seconds(7));
  const size_t asked = network.asked.size();
  loop.RunFor(absl::Seconds(5));
  EXPECT_THAT(network.asked, SizeIs(asked)) << "it is given up";
}

TEST_F(PodProbesTest, AStartupProbeHoldsBackTheOthers) {
  Fill(App().mutable_startup_probe(), 1);
  App().mutable_startup_probe()->set_failure_threshold(30);
  App().mutable_startup_probe()->mutable_http_get()->set_path("/started");
  Fill(App().mutable_liveness_probe(), 1);
  Fill(App().mutable_readiness_probe(), 1);
  network.answer = kFails;
  Watch();

  loop.RunFor(absl::Seconds(20));
  EXPECT_FALSE(Health().started);
  EXPECT_FALSE(Health().given_up());
  EXPECT_THAT(network.asked, ::testing::Each("GET 10.244.1.7:8080/started"));
  network.answer = kPasses;
  loop.RunFor(absl::Seconds(2));

  EXPECT_TRUE(Health().started);
  EXPECT_TRUE(Health().ready);
  EXPECT_THAT(network.asked, Contains("GET 10.244.1.7:8080/healthz"));
}

TEST_F(PodProbesTest, AStartupProbeThatNeverPassesGivesTheContainerUp) {
  Fill(App().mutable_startup_probe(), 1);
  network.answer = kFails;
  Watch();

  loop.RunFor(absl::Seconds(4));

  EXPECT_TRUE(Health().given_up());
  EXPECT_EQ(Health().kill_why, "failed startup probe");
}

TEST_F(PodProbesTest, RunsCommandsAndTellsWhatTheySay) {
  v1::Probe* probe = App().mutable_readiness_probe();
  Fill(probe, 1);
  probe->clear_http_get();
  probe->mutable_exec()->add_command("cat");
  probe->mutable_exec()->add_command("/tmp/healthy");
  cri.on_exec = [](const std::string&, const std::string&, std::string* out) {
    *out = "cat: can't open '/tmp/healthy': No such file or directory\n";
    return 1;
  };
  FakeCri::Container& running = cri.containers["app-0"];
  running.status.mutable_metadata()->set_name("app");
  running.status.set_state(cri::CONTAINER_RUNNING);
  Watch();

  loop.RunFor(absl::Milliseconds(1100));
  EXPECT_FALSE(Health().ready);
  EXPECT_THAT(events, ElementsAre("Unhealthy: Readiness probe failed: cat: can't open "
                                  "'/tmp/healthy': No such file or directory"));
  cri.on_exec = nullptr;
  loop.RunFor(absl::Seconds(1));

  EXPECT_TRUE(Health().ready);
  EXPECT_EQ(Health().failing, "");
}

TEST_F(PodProbesTest, ATryThatCannotBeMadeSaysNothing) {
  v1::Probe* probe = App().mutable_liveness_probe();
  Fill(probe, 1);
  probe->clear_http_get();
  probe->mutable_exec()->add_command("true");
  Watch();  // the runtime knows no such container

  loop.RunFor(absl::Seconds(10));

  EXPECT_FALSE(Health().given_up());
  EXPECT_THAT(events, IsEmpty());
}

TEST_F(PodProbesTest, WhatAnAgentBeforeReportedStandsUntilTheNextTry) {
  Fill(App().mutable_readiness_probe());
  Fill(App().mutable_startup_probe());
  v1::ContainerStatus* status = known.add_container_statuses();
  status->set_container_id("containerd://app-0");
  status->mutable_state()->mutable_running();
  status->set_ready(true);
  status->set_started(true);

  Watch();

  EXPECT_TRUE(Health().ready);
  EXPECT_TRUE(Health().started);
}

TEST_F(PodProbesTest, OnlyReadinessIsAskedOfAPodThatStops) {
  Fill(App().mutable_liveness_probe(), 1);
  Fill(App().mutable_readiness_probe(), 1);
  App().mutable_readiness_probe()->mutable_http_get()->set_path("/ready");
  Watch(/*stopping=*/true);

  loop.RunFor(absl::Seconds(3));

  EXPECT_THAT(network.asked, ::testing::Each("GET 10.244.1.7:8080/ready"));
}

TEST_F(PodProbesTest, AsksAsOftenAsTheAnnotationSays) {
  (*pod.mutable_metadata()->mutable_annotations())["mesh.io/probe-period-ms"] = "100";
  Fill(App().mutable_readiness_probe());
  Watch();
  loop.RunFor(absl::Milliseconds(200));
  ASSERT_TRUE(Health().ready);

  network.answer = kFails;
  loop.RunFor(absl::Milliseconds(310));

  EXPECT_FALSE(Health().ready);
}

TEST_F(PodProbesTest, OtherHandlersAskWhatTheyShould) {
  v1::Probe* probe = App().mutable_readiness_probe();
  Fill(probe);
  probe->clear_http_get();
  probe->mutable_grpc()->set_port(9090);
  probe->mutable_grpc()->set_service("shop");
  Watch();
  loop.RunFor(absl::Milliseconds(30));
  EXPECT_THAT(network.asked, ElementsAre("gRPC 10.244.1.7:9090 shop"));

  probes.Forget("uid-web");
  network.asked.clear();
  probe->clear_grpc();
  probe->mutable_tcp_socket()->mutable_port()->set_int_value(6379);
  Watch();
  loop.RunFor(absl::Milliseconds(30));
  EXPECT_THAT(network.asked, ElementsAre("TCP 10.244.1.7:6379"));
}

TEST_F(PodProbesTest, TellsOfARedirectToAnotherHost) {
  Fill(App().mutable_readiness_probe());
  network.answer = {
      .ok = true, .text = "Probe terminated redirects, Response body: ", .warn = true};
  Watch();
  loop.RunFor(absl::Milliseconds(30));

  EXPECT_TRUE(Health().ready);
  EXPECT_THAT(events, ElementsAre("ProbeWarning: Readiness probe warning: Probe terminated "
                                  "redirects, Response body: "));
}

}  // namespace
}  // namespace mesh::agent
