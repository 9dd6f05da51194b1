// SPDX-License-Identifier: Apache-2.0
// Goal: a pod that waits, fails, restarts or does not end is told with its cause and the smallest
// change that helps. Method: small clusters as values; the verdicts on nodes are the scheduler's.
#include "controlplane/controllers/objects.h"
#include "controlplane/scheduler/scheduler.h"
#include "tests/unit/controlplane/inspect/why_world.h"

namespace mesh::controlplane {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

TEST_F(WhyTest, NamesTheSmallestChangeFirstAndTellsEachNode) {
  world.AddNode("n1", "2", "8Gi", {{"disk", "ssd"}});
  world.AddNode("n2", "2", "8Gi", {{"disk", "hdd"}});
  world.AddNode("n3", "2", "8Gi", {{"disk", "ssd"}}).mutable_spec()->set_unschedulable(true);
  world.AddPod("big", "a", "n1");
  Ask("big", "1880m");
  world.AddPod("web-1", "web");
  Ask("web-1", "300m");
  (*world.pod("web-1").mutable_spec()->mutable_node_selector())["disk"] = "ssd";

  const v1::WhyResponse response = OfPod("web-1");

  EXPECT_THAT(
      Problems(response),
      ElementsAre("pod default/web-1: pending: 0/3 nodes are available: 1 Insufficient cpu, 1 "
                  "node(s) didn't match Pod's node affinity/selector, 1 node(s) were "
                  "unschedulable. -> lower the cpu request of pod default/web-1 to 120m | free "
                  "180m cpu on node n1 (pod default/big asks for enough)"));
  EXPECT_THAT(
      Notes(response),
      ElementsAre("node n1: needs 300m cpu, 120m of 2 free -> lower the cpu request of pod "
                  "default/web-1 to 120m | free 180m cpu on node n1 (pod default/big asks for "
                  "enough)",
                  "node n3: takes no new pods (spec.unschedulable) -> set spec.unschedulable of "
                  "node n3 to false",
                  "node n2: lacks the label disk=ssd of spec.nodeSelector (it has disk=hdd) -> "
                  "take disk=ssd out of spec.nodeSelector of pod default/web-1 | give node n2 the "
                  "label disk=ssd"));
}

TEST_F(WhyTest, TheChangesItNamesAdmitThePod) {
  world.AddNode("n1");
  world.AddPod("other", "a", "n1");
  Ask("other", "3900m", "7Gi");
  world.AddPod("web-1", "web");
  Ask("web-1", "1", "2Gi");

  EXPECT_THAT(Problems(OfPod("web-1")),
              ElementsAre(HasSubstr("-> lower the cpu request of pod default/web-1 to 100m and "
                                    "lower the memory request of pod default/web-1 to 1Gi |")));

  Ask("web-1", "100m", "1Gi");
  Scheduler scheduler;
  world.Apply(scheduler.Schedule(world.state, world.now));
  EXPECT_EQ(world.pod("web-1").spec().node_name(), "n1");
}

TEST_F(WhyTest, APodLargerThanEveryNodeNeedsASmallerRequestOrANode) {
  world.AddNode("n1", "2");
  world.AddReplicaSet("web-7f", "web", 1);
  world.AddPodOf("web-7f", "web-1");
  Ask("web-1", "64");

  EXPECT_THAT(Problems(OfPod("web-1")),
              ElementsAre(AllOf(HasSubstr("1 Insufficient cpu"),
                                HasSubstr("-> lower the cpu request of replicaset default/web-7f "
                                          "to 2"))));
}

TEST_F(WhyTest, TellsOfANodeThatIsSilentWithNoOtherChoice) {
  world.AddNode("n1");
  world.Silence("n1");
  world.AddPod("web-1", "web");

  EXPECT_THAT(Notes(OfPod("web-1")),
              ElementsAre("node n1: is not ready: Agent stopped posting node status. -> bring node "
                          "n1 back: its mesh-agent, its container runtime or its way to meshd"));
}

TEST_F(WhyTest, TellsWhatItsNodeMisses) {
  world.AddNode("n1");
  world.AddPod("web-1", "web", "n1", true);
  v1::Condition* condition = world.node("n1").mutable_status()->add_conditions();
  condition->set_type("AddressesPresent");
  condition->set_message("no interface of the node has its address fd00::1 any more");
  condition->set_status("True");
  EXPECT_THAT(Notes(OfPod("web-1")), IsEmpty());

  condition->set_status("False");

  EXPECT_THAT(Notes(OfPod("web-1")),
              ElementsAre("node n1: no interface of the node has its address fd00::1 any more"));
  EXPECT_THAT(Problems(OfPod("web-1")), IsEmpty());
}

TEST_F(WhyTest, TellsWhoHasTheHostPort) {
  world.AddNode("n1");
  world.AddPod("holder", "a", "n1")
      .mutable_spec()
      ->mutable_containers(0)
      ->add_ports()
      ->set_host_port(8080);
  world.AddPod("web-1", "web")
      .mutable_spec()
      ->mutable_containers(0)
      ->add_ports()
      ->set_host_port(8080);

  EXPECT_THAT(Problems(OfPod("web-1")),
              ElementsAre(AllOf(HasSubstr("free ports"), HasSubstr("delete pod default/holder"))));
  EXPECT_THAT(Notes(OfPod("web-1")),
              ElementsAre(StartsWith("node n1: hostPort 8080 is taken by pod default/holder")));
}

TEST_F(WhyTest, APodOfAMissingNodeAndAnEmptyCluster) {
  world.AddPod("web-1", "web");
  EXPECT_THAT(Problems(OfPod("web-1")), ElementsAre(HasSubstr("the cluster has no nodes")));

  world.AddNode("n1");
  world.pod("web-1").mutable_spec()->set_node_name("n9");
  EXPECT_THAT(Problems(OfPod("web-1")),
              ElementsAre("pod default/web-1: spec.nodeName is n9, and there is no such node -> "
                          "remove spec.nodeName of pod default/web-1, or name one of n1"));
}

TEST_F(WhyTest, APodThatFitsWaitsForTheSchedulerOnly) {
  world.AddNode("n1");
  world.AddPod("web-1", "web");

  const v1::WhyResponse response = OfPod("web-1");

  EXPECT_THAT(Problems(response), IsEmpty());
  EXPECT_THAT(Notes(response), ElementsAre(HasSubstr("node n1 has room for it")));
}

TEST_F(WhyTest, ToldNodesAreExactlyThoseTheSchedulerRefuses) {
  world.AddNode("n1", "1");
  world.AddNode("n2", "4");
  world.AddPod("web-1", "web");
  Ask("web-1", "2");
  EXPECT_THAT(Problems(OfPod("web-1")), IsEmpty());

  world.node("n2").mutable_spec()->set_unschedulable(true);
  EXPECT_THAT(Problems(OfPod("web-1")), ElementsAre(HasSubstr("0/2 nodes are available")));
}

struct End {
  int exit_code;
  std::string reason;
  std::string command;  // what the remedy speaks of
  std::string text;
};

TEST_F(WhyTest, ARestartingPodIsToldByHowItEnded) {
  world.AddNode("n1");
  const End ends[] = {
      {1, "Error", "", "exit code 1, 12s ago, after 3s"},
      {127, "Error", "the program was not found in the image", "exit code 127"},
      {139, "Error", "", "exit code 139 (signal 11)"},
      {137, "OOMKilled", "raise spec.containers[0].resources.limits.memory of pod default/p",
       "ran out of memory (OOMKilled)"},
      {0, "Completed", "set spec.restartPolicy of pod default/p to OnFailure", "exit code 0"},
  };
  for (const End& end : ends) {
    SCOPED_TRACE(end.text);
    world.state.Remove(v1::KIND_POD, InDefault("p"));
    world.AddPod("p", "a", "n1");
    (*world.pod("p")
          .mutable_spec()
          ->mutable_containers(0)
          ->mutable_resources()
          ->mutable_limits())["memory"]
        .set_text("64Mi");
    v1::ContainerStatus& status = Container("p");
    status.set_restart_count(4);
    status.mutable_state()->mutable_waiting()->set_reason("CrashLoopBackOff");
    status.mutable_state()->mutable_waiting()->set_message("back-off 40s restarting");
    auto* last = status.mutable_last_state()->mutable_terminated();
    last->set_exit_code(end.exit_code);
    last->set_reason(end.reason);
    *last->mutable_started_at() = Ago(absl::Seconds(15));
    *last->mutable_finished_at() = Ago(absl::Seconds(12));

    const v1::WhyResponse response = OfPod("p");

    ASSERT_THAT(
        Problems(response),
        ElementsAre(AllOf(StartsWith("container main of pod default/p: ends again and again"),
                          HasSubstr(end.text), HasSubstr("started 5 times"),
                          HasSubstr("back-off 40s"), HasSubstr(end.command))));
    EXPECT_EQ(response.findings(0).logs().pod(), "p");
    EXPECT_EQ(response.findings(0).logs().container(), "main");
    EXPECT_FALSE(response.findings(0).logs().previous());
  }
}

TEST_F(WhyTest, ARestartOfLongAgoIsNoProblem) {
  world.AddNode("n1");
  world.AddPod("p", "a", "n1", true);
  v1::ContainerStatus& status = Container("p");
  status.set_restart_count(1);
  status.mutable_state()->mutable_running();
  auto* last = status.mutable_last_state()->mutable_terminated();
  last->set_exit_code(1);
  *last->mutable_finished_at() = Ago(absl::Seconds(30));
  EXPECT_THAT(Problems(OfPod("p")), ElementsAre(HasSubstr("runs, and was started 2 times")));
  EXPECT_TRUE(OfPod("p").findings(0).logs().previous());

  *last->mutable_finished_at() = Ago(absl::Hours(2));
  EXPECT_THAT(Problems(OfPod("p")), IsEmpty());
  EXPECT_THAT(Oks(OfPod("p")), ElementsAre(HasSubstr("runs on node n1, is ready")));
}

TEST_F(WhyTest, APostStartHookThatFailsSaysWhatItAnswered) {
  world.AddNode("n1");
  world.AddPod("p", "a", "n1");
  v1::ContainerStateWaiting& waiting = *Container("p").mutable_state()->mutable_waiting();
  waiting.set_reason("PostStartHookError");
  waiting.set_message("postStart hook: exec [/register]: no registry");

  EXPECT_THAT(
      Problems(OfPod("p")),
      ElementsAre(AllOf(HasSubstr("PostStartHookError: postStart hook: exec [/register]: no "
                                  "registry"),
                        HasSubstr("-> correct spec.containers[0].lifecycle.postStart of "
                                  "pod default/p"))));
}

TEST_F(WhyTest, TheLastWordsOfAContainerAreTheirLastLine) {
  world.AddNode("n1");
  world.AddPod("p", "a", "n1");
  world.pod("p").mutable_spec()->set_restart_policy("Never");
  world.pod("p").mutable_status()->set_phase("Failed");
  auto* end = Container("p").mutable_state()->mutable_terminated();
  end->set_exit_code(1);
  end->set_message("stack\ntrace\nno database\n");

  EXPECT_THAT(Problems(OfPod("p")),
              ElementsAre(AllOf(HasSubstr(": no database"), Not(HasSubstr("trace")))));
}

TEST_F(WhyTest, AProbeThatFailsSaysWhatItAskedAndWhatCame) {
  world.AddNode("n1");
  world.AddPod("p", "a", "n1");
  v1::ContainerStatus& status = Container("p");
  status.mutable_state()->mutable_running();
  status.set_probe_failure(
      "Readiness probe: GET http://10.0.0.7:8080/: HTTP probe failed with statuscode: 503");

  EXPECT_THAT(Problems(OfPod("p")),
              ElementsAre("container main of pod default/p: Readiness probe: GET "
                          "http://10.0.0.7:8080/: HTTP probe failed with statuscode: 503"));
}

TEST_F(WhyTest, AnImageThatDoesNotComeIsNamed) {
  world.AddNode("n1");
  world.AddPod("p", "a", "n1");
  v1::ContainerStateWaiting& waiting = *Container("p").mutable_state()->mutable_waiting();
  waiting.set_reason("ImagePullBackOff");
  waiting.set_message("Back-off pulling image \"registry.local/app:1\": not found");

  EXPECT_THAT(
      Problems(OfPod("p")),
      ElementsAre("container main of pod default/p: ImagePullBackOff: Back-off pulling image "
                  "\"registry.local/app:1\": not found -> correct spec.containers[0].image of pod "
                  "default/p (now registry.local/app:1) | let node n1 reach the registry, or load "
                  "the image there"));
}

TEST_F(WhyTest, APodOfASilentNodeSaysSo) {
  world.AddNode("n1");
  world.AddPod("p", "a", "n1", true);
  world.Silence("n1");

  EXPECT_THAT(
      Problems(OfPod("p")),
      ElementsAre(StartsWith("node n1: is silent: Agent stopped posting node status: what")));
}

TEST_F(WhyTest, ATerminatingPodTellsWhatItWaitsFor) {
  world.AddNode("n1");
  world.AddPod("p", "a", "n1", true);
  Container("p").mutable_state()->mutable_running();
  world.Terminate("p", 30);
  EXPECT_THAT(Notes(OfPod("p")),
              ElementsAre(HasSubstr("container main still runs; its grace period ends in 30s")));

  world.now += absl::Minutes(1);
  EXPECT_THAT(Problems(OfPod("p")), ElementsAre(HasSubstr("its grace period ended 30s ago")));

  Container("p").clear_state();
  Container("p").mutable_state()->mutable_terminated();
  world.pod("p").mutable_metadata()->add_finalizers("example.com/guard");
  EXPECT_THAT(Problems(OfPod("p")), ElementsAre(HasSubstr("finalizers example.com/guard")));

  world.Silence("n1");
  EXPECT_THAT(Problems(OfPod("p")),
              ElementsAre(AllOf(HasSubstr("its node n1 is silent"), HasSubstr("--force"))));
}

TEST_F(WhyTest, WhatIsNotThereIsNotFound) {
  v1::WhyRequest request;
  EXPECT_EQ(Why(world.state, ranges, request, {}, world.now).status().code(),
            absl::StatusCode::kInvalidArgument);
  request.mutable_pod()->set_name("x");
  EXPECT_EQ(Why(world.state, ranges, request, {}, world.now).status().message(),
            "pods \"x\" not found");
  request.mutable_service()->set_name("y");
  EXPECT_EQ(Why(world.state, ranges, request, {}, world.now).status().message(),
            "services \"y\" not found");
}

}  // namespace
}  // namespace mesh::controlplane
