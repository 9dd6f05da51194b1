// SPDX-License-Identifier: Apache-2.0
// Whole command lines against a server in memory: what they print, where, and how they exit.
#include <fcntl.h>
#include <unistd.h>

#include <sstream>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/commands/commands.h"
#include "common/unique_fd.h"
#include "gtest/gtest.h"
#include "tests/unit/cli/commands/fake_control.h"
#include "tests/unit/cli/output/objects.h"

namespace mesh::cli {
namespace {

struct Outcome {
  int exit_code;
  std::string out;
  std::string err;
};

class CommandsTest : public ::testing::Test {
 protected:
  Outcome Run(std::vector<std::string> args, int in_fd = -1) {
    std::istringstream in;
    std::ostringstream out, err;
    Context context(in, out, err);
    context.now = Now;
    if (in_fd >= 0) context.in_fd = in_fd;
    args.insert(args.begin(), {"-s", server_.address()});
    int exit_code = RunCommandLine(RootCommand(), std::move(args), context);
    return {exit_code, out.str(), err.str()};
  }

  static v1::Resource Pod(const std::string& name, const std::string& status = "phase: 'Running'",
                          const std::string& ns = "default") {
    return Parse<v1::Resource>("pod { metadata { name: '" + name + "' namespace: '" + ns +
                               "' uid: 'u-" + name + "' labels { key: 'app' value: 'web' } " +
                               Ago("creation_timestamp", 60) +
                               "} spec { containers { name: 'web' } } status { " + status + " } }");
  }

  static v1::Resource Deployment(const std::string& status) {
    return Parse<v1::Resource>(
        "deployment { metadata { name: 'web' namespace: 'default' generation: 1 " +
        Ago("creation_timestamp", 60) +
        "} spec { replicas: 2 selector { match_labels { key: 'app' value: 'web' } } } status { "
        "observed_generation: 1 " +
        status + " } }");
  }

  FakeControl server_;
};

// --- get ---

TEST_F(CommandsTest, GetPrintsATableOfTheDefaultNamespace) {
  server_.Put(Pod("a"));
  server_.Put(Pod("other", "phase: 'Running'", "elsewhere"));

  Outcome outcome = Run({"get", "pods"});

  EXPECT_EQ(outcome.out,
            "NAME   READY   STATUS    RESTARTS   AGE\na      0/1     Running   0          60s\n");
  EXPECT_EQ(outcome.err, "");
  EXPECT_EQ(outcome.exit_code, 0);
}

TEST_F(CommandsTest, GetOfNothingSaysSoOnStandardErrorAndSucceeds) {
  Outcome outcome = Run({"get", "po"});
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err, "No resources found in default namespace.\n");
  EXPECT_EQ(outcome.exit_code, 0);

