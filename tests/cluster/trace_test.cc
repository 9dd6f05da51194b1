// SPDX-License-Identifier: Apache-2.0
// `meshctl trace` in a cluster of three nodes: what it says is what packets meet, both families.
#include <gmock/gmock.h>

#include <fstream>

#include "fmt/format.h"
#include "tests/cluster/edge_world.h"
#include "tests/support/cluster/local_cluster.h"

namespace mesh::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kNamespaces[] = R"(apiVersion: v1
kind: Namespace
metadata:
  name: blue
---
apiVersion: v1
kind: Namespace
metadata:
  name: green
---
apiVersion: v1
kind: Service
metadata:
  name: nobody
  namespace: blue
spec:
  ipFamilyPolicy: PreferDualStack
  selector:
    app: nobody
  ports:
  - port: 80
)";

// The second rule begins in line 16; its peer follows.
constexpr char kPolicy[] = R"(apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: near
  namespace: blue
spec:
  podSelector:
    matchLabels:
      app: echo
  ingress:
  - from:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: green
    ports: [{port: 1}]
  - from:
    - podSelector:
        matchLabels:
)";

class TraceTest : public ClusterTest {
 protected:
  // Flows of all nodes.
  size_t Connections() {
    const Json list =
        Json::parse(cluster().MustMeshctl({"bpf", "ct", "list", "-o", "json"}), nullptr, false);
    size_t count = 0;
    for (const Json& node : list["nodes"]) count += node["conntrack"].size();
    return count;
  }
  Json Trace(std::vector<std::string> args) {
    args.insert(args.begin(), "trace");
    args.insert(args.end(), {"-o", "json"});
    const Json out = Json::parse(cluster().MustMeshctl(args), nullptr, false);
    return out.is_discarded() ? Json::object() : out["packets"][0];
  }
};

TEST_F(TraceTest, TellsWhatPacketsMeetAndLeavesNothing) {
  cluster().Apply(std::string(kNamespaces) + "---\n" + EchoManifest("echo", 1, "blue") + "---\n" +
                  ClientManifest("blue-client", "n2", "blue") + "---\n" +
                  ClientManifest("blue-near", "n1", "blue") + "---\n" +
                  ClientManifest("green-client", "n2", "green"));
  ASSERT_TRUE(cluster().WaitForPods("app=echo", 1, "blue"));
  for (const auto& [name, ns] : {std::pair("blue-client", "blue"), std::pair("blue-near", "blue"),
                                 std::pair("green-client", "green")}) {
    ASSERT_TRUE(cluster().WaitForPods(fmt::format("app={}", name), 1, ns));
  }
  const Json echo = cluster().ReadyPods("app=echo", "blue").at(0);
  const std::string echo_name = echo["metadata"]["name"], echo_node = echo["spec"]["nodeName"];
  // One of them is on another node than the server.
  const std::string far = echo_node == "n2" ? "blue-near" : "blue-client";
  const pid_t far_pid = cluster().PodPid(far);
  for (const int family : kFamilies) {
    const std::string service = HostPort(cluster().ClusterIp("echo", "blue", family), 80);
    ASSERT_TRUE(
        Eventually([&] { return cluster().Load(far_pid, "tcp", service, 1).failures == 0; }));
  }
  const std::string pod_of_far =
      cluster().ReadyPods("app=" + far, "blue").at(0)["metadata"]["name"];
  const std::string green =
      cluster().ReadyPods("app=green-client", "green").at(0)["metadata"]["name"];

  for (const bool ipv6 : {false, true}) {
    const auto with_family = [&](std::vector<std::string> args) {
      if (ipv6) args.push_back("-6");
      return args;
    };
    const size_t before = Connections();
    // Through the Service, to another node.
    for (const char* protocol : {"tcp", "udp"}) {
      const Json report =
          Trace(with_family({"blue/" + pod_of_far, "blue/echo:80", "--proto", protocol}));
      EXPECT_EQ(report["verdict"], "forwarded") << report;
      EXPECT_EQ(report["text"],
                fmt::format("delivered to pod blue/{} at node {}", echo_name, echo_node));
      EXPECT_EQ(report["hops"].size(), 2u) << report;
    }
    // Another namespace, through the Service and past it.
    EXPECT_EQ(Trace(with_family({"green/" + green, "blue/echo:80"}))["verdict"], "forwarded");
    const Json direct =
        Trace(with_family({"green/" + green, "blue/" + echo_name, "--port", "9000"}));
    EXPECT_EQ(direct["verdict"], "dropped") << direct;
    EXPECT_EQ(direct["reason"], "isolation") << direct;
    EXPECT_EQ(direct["text"], fmt::format("dropped at node {} (isolation)", echo_node));
    // No backend: refused at the sender's node.
    const Json nobody = Trace(with_family({"green/" + green, "blue/nobody"}));
    EXPECT_EQ(nobody["reason"], "no_backend") << nobody;
    EXPECT_EQ(nobody["verdict"], "refused") << nobody;
    EXPECT_LE(Connections(), before) << "a traced packet has left a connection";
  }

  // What packets meet is the same.
  const std::string direct = HostPort(PodIp(echo, 4), 9000);
  EXPECT_EQ(cluster().Load(cluster().PodPid("green-client"), "tcp", direct, 1).failures, 1);
  EXPECT_EQ(cluster().Load(far_pid, "tcp", direct, 1).failures, 0);

  // A closed port of an address that is nobody's, for people.
  const std::string text = cluster().MustMeshctl({"trace", "blue/" + pod_of_far, "blue/echo:80"});
  EXPECT_THAT(text, HasSubstr("Service blue/echo by its ClusterIP"));
  EXPECT_THAT(text, HasSubstr("=> delivered to pod blue/" + echo_name));

  // Policies, with the lines of the file that they come from.
  const std::string file = ::testing::TempDir() + "/trace-policy.yaml";
  std::ofstream(file) << kPolicy
                      << fmt::format(R"(          app: {}
    ports: [{{port: 9000}}]
)",
                                     far);
  cluster().MustMeshctl({"apply", "-f", file});
  const auto traced = [&](const std::string& pod) {
    return cluster().MustMeshctl({"trace", pod, "blue/echo:80"});
  };
  const std::string other = far == "blue-near" ? "blue-client" : "blue-near";
  const std::string pod_of_other =
      cluster().ReadyPods("app=" + other, "blue").at(0)["metadata"]["name"];
  std::string denied;
  EXPECT_TRUE(Eventually([&] {
    denied = traced("blue/" + pod_of_other);
    return denied.find("(policy_ingress)") != std::string::npos;
  }));
  EXPECT_THAT(denied, HasSubstr(fmt::format(
                          "pod blue/{} is isolated for ingress by policy blue/near, no rule of "
                          "which admits it; the nearest is policy blue/near, rule ingress[1] "
                          "({}:16), but pod blue/{} does not match",
                          echo_name, file, pod_of_other)));
  EXPECT_THAT(denied, Not(HasSubstr("on its way")));
  std::string admitted;
  EXPECT_TRUE(Eventually([&] {
    admitted = traced("blue/" + pod_of_far);
    return admitted.find("=> delivered to pod blue/" + echo_name) != std::string::npos;
  }));
  EXPECT_THAT(admitted, HasSubstr(fmt::format("pod blue/{} takes it by policy blue/near, rule "
                                              "ingress[1] ({}:16)",
                                              echo_name, file)));
  cluster().MustMeshctl({"delete", "-f", file});
  EXPECT_TRUE(Eventually([&] {
    return traced("blue/" + pod_of_other).find("=> delivered to pod") != std::string::npos;
  }));

  // Loaded by now. Two nodes in 200 ms on a quiet machine.
  const absl::Time began = absl::Now();
  Trace({"blue/" + pod_of_far, "blue/echo:80"});
  const absl::Duration took = absl::Now() - began;
  RecordProperty("trace_ms", static_cast<int>(absl::ToInt64Milliseconds(took)));
  EXPECT_LT(took, kPatience / 10) << took;
}

