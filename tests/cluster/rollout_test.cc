// SPDX-License-Identifier: Apache-2.0
// A Deployment changes while requests run.
#include <gmock/gmock.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

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

// Three pods that call `port` "http" and answer with `version`, behind Service web: port 80 of the
// name `name`, and one called admin beside it that may come and go.
std::string NamedPort(const std::string& name, int port, const std::string& version, bool admin) {
  return fmt::format(R"(apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  selector:
    app: web
  ports:
  - name: {0}
    port: 80
    targetPort: http
{3}---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 3
  selector:
    matchLabels:
      app: web
  template:
    metadata:
      labels:
        app: web
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: web
        image: localhost/mesh-load:v1
        args: ["serve", "{1}", "{2}"]
        ports:
        - name: http
          containerPort: {1}
)",
                     name, port, version,
                     admin ? "  - name: admin\n    port: 81\n    targetPort: 9001\n" : "");
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

// What the network itself refuses: a connection to a Service or pod that it finds nobody for.
const std::set<std::string> kNobody = {"no_service", "no_backend", "no_endpoint", "backend_gone"};

// Each pod says itself what it calls http: old and new ones serve side by side, also when the port
// of the Service gets another name and the one beside it goes in the same apply.
TEST_F(RolloutTest, OfPodsThatGiveANamedPortAnotherNumberRefusesNobody) {
  cluster().Apply(NamedPort("web", 8080, "v0", true) + "---\n" + ClientManifest("client", "n2"));
  ASSERT_TRUE(cluster().WaitForPods("app=web", 3));
  ASSERT_TRUE(cluster().WaitForPods("app=client", 1));
  const std::string target = cluster().ClusterIp("web") + ":80";
  const pid_t client = cluster().PodPid("client");
  ASSERT_TRUE(Eventually([&] { return cluster().Load(client, "tcp", target, 20).failures == 0; }));
  const long nobody = cluster().Drops(kNobody);
  // Several, because what is to be caught lasts for milliseconds.
  std::vector<std::unique_ptr<RunningLoad>> loads;
  for (int i = 0; i < 6; ++i) loads.push_back(cluster().StartLoad(client, "tcp", target));

  const struct {
    const char* name;
    int port;
    const char* version;
    bool admin;
  } steps[] = {{"web", 9090, "v1", true},
               {"front", 8080, "v2", false},
               {"web", 9090, "v3", true},
               {"front", 8080, "v4", false}};
  for (const auto& step : steps) {
    cluster().Apply(NamedPort(step.name, step.port, step.version, step.admin));
    const auto status = cluster().Meshctl({"rollout", "status", "deployment/web", "--timeout=60s"});
    EXPECT_EQ(status.exit_code, 0) << status.text;
    ASSERT_TRUE(Eventually([&] {
      const LoadResult result = cluster().Load(client, "tcp", target, 30);
      return result.answers.size() == 1 && result.answers.contains(step.version);
    })) << step.version;
  }

  for (const auto& load : loads) {
    const LoadResult during = load->Stop();
    // A container is ready as soon as it runs, so one that has not come to listen by then may
    // refuse for itself. A port that is not its own would refuse by the hundred.
    const auto refused = during.errors.find("connect: Connection refused");
    const long starting = refused == during.errors.end() ? 0 : refused->second;
    EXPECT_LE(starting, 3) << during.text;
    EXPECT_EQ(during.failures, starting) << during.text;
    EXPECT_THAT(during.answers, SizeIs(5)) << during.text;
  }
  EXPECT_EQ(cluster().Drops(kNobody), nobody);
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