  EXPECT_EQ(Run({"get", "pods", "-n", "shop"}).err, "No resources found in shop namespace.\n");
  EXPECT_EQ(Run({"get", "pods", "-A"}).err, "No resources found\n");
  EXPECT_EQ(Run({"get", "nodes"}).err, "No resources found\n");
}

TEST_F(CommandsTest, GetOfAnAbsentNameFailsWithTheServersWords) {
  server_.Put(Pod("a"));

  Outcome outcome = Run({"get", "pod", "a", "x", "--no-headers"});

  EXPECT_EQ(outcome.out, "a     0/1   Running   0     60s\n");
  EXPECT_EQ(outcome.err, "Error from server (NotFound): pods \"x\" not found\n");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(Run({"get", "pod", "x", "--ignore-not-found"}).exit_code, 0);
}

TEST_F(CommandsTest, GetOfSeveralTypesNamesTheKindAndLeavesOutEmptyOnes) {
  server_.Put(Pod("a"));
  server_.Put(Deployment("ready_replicas: 1"));

  Outcome outcome = Run({"get", "all"});

  EXPECT_EQ(outcome.out,
            "NAME    READY   STATUS    RESTARTS   AGE\n"
            "pod/a   0/1     Running   0          60s\n"
            "\n"
            "NAME                  READY   UP-TO-DATE   AVAILABLE   AGE\n"
            "deployment.apps/web   1/2     0            0           60s\n");
}

TEST_F(CommandsTest, GetSelectsByLabelAcrossNamespaces) {
  server_.Put(Pod("a"));
  server_.Put(Pod("b", "phase: 'Pending'", "shop"));

  EXPECT_EQ(Run({"get", "pods", "-A", "-l", "app=web"}).out,
            "NAMESPACE   NAME   READY   STATUS    RESTARTS   AGE\n"
            "default     a      0/1     Running   0          60s\n"
            "shop        b      0/1     Pending   0          60s\n");
  EXPECT_EQ(Run({"get", "pods", "-l", "app=other"}).err,
            "No resources found in default namespace.\n");
}

TEST_F(CommandsTest, GetPrintsNamesAndTemplates) {
  server_.Put(Pod("a"));
  server_.Put(Pod("b"));

  EXPECT_EQ(Run({"get", "pods", "-o", "name"}).out, "pod/a\npod/b\n");
  EXPECT_EQ(Run({"get", "pods", "-o", "jsonpath={.items[*].metadata.name}"}).out, "a b");
  EXPECT_EQ(Run({"get", "pod/a", "-ojsonpath={.status.phase}"}).out, "Running");
}

TEST_F(CommandsTest, GetPrintsColumnsThatTheUserNamesInAnOrderOfHis) {
  server_.Put(Pod("a", "phase: 'Running' pod_ip: '10.0.0.2'"));
  server_.Put(Pod("b", "phase: 'Pending'"));

  EXPECT_EQ(Run({"get", "pods", "-o", "custom-columns=NAME:.metadata.name,IP:.status.podIP"}).out,
            "NAME   IP\na      10.0.0.2\nb      <none>\n");
  EXPECT_EQ(Run({"get", "pods", "--sort-by=.status.phase", "-o", "name"}).out, "pod/b\npod/a\n");
  EXPECT_EQ(Run({"get", "pods", "-o", "custom-columns=NAME"}).err,
            "error: unexpected custom-columns spec: NAME, expected <header>:<json-path-expr>\n");
}

TEST_F(CommandsTest, GetPrintsAnObjectAloneAndSeveralAsAList) {
  server_.Put(Pod("a"));

  EXPECT_EQ(Run({"get", "pod", "a", "-o", "yaml"}).out.rfind("apiVersion: v1\nkind: Pod\n", 0), 0U);
  EXPECT_NE(Run({"get", "pods", "-o", "yaml"}).out.find("kind: List\n"), std::string::npos);
  EXPECT_NE(Run({"get", "pods", "-o", "json"}).out.find("\"kind\": \"List\""), std::string::npos);
}

TEST_F(CommandsTest, GetShowsEndpointsFromSlices) {
  server_.Put(Parse<v1::Resource>(
      "endpoint_slice { metadata { name: 'web' namespace: 'default' labels { key: "
      "'kubernetes.io/service-name' value: 'web' } " +
      Ago("creation_timestamp", 5) +
      "} ports { port: 80 } endpoints { addresses: '10.244.1.2' conditions { ready: true } } }"));

  EXPECT_EQ(Run({"get", "endpoints"}).out,
            "NAME   ENDPOINTS       AGE\nweb    10.244.1.2:80   5s\n");
  EXPECT_EQ(Run({"get", "ep", "web", "--no-headers"}).out, "web   10.244.1.2:80   5s\n");
  EXPECT_EQ(Run({"get", "endpoints", "nope"}).err,
            "Error from server (NotFound): endpoints \"nope\" not found\n");
}

TEST_F(CommandsTest, GetWatchPrintsTheListAndThenEachChange) {
  server_.Put(Pod("a", "phase: 'Pending'"));
  server_.OnWatch([&] { server_.Put(Pod("a")); });
  server_.EndWatches({grpc::StatusCode::INTERNAL, "enough"});

  Outcome outcome = Run({"get", "pods", "-w"});

  EXPECT_EQ(outcome.out,
            "NAME   READY   STATUS    RESTARTS   AGE\n"
            "a      0/1     Pending   0          60s\n"
            "a      0/1     Running   0          60s\n");
  EXPECT_EQ(outcome.err, "Error from server (InternalError): enough\n");
}

TEST_F(CommandsTest, GetWatchListsAgainWhenTheChangesAreNoLongerKept) {
  server_.Put(Pod("a", "phase: 'Pending'"));
  server_.Put(Pod("b"));
  server_.FailNextWatch({grpc::StatusCode::OUT_OF_RANGE, "list again"});
  server_.OnWatch([&] {
    server_.Put(Pod("a"));
    server_.Remove(v1::KIND_POD, "default", "b");
  });
  server_.OnWatch([&] { server_.EndWatches({grpc::StatusCode::INTERNAL, "enough"}); });

  Outcome outcome = Run({"get", "pods", "-w", "--no-headers"});

  EXPECT_EQ(outcome.out,
            "a     0/1   Pending   0     60s\n"
            "b     0/1   Running   0     60s\n"
            "a     0/1   Running   0     60s\n"
            "b     0/1   Running   0     60s\n");
}

TEST_F(CommandsTest, GetWatchOfAnAbsentNameFails) {
  EXPECT_EQ(Run({"get", "pod", "x", "-w"}).err,
            "Error from server (NotFound): pods \"x\" not found\n");
}

// --- describe, events ---

TEST_F(CommandsTest, DescribeFindsByPrefixAndShowsEventsOfTheObjectOnly) {
  server_.Put(Pod("web-1"));
  server_.Put(
      Parse<v1::Resource>("event { metadata { name: 'e1' namespace: 'default' } involved_object { "
                          "kind: 'Pod' name: 'web-1' "
                          "uid: 'u-web-1' } reason: 'Pulled' type: 'Normal' message: 'hello' }"));
  server_.Put(Parse<v1::Resource>(
      "event { metadata { name: 'e2' namespace: 'default' } involved_object { kind: 'Pod' name: "
      "'web-1' "
      "uid: 'u-before' } reason: 'Older' type: 'Normal' message: 'of a pod before' }"));

  Outcome outcome = Run({"describe", "pod", "web"});

  EXPECT_NE(outcome.out.find("Name:"), std::string::npos);
  EXPECT_NE(outcome.out.find("Pulled"), std::string::npos);
  EXPECT_EQ(outcome.out.find("Older"), std::string::npos);
  EXPECT_EQ(outcome.exit_code, 0);
}

TEST_F(CommandsTest, DescribeOfAnAbsentNameFails) {
  Outcome outcome = Run({"describe", "pod", "nope"});

  EXPECT_EQ(outcome.err, "Error from server (NotFound): pods \"nope\" not found\n");
  EXPECT_EQ(outcome.exit_code, 1);
}

TEST_F(CommandsTest, EventsListTheOldestFirst) {
  for (int i : {1, 2}) {
    server_.Put(Parse<v1::Resource>(
        "event { metadata { name: 'e" + std::to_string(i) +
        "' namespace: 'default' } involved_object { kind: 'Pod' name: 'a' } reason: 'R" +
        std::to_string(i) + "' type: 'Normal' message: 'm' count: 1 " +
        Ago("last_timestamp", i * 10) + "}"));
  }

  EXPECT_EQ(Run({"events"}).out,
            "LAST SEEN   TYPE     REASON   OBJECT   MESSAGE\n"
            "20s         Normal   R2       Pod/a    m\n"
            "10s         Normal   R1       Pod/a    m\n");
  EXPECT_EQ(Run({"events", "--for", "pod/b"}).err, "No events found in default namespace.\n");
}

// Times are whole seconds; what was written first happened first.
TEST_F(CommandsTest, EventsOfOneSecondKeepTheOrderInWhichTheyWereWritten) {
  server_.Put(Pod("web-1"));
  for (int i = 12; i >= 1; --i) {
    server_.Put(Parse<v1::Resource>(
        "event { metadata { name: 'e" + std::to_string(i) +
        "' namespace: 'default' } involved_object { kind: 'Pod' name: 'web-1' } reason: 'R" +
        std::to_string(100 + i) + "' type: 'Normal' message: 'm' count: 1 " +
        Ago("last_timestamp", 10) + "}"));
  }

  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"events"}, {"get", "events"}, {"describe", "pod", "web-1"}}) {
    const std::string out = Run(command).out;
    for (int i = 12; i >= 2; --i) {
      EXPECT_LT(out.find("R" + std::to_string(100 + i)), out.find("R" + std::to_string(99 + i)))
          << out;
    }
  }
}

