// SPDX-License-Identifier: Apache-2.0
// `meshctl trace` in a cluster of three nodes: what it says is what packets meet, both families.
#include <gmock/gmock.h>

#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"

namespace mesh::testing {
namespace {

using ::testing::HasSubstr;

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

  // Loaded by now. Two nodes in 200 ms on a quiet machine.
  const absl::Time began = absl::Now();
  Trace({"blue/" + pod_of_far, "blue/echo:80"});
  const absl::Duration took = absl::Now() - began;
  RecordProperty("trace_ms", static_cast<int>(absl::ToInt64Milliseconds(took)));
  EXPECT_LT(took, kPatience / 10) << took;
}

}  // namespace
}  // namespace mesh::testing