TEST_F(TraceTest, GoesOnAtAnotherNodesNodePort) {
  cluster().Apply(
      ServerPod("far", "far", "n3", "far") + EdgeService("by-snat", "far", "  type: NodePort\n") +
      EdgeService("by-direct", "far", "  type: NodePort\n", "    mesh.io/return-path: direct\n") +
      ClientManifest("asks", "n1"));
  ASSERT_TRUE(cluster().WaitForPods("app=far", 1));
  ASSERT_TRUE(cluster().WaitForPods("app=asks", 1));
  const std::string asks = cluster().ReadyPods("app=asks").at(0)["metadata"]["name"];
  const pid_t pid = cluster().PodPid("asks");
  for (const char* service : {"by-snat", "by-direct"}) {
    const int port = NodePort(cluster(), service);
    ASSERT_NE(port, 0);
    for (const int family : kFamilies) {
      // By the node of neither; by that of the server.
      for (const int node : {1, 2}) {
        const std::string target = HostPort(NodeAddress(node, family), port);
        ASSERT_TRUE(Eventually([&] { return cluster().Load(pid, "tcp", target, 1).failures == 0; }))
            << target;
        for (const char* protocol : {"tcp", "udp"}) {
          const Json report = Trace({"pod/" + asks, target, "--proto", protocol});
          EXPECT_EQ(report["text"], "delivered to pod default/far at node n3") << report;
          EXPECT_EQ(report["hops"].size(), node == 1 ? 3u : 2u) << report;
          EXPECT_EQ(report["hops"][1]["node"], fmt::format("n{}", node + 1)) << report;
        }
      }
      // Nobody serves that port: left to the other node.
      const Json report = Trace({"pod/" + asks, HostPort(NodeAddress(1, family), 22)});
      EXPECT_EQ(report["text"], "left to the routing of node n2") << report;
    }
  }
}

}  // namespace
}  // namespace mesh::testing