// --- delete ---

TEST_F(CommandsTest, DeleteWaitsUntilTheObjectIsGone) {
  server_.Put(Pod("a"));
  server_.remove_on_delete = false;
  server_.OnWatch([&] { server_.Remove(v1::KIND_POD, "default", "a"); });

  Outcome outcome = Run({"delete", "pod", "a"});

  EXPECT_EQ(outcome.out, "pod \"a\" deleted\n");
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(server_.watches.size(), 1U);
  EXPECT_FALSE(server_.deletes.at(0).has_grace_period_seconds());
}

TEST_F(CommandsTest, DeleteDoesNotWaitForANewObjectOfTheSameName) {
  server_.Put(Pod("a"));
  server_.remove_on_delete = false;
  server_.OnWatch([&] {
    v1::Resource next = Pod("a");
    next.mutable_pod()->mutable_metadata()->set_uid("another");
    server_.Put(next);
  });

  EXPECT_EQ(Run({"delete", "pod/a", "--timeout=20s"}).exit_code, 0);
}

TEST_F(CommandsTest, DeleteGivesUpAfterItsTimeout) {
  server_.Put(Pod("a"));
  server_.remove_on_delete = false;

  Outcome outcome = Run({"delete", "pod", "a", "--timeout=50ms"});

  EXPECT_EQ(outcome.out, "pod \"a\" deleted\n");
  EXPECT_EQ(outcome.err, "error: timed out waiting for the condition on pods/a\n");
  EXPECT_EQ(outcome.exit_code, 1);
}

