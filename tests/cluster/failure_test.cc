// SPDX-License-Identifier: Apache-2.0
// kill -9 of each part in turn while requests run through a ClusterIP: the cluster heals by itself,
// and what still lives is reached all the time.
#include <gmock/gmock.h>
#include <signal.h>

#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"

namespace mesh::testing {
namespace {

using ::testing::SizeIs;

class FailureTest : public ClusterTest {
 protected:
  void SetUp() override {
    ClusterTest::SetUp();
    if (HasFatalFailure()) return;
    cluster().Apply(EchoManifest("echo", 3) + "---\n" + ClientManifest("client", "n2"));
    ASSERT_TRUE(cluster().WaitForPods("app=echo", 3));
    ASSERT_TRUE(cluster().WaitForPods("app=client", 1));
    target_ = cluster().ClusterIp("echo") + ":80";
    target6_ = HostPort(cluster().ClusterIp("echo", "default", 6), 80);
    client_ = cluster().PodPid("client");
    ASSERT_TRUE(Eventually([&] { return Serves(); }));
  }

  // All three pods answer in both families, none fails.
  bool Serves() {
    for (const std::string& target : {target_, target6_}) {
      const LoadResult result = cluster().Load(client_, "tcp", target, 60);
      if (result.failures != 0 || result.answers.size() != 3) return false;
    }
    return true;
  }

  // Kills a part of a node and waits until another process stands in its place.
  void KillAndWaitForSuccessor(const std::string& node, const std::string& service) {
    const pid_t old_pid = cluster().Pid(node, service);
    ASSERT_NE(old_pid, 0) << service << " on " << node;
    ASSERT_EQ(::kill(old_pid, SIGKILL), 0);
    ASSERT_TRUE(Eventually([&] {
      const pid_t now = cluster().Pid(node, service);
      return now != 0 && now != old_pid;
    })) << service
        << " on " << node;
  }

  bool AllNodesReady() {
    const Json status = cluster().Status();
    if (status.is_discarded()) return false;
    for (const Json& node : status["nodes"]) {
      if (node["ready"] != true) return false;
    }
    return true;
  }

  // A new pod gets through everything: API, scheduler, agent, containerd, CNI, maps.
  void ExpectWhole() {
    EXPECT_TRUE(Eventually([&] { return AllNodesReady(); }));
    cluster().MustMeshctl({"scale", "deployment/echo", "--replicas=6"});
    EXPECT_TRUE(Eventually([&] {
      const LoadResult result = cluster().Load(client_, "tcp", target_, 120);
      return result.failures == 0 && result.answers.size() == 6;
    }));
  }

