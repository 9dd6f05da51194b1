// SPDX-License-Identifier: Apache-2.0
// The word that `get pods` prints, for each shape of a status.
#include "cli/output/pod_status.h"

#include "gtest/gtest.h"
#include "tests/unit/cli/output/objects.h"

namespace mesh::cli {
namespace {

PodSummary Of(const std::string& status, const std::string& metadata = "") {
  return Summarize(Parse<v1::Pod>("metadata { " + metadata +
                                  " } spec { containers { name: 'a' } "
                                  "containers { name: 'b' } } status { " +
                                  status + " }"),
                   Now());
}

TEST(Summarize, SaysThePhaseWhileNothingElseIsKnown) {
  EXPECT_EQ(Of("").status, "Pending");
  EXPECT_EQ(Of("phase: 'Pending'").status, "Pending");
  EXPECT_EQ(Of("phase: 'Failed' reason: 'Evicted'").status, "Evicted");
}

TEST(Summarize, CountsReadyContainersOfAll) {
  PodSummary summary =
      Of("phase: 'Running' "
         "container_statuses { name: 'a' ready: true state { running {} } } "
         "container_statuses { name: 'b' state { running {} } }");

  EXPECT_EQ(summary.ready, 1);
  EXPECT_EQ(summary.total, 2);
  EXPECT_EQ(summary.status, "Running");
  EXPECT_EQ(summary.restarts, "0");
}

TEST(Summarize, PrefersTheReasonOfTheFirstWaitingContainer) {
  EXPECT_EQ(Of("phase: 'Pending' "
               "container_statuses { name: 'a' state { waiting { reason: 'ContainerCreating' } } } "
               "container_statuses { name: 'b' state { waiting { reason: 'ErrImagePull' } } }")
                .status,
            "ContainerCreating");
  EXPECT_EQ(Of("phase: 'Running' "
               "container_statuses { name: 'a' ready: true state { running {} } } "
               "container_statuses { name: 'b' state { waiting { reason: 'CrashLoopBackOff' } } }")
                .status,
            "CrashLoopBackOff");
}

TEST(Summarize, NamesHowAContainerEnded) {
  EXPECT_EQ(Of("container_statuses { state { terminated { reason: 'OOMKilled' } } }").status,
            "OOMKilled");
  EXPECT_EQ(Of("container_statuses { state { terminated { exit_code: 3 } } }").status,
            "ExitCode:3");
  EXPECT_EQ(Of("container_statuses { state { terminated { signal: 9 exit_code: 137 } } }").status,
            "Signal:9");
}

TEST(Summarize, RunsWhileOneContainerRunsAndAnotherEndedWell) {
  const std::string containers =
      "container_statuses { name: 'a' state { terminated { reason: 'Completed' } } } "
      "container_statuses { name: 'b' ready: true state { running {} } }";

  EXPECT_EQ(Of("phase: 'Running' conditions { type: 'Ready' status: 'True' } " + containers).status,
            "Running");
  EXPECT_EQ(
      Of("phase: 'Running' conditions { type: 'Ready' status: 'False' } " + containers).status,
      "NotReady");
}

TEST(Summarize, SaysCompletedWhenAllEndedWell) {
  EXPECT_EQ(Of("phase: 'Succeeded' "
               "container_statuses { state { terminated { reason: 'Completed' } } } "
               "container_statuses { state { terminated { reason: 'Completed' } } }")
                .status,
            "Completed");
}

TEST(Summarize, SaysTerminatingOnceDeletedUnlessItHasEnded) {
  EXPECT_EQ(Of("phase: 'Running'", Ago("deletion_timestamp", 1)).status, "Terminating");
  EXPECT_EQ(Of("phase: 'Succeeded' container_statuses { state { terminated { reason: 'Completed' } "
               "} }",
               Ago("deletion_timestamp", 1))
                .status,
            "Completed");
}

TEST(Summarize, TellsWhenTheLastRestartWas) {
  EXPECT_EQ(Of("container_statuses { restart_count: 2 last_state { terminated { " +
               Ago("finished_at", 300) + "} } state { running {} } } " +
               "container_statuses { restart_count: 1 last_state { terminated { " +
               Ago("finished_at", 900) + "} } state { running {} } }")
                .restarts,
            "3 (5m ago)");
}

PodSummary WithInit(const std::string& status) {
  return Summarize(
      Parse<v1::Pod>("spec { init_containers { name: 'i' } init_containers { name: 'p' "
                     "restart_policy: 'Always' } containers { name: 'a' } } status { phase: "
                     "'Pending' container_statuses { name: 'a' state { waiting { reason: "
                     "'PodInitializing' } } } " +
                     status + " }"),
      Now());
}

TEST(Summarize, SaysHowFarInitializationHasCome) {
  const std::string done = "init_container_statuses { name: 'i' state { terminated {} } } ";
  EXPECT_EQ(WithInit("init_container_statuses { name: 'i' state { running {} } }").status,
            "Init:0/2");
  EXPECT_EQ(WithInit(done + "init_container_statuses { name: 'p' state { waiting { reason: "
                            "'PodInitializing' } } }")
                .status,
            "Init:1/2");
  EXPECT_EQ(WithInit("init_container_statuses { name: 'i' state { waiting { reason: "
                     "'CrashLoopBackOff' } } }")
                .status,
            "Init:CrashLoopBackOff");
  EXPECT_EQ(WithInit("init_container_statuses { name: 'i' state { terminated { exit_code: 1 "
                     "reason: 'Error' } } }")
                .status,
            "Init:Error");
  const PodSummary begun = WithInit(
      done +
      "init_container_statuses { name: 'p' ready: true started: true state { running {} } }");
  EXPECT_EQ(begun.status, "PodInitializing");
  EXPECT_EQ(begun.ready, 1);
  EXPECT_EQ(begun.total, 2);
}

}  // namespace
}  // namespace mesh::cli
