// SPDX-License-Identifier: Apache-2.0
// Services as the world outside meets them, and the world as pods meet it. One cluster of three
// nodes for all tests; the client is a host on the nodes' link (Layout::OutsideAddress()).
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <thread>

#include "common/ip_address.h"
#include "common/socket_address.h"
#include "common/unique_fd.h"
#include "tests/cluster/edge_world.h"
#include "tests/unit/agent/network/dns_client.h"

namespace mesh::testing {
namespace {

namespace dns = agent::dns;

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Not;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

const char* const kProtocols[] = {"tcp", "udp"};

class EdgeTest : public ::testing::Test {
 protected:
  // echo: a pod on each node that answers with its name. who: a pod on n1 and one on n2 that answer
  // with their client's address. client: a pod on n3.
  static void SetUpTestSuite() {
    cluster_ = new LocalCluster();
    if (!cluster_->running()) return;
    std::string manifest = ClientManifest("client", "n3") + "---\n";
    for (const char* node : {"n1", "n2", "n3"})
      manifest += ServerPod(std::string("echo-") + node, "echo", node, "-");
    for (const char* node : {"n1", "n2"})
      manifest += ServerPod(std::string("who-") + node, "who", node, "@");
    cluster_->Apply(manifest);
    EXPECT_TRUE(cluster_->WaitForPods("app=echo", 3));
    EXPECT_TRUE(cluster_->WaitForPods("app=who", 2));
    EXPECT_TRUE(cluster_->WaitForPods("app=client", 1));
    client_ = cluster_->PodPid("client");
  }
  static void TearDownTestSuite() {
    delete cluster_;
    cluster_ = nullptr;
  }
  void SetUp() override {
    ASSERT_TRUE(cluster().running());
    ASSERT_NE(client_, 0);
  }

  static LocalCluster& cluster() { return *cluster_; }

  // A Service of type NodePort; its port once it leads to `answers` different answers from outside.
  static int MakeNodePort(const std::string& name, const std::string& app, const std::string& spec,
                          const std::string& annotations, size_t answers) {
    cluster().Apply(EdgeService(name, app, "  type: NodePort\n" + spec, annotations));
    int port = 0;
    EXPECT_TRUE(Eventually([&] { return (port = NodePort(cluster(), name)) != 0; })) << name;
    for (const int family : kFamilies) {
      EXPECT_TRUE(Eventually([&] {
        return cluster().LoadOutside("tcp", At(0, port, family), 30).answers.size() >= answers;
      })) << name
          << " " << At(0, port, family);
    }
    return port;
  }
  static std::string At(int node, int port, int family = 4) {
    return HostPort(NodeAddress(node, family), port);
  }

  // Requests from outside to a port of a node, which must all be answered.
  static LoadResult Ask(const std::string& target, const char* protocol = "tcp", int count = 30) {
    LoadResult result = cluster().LoadOutside(protocol, target, count);
    EXPECT_EQ(result.failures, 0) << target << " " << protocol << " " << result.text;
    return result;
  }

