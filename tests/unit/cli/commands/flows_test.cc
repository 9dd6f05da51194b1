// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <algorithm>
#include <cstdlib>

#include "tests/unit/cli/commands/commands_world.h"

namespace mesh::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const char kOpened[] =
    "flows { time { seconds: 1767323045 nanos: 7000000 } node: 'n1' event: 'opened' verdict: "
    "'forwarded' protocol: 'TCP' source { address: '10.244.1.5' port: 40000 namespace: 'shop' pod: "
    "'web-1' } destination { address: '10.244.2.7' port: 9000 namespace: 'pay' pod: 'api-0' } "
    "dialled_address: '10.96.0.9' dialled_port: 8080 service_namespace: 'pay' service: 'api' "
    "target: 'tunnel' tcp_flags: 'syn' source_identity: 300 } ";
const char kDropped[] =
    "flows { time { seconds: 1767323044 nanos: 250000000 } node: 'n2' event: 'packet' verdict: "
    "'dropped' reason: 'isolation' protocol: 'UDP' source { address: '203.0.113.9' port: 53 } "
    "destination { address: 'fd00::7' port: 8080 } packets: 1 bytes: 90 } ";

class FlowsTest : public CommandsTest {
 protected:
  FlowsTest() { ::setenv("TZ", "UTC", 1); }
  void Answer(const std::vector<std::string>& chunks) {
    for (const std::string& chunk : chunks)
      server_.flow_chunks.push_back(Parse<v1::FlowsChunk>(chunk));
  }
};

TEST_F(FlowsTest, ShowsTheFlowsOfAllNodesInTheOrderOfTime) {
  Answer({std::string("node: 'n1' ") + kOpened, std::string("node: 'n2' more: true ") + kDropped});

  const Outcome outcome = Run({"flows"});

  EXPECT_EQ(outcome.out,
            "TIME           NODE   EVENT    VERDICT     REASON      PROTO   SOURCE             "
            "DESTINATION      SERVICE\n"
            "03:04:04.250   n2     packet   dropped     isolation   UDP     203.0.113.9:53     "
            "[fd00::7]:8080   -\n"
            "03:04:05.007   n1     opened   forwarded   -           TCP     shop/web-1:40000   "
            "pay/api-0:9000   pay/api\n");
  EXPECT_EQ(outcome.err, "n2: there are more flows than --last 1000\n");
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_FALSE(server_.flows_request.follow());
  EXPECT_EQ(server_.flows_request.limit(), 1000u);
}

TEST_F(FlowsTest, FollowsInAlignedColumnsAndTellsWhatWasLost) {
  Answer({"node: 'n1'", std::string("node: 'n1' ") + kOpened,
          std::string("node: 'n2' lost { ring: 5 queue: 6 suppressed: 7 } ") + kDropped,
          "node: 'n3' error: 'node \"n3\": its agent does not answer: gone'"});

  const Outcome outcome = Run({"flows", "--follow"});

  // The headers come first, and rows of usual length stand below them.
  std::istringstream lines(outcome.out);
  std::string header, first, second;
  std::getline(lines, header);
  std::getline(lines, first);
  std::getline(lines, second);
  EXPECT_EQ(first.find("shop/web-1:40000"), header.find("SOURCE"));
  EXPECT_EQ(first.find("pay/api-0:9000"), header.find("DESTINATION"));
  EXPECT_EQ(first.find("pay/api", first.find("9000")), header.find("SERVICE"));
  EXPECT_EQ(second.find("isolation"), header.find("REASON"));
  EXPECT_EQ(second.find("203.0.113.9:53"), header.find("SOURCE"));
  EXPECT_EQ(outcome.err,
            "warning: n2: 5 events were lost: the node's ring was full\n"
            "warning: n2: 6 events were lost: they came faster than they were read\n"
            "warning: n2: 7 dropped packets were counted and not told: too many at once\n"
            "warning: node \"n3\": its agent does not answer: gone\n");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_TRUE(server_.flows_request.follow());
}

TEST_F(FlowsTest, WideAddsWhatWasDialled) {
  Answer({std::string("node: 'n1' ") + kOpened});

  const Outcome outcome = Run({"flows", "-o", "wide", "--no-headers"});

  EXPECT_THAT(outcome.out, StartsWith("03:04:05.007   n1"));
  EXPECT_THAT(outcome.out, HasSubstr("pay/api   10.96.0.9:8080   tunnel   syn"));
  EXPECT_THAT(outcome.out, HasSubstr("300>-"));
}

