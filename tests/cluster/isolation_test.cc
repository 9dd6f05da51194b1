// SPDX-License-Identifier: Apache-2.0
// Two namespaces on three nodes: the server in blue on n1, clients of both namespaces on n2, so
// that the verdict falls on the receiving node; then a client of green on n1 as well.
#include <gmock/gmock.h>

#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"

namespace mesh::testing {
namespace {

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
)";

using IsolationTest = ClusterTest;

TEST_F(IsolationTest, DropsDirectConnectionsOfOtherNamespacesAndCountsThem) {
  cluster().Apply(std::string(kNamespaces) + EchoManifest("echo", 2, "blue") + "---\n" +
                  ClientManifest("blue-client", "n2", "blue") + "---\n" +
                  ClientManifest("green-client", "n2", "green") + "---\n" +
                  ClientManifest("green-near", "n1", "green"));
  ASSERT_TRUE(cluster().WaitForPods("app=echo", 2, "blue"));
  for (const auto& [name, ns] :
       {std::pair("blue-client", "blue"), std::pair("green-client", "green"),
        std::pair("green-near", "green")}) {
    ASSERT_TRUE(cluster().WaitForPods(fmt::format("app={}", name), 1, ns));
  }
  const pid_t blue = cluster().PodPid("blue-client");
  std::vector<std::string> services, directs;
  for (const int family : kFamilies) {
    services.push_back(HostPort(cluster().ClusterIp("echo", "blue", family), 80));
    ASSERT_TRUE(Eventually([&] {
      return cluster().Load(blue, "tcp", services.back(), 20).answers.size() == 2;
    })) << services.back();
    for (const Json& pod : cluster().ReadyPods("app=echo", "blue"))
      directs.push_back(HostPort(PodIp(pod, family), 9000));
  }

  for (const std::string& direct : directs)
    EXPECT_EQ(cluster().Load(blue, "tcp", direct, 5).failures, 0) << "own namespace, " << direct;
  for (const char* client : {"green-client", "green-near"}) {
    for (const char* protocol : {"tcp", "udp"}) {
      const long before = cluster().Drops();
      for (const LoadResult& refused :
           cluster().LoadEach(cluster().PodPid(client), protocol, directs, 2))
        EXPECT_EQ(refused.failures, 2) << client << " " << protocol << " " << refused.text;
      EXPECT_GE(cluster().Drops(), before + 2 * static_cast<long>(directs.size()))
          << client << " " << protocol;
    }
  }

  for (const char* client : {"green-client", "green-near"}) {
    for (const char* protocol : {"tcp", "udp"}) {
      for (const std::string& service : services) {
        const LoadResult allowed = cluster().Load(cluster().PodPid(client), protocol, service, 20);
        EXPECT_EQ(allowed.failures, 0) << client << " " << service << " " << allowed.text;
      }
    }
  }
}

TEST_F(IsolationTest, LetsANodeReachItsPodsDirectly) {
  cluster().Apply(std::string(kNamespaces) + EchoManifest("echo", 3, "blue"));
  ASSERT_TRUE(cluster().WaitForPods("app=echo", 3, "blue"));

  for (const Json& pod : cluster().ReadyPods("app=echo", "blue")) {
    const std::string node = pod["spec"]["nodeName"];
    for (const int family : kFamilies) {
      const std::string direct = HostPort(PodIp(pod, family), 9000);
      const LoadResult result = cluster().Load(cluster().Pid(node, "node-init"), "tcp", direct, 10);
      EXPECT_EQ(result.failures, 0) << node << " " << direct << " " << result.text;
    }
  }
}

}  // namespace
}  // namespace mesh::testing
