// SPDX-License-Identifier: Apache-2.0
// Two nodes, a client on n1 and a Service with a pod on each: what `meshctl bpf` and /metrics tell
// of them. Method: the same figure from the table, the dump of the map and Prometheus.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <future>
#include <map>
#include <sstream>
#include <thread>

#include "common/socket_address.h"
#include "common/unique_fd.h"
#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"

namespace mesh::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// The text at /metrics of a port of 127.0.0.1, as a process with that number sees it; empty when
// nobody answers.
std::string Metrics(pid_t where, uint16_t port) {
  std::string out;
  std::thread([&] {
    const UniqueFd netns(
        ::open(fmt::format("/proc/{}/ns/net", where).c_str(), O_RDONLY | O_CLOEXEC));
    if (!netns || ::setns(netns.get(), CLONE_NEWNET) != 0) return;
    const SocketAddress to(*IpAddress::Parse("127.0.0.1"), port);
    const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval deadline{.tv_sec = 20, .tv_usec = 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
    if (::connect(fd.get(), to.get(), to.length()) != 0) return;
    const std::string ask = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    if (::send(fd.get(), ask.data(), ask.size(), MSG_NOSIGNAL) < 0) return;
    char buffer[4096];
    for (ssize_t n = 0; (n = ::recv(fd.get(), buffer, sizeof buffer, 0)) > 0;)
      out.append(buffer, static_cast<size_t>(n));
  }).join();
  return out;
}

constexpr char kPolicy[] = R"(apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: from-client
spec:
  podSelector:
    matchLabels:
      app: echo
  ingress:
  - from:
    - podSelector:
        matchLabels:
          app: client
    ports: [{port: 9000}]
)";

class InspectionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(cluster_.running());
    cluster_.Apply(EchoManifest("echo", 2) + "---\n" + ClientManifest("client", "n1"));
    ASSERT_TRUE(cluster_.WaitForPods("app=echo", 2));
    ASSERT_TRUE(cluster_.WaitForPods("app=client", 1));
    address_ = cluster_.ClusterIp("echo");
    ASSERT_TRUE(Eventually([&] { return Talk().failures == 0; }));
  }
  LoadResult Talk() {
    return cluster_.Load(cluster_.PodPid("client"), "tcp", HostPort(address_, 80), 20);
  }

  // The rows of the list `name` of node n1.
  Json Rows(const std::string& name, std::vector<std::string> args) {
    args.insert(args.begin(), "bpf");
    args.insert(args.end(), {"--node", "n1", "-o", "json"});
    const Json answer = Json::parse(cluster_.MustMeshctl(std::move(args)), nullptr, false);
    if (answer.is_discarded()) return Json::array();
    return answer["nodes"][0].value(name, Json::array());
  }
  // The first row of which `field` is `value`; null: none.
  static Json With(const Json& rows, const std::string& field, const std::string& value) {
    for (const Json& row : rows) {
      if (row[field] == value) return row;
    }
    return nullptr;
  }

  LocalCluster cluster_{2};
  std::string address_;
};

