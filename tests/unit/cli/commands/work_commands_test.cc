// SPDX-License-Identifier: Apache-2.0
// Commands that change and follow workloads, and those that look into nodes.
#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "common/unique_fd.h"
#include "tests/unit/cli/commands/commands_world.h"

namespace mesh::cli {
namespace {

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

TEST_F(CommandsTest, BpfFiltersReachTheNodes) {
  Run({"bpf", "ct", "list", "--pod", "shop/web-1", "--proto", "udp", "--ip", "FD00::0:1"});

  EXPECT_EQ(server_.dataplane_request.table(), v1::DATAPLANE_TABLE_CONNTRACK);
  EXPECT_EQ(server_.dataplane_request.pod(), "shop/web-1");
  EXPECT_EQ(server_.dataplane_request.protocol(), "UDP");
  EXPECT_EQ(server_.dataplane_request.ip(), "fd00::1");
}

TEST_F(CommandsTest, BpfNamesTheFilterThatParsesToNothing) {
  EXPECT_EQ(Run({"bpf", "ct", "list", "--ip", "10.0.0"})
                .err.rfind("error: invalid argument \"10.0.0\" for \"--ip\": ", 0),
            0u);
  EXPECT_EQ(Run({"bpf", "ct", "list", "--proto", "icmp"}).err,
            "error: invalid argument \"icmp\" for \"--proto\": want tcp or udp\n");
  for (const std::string pod : {"nope/", "/web", "/", "a/b/c"}) {
    EXPECT_EQ(
        Run({"bpf", "ct", "list", "--pod", pod}).err,
        "error: invalid argument \"" + pod + "\" for \"--pod\": want NAME or NAMESPACE/NAME\n");
  }
  for (const std::string name : {"x/", "/x", "a/b/c", "x y", "X", "10.0/x", "-x"}) {
    const std::string error = "error: invalid argument \"" + name + "\" for \"";
    const std::string want = "\": want NAME or NAMESPACE/NAME\n";
    EXPECT_EQ(Run({"bpf", "service", "list", "--service", name}).err, error + "--service" + want);
    if (name.front() == '-') continue;  // a flag
    EXPECT_EQ(Run({"bpf", "service", "get", name}).err, error + "SERVICE" + want);
    EXPECT_EQ(Run({"bpf", "policy", "get", name}).err, error + "POLICY" + want);
  }
  EXPECT_EQ(Run({"bpf", "map", "list", "--interval", "1s"}).err,
            "error: --interval goes with --watch\n"
            "See 'meshctl bpf map list --help' for usage.\n");
  for (const std::string flag : {"--ip", "--proto", "--pod", "--service", "--node"}) {
    EXPECT_NE(Run({"bpf", "ct", "list", flag, ""}).err.find(flag + ": give one"),
              std::string::npos);
  }
  EXPECT_EQ(Run({"bpf", "prog", "stats", "--duration", "1h"}).err,
            "error: invalid argument \"1h\" for \"--duration\": want a duration above 0 and at "
            "most 10s\n");
  EXPECT_EQ(Run({"bpf", "map", "dump", "mesh_flow", "--limit", "0"}).exit_code, 1);
  EXPECT_EQ(server_.dataplane_request.table(), v1::DATAPLANE_TABLE_UNSPECIFIED);
}

TEST_F(CommandsTest, BpfGetNamesTheServiceThatThereIsNot) {
  for (const char* table : {"service", "backend"}) {
    for (const char* output : {"table", "json"}) {
      Outcome outcome = Run({"bpf", table, "get", "nope", "-n", "shop", "-o", output});
      EXPECT_EQ(outcome.out, "");
      EXPECT_EQ(outcome.err, "error: services \"nope\" not found in namespace shop\n");
      EXPECT_EQ(outcome.exit_code, 1);
    }
  }
  EXPECT_EQ(Run({"bpf", "service", "get", "nope"}).err,
            "error: services \"nope\" not found in any namespace\n");

  server_.Put(Parse<v1::Resource>("service { metadata { namespace: 'shop' name: 'idle' } }"));
  Outcome outcome = Run({"bpf", "backend", "get", "idle", "-n", "shop"});
  EXPECT_EQ(outcome.err, "No entries found.\n");
  EXPECT_EQ(outcome.exit_code, 0);
}

TEST_F(CommandsTest, BpfTakesServicesWithTheirNamespace) {
  server_.Put(Parse<v1::Resource>("service { metadata { namespace: 'shop' name: 'idle' } }"));

  EXPECT_EQ(Run({"bpf", "service", "get", "shop/idle"}).err, "No entries found.\n");
  EXPECT_EQ(server_.dataplane_request.service(), "shop/idle");
  EXPECT_EQ(Run({"bpf", "service", "get", "pay/idle"}).err,
            "error: services \"idle\" not found in namespace pay\n");
}

TEST_F(CommandsTest, ANamespaceThatCannotBeIsAnError) {
  for (const std::string ns : {"x/", "X", "a.b", "-x"}) {
    const Outcome outcome = Run({"get", "pods", "--namespace=" + ns});
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_EQ(outcome.err.rfind(
                  "error: invalid argument \"" + ns + "\" for \"-n, --namespace\" flag: ", 0),
              0u)
        << outcome.err;
  }
  EXPECT_EQ(server_.lists, 0);
}

TEST_F(CommandsTest, EventsOfNoTypeAreAnError) {
  EXPECT_EQ(Run({"events", "--types", "warning"}).err,
            "error: --types: \"warning\" is neither Normal nor Warning\n");
  EXPECT_EQ(Run({"events", "--types", "Warning,,"}).exit_code, 1);
  EXPECT_EQ(Run({"events", "--types=Warning,Normal"}).exit_code, 0);
}

TEST_F(CommandsTest, BpfMapDumpTellsWhatItLeftOut) {
  server_.dataplane = Parse<v1::ListDataplaneResponse>(
      "nodes { node: 'n1' map_entries { key: 'vip=10.96.0.10' values: 'set_id=3' } more: true }");

  Outcome outcome = Run({"bpf", "map", "dump", "mesh_service", "--limit", "1"});

  EXPECT_EQ(outcome.out,
            "NODE   KEY              VALUE\n"
            "n1     vip=10.96.0.10   set_id=3\n");
  EXPECT_EQ(outcome.err, "n1: the map has more rows than --limit 1\n");
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(server_.dataplane_request.map(), "mesh_service");
  EXPECT_EQ(server_.dataplane_request.limit(), 1u);
}

TEST_F(CommandsTest, BpfProgStatsAsksToCountForAWhile) {
  Run({"bpf", "prog", "stats", "--duration", "250ms"});
  EXPECT_EQ(server_.dataplane_request.measure_ms(), 250u);

  Run({"bpf", "prog", "list"});
  EXPECT_EQ(server_.dataplane_request.measure_ms(), 0u);
}

TEST_F(CommandsTest, BpfWatchPrintsWhatHasChanged) {
  const auto packets = [this](int count) {
    server_.dataplane = Parse<v1::ListDataplaneResponse>(
        "nodes { node: 'n1' metrics { reason: 'ttl' direction: 'ingress' packets: " +
        std::to_string(count) + " } }");
  };
  packets(1);
  int looks = 0;
  std::vector<absl::Duration> pauses;
  const auto pause = [&](absl::Duration time) {
    pauses.push_back(time);
    if (++looks == 2) packets(2);
    return looks < 3;
  };

  Outcome outcome = Run({"bpf", "metrics", "list", "--watch", "--interval", "5s"}, -1, pause);

  EXPECT_EQ(outcome.out,
            "NODE   REASON   DIRECTION   PACKETS   BYTES\n"
            "n1     ttl      ingress     1         0\n"
            "\n"
            "NODE   REASON   DIRECTION   PACKETS   BYTES\n"
            "n1     ttl      ingress     2         0\n");
  EXPECT_EQ(pauses, std::vector<absl::Duration>(3, absl::Seconds(5)));
}

TEST_F(CommandsTest, VersionShowsClientAndServer) {
  EXPECT_EQ(Run({"version"}).out, "Client Version: v0.1.0\nServer Version: v9.8.7\n");
}

}  // namespace
}  // namespace mesh::cli