TEST_F(FlowsTest, AFollowedFlowIsALineOfJson) {
  Answer({"node: 'n1'", std::string("node: 'n1' ") + kOpened + kDropped});

  const Outcome outcome = Run({"flows", "-f", "-o", "json"});

  const size_t line = outcome.out.find('\n');
  ASSERT_NE(line, std::string::npos);
  EXPECT_THAT(outcome.out.substr(0, line), HasSubstr("\"pod\":\"web-1\""));
  EXPECT_THAT(outcome.out.substr(line + 1), HasSubstr("\"reason\":\"isolation\""));
  EXPECT_THAT(Run({"flows", "-o", "json"}).out, StartsWith("{\n    \"flows\": [\n"));
  EXPECT_THAT(Run({"flows", "-o", "yaml"}).out, StartsWith("flows:\n- "));
}

TEST_F(FlowsTest, FiltersReachTheNodes) {
  server_.Put(Parse<v1::Resource>("node { metadata { name: 'n2' } }"));
  Run({"flows",     "-f",      "-n",         "shop",      "--pod",   "web-1,web-2", "--from",
       "outside",   "--to",    "node/n2",    "--service", "pay/api", "--verdict",   "dropped",
       "--verdict", "refused", "--reason",   "isolation", "--proto", "udp",         "--port",
       "53",        "--ip",    "10.0.0.0/8", "--node",    "n1"});

  const auto expected = Parse<v1::FlowsRequest>(
      "node: 'n1' follow: true limit: 1000 filter { namespace: 'shop' pods: 'web-1' pods: 'web-2' "
      "from: 'outside' to: 'node/n2' services: 'pay/api' verdicts: 'dropped' verdicts: 'refused' "
      "reasons: 'isolation' protocols: 'UDP' ports: 53 ips: '10.0.0.0/8' }");
  EXPECT_EQ(server_.flows_request.ShortDebugString(), expected.ShortDebugString());
}

TEST_F(FlowsTest, AFilterThatParsesToNothingIsNamed) {
  const struct {
    std::vector<std::string> args;
    const char* error;
  } rows[] = {
      {{"--port", "http"}, "error: --port: \"http\" is no port: want 1 to 65535\n"},
      {{"--port", "70000"}, "error: --port: \"70000\" is no port: want 1 to 65535\n"},
      {{"--proto", "sctp"}, "error: --proto: \"SCTP\" is none of TCP, UDP, ICMP\n"},
      {{"--verdict", "no"}, "error: --verdict: \"no\" is none of forwarded, dropped, refused\n"},
      {{"--ip", "10.0"}, "error: --ip: \"10.0\" is no address and no range (10.244.1.0/24)\n"},
      {{"--pod", "a/b/c"},
       "error: --pod: \"a/b/c\" is no pod: want NAME, NAMESPACE/NAME or NAMESPACE/PREFIX*\n"},
      {{"-o", "text"},
       "error: unable to match a printer suitable for the output format \"text\", allowed formats "
       "are: json,table,wide,yaml\n"},
  };
  for (const auto& row : rows) {
    std::vector<std::string> args = row.args;
    args.insert(args.begin(), "flows");
    const Outcome outcome = Run(args);
    EXPECT_EQ(outcome.err, row.error);
    EXPECT_EQ(outcome.exit_code, 1);
  }
  for (const char* list : {"a,,b", ",a", "a,", ","}) {
    const Outcome outcome = Run({"flows", "--from", list});
    EXPECT_EQ(outcome.err, std::string("error: --from: \"") + list +
                               "\" has an empty entry: give a name before and behind each comma\n"
                               "See 'meshctl flows --help' for usage.\n");
    EXPECT_EQ(outcome.exit_code, 1);
  }
  EXPECT_EQ(Run({"flows", "--last", "0"}).exit_code, 1);
  EXPECT_EQ(Run({"flows", "--last", "5", "--follow"}).exit_code, 1);
  EXPECT_EQ(Run({"flows", "--count", "5"}).exit_code, 1);
  EXPECT_EQ(server_.flows_asked, 0);
}

TEST_F(FlowsTest, ANodeThatDoesNotExistIsAnError) {
  server_.Put(Parse<v1::Resource>("node { metadata { name: 'n1' } }"));

  const Outcome outcome = Run({"flows", "--from", "node/n1", "--to", "node/nope"});

  EXPECT_EQ(outcome.err, "error: --to: nodes \"nope\" not found\n");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(server_.flows_asked, 0);
}

TEST_F(FlowsTest, EndsAfterSoManyFlows) {
  Answer({"node: 'n1'", std::string("node: 'n1' ") + kOpened + kDropped + kOpened,
          std::string("node: 'n1' ") + kOpened});

  const Outcome outcome = Run({"flows", "--follow", "--count", "2", "--no-headers"});

  EXPECT_EQ(std::count(outcome.out.begin(), outcome.out.end(), '\n'), 2);
  EXPECT_EQ(outcome.exit_code, 0);
}

TEST_F(FlowsTest, NothingFoundIsSaid) {
  const Outcome outcome = Run({"flows"});

  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err, "No flows found.\n");
  EXPECT_EQ(outcome.exit_code, 0);
}

}  // namespace
}  // namespace mesh::cli