TEST_F(CommandsTest, DeleteWithoutWaitReturnsAtOnce) {
  server_.Put(Pod("a"));
  server_.remove_on_delete = false;

  EXPECT_EQ(Run({"delete", "pod", "a", "--wait=false"}).exit_code, 0);
  EXPECT_TRUE(server_.watches.empty());
}

TEST_F(CommandsTest, DeleteSendsTheGracePeriod) {
  server_.Put(Pod("a"));
  server_.Put(Pod("b"));
  server_.Put(Pod("c"));

  Run({"delete", "pod", "a", "--grace-period=7"});
  Run({"delete", "pod", "b", "--now"});
  Outcome forced = Run({"delete", "pod", "c", "--force", "--grace-period=0"});

  ASSERT_EQ(server_.deletes.size(), 3U);
  EXPECT_EQ(server_.deletes[0].grace_period_seconds(), 7);
  EXPECT_EQ(server_.deletes[1].grace_period_seconds(), 1);
  EXPECT_TRUE(server_.deletes[2].has_grace_period_seconds());
  EXPECT_EQ(server_.deletes[2].grace_period_seconds(), 0);
  EXPECT_EQ(forced.out, "pod \"c\" force deleted\n");
  EXPECT_EQ(forced.err.rfind("Warning: Immediate deletion does not wait", 0), 0U);
}

TEST_F(CommandsTest, DeleteOfAnAbsentNameFailsUnlessIgnored) {
  Outcome outcome = Run({"delete", "deployment", "x"});
  EXPECT_EQ(outcome.err, "Error from server (NotFound): deployments.apps \"x\" not found\n");
  EXPECT_EQ(outcome.exit_code, 1);

  EXPECT_EQ(Run({"delete", "deployment", "x", "--ignore-not-found"}).exit_code, 0);
}

TEST_F(CommandsTest, DeleteByLabelAndAllDeleteEachObject) {
  server_.Put(Pod("a"));
  server_.Put(Pod("b"));

  EXPECT_EQ(Run({"delete", "pods", "-l", "app=web"}).out, "pod \"a\" deleted\npod \"b\" deleted\n");
  EXPECT_EQ(Run({"delete", "pods", "--all"}).err, "No resources found in default namespace.\n");
  EXPECT_EQ(Run({"delete", "pods"}).err,
            "error: resource(s) were provided, but no name was specified\n");
}

// --- scale ---

TEST_F(CommandsTest, ScaleSaysWhatItScaled) {
  server_.Put(Deployment(""));

  Outcome outcome = Run({"scale", "--replicas=5", "deployment/web"});

  EXPECT_EQ(outcome.out, "deployment.apps/web scaled\n");
  EXPECT_EQ(Run({"get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"}).out, "5");
}

TEST_F(CommandsTest, ScaleFailsWhenTheSizeIsNotTheExpectedOne) {
  server_.Put(Deployment(""));

  Outcome outcome = Run({"scale", "--current-replicas=7", "--replicas=5", "deployment", "web"});

  EXPECT_EQ(outcome.err, "Error from server (Conflict): expected replicas to be 7, was 1\n");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(Run({"scale", "--replicas=1", "pod/a"}).err,
            "error: pods cannot be scaled; deployments and replicasets can\n");
}