  // What the resolver of the node of pod `client` answers, asked over one family.
  static dns::Decoded Resolve(const std::string& name, uint16_t type = dns::kTypeA,
                              int family = 4) {
    // The gateway is the first address of the node's range.
    const IpAddress pod = *IpAddress::Parse(PodIp(cluster().Get({"pod", "client"}), family));
    std::array<uint8_t, 16> gateway = pod.bytes();
    std::fill(gateway.begin() + (family == 4 ? 15 : 8), gateway.end(), uint8_t{0});
    gateway[15] = 1;
    const SocketAddress server(IpAddress::FromBytes(gateway), 53);
    UniqueFd fd;
    std::thread([&] {
      const UniqueFd netns(::open(fmt::format("/proc/{}/ns/net", client_).c_str(), O_RDONLY));
      if (::setns(netns.get(), CLONE_NEWNET) == 0)
        fd.reset(::socket(server.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
    }).join();
    const timeval deadline{.tv_sec = 5, .tv_usec = 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
    const std::string query = dns::MakeQuery(name, {.type = type});
    char buffer[2048];
    ssize_t n = -1;
    if (::connect(fd.get(), server.get(), server.length()) == 0 &&
        ::send(fd.get(), query.data(), query.size(), 0) > 0)
      n = ::recv(fd.get(), buffer, sizeof buffer, 0);
    return dns::Decode(std::string_view(buffer, n < 0 ? 0 : static_cast<size_t>(n)));
  }

  static LocalCluster* cluster_;
  static pid_t client_;
};
LocalCluster* EdgeTest::cluster_ = nullptr;
pid_t EdgeTest::client_ = 0;

TEST_F(EdgeTest, ANodePortOfAnyNodeReachesEveryPod) {
  const int port = MakeNodePort("np", "echo", "", "", 3);
  // Which node port of UDP it is does not matter: both ports have their own.
  const Json ports = cluster().Get({"service", "np"})["spec"]["ports"];

  for (const int family : kFamilies) {
    for (int node = 0; node < 3; ++node) {
      for (const char* protocol : kProtocols) {
        const int number = protocol == std::string("udp") ? ports[1]["nodePort"].get<int>() : port;
        const LoadResult result = Ask(At(node, number, family), protocol, 60);
        EXPECT_THAT(result.answers, SizeIs(3))
            << node << " " << family << " " << protocol << " " << result.text;
      }
    }
    // Pods and node processes dial it as well.
    const std::string target = At(0, port, family);
    EXPECT_EQ(cluster().Load(client_, "tcp", target, 30).failures, 0) << target;
    EXPECT_EQ(cluster().Load(cluster().Pid("n2", "node-init"), "tcp", target, 30).failures, 0)
        << target;
  }
}

TEST_F(EdgeTest, ALoadBalancerAddressIsFoundByItsNeighbors) {
  cluster().Apply(EdgeService("lb", "echo", "  type: LoadBalancer\n"));
  for (const int family : kFamilies) {
    std::string address;
    ASSERT_TRUE(
        Eventually([&] { return !(address = BalancerAddress(cluster(), "lb", family)).empty(); }));
    EXPECT_THAT(address, StartsWith(family == 4 ? "10.89.0.2" : "fd00:10:89::2"));
    const std::string target = HostPort(address, 80);
    ASSERT_TRUE(Eventually([&] {
      return cluster().LoadOutside("tcp", target, 30).answers.size() == 3;
    })) << target;

    for (const char* protocol : kProtocols) {
      const LoadResult result = Ask(target, protocol, 60);
      EXPECT_THAT(result.answers, SizeIs(3)) << result.text;
      const LoadResult inside = cluster().Load(client_, protocol, target, 60);
      EXPECT_EQ(inside.failures, 0) << target << " " << inside.text;
    }
  }
}

TEST_F(EdgeTest, ExternalTrafficPolicyLocalKeepsTheClientsAddress) {
  const int port = MakeNodePort("local", "who", "  externalTrafficPolicy: Local\n", "", 1);

  for (const int family : kFamilies) {
    for (int node : {0, 1}) {
      EXPECT_THAT(Ask(At(node, port, family)).answers, ElementsAre(Key(OutsideAddress(family))))
          << node;
    }
    // No pod of it is on n3: refused at once, not after a timeout.
    const LoadResult refused = cluster().LoadOutside("tcp", At(2, port, family), 3);
    EXPECT_EQ(refused.failures, 3);
    EXPECT_THAT(refused.errors, ElementsAre(Pair("connect: Connection refused", 3)))
        << refused.text;
  }
}

// Neither policy is about clients inside that dial an address for the outside, as in Kubernetes.
TEST_F(EdgeTest, ClientsInsideReachAServiceWithBothPoliciesLocalAtItsNodePort) {
  const int port =
      MakeNodePort("bothlocal", "who",
                   "  externalTrafficPolicy: Local\n  internalTrafficPolicy: Local\n", "", 1);

  for (const int family : kFamilies) {
    // No pod of it is on n3, where the client is.
    const std::string target = At(2, port, family);
    const std::string own = HostPort(cluster().ClusterIp("bothlocal", "default", family), 80);
    EXPECT_TRUE(Eventually([&] {
      const LoadResult inside = cluster().Load(client_, "tcp", target, 30);
      return inside.failures == 0 && inside.answers.size() >= 1;
    })) << target
        << " " << cluster().Load(client_, "tcp", target, 3).text;
    EXPECT_EQ(cluster().Load(client_, "tcp", own, 3).failures, 3) << own;
    EXPECT_EQ(cluster().LoadOutside("tcp", target, 3).failures, 3) << target;
  }
}

TEST_F(EdgeTest, AnswersComeThroughTheNodeOrDirectly) {
  const int snat = MakeNodePort("snat", "who", "", "", 2);
  const int direct = MakeNodePort("direct", "who", "", "    mesh.io/return-path: direct\n", 1);

  for (const int family : kFamilies) {
    // n3 has no pod of it: through it the backend sees n3, or the client itself.
    EXPECT_THAT(Ask(At(2, snat, family)).answers, Each(Key(StartsWith(PodPrefix(family)))));
    EXPECT_THAT(Ask(At(2, direct, family)).answers, ElementsAre(Key(OutsideAddress(family))));
    // The pod of the receiving node always sees the client.
    EXPECT_THAT(
        Ask(At(0, snat, family), "tcp", 60).answers,
        UnorderedElementsAre(Key(OutsideAddress(family)), Key(StartsWith(PodPrefix(family)))));
  }
}

TEST_F(EdgeTest, SessionAffinityKeepsAClientAtItsPod) {
  const int port = MakeNodePort("sticky", "echo", "  sessionAffinity: ClientIP\n", "", 1);

  for (const int family : kFamilies) {
    EXPECT_THAT(Ask(At(0, port, family), "tcp", 60).answers, SizeIs(1));
    const std::string target = HostPort(cluster().ClusterIp("sticky", "default", family), 80);
    EXPECT_THAT(cluster().Load(client_, "tcp", target, 60).answers, SizeIs(1)) << target;
  }
}

TEST_F(EdgeTest, APortNameThatNoContainerHasIsToldAndItsNeighborServes) {
  cluster().Apply(R"(apiVersion: v1
kind: Service
metadata:
  name: misnamed
spec:
  selector:
    app: echo
  ports:
  - name: good
    port: 80
    targetPort: 9000
  - name: lost
    port: 81
    targetPort: htttp
)");

  EXPECT_TRUE(Eventually([&] {
    const std::string events = cluster().Meshctl({"get", "events"}).text;
    const size_t at = events.find("PortNotFound");
    if (at == std::string::npos) return false;
    const std::string line = events.substr(at, events.find('\n', at) - at);
    return line.find("service/misnamed") != std::string::npos &&
           line.find("\"htttp\"") != std::string::npos && line.find("echo-n1") != std::string::npos;
  })) << cluster().Meshctl({"get", "events"}).text;
  const std::string ip = cluster().ClusterIp("misnamed");
  EXPECT_TRUE(Eventually(
      [&] { return cluster().Load(client_, "tcp", HostPort(ip, 80), 3).failures == 0; }));
  EXPECT_EQ(cluster().Load(client_, "tcp", HostPort(ip, 81), 3).failures, 3);
}

TEST_F(EdgeTest, AServiceWithoutEndpointsRefusesAtOnce) {
  cluster().Apply(EdgeService("empty", "nobody", "  type: NodePort\n"));
  int port = 0;
  ASSERT_TRUE(Eventually([&] { return (port = NodePort(cluster(), "empty")) != 0; }));
  const auto refused = [](const LoadResult& result) {
    return result.failures == 3 && result.errors.size() == 1 &&
           result.errors.begin()->first.find("refused") != std::string::npos;
  };

  for (const int family : kFamilies) {
    const std::string target = HostPort(cluster().ClusterIp("empty", "default", family), 80);
    for (const char* protocol : kProtocols) {
      EXPECT_TRUE(Eventually([&] { return refused(cluster().Load(client_, protocol, target, 3)); }))
          << protocol << " " << cluster().Load(client_, protocol, target, 3).text;
    }
    const std::string at_node = At(1, port, family);
    EXPECT_TRUE(Eventually([&] { return refused(cluster().LoadOutside("tcp", at_node, 3)); }))
        << cluster().LoadOutside("tcp", at_node, 3).text;
  }
}

TEST_F(EdgeTest, AHandWrittenSliceLeadsToItsEndpoints) {
  const Json pod = cluster().Get({"pod", "echo-n2"});
  std::string manifest = R"(apiVersion: v1
kind: Service
metadata:
  name: byhand
spec:
  ipFamilyPolicy: RequireDualStack
  ports:
  - port: 80
)";
  for (const int family : kFamilies) {
    manifest += fmt::format(R"(---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: byhand-{0}
  labels:
    kubernetes.io/service-name: byhand
addressType: IPv{0}
ports:
- name: ""
  port: 9000
  protocol: TCP
endpoints:
- addresses: ["{1}"]
)",
                            family, PodIp(pod, family));
  }
  cluster().Apply(manifest);

  for (const int family : kFamilies) {
    const std::string target = HostPort(cluster().ClusterIp("byhand", "default", family), 80);
    EXPECT_TRUE(Eventually([&] {
      const LoadResult result = cluster().Load(client_, "tcp", target, 10);
      return result.failures == 0 && result.answers.count("echo-n2") == 1;
    })) << target
        << " " << cluster().Load(client_, "tcp", target, 3).text;
  }
}

TEST_F(EdgeTest, AHostPortLeadsToItsPod) {
  cluster().Apply(
      ServerPod("hostport", "hostport", "n2", "hostport", "", "      hostPort: 8088\n"));
  ASSERT_TRUE(cluster().WaitForPods("app=hostport", 1));

  for (const int family : kFamilies) {
    EXPECT_TRUE(Eventually([&] {
      const LoadResult result = cluster().LoadOutside("tcp", At(1, 8088, family), 10);
      return result.failures == 0 && result.answers.count("hostport") == 1;
    })) << cluster().LoadOutside("tcp", At(1, 8088, family), 3).text;
    EXPECT_EQ(cluster().LoadOutside("tcp", At(0, 8088, family), 3).failures, 3)
        << "only on its own node";
  }
}

TEST_F(EdgeTest, APodThatAsksForTheAgentsPortIsToldAndPodsComeAndGo) {
  cluster().Apply(ServerPod("greedy", "greedy", "n2", "greedy", "", "      hostPort: 6441\n"));

  EXPECT_TRUE(cluster().WaitForPods("app=greedy", 1));
  EXPECT_TRUE(Eventually([&] {
    const std::string events = cluster().Meshctl({"get", "events"}).text;
    const size_t at = events.find("DataplaneFailed");
    return at != std::string::npos &&
           events.find("default/pod/greedy port 6441", at) != events.npos;
  })) << cluster().Meshctl({"get", "events"}).text;
  cluster().Apply(ServerPod("modest", "modest", "n2", "modest"));
  EXPECT_TRUE(cluster().WaitForPods("app=modest", 1));
  EXPECT_EQ(cluster().Meshctl({"delete", "pod", "greedy", "modest", "--timeout=60s"}).exit_code, 0);
}

TEST_F(EdgeTest, ProcessesOfANodeReachItsOwnPorts) {
  const int port = MakeNodePort("ownport", "echo", "", "", 3);
  for (const char* protocol : kProtocols) {
    EXPECT_TRUE(Eventually([&] {
      const LoadResult result = cluster().LoadOnNode("n1", protocol, At(0, port), 30);
      return result.failures == 0 && result.answers.size() == 3;
    })) << protocol
        << " " << cluster().LoadOnNode("n1", protocol, At(0, port), 3).text;
  }
  cluster().Apply(ServerPod("ownhost", "ownhost", "n2", "ownhost", "", "      hostPort: 8089\n"));
  ASSERT_TRUE(cluster().WaitForPods("app=ownhost", 1));
  EXPECT_TRUE(Eventually([&] {
    const LoadResult result = cluster().LoadOnNode("n2", "tcp", At(1, 8089), 10);
    return result.failures == 0 && result.answers.count("ownhost") == 1;
  })) << cluster().LoadOnNode("n2", "tcp", At(1, 8089), 3).text;
}

TEST_F(EdgeTest, AnExternalAddressTakesNothingThatTheClusterOrANodeHas) {
  const int given = MakeNodePort("given", "echo", "", "", 3);
  cluster().Apply(ServerPod("hosted", "hosted", "n2", "hosted", "", "      hostPort: 8090\n"));
  ASSERT_TRUE(cluster().WaitForPods("app=hosted", 1));
  std::string thief =
      "apiVersion: v1\nkind: Service\nmetadata: {name: thief}\nspec:\n"
      "  ipFamilyPolicy: PreferDualStack\n  selector: {app: thief}\n"
      "  externalIPs: [";
  for (const int family : kFamilies)
    thief += NodeAddress(0, family) + ", " + NodeAddress(1, family) + (family == 4 ? ", " : "]\n");
  thief += "  ports:\n";
  for (const int port : {given, 8090, 8091, 2222, 6441})
    thief += fmt::format("  - {{name: p{0}, port: {0}, targetPort: 9000}}\n", port);
  cluster().Apply(thief + "---\n" + ServerPod("thief", "thief", "n3", "thief"));
  ASSERT_TRUE(cluster().WaitForPods("app=thief", 1));
  const auto answers = [&](const std::string& target, const std::string& who) {
    const auto only = [&](const LoadResult& result) {
      return result.failures == 0 && result.answers.size() == 1 && result.answers.contains(who);
    };
    return only(cluster().LoadOutside("tcp", target, 5)) &&
           only(cluster().Load(client_, "tcp", target, 5)) &&
           only(cluster().LoadOnNode("n1", "tcp", target, 5));
  };
  for (const int family : kFamilies) {
    for (int node = 0; node < 2; ++node) {
      EXPECT_TRUE(Eventually([&] { return answers(At(node, 8091, family), "thief"); })) << family;
      for (const LoadResult& result :
           {Ask(At(node, given, family)),
            cluster().Load(client_, "tcp", At(node, given, family), 30),
            cluster().LoadOnNode("n1", "tcp", At(node, given, family), 30)})
        EXPECT_THAT(result.answers, AllOf(SizeIs(3), Not(Contains(Key("thief"))))) << result.text;
    }
    EXPECT_EQ(cluster().Load(client_, "tcp", At(0, 6441, family), 3).answers.count("thief"), 0u);
  }
  EXPECT_TRUE(answers(At(1, 8090), "hosted"));
  EXPECT_TRUE(answers(At(0, 8090), "thief"));

  // A process of n1.
  UniqueFd listener;
  std::thread([&] {
    const UniqueFd netns(
        ::open(fmt::format("/proc/{}/ns/net", cluster().Pid("n1", "node-init")).c_str(), O_RDONLY));
    if (::setns(netns.get(), CLONE_NEWNET) == 0)
      listener.reset(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  }).join();
  const SocketAddress all(IpAddress(), 2222);
  ASSERT_EQ(::bind(listener.get(), all.get(), all.length()), 0);
  ASSERT_EQ(::listen(listener.get(), 64), 0);
  const auto told = [&](const std::string& text) {
    return cluster().Meshctl({"get", "events"}).text.find(text) != std::string::npos;
  };
  EXPECT_TRUE(Eventually([&] { return told("a process of node n1 listens on port 2222/TCP"); }));
  for (const int family : kFamilies) {
    const std::string target = At(0, 2222, family);
    EXPECT_EQ(cluster().LoadOutside("tcp", target, 2).answers.count("thief"), 0u);
    EXPECT_EQ(cluster().Load(client_, "tcp", target, 2).answers.count("thief"), 0u);
    EXPECT_TRUE(answers(At(1, 2222, family), "thief")) << "of another node";
  }
  for (const std::string& text :
       {fmt::format("{}/TCP belongs to service default/given port 80", At(0, given)),
        At(0, 6441) + "/TCP is not served here"})
    EXPECT_TRUE(told(text)) << text << "\n" << cluster().Meshctl({"get", "events"}).text;

  // What is given back is served.
  listener.reset();
  EXPECT_EQ(cluster().Meshctl({"delete", "pod", "hosted", "--timeout=60s"}).exit_code, 0);
  EXPECT_EQ(cluster().Meshctl({"delete", "service", "given"}).exit_code, 0);
  for (const std::string& target : {At(0, 2222), At(1, 8090), At(0, given)})
    EXPECT_TRUE(Eventually([&] { return answers(target, "thief"); })) << target;
  cluster().Meshctl({"delete", "service", "thief"});
  cluster().Meshctl({"delete", "pod", "thief", "--timeout=60s"});
}

TEST_F(EdgeTest, APodReachesTheOutsideAsItsNode) {
  const auto server = cluster().ServeOutside(7000, "@");
  for (const int family : kFamilies) {
    const std::string target = HostPort(OutsideAddress(family), 7000);
    for (const char* protocol : kProtocols) {
      EXPECT_TRUE(Eventually([&] {
        const LoadResult result = cluster().Load(client_, protocol, target, 10);
        return result.failures == 0 && result.answers.size() == 1 &&
               result.answers.begin()->first == NodeAddress(2, family);
      })) << protocol
          << " " << cluster().Load(client_, protocol, target, 3).text;
    }
  }
}

TEST_F(EdgeTest, OfAnExternalAddressOnlyTheServedPortsAreTheClusters) {
  const auto server = cluster().ServeOutside(7101, "@");
  const auto before = cluster().ServeOutside(7100, "owner");
  std::vector<std::unique_ptr<RunningLoad>> helds;
  const auto hold = [&](const std::string& target) {
    helds.push_back(cluster().StartLoadOnNode("n1", "hold", target));
    helds.push_back(cluster().StartLoad(client_, "hold", target));
  };
  for (const int family : kFamilies) {
    const std::string served = HostPort(OutsideAddress(family), 7100);
    ASSERT_TRUE(Eventually([&] {
      return cluster().LoadOnNode("n1", "tcp", served, 3).answers.contains("owner");
    })) << served;
    hold(served);
  }
  cluster().Apply(
      fmt::format("apiVersion: v1\nkind: Service\nmetadata: {{name: borrowed}}\nspec:\n"
                  "  ipFamilyPolicy: PreferDualStack\n  selector: {{app: echo}}\n"
                  "  externalIPs: [\"{}\", \"{}\"]\n"
                  "  ports: [{{name: tcp, port: 7100, targetPort: 9000}},\n"
                  "          {{name: udp, port: 7100, targetPort: 9000, protocol: UDP}}]\n",
                  OutsideAddress(4), OutsideAddress(6)));
  const auto answered = [](const LoadResult& result, size_t by) {
    return result.failures == 0 && result.answers.size() == by;
  };

  for (const int family : kFamilies) {
    const std::string served = HostPort(OutsideAddress(family), 7100);
    const std::string owners = HostPort(OutsideAddress(family), 7101);
    for (const char* protocol : kProtocols) {
      EXPECT_TRUE(Eventually([&] {
        return answered(cluster().Load(client_, protocol, served, 30), 3) &&
               answered(cluster().LoadOnNode("n1", protocol, served, 30), 3);
      })) << protocol
          << " " << cluster().LoadOnNode("n1", protocol, served, 3).text;
      const LoadResult of_pod = cluster().Load(client_, protocol, owners, 5);
      EXPECT_TRUE(answered(of_pod, 1) && of_pod.answers.contains(NodeAddress(2, family)))
          << protocol << " " << of_pod.text;
      const LoadResult of_node = cluster().LoadOnNode("n1", protocol, owners, 5);
      EXPECT_TRUE(answered(of_node, 1) && of_node.answers.contains(NodeAddress(0, family)))
          << protocol << " " << of_node.text;
    }
    hold(served);  // through the Service
  }

  EXPECT_EQ(cluster().Meshctl({"delete", "service", "borrowed"}).exit_code, 0);
  for (const int family : kFamilies) {
    const std::string served = HostPort(OutsideAddress(family), 7100);
    for (const char* protocol : kProtocols) {
      EXPECT_TRUE(Eventually([&] {
        const LoadResult result = cluster().LoadOnNode("n1", protocol, served, 3);
        return answered(result, 1) && result.answers.contains("owner");
      })) << protocol;
    }
  }
  for (const auto& held : helds) {
    const LoadResult result = held->Stop();
    EXPECT_EQ(result.failures, 0) << "a connection keeps who answers it: " << result.text;
    EXPECT_EQ(result.answers.size(), 1u) << result.text;
  }
}

TEST_F(EdgeTest, NamesOfHeadlessServicesAndAliases) {
  cluster().Apply(EdgeService("db", "named", "  clusterIP: None\n") +
                  ServerPod("named-0", "named", "n1", "-", "  hostname: zero\n  subdomain: db\n") +
                  ServerPod("named-1", "named", "n2", "-") +
                  "apiVersion: v1\nkind: Service\nmetadata:\n  name: alias\nspec:\n  type: "
                  "ExternalName\n  externalName: echo.default.svc.cluster.local\n---\n" +
                  EdgeService("echo", "echo", ""));
  ASSERT_TRUE(cluster().WaitForPods("app=named", 2));
  const Json zero = cluster().Get({"pod", "named-0"});

  const std::string suffix = ".default.svc.cluster.local";
  EXPECT_TRUE(Eventually([&] { return Resolve("db" + suffix).answers.size() == 2; }));
  EXPECT_THAT(Resolve("zero.db" + suffix).answers,
              ElementsAre(fmt::format("zero.db{}. 5 A {}", suffix, PodIp(zero))));
  EXPECT_THAT(Resolve("zero.db" + suffix, dns::kTypeAaaa).answers,
              ElementsAre(fmt::format("zero.db{}. 5 AAAA {}", suffix, PodIp(zero, 6))));
  // Two names of the one without a hostname, one of the other.
  EXPECT_THAT(Resolve("_tcp._tcp.db" + suffix, dns::kTypeSrv).answers, SizeIs(3));
  EXPECT_TRUE(Eventually([&] { return Resolve("alias" + suffix).answers.size() == 2; }));
  EXPECT_THAT(Resolve("alias" + suffix).answers[1], HasSubstr(cluster().ClusterIp("echo")));
  EXPECT_THAT(Resolve("alias" + suffix, dns::kTypeAaaa, 6).answers,
              ElementsAre(HasSubstr("CNAME"),
                          HasSubstr(" AAAA " + cluster().ClusterIp("echo", "default", 6))));
}

TEST_F(EdgeTest, TheHealthCheckPortTellsWhichNodesHaveEndpoints) {
  cluster().Apply(
      EdgeService("checked", "who", "  type: LoadBalancer\n  externalTrafficPolicy: Local\n"));
  int port = 0;
  ASSERT_TRUE(Eventually([&] {
    const Json json = cluster().Get({"service", "checked"});
    return (port = json["spec"].value("healthCheckNodePort", 0)) != 0;
  }));
  const auto answer = [&](int node, int family = 4) {
    const auto output = cluster().Meshctl(
        {"local", "outside", "--name", cluster().layout().cluster(), "--", "sh", "-c",
         fmt::format("printf 'GET / HTTP/1.1\\r\\n\\r\\n' | timeout 5 "
                     "bash -c 'exec 3<>/dev/tcp/{}/{}; cat >&3; cat <&3'",
                     NodeAddress(node, family), port)});
    return output.text;
  };

  EXPECT_TRUE(Eventually([&] { return answer(0).find("200 OK") != std::string::npos; }))
      << answer(0);
  EXPECT_THAT(answer(1), AllOf(HasSubstr("200 OK"), HasSubstr("\"localEndpoints\":1")));
  EXPECT_THAT(answer(2), HasSubstr("503 Service Unavailable"));
  EXPECT_THAT(answer(1, 6), AllOf(HasSubstr("200 OK"), HasSubstr("\"localEndpoints\":1")));
}

}  // namespace
}  // namespace mesh::testing