TEST_F(InspectionTest, TablesTellOfAServiceThatIsDialled) {
  // Programs: attached to the pods of the node, and counted while they run.
  const Json program = With(Rows("programs", {"prog", "list"}), "name", "mesh_from_pod");
  ASSERT_TRUE(program.is_object());
  EXPECT_FALSE(program["attachedTo"].empty());
  EXPECT_EQ(program["hook"], "tc");
  auto load = cluster_.StartLoad(cluster_.PodPid("client"), "tcp", HostPort(address_, 80));
  EXPECT_TRUE(Eventually([&] {
    const Json measured =
        With(Rows("programs", {"prog", "stats", "--duration", "200ms"}), "name", "mesh_from_pod");
    return measured.is_object() && measured["runs"] > 0 && measured["runTimeNs"] > 0;
  }));
  load->Stop();

  // Maps: the Service's row, by name.
  const Json map = With(Rows("maps", {"map", "list"}), "name", "mesh_service");
  ASSERT_TRUE(map.is_object());
  EXPECT_GE(map["entries"], 2);
  const std::string dump =
      cluster_.MustMeshctl({"bpf", "map", "dump", "mesh_service", "--node", "n1"});
  EXPECT_THAT(dump, HasSubstr(fmt::format("vip={} port=80 proto=TCP", address_)));
  EXPECT_THAT(dump, HasSubstr("(default)"));
  EXPECT_EQ(cluster_.Meshctl({"bpf", "map", "dump", "mesh_none", "--node", "n1"}).exit_code, 1);

  // Names: the Service's address stands at its name.
  const Json name = With(Rows("dns", {"dns", "list", "--service", "echo"}), "name",
                         "echo.default.svc.cluster.local");
  ASSERT_TRUE(name.is_object());
  EXPECT_EQ(name["values"], Json::array({address_}));
  EXPECT_TRUE(With(Rows("dnsCounters", {"dns", "stats"}), "name", "queries").is_object());

  // Identities and ways.
  const std::string asker = cluster_.ReadyPods("app=client").at(0)["metadata"]["name"];
  const Json identity =
      With(Rows("identities", {"identity", "list", "--pod", asker}), "namespace", "default");
  ASSERT_TRUE(identity.is_object());
  EXPECT_EQ(identity["pods"], Json::array({"default/" + asker}));
  for (const Json& row : Rows("tunnels", {"tunnel", "list"})) {
    const char* routing = std::getenv("MESH_TEST_ROUTING");
    EXPECT_EQ(row["routing"], routing == nullptr ? "vxlan" : routing);
  }

  // Policies: the rule about the client, and what is left for everybody else.
  cluster_.Apply(kPolicy);
  Json admitted;
  EXPECT_TRUE(Eventually([&] {
    admitted = With(Rows("policies", {"policy", "get", "from-client"}), "verdict", "allow");
    return admitted.is_object();
  }));
  if (admitted.is_object()) {
    EXPECT_EQ(admitted["peers"], Json::array({"default/" + asker})) << admitted;
    EXPECT_EQ(admitted["ports"], Json::array({"TCP 9000"})) << admitted;
    EXPECT_EQ(admitted["policy"], "default/from-client") << admitted;
    EXPECT_EQ(admitted["pods"].size(), 1u) << admitted;
  }
  const Json rest = With(Rows("policies", {"policy", "list"}), "verdict", "drop");
  ASSERT_TRUE(rest.is_object());
  EXPECT_EQ(rest["peers"], Json::array({"everybody else"})) << rest;
  EXPECT_EQ(rest["policies"], Json::array({"default/from-client"})) << rest;
  EXPECT_EQ(With(Rows("maps", {"policy", "stats"}), "name", "mesh_pol_peer")["entries"], 1);
  EXPECT_THAT(cluster_.Meshctl({"bpf", "policy", "get", "nobody"}).text,
              HasSubstr("networkpolicies \"nobody\" not found"));
  cluster_.MustMeshctl({"delete", "networkpolicy", "from-client"});

  // Filters: the client's connections, and nobody's.
  Talk();
  const Json flows = Rows("conntrack", {"ct", "list", "--pod", asker, "--proto", "tcp"});
  ASSERT_FALSE(flows.empty());
  for (const Json& flow : flows) {
    EXPECT_TRUE(flow["sourcePod"] == "default/" + asker ||
                flow["destinationPod"] == "default/" + asker)
        << flow;
    EXPECT_EQ(flow["protocol"], "TCP");
  }
  EXPECT_THAT(Rows("conntrack", {"ct", "list", "--pod", "nobody"}), IsEmpty());
  EXPECT_THAT(Rows("services", {"service", "list", "--ip", "192.0.2.1"}), IsEmpty());
}

// Connections as they are opened and closed, by the names of both ends.
TEST_F(InspectionTest, FlowsAreToldAsTheyHappen) {
  const std::string client = cluster_.ReadyPods("app=client").at(0)["metadata"]["name"];
  std::future<std::string> followed = std::async(std::launch::async, [&] {
    return cluster_.MustMeshctl({"flows", "--follow", "--count", "30", "-o", "json", "--node", "n1",
                                 "--from", "default/" + client, "--service", "echo"});
  });
  EXPECT_TRUE(Eventually([&] {
    Talk();
    return followed.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  }));

  std::map<std::string, int> events;
  std::istringstream lines(followed.get());
  for (std::string line; std::getline(lines, line);) {
    const Json flow = Json::parse(line, nullptr, false);
    ASSERT_FALSE(flow.is_discarded()) << line;
    ++events[flow["event"]];
    EXPECT_EQ(flow["verdict"], "forwarded");
    EXPECT_EQ(flow["source"]["pod"], client);
    EXPECT_EQ(flow["dialledAddress"], address_);
    // Also where it is a pod of the other node.
    EXPECT_THAT(flow["destination"]["pod"].get<std::string>(), HasSubstr("echo-"));
  }
  EXPECT_GT(events["opened"], 0);
  EXPECT_GT(events["closed"], 0);
  EXPECT_EQ(events["opened"] + events["closed"], 30);
}