// --- wait ---

TEST_F(CommandsTest, WaitSeesAConditionThatIsMetAlready) {
  server_.Put(Pod("a", "conditions { type: 'Ready' status: 'True' }"));

  Outcome outcome = Run({"wait", "--for=condition=ready", "pod/a", "--timeout=0"});

  EXPECT_EQ(outcome.out, "pod/a condition met\n");
  EXPECT_EQ(outcome.exit_code, 0);
}

TEST_F(CommandsTest, WaitFollowsTheObjectUntilTheConditionIsMet) {
  server_.Put(Pod("a"));
  server_.OnWatch([&] {
    server_.Put(Pod("a", "conditions { type: 'Ready' status: 'False' }"));
    server_.Put(Pod("a", "conditions { type: 'Ready' status: 'True' }"));
  });

  EXPECT_EQ(Run({"wait", "--for=condition=Ready", "pod/a"}).out, "pod/a condition met\n");
}

TEST_F(CommandsTest, WaitTimesOutForEachObject) {
  server_.Put(Pod("a"));
  server_.Put(Pod("b"));

  Outcome outcome = Run({"wait", "--for=condition=Ready", "pods", "--all", "--timeout=50ms"});

  EXPECT_EQ(outcome.err,
            "error: timed out waiting for the condition on pods/a\n"
            "error: timed out waiting for the condition on pods/b\n");
  EXPECT_EQ(outcome.exit_code, 1);
}

TEST_F(CommandsTest, WaitForAnAbsentObjectFails) {
  Outcome outcome = Run({"wait", "--for=condition=Ready", "pod/x"});

  EXPECT_EQ(outcome.err, "Error from server (NotFound): pods \"x\" not found\n");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(Run({"wait", "--for=condition=Ready", "pods", "-l", "app=x"}).err,
            "error: no matching resources found\n");
}

TEST_F(CommandsTest, WaitForDeletion) {
  server_.Put(Pod("a"));
  server_.OnWatch([&] { server_.Remove(v1::KIND_POD, "default", "a"); });

  EXPECT_EQ(Run({"wait", "--for=delete", "pod/a"}).out, "pod/a condition met\n");
  EXPECT_EQ(Run({"wait", "--for=delete", "pod/a"}).exit_code, 0);
}

TEST_F(CommandsTest, WaitForATemplatesValue) {
  server_.Put(Pod("a", "phase: 'Pending'"));
  server_.OnWatch([&] { server_.Put(Pod("a", "phase: 'Running'")); });

  EXPECT_EQ(Run({"wait", "--for=jsonpath={.status.phase}=Running", "pod/a"}).out,
            "pod/a condition met\n");
}

// --- rollout ---

TEST_F(CommandsTest, RolloutStatusTellsEachStep) {
  server_.Put(Deployment("replicas: 2 updated_replicas: 1"));
  server_.OnWatch([&] {
    server_.Put(Deployment("replicas: 3 updated_replicas: 2"));
    server_.Put(Deployment("replicas: 2 updated_replicas: 2 available_replicas: 1"));
    server_.Put(Deployment("replicas: 2 updated_replicas: 2 available_replicas: 2"));
  });

  Outcome outcome = Run({"rollout", "status", "deployment/web"});

  EXPECT_EQ(outcome.out,
            "Waiting for deployment \"web\" rollout to finish: 1 out of 2 new replicas have been "
            "updated...\n"
            "Waiting for deployment \"web\" rollout to finish: 1 old replicas are pending "
            "termination...\n"
            "Waiting for deployment \"web\" rollout to finish: 1 of 2 updated replicas are "
            "available...\n"
            "deployment \"web\" successfully rolled out\n");
  EXPECT_EQ(outcome.exit_code, 0);
}

TEST_F(CommandsTest, RolloutStatusFailsPastTheProgressDeadline) {
  server_.Put(Deployment(
      "conditions { type: 'Progressing' status: 'False' reason: 'ProgressDeadlineExceeded' }"));

  Outcome outcome = Run({"rollout", "status", "deploy/web"});

  EXPECT_EQ(outcome.err, "error: deployment \"web\" exceeded its progress deadline\n");
  EXPECT_EQ(outcome.exit_code, 1);
}