  std::string target_, target6_;
  pid_t client_ = 0;
};

TEST_F(FailureTest, AnAgentThatIsKilledCostsNoRequest) {
  const auto load = cluster().StartLoad(client_, "tcp", target_);
  const auto held = cluster().StartLoad(client_, "hold", target_);
  const auto load6 = cluster().StartLoad(client_, "tcp", target6_);
  const auto held6 = cluster().StartLoad(client_, "hold", target6_);
  for (const char* node : {"n1", "n2", "n3"}) KillAndWaitForSuccessor(node, "agent");
  ASSERT_TRUE(Eventually([&] { return AllNodesReady(); }));

  for (RunningLoad* running : {load.get(), load6.get()}) {
    const LoadResult result = running->Stop();
    EXPECT_EQ(result.failures, 0) << result.text;
    EXPECT_THAT(result.answers, SizeIs(3)) << result.text;
  }
  for (RunningLoad* running : {held.get(), held6.get()}) {
    const LoadResult connection = running->Stop();
    EXPECT_EQ(connection.failures, 0) << connection.text;
    EXPECT_THAT(connection.answers, SizeIs(1)) << connection.text;
  }
  ExpectWhole();
}

TEST_F(FailureTest, MeshdThatIsKilledCostsNoRequest) {
  const auto load = cluster().StartLoad(client_, "tcp", target_);
  KillAndWaitForSuccessor("n1", "meshd");
  ASSERT_TRUE(Eventually([&] { return AllNodesReady(); }));

  const LoadResult result = load->Stop();
  EXPECT_EQ(result.failures, 0) << result.text;
  EXPECT_THAT(cluster().ReadyPods("app=echo"), SizeIs(3)) << "its store survives";
  ExpectWhole();
}

TEST_F(FailureTest, MeshdAndAllAgentsKilledTogetherLeaveEndpointsAndReadinessAlone) {
  const auto slices = [&] {
    std::map<std::string, Json> out;
    const Json list = cluster().Get({"endpointslices", "-l", "kubernetes.io/service-name=echo"});
    for (const Json& slice : list["items"]) {
      out[slice["metadata"]["name"]] = slice["metadata"]["resourceVersion"];
    }
    return out;
  };
  const auto ready_since = [&] {
    std::map<std::string, Json> out;
    for (const Json& pod : cluster().ReadyPods("app=echo")) {
      for (const Json& condition : pod["status"]["conditions"]) {
        if (condition["type"] == "Ready") {
          out[pod["metadata"]["name"]] = condition["lastTransitionTime"];
        }
      }
    }
    return out;
  };
  const auto slices_before = slices();
  const auto since_before = ready_since();
  ASSERT_THAT(slices_before, SizeIs(2)) << "of two families";
  const auto load = cluster().StartLoad(client_, "tcp", target_);
  const absl::Time killed = absl::Now();

  for (const char* node : {"n1", "n2", "n3"}) {
    ASSERT_EQ(::kill(cluster().Pid(node, "agent"), SIGKILL), 0);
  }
  ASSERT_EQ(::kill(cluster().Pid("n1", "meshd"), SIGKILL), 0);

  // Until what meshd allows agents after its own start is over, and every node was heard since.
  ASSERT_TRUE(Eventually([&] {
    const Json nodes = cluster().Get({"nodes"});
    if (nodes.is_discarded() || nodes["items"].size() != 3) return false;
    for (const Json& node : nodes["items"]) {
      absl::Time heard;
      std::string error;
      if (!absl::ParseTime(absl::RFC3339_full, node["status"].value("lastHeartbeat", ""), &heard,
                           &error) ||
          heard < killed + absl::Seconds(13)) {
        return false;
      }
    }
    return true;
  }));
  EXPECT_EQ(slices(), slices_before);
  EXPECT_EQ(ready_since(), since_before);
  const LoadResult result = load->Stop();
  EXPECT_EQ(result.failures, 0) << result.text;
  ExpectWhole();
}

TEST_F(FailureTest, ANodeThatIsDeletedWhileItsAgentRunsComesBackWithItsRange) {
  const Json before = cluster().Get({"node", "n3"});
  cluster().MustMeshctl({"delete", "node", "n3"});

  ASSERT_TRUE(Eventually([&] {
    const Json now = cluster().Get({"node", "n3"});
    return !now.is_discarded() && now["metadata"]["uid"] != before["metadata"]["uid"];
  }));
  EXPECT_EQ(cluster().Get({"node", "n3"})["spec"], before["spec"]);
  ExpectWhole();
}

TEST_F(FailureTest, ContainerdThatIsKilledCostsNoRequest) {
  const auto load = cluster().StartLoad(client_, "tcp", target_);
  for (const char* node : {"n1", "n2", "n3"}) KillAndWaitForSuccessor(node, "containerd");
  ASSERT_TRUE(Eventually([&] { return AllNodesReady(); }));

  const LoadResult result = load->Stop();
  EXPECT_EQ(result.failures, 0) << result.text;
  ExpectWhole();
}

TEST_F(FailureTest, AContainerThatIsKilledComesBackAndServes) {
  const auto restarts = [&] {
    int count = 0;
    for (const Json& pod : cluster().ReadyPods("app=echo")) {
      count += pod["status"]["containerStatuses"][0].value("restartCount", 0);
    }
    return count;
  };
  const auto load = cluster().StartLoad(client_, "tcp", target_);
  const pid_t victim = cluster().PodPid("9000");
  ASSERT_NE(victim, 0);
  ASSERT_EQ(::kill(victim, SIGKILL), 0);

  EXPECT_TRUE(Eventually([&] { return restarts() == 1; }));
  EXPECT_TRUE(Eventually([&] { return Serves(); }));
  const LoadResult result = load->Stop();
  EXPECT_THAT(result.answers, SizeIs(3)) << result.text;
  EXPECT_LT(result.longest_gap_ms, 3000) << result.text;
}

}  // namespace
}  // namespace mesh::testing
