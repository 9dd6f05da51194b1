// SPDX-License-Identifier: Apache-2.0
// Commands that show and delete objects.
#include <string>
#include <vector>

#include "fmt/format.h"
#include "tests/unit/cli/commands/commands_world.h"

namespace mesh::cli {
namespace {

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

// Of a thousand, one commit after the other would take their time.
TEST_F(CommandsTest, DeleteAsksForAllTogetherAndLooksOnceWhetherTheyAreGone) {
  std::string told;
  for (const char* name : {"a", "b", "c", "d"}) {
    server_.Put(Pod(name));
    told += fmt::format("pod \"{}\" deleted\n", name);
  }
  server_.deletes_together = 4;

  const Outcome outcome = Run({"delete", "pods", "--all"});

  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, told);
  EXPECT_EQ(server_.lists, 2);
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

}  // namespace
}  // namespace mesh::cli