TEST_F(CommandsTest, RolloutStatusTimesOut) {
  server_.Put(Deployment(""));

  Outcome outcome = Run({"rollout", "status", "deploy/web", "--timeout=50ms"});

  EXPECT_EQ(outcome.err, "error: timed out waiting for the condition\n");
  EXPECT_EQ(outcome.exit_code, 1);
}

TEST_F(CommandsTest, RolloutRestartChangesTheTemplate) {
  server_.Put(Deployment(""));

  EXPECT_EQ(Run({"rollout", "restart", "deployment/web"}).out, "deployment.apps/web restarted\n");

  const auto& annotations =
      server_.update_request.resource().deployment().spec().template_().metadata();
  EXPECT_EQ(annotations.annotations().at("kubectl.kubernetes.io/restartedAt"),
            "2026-01-02T03:04:05Z");
}

// --- logs, exec ---

TEST_F(CommandsTest, LogsOfADeploymentTakeAReadyPod) {
  server_.Put(Deployment(""));
  server_.Put(Pod("web-1", "phase: 'Pending'"));
  server_.Put(Pod("web-2", "phase: 'Running' conditions { type: 'Ready' status: 'True' }"));
  server_.log_texts["web-2"] = "one\ntwo\n";

  Outcome outcome = Run({"logs", "deployment/web", "--tail", "2", "-f", "--since=60s"});

  EXPECT_EQ(outcome.out, "one\ntwo\n");
  EXPECT_EQ(outcome.err, "Found 2 pods, using pod/web-2\n");
  ASSERT_EQ(server_.logs.size(), 1U);
  EXPECT_EQ(server_.logs[0].container(), "web");
  EXPECT_EQ(server_.logs[0].tail_lines(), 2);
  EXPECT_TRUE(server_.logs[0].follow());
  EXPECT_EQ(server_.logs[0].since().seconds(), kNowSeconds - 60);
}

TEST_F(CommandsTest, LogsOfASelectorShowTheEndsOfAllPods) {
  server_.Put(Pod("a"));
  server_.Put(Pod("b"));
  server_.log_texts["a"] = "x\ny\n";
  server_.log_texts["b"] = "z\n";

  EXPECT_EQ(Run({"logs", "-l", "app=web", "--prefix"}).out,
            "[pod/a/web] x\n[pod/a/web] y\n[pod/b/web] z\n");
  EXPECT_EQ(server_.logs.at(0).tail_lines(), 10);
}

TEST_F(CommandsTest, LogsRefuseAContainerThatThePodHasNot) {
  server_.Put(Pod("a"));

  EXPECT_EQ(Run({"logs", "a", "-c", "foo"}).err, "error: container foo is not valid for pod a\n");
  EXPECT_EQ(Run({"logs", "nope"}).err, "Error from server (NotFound): pods \"nope\" not found\n");
}

TEST_F(CommandsTest, ExecReturnsTheCommandsExitCode) {
  server_.Put(Pod("a"));
  server_.exec_outputs = {Parse<v1::ExecOutput>("stdout: 'hello\\n'"),
                          Parse<v1::ExecOutput>("stderr: 'oops\\n'"),
                          Parse<v1::ExecOutput>("exit_code: 3")};

  Outcome outcome = Run({"exec", "a", "--", "sh", "-c", "[ -f x ]"});

  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_EQ(outcome.out, "hello\n");
  EXPECT_EQ(outcome.err, "oops\ncommand terminated with exit code 3\n");
  const v1::ExecStart& start = server_.exec_inputs.at(0).start();
  ASSERT_EQ(start.command_size(), 3);
  EXPECT_EQ(start.command(2), "[ -f x ]");
  EXPECT_EQ(start.container(), "web");
  EXPECT_FALSE(start.stdin());
}

TEST_F(CommandsTest, ExecPassesStandardInputToItsEnd) {
  server_.Put(Pod("a"));
  server_.exec_reads_all = true;
  server_.exec_outputs = {Parse<v1::ExecOutput>("exit_code: 0")};
  int pipe_fds[2];
  ASSERT_EQ(pipe2(pipe_fds, O_CLOEXEC), 0);
  UniqueFd read_end(pipe_fds[0]), write_end(pipe_fds[1]);
  ASSERT_EQ(write(write_end.get(), "typed", 5), 5);
  write_end.reset();

  Outcome outcome = Run({"exec", "-i", "a", "--", "cat"}, read_end.get());

  EXPECT_EQ(outcome.exit_code, 0);
  ASSERT_EQ(server_.exec_inputs.size(), 3U);
  EXPECT_TRUE(server_.exec_inputs[0].start().stdin());
  EXPECT_EQ(server_.exec_inputs[1].stdin(), "typed");
  EXPECT_TRUE(server_.exec_inputs[2].stdin_closed());
}

