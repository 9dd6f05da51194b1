// SPDX-License-Identifier: Apache-2.0
// Traffic through ClusterIPs and names, on three nodes. Requests are made by mesh-load inside the
// network namespace of a pod or a node; servers answer with their pod's name.
#include <gmock/gmock.h>

#include <algorithm>
#include <set>

#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"

namespace mesh::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class ServiceTest : public ClusterTest {
 protected:
  // Brings up `replicas` pods behind Service echo and a pod `client` on node n2.
  void StartEcho(int replicas) {
    cluster().Apply(EchoManifest("echo", replicas) + "---\n" + ClientManifest("client", "n2"));
    ASSERT_TRUE(cluster().WaitForPods("app=echo", static_cast<size_t>(replicas)));
    ASSERT_TRUE(cluster().WaitForPods("app=client", 1));
    client_ = cluster().PodPid("client");
    ASSERT_NE(client_, 0);
    targets_.clear();
    for (const int family : kFamilies) {
      targets_.push_back(HostPort(cluster().ClusterIp("echo", "default", family), 80));
      ASSERT_TRUE(Eventually([&] {
        return cluster().Load(client_, "tcp", targets_.back(), 10 * replicas).answers.size() ==
               static_cast<size_t>(replicas);
      })) << targets_.back();
    }
  }
  std::vector<std::string> targets_;  // one of each family
  pid_t client_ = 0;
};

TEST_F(ServiceTest, SpreadsTcpAndUdpOverPodsOfAllNodes) {
  StartEcho(3);
  std::set<std::string> nodes;
  for (const Json& pod : cluster().ReadyPods("app=echo")) nodes.insert(pod["spec"]["nodeName"]);
  EXPECT_THAT(nodes, SizeIs(3));

  for (const std::string& target : targets_) {
    for (const char* protocol : {"tcp", "udp"}) {
      const LoadResult result = cluster().Load(client_, protocol, target, 200);
      EXPECT_EQ(result.failures, 0) << target << " " << result.text;
      EXPECT_THAT(result.answers, SizeIs(3)) << target << " " << result.text;
    }
  }
}

TEST_F(ServiceTest, IsReachedByProcessesOfEveryNode) {
  StartEcho(2);
  for (const char* node : {"n1", "n2", "n3"}) {
    const pid_t init = cluster().Pid(node, "node-init");
    for (const std::string& target : targets_) {
      for (const char* protocol : {"tcp", "udp"}) {
        const LoadResult result = cluster().Load(init, protocol, target, 50);
        EXPECT_EQ(result.failures, 0) << node << " " << target << " " << result.text;
        EXPECT_THAT(result.answers, SizeIs(2)) << node << " " << target << " " << result.text;
      }
    }
  }
}

TEST_F(ServiceTest, LetsAPodReachItselfThroughItsService) {
  StartEcho(1);
  const Json pod = cluster().ReadyPods("app=echo").front();
  const pid_t server = cluster().PodPid("9000");
  ASSERT_NE(server, 0);

  for (const std::string& target : targets_) {
    for (const char* protocol : {"tcp", "udp"}) {
      const LoadResult result = cluster().Load(server, protocol, target, 50);
      EXPECT_EQ(result.failures, 0) << target << " " << result.text;
      EXPECT_EQ(result.answers.count(pod["metadata"]["name"].get<std::string>()), 1U)
          << result.text;
    }
  }
}

TEST_F(ServiceTest, IsFoundByItsThreeNames) {
  cluster().LoadImage(MESH_SOURCE_DIR "/build/images/toolbox.tar");
  StartEcho(1);
  cluster().Apply(R"(apiVersion: v1
kind: Pod
metadata:
  name: tools
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: tools
    image: localhost/toolbox:v1
    command: ["sleep", "1000000"]
)");
  ASSERT_EQ(
      cluster().Meshctl({"wait", "--for=condition=Ready", "pod/tools", "--timeout=60s"}).exit_code,
      0);
  const std::string name =
      cluster().ReadyPods("app=echo").front()["metadata"]["name"].get<std::string>();

  for (const char* host : {"echo", "echo.default", "echo.default.svc.cluster.local"}) {
    const auto answer =
        cluster().Meshctl({"exec", "tools", "--", "sh", "-c",
                           fmt::format("echo '?' | timeout 5 nc -w 3 {} 80", host)});
    EXPECT_THAT(answer.text, HasSubstr(name)) << host;
  }
  const auto addresses = cluster().Meshctl(
      {"exec", "tools", "--", "timeout", "10", "nslookup", "echo.default.svc.cluster.local"});
  for (const int family : kFamilies)
    EXPECT_THAT(addresses.text, HasSubstr(cluster().ClusterIp("echo", "default", family)));
  const auto absent = cluster().Meshctl(
      {"exec", "tools", "--", "timeout", "10", "nslookup", "absent.default.svc.cluster.local"});
  EXPECT_THAT(absent.text, HasSubstr("NXDOMAIN"));
}

TEST_F(ServiceTest, LeavesNoMapEntryWhenItsDeploymentAndItselfAreDeleted) {
  StartEcho(2);
  std::vector<std::string> services, pods;
  for (const int family : kFamilies) {
    services.push_back(cluster().ClusterIp("echo", "default", family));
    for (const Json& pod : cluster().ReadyPods("app=echo")) pods.push_back(PodIp(pod, family));
  }
  // Neither a backend nor an endpoint nor a flow may name the pods.
  const auto found = [&](const std::vector<std::string>& wanted) {
    std::string where;
    for (const char* table : {"service", "backend", "endpoint", "ct"}) {
      const std::string text = cluster().Meshctl({"bpf", table, "list", "-o", "json"}).text;
      for (const std::string& address : wanted) {
        if (text.find('"' + address + '"') != std::string::npos) {
          where += fmt::format("{} in {}; ", address, table);
        }
      }
    }
    return where;
  };
  EXPECT_NE(found(pods), "");
  for (const std::string& service : services) EXPECT_NE(found({service}), "") << service;

  cluster().MustMeshctl({"delete", "deployment", "echo"});
  EXPECT_TRUE(Eventually([&] { return found(pods).empty(); })) << found(pods);

  cluster().MustMeshctl({"delete", "service", "echo"});
  EXPECT_TRUE(Eventually([&] { return found(services).empty(); })) << found(services);
}

TEST_F(ServiceTest, GetsAReplacementThatServesWhenAPodIsDeleted) {
  StartEcho(1);
  const std::string old_name =
      cluster().ReadyPods("app=echo").front()["metadata"]["name"].get<std::string>();

  cluster().MustMeshctl({"delete", "pod", old_name, "--wait=false"});

  EXPECT_TRUE(Eventually([&] {
    return std::all_of(targets_.begin(), targets_.end(), [&](const std::string& target) {
      const LoadResult result = cluster().Load(client_, "tcp", target, 5);
      return result.failures == 0 && result.answers.size() == 1 &&
             result.answers.begin()->first != old_name;
    });
  }));
}

}  // namespace
}  // namespace mesh::testing
