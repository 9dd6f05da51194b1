// SPDX-License-Identifier: Apache-2.0
// A Deployment changes while requests run.
#include <gmock/gmock.h>

#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"

namespace mesh::testing {
namespace {

using ::testing::SizeIs;

// Version VERSION answers with its own name instead of the pod's.
std::string Versioned(const std::string& version) {
  std::string manifest = EchoManifest("echo", 3);
  const std::string from = "\"-\"]";
  return manifest.replace(manifest.find(from), from.size(), fmt::format("\"{}\"]", version));
}

using RolloutTest = ClusterTest;

TEST_F(RolloutTest, ReplacesEveryPodAndAnswersMeanwhile) {
  cluster().Apply(Versioned("v1") + "---\n" + ClientManifest("client", "n2"));
  ASSERT_TRUE(cluster().WaitForPods("app=echo", 3));
  ASSERT_TRUE(cluster().WaitForPods("app=client", 1));
  const std::string target = cluster().ClusterIp("echo") + ":80";
  const pid_t client = cluster().PodPid("client");
  ASSERT_TRUE(Eventually([&] { return cluster().Load(client, "tcp", target, 20).failures == 0; }));
  const auto load = cluster().StartLoad(client, "tcp", target);
  const auto datagrams = cluster().StartLoad(client, "udp", target);

  cluster().Apply(Versioned("v2"));
  const auto status = cluster().Meshctl({"rollout", "status", "deployment/echo", "--timeout=60s"});
  EXPECT_EQ(status.exit_code, 0) << status.text;
  ASSERT_TRUE(cluster().WaitForPods("app=echo", 3));

  const LoadResult during = load->Stop();
  EXPECT_EQ(during.failures, 0) << during.text;
  EXPECT_EQ(during.answers.count("v2"), 1U) << during.text;
  const LoadResult asked = datagrams->Stop();
  EXPECT_EQ(asked.failures, 0) << asked.text;
  EXPECT_EQ(asked.answers.count("v2"), 1U) << asked.text;
  const LoadResult after = cluster().Load(client, "tcp", target, 30);
  EXPECT_EQ(after.failures, 0) << after.text;
  EXPECT_THAT(after.answers, SizeIs(1)) << after.text;
  EXPECT_EQ(after.answers.count("v2"), 1U) << after.text;
}

TEST_F(RolloutTest, ServesFromMorePodsAfterScalingUpAndFromFewerAfterScalingDown) {
  cluster().Apply(EchoManifest("echo", 1) + "---\n" + ClientManifest("client", "n2"));
  ASSERT_TRUE(cluster().WaitForPods("app=client", 1));
  const std::string target = cluster().ClusterIp("echo") + ":80";
  const pid_t client = cluster().PodPid("client");
  const auto serves_from = [&](size_t pods) {
    return Eventually([&] {
      const LoadResult result = cluster().Load(client, "tcp", target, 100);
      return result.failures == 0 && result.answers.size() == pods;
    });
  };
  EXPECT_TRUE(serves_from(1));

  cluster().MustMeshctl({"scale", "deployment/echo", "--replicas=5"});
  EXPECT_TRUE(serves_from(5));

  cluster().MustMeshctl({"scale", "deployment/echo", "--replicas=2"});
  EXPECT_TRUE(serves_from(2));
}

}  // namespace
}  // namespace mesh::testing