TEST_F(CommandsTest, ExecFailsWithTheServersWords) {
  server_.Put(Pod("a"));
  server_.exec_status = {grpc::StatusCode::NOT_FOUND, "container \"web\" is not running"};

  Outcome outcome = Run({"exec", "a", "--", "ls"});

  EXPECT_EQ(outcome.err, "Error from server (NotFound): container \"web\" is not running\n");
  EXPECT_EQ(outcome.exit_code, 1);

  server_.exec_status = {grpc::StatusCode::FAILED_PRECONDITION, "container \"web\" is waiting"};
  EXPECT_EQ(Run({"exec", "a", "--", "ls"}).err,
            "Error from server (BadRequest): container \"web\" is waiting\n");
}

// --- bpf, version ---

TEST_F(CommandsTest, BpfServiceListShowsRowsAndNamesTheNodesThatFailed) {
  server_.dataplane = Parse<v1::ListDataplaneResponse>(
      "nodes { node: 'n1' services { vip: '10.96.0.10' port: 80 protocol: 'TCP' namespace: 'shop' "
      "service: 'web' type: 'LoadBalancer' algorithm: 'random' } } nodes { node: 'n2' error: "
      "'agent "
      "does not answer' }");

  Outcome outcome = Run({"bpf", "service", "list", "-n", "shop", "--service", "web", "--node=n1"});

  EXPECT_EQ(outcome.out,
            "NODE   NAMESPACE   SERVICE   TYPE           FRONTEND            ALGORITHM   BACKENDS\n"
            "n1     shop        web       LoadBalancer   10.96.0.10:80/TCP   random      <none>\n");
  EXPECT_EQ(outcome.err, "warning: n2: agent does not answer\n");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(server_.dataplane_request.table(), v1::DATAPLANE_TABLE_SERVICE);
  EXPECT_EQ(server_.dataplane_request.namespace_(), "shop");
  EXPECT_EQ(server_.dataplane_request.service(), "web");
  EXPECT_EQ(server_.dataplane_request.node(), "n1");
}

TEST_F(CommandsTest, BpfServiceGetAsksForOneService) {
  Run({"bpf", "svc", "get", "web", "-n", "shop"});

  EXPECT_EQ(server_.dataplane_request.table(), v1::DATAPLANE_TABLE_SERVICE);
  EXPECT_EQ(server_.dataplane_request.service(), "web");
  EXPECT_EQ(Run({"bpf", "svc", "get"}).exit_code, 1);
}

TEST_F(CommandsTest, BpfPrintsTheRowsOfTheTableAsJson) {
  server_.dataplane = Parse<v1::ListDataplaneResponse>(
      "nodes { node: 'n1' revision: 42 metrics { reason: 'forwarded' packets: 12 } }");

  EXPECT_EQ(Run({"bpf", "metrics", "list", "-o", "yaml"}).out,
            "nodes:\n- node: n1\n  error: \"\"\n  revision: 42\n  metrics:\n  - reason: forwarded\n"
            "    direction: \"\"\n    packets: 12\n    bytes: 0\n  entries: 0\n  maxEntries: 0\n"
            "  entries6: 0\n  maxEntries6: 0\n");
  EXPECT_NE(Run({"bpf", "service", "list", "-o", "json"}).out.find("\"services\": []"),
            std::string::npos);
}

TEST_F(CommandsTest, BpfShowsAllNamespacesWhenNoneIsNamed) {
  Outcome outcome = Run({"bpf", "ct", "list"});

  EXPECT_EQ(outcome.err, "No entries found.\n");
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(server_.dataplane_request.namespace_(), "");
}

TEST_F(CommandsTest, VersionShowsClientAndServer) {
  EXPECT_EQ(Run({"version"}).out, "Client Version: v0.1.0\nServer Version: v9.8.7\n");
}

}  // namespace
}  // namespace mesh::cli