// What was dropped before somebody asked, with the reason and both ends.
TEST_F(InspectionTest, FlowsTellWhatWasDroppedOfLate) {
  cluster_.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n---\n" +
                 ClientManifest("stranger", "n1", "other"));
  ASSERT_TRUE(cluster_.WaitForPods("app=stranger", 1, "other"));
  const std::string stranger =
      cluster_.ReadyPods("app=stranger", "other").at(0)["metadata"]["name"];
  const Json echo = cluster_.ReadyPods("app=echo").at(0);
  cluster_.Load(cluster_.PodPid("stranger"), "tcp", HostPort(PodIp(echo), 9000), 1);

  EXPECT_TRUE(Eventually([&] {
    const Json answer = Json::parse(
        cluster_.MustMeshctl({"flows", "-o", "json", "--verdict", "dropped", "--reason",
                              "isolation", "--from", "other/" + stranger, "--to",
                              "default/" + echo["metadata"]["name"].get<std::string>()}),
        nullptr, false);
    return !answer.is_discarded() && !answer["flows"].empty() &&
           answer["flows"][0]["destination"]["port"] == 9000;
  }));
  // Open ones are there beside them.
  auto load = cluster_.StartLoad(cluster_.PodPid("client"), "hold", HostPort(address_, 80));
  EXPECT_TRUE(Eventually([&] {
    return cluster_.MustMeshctl({"flows", "--service", "echo", "--verdict", "forwarded"})
               .find("open ") != std::string::npos;
  }));
  load->Stop();
  const auto wrong = cluster_.Meshctl({"flows", "--reason", "isolaton"});
  EXPECT_EQ(wrong.exit_code, 1);
  EXPECT_THAT(wrong.text, HasSubstr("reason: \"isolaton\""));
}

TEST_F(InspectionTest, MetricsAreServedByBothDaemons) {
  const std::string agent = Metrics(cluster_.Pid("n1", "agent"), 9641);
  const std::string meshd = Metrics(cluster_.Pid("n1", "meshd"), 9640);

  EXPECT_THAT(agent, AllOf(HasSubstr("\nmesh_agent_ready 1\n"),
                           HasSubstr("mesh_datapath_map_entries{map=\"mesh_service\"} "),
                           HasSubstr("mesh_datapath_connections{family=\"ipv4\"} ")));
  EXPECT_THAT(agent, Not(HasSubstr("mesh_datapath_forwarded_packets_total{direction=\"egress\","
                                   "hook=\"tc\"} 0\n")));
  auto load = cluster_.StartLoad(cluster_.PodPid("client"), "hold", HostPort(address_, 80));
  EXPECT_TRUE(Eventually([&] {
    return Metrics(cluster_.Pid("n1", "agent"), 9641)
               .find("mesh_service_connections{namespace=\"default\",service=\"echo\"} 1\n") !=
           std::string::npos;
  }));
  load->Stop();
  EXPECT_THAT(meshd, AllOf(HasSubstr("mesh_control_objects{kind=\"Node\"} 2\n"),
                           HasSubstr("\nmesh_control_ready_nodes 2\n"),
                           HasSubstr("\nmesh_control_connected_nodes 2\n")));
  // The client was given its node; the two others waited for theirs.
  EXPECT_THAT(meshd, HasSubstr("\nmesh_control_scheduling_seconds_count 2\n"));
  EXPECT_TRUE(Eventually([&] {
    return Metrics(cluster_.Pid("n1", "meshd"), 9640).find("\nmesh_control_nodes_behind 0\n") !=
           std::string::npos;
  }));
}

}  // namespace
}  // namespace mesh::testing
