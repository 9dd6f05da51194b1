// SPDX-License-Identifier: Apache-2.0
// Whole-cluster properties under faults, from seeds. To look at one: MESH_SIM_SEED=<n>.
#include <cstdlib>
#include <fstream>
#include <string>

#include "fmt/format.h"
#include "gtest/gtest.h"
#include "tests/sim/sim_cluster.h"

namespace mesh::sim {
namespace {

constexpr int kSeeds = 40;
constexpr absl::Duration kConvergence = absl::Seconds(90);

std::vector<uint64_t> Seeds() {
  if (const char* one = std::getenv("MESH_SIM_SEED")) return {std::strtoull(one, nullptr, 10)};
  std::vector<uint64_t> out;
  std::ifstream past(MESH_SOURCE_DIR "/tests/sim/seeds.txt");
  for (std::string line; std::getline(past, line);)
    if (!line.empty() && line[0] != '#') out.push_back(std::strtoull(line.c_str(), nullptr, 10));
  for (int i = 1; i <= kSeeds; ++i) out.push_back(i);
  return out;
}

std::string AppName(int i) { return fmt::format("app-{}", i); }

// A random life: some applications, changes and faults, then peace.
void Live(SimCluster* cluster, int nodes) {
  Random& random = cluster->random();
  const int apps = 1 + static_cast<int>(random.Below(3));
  static constexpr const char* kAmounts[] = {"0", "1", "25%", "50%", "100%"};
  for (int i = 0; i < apps; ++i) {
    const bool recreate = random.Below(5) == 0;
    cluster->CreateDeployment(AppName(i), 1 + static_cast<int>(random.Below(6)),
                              recreate ? "Recreate" : "RollingUpdate", kAmounts[random.Below(5)],
                              kAmounts[random.Below(5)]);
    cluster->CreateService(AppName(i));
  }
  for (int action = 0; action < 25; ++action) {
    cluster->RunFor(absl::Milliseconds(static_cast<int64_t>(random.Below(2500))));
    const std::string app = AppName(static_cast<int>(random.Below(apps)));
    const int node = static_cast<int>(random.Below(nodes));
    switch (random.Below(9)) {
      case 0:
        cluster->Scale(app, static_cast<int>(random.Below(9)));
        break;
      case 1:
      case 2:
        cluster->SetImage(app, fmt::format("registry.local/app:{}", random.Below(3)));
        break;
      case 3: {
        const auto& pods = cluster->state().pods;
        if (pods.empty()) break;
        auto it = std::next(pods.begin(), static_cast<long>(random.Below(pods.size())));
        cluster->Delete(v1::KIND_POD, it->first);
        break;
      }
      case 4:
        cluster->KillAgent(node, absl::Milliseconds(static_cast<int64_t>(random.Below(9000))));
        break;
      case 5:
        cluster->KillNode(node);
        break;
      case 6:
        cluster->ReviveNode(node);
        break;
      case 7:
        if (random.Below(2) == 0)
          cluster->CrashControl(absl::Milliseconds(static_cast<int64_t>(random.Below(6000))));
        else
          cluster->CrashControlAfter(1 + static_cast<int>(random.Below(20)),
                                     absl::Milliseconds(static_cast<int64_t>(random.Below(3000))));
        break;
      case 8:
        cluster->CrashContainer(node);
        break;
    }
  }
  for (int node = 0; node < nodes; ++node) cluster->ReviveNode(node);
}

TEST(Convergence, EverySeedEndsWholeAndQuiet) {
  for (const uint64_t seed : Seeds()) {
    SCOPED_TRACE(fmt::format("MESH_SIM_SEED={}", seed));
    const int nodes = 2 + static_cast<int>(seed % 4);
    SimCluster cluster(seed, nodes);

    Live(&cluster, nodes);

    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Converged(); }, kConvergence))
        << cluster.Explain();
    // A control plane that was still armed to crash may do so now; peace is what follows.
    cluster.RunFor(absl::Seconds(30));
    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Converged(); }, kConvergence))
        << cluster.Explain();
    const int64_t commits = cluster.meaningful_commits();
    cluster.RunFor(absl::Seconds(60));
    ASSERT_EQ(cluster.violation(), "");
    ASSERT_EQ(cluster.meaningful_commits(), commits) << "writes at rest";
  }
}

TEST(Convergence, TheSameSeedLivesTheSameLife) {
  uint64_t traces[2];
  for (uint64_t& trace : traces) {
    SimCluster cluster(7, 3);
    Live(&cluster, 3);
    cluster.RunUntil([&] { return cluster.Converged(); }, kConvergence);
    trace = cluster.trace();
  }
  EXPECT_EQ(traces[0], traces[1]);
}

TEST(Rollout, KeepsItsPromiseOfAvailabilityWhenNothingFails) {
  static constexpr const char* kPosts[][2] = {{"1", "0"},    {"0", "1"},   {"25%", "25%"},
                                              {"100%", "0"}, {"2", "50%"}, {"0", "100%"}};
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    const auto& posts = kPosts[seed % 6];
    SCOPED_TRACE(fmt::format("seed {} surge {} unavailable {}", seed, posts[0], posts[1]));
    SimCluster cluster(seed, 3);
    cluster.CreateDeployment("web", 2 + static_cast<int>(seed), "RollingUpdate", posts[0],
                             posts[1]);
    cluster.CreateService("web");
    ASSERT_TRUE(cluster.RunUntil(
        [&] { return !cluster.state().deployments.empty() && cluster.Converged(); }, kConvergence))
        << cluster.Explain();
    cluster.RequireAvailability(true);

    for (int version = 2; version <= 4; ++version) {
      cluster.SetImage("web", fmt::format("registry.local/app:{}", version));
      // Some rollouts are overtaken by the next.
      if (seed % 3 == 0)
        cluster.RunFor(absl::Milliseconds(700));
      else
        cluster.RunFor(absl::Seconds(20));
    }

    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Converged(); }, kConvergence))
        << cluster.Explain();
    for (const auto& [key, pod] : cluster.state().pods)
      EXPECT_EQ(pod->spec().containers(0).image(), "registry.local/app:4");
  }
}

TEST(Rollout, LeavesTheOldPodsWhenTheNewOnesNeverBecomeReady) {
  SimCluster cluster(3, 3);
  cluster.CreateDeployment("web", 4, "RollingUpdate", "25%", "25%");
  ASSERT_TRUE(cluster.RunUntil(
      [&] { return !cluster.state().deployments.empty() && cluster.Converged(); }, kConvergence));
  cluster.RequireAvailability(true);

  cluster.SetImage("web", "broken");
  cluster.RunFor(absl::Minutes(15));

  EXPECT_EQ(cluster.violation(), "");
  const auto& deployment = *cluster.state().deployments.begin()->second;
  EXPECT_EQ(deployment.status().available_replicas(), 3);
  bool exceeded = false;
  for (const auto& condition : deployment.status().conditions())
    exceeded |= condition.type() == "Progressing" && condition.status() == "False" &&
                condition.reason() == "ProgressDeadlineExceeded";
  EXPECT_TRUE(exceeded) << deployment.ShortDebugString();
}

TEST(NodeDeath, ReplacesThePodsElsewhereAndTakesTheirEndpointsOut) {
  SimCluster cluster(5, 3);
  cluster.RunFor(absl::Seconds(3));  // all nodes are there: two pods each
  cluster.CreateDeployment("web", 6, "RollingUpdate", "25%", "25%");
  cluster.CreateService("web");
  ASSERT_TRUE(cluster.RunUntil(
      [&] { return !cluster.state().deployments.empty() && cluster.Converged(); }, kConvergence));
  // Only silence that begins after the start-up grace counts.
  cluster.RunFor(absl::Seconds(15));

  cluster.KillNode(0);
  auto ready_elsewhere = [&] {
    int ready = 0;
    for (const auto& [key, slice] : cluster.state().endpoint_slices)
      for (const auto& endpoint : slice->endpoints())
        if (endpoint.conditions().ready()) {
          if (endpoint.node_name() == "node-0") return -1;
          ++ready;
        }
    return ready;
  };
  EXPECT_TRUE(cluster.RunUntil([&] { return ready_elsewhere() == 4; }, absl::Seconds(5)));
  EXPECT_TRUE(cluster.RunUntil([&] { return ready_elsewhere() == 6; }, absl::Seconds(5)));

  cluster.ReviveNode(0);
  EXPECT_TRUE(cluster.RunUntil([&] { return cluster.Converged(); }, kConvergence))
      << cluster.Explain();
}

TEST(Deletion, OfADeploymentLeavesNothingOfIt) {
  SimCluster cluster(9, 3);
  cluster.CreateDeployment("web", 5, "RollingUpdate", "25%", "25%");
  cluster.CreateService("web");
  ASSERT_TRUE(cluster.RunUntil(
      [&] { return !cluster.state().deployments.empty() && cluster.Converged(); }, kConvergence));

  cluster.Delete(v1::KIND_DEPLOYMENT, {"default", "web"});
  cluster.Delete(v1::KIND_SERVICE, {"default", "web"});

  EXPECT_TRUE(cluster.RunUntil(
      [&] {
        const auto& state = cluster.state();
        return state.deployments.empty() && state.replica_sets.empty() && state.pods.empty() &&
               state.services.empty() && state.endpoint_slices.empty();
      },
      absl::Seconds(10)));
}

TEST(Deletion, OfANamespaceEndsEvenWhenANodeIsGone) {
  SimCluster cluster(11, 3);
  cluster.CreateDeployment("web", 6, "RollingUpdate", "25%", "25%");
  cluster.CreateService("web");
  ASSERT_TRUE(cluster.RunUntil(
      [&] { return !cluster.state().deployments.empty() && cluster.Converged(); }, kConvergence));
  cluster.RunFor(absl::Seconds(15));

  cluster.KillNode(1);
  cluster.Delete(v1::KIND_NAMESPACE, {"", "default"});

  EXPECT_TRUE(cluster.RunUntil(
      [&] {
        return !cluster.state().namespaces.contains({"", "default"});
      },
      absl::Seconds(60)));
  EXPECT_TRUE(cluster.state().pods.empty());
}

TEST(ControlPlane, CrashesBetweenAnyTwoWritesWithoutHarm) {
  // Counts up through the writes of one rollout: each is once the last one before the crash.
  for (int commits = 1; commits <= 60; ++commits) {
    SCOPED_TRACE(fmt::format("crash at commit {}", commits));
    SimCluster cluster(100 + static_cast<uint64_t>(commits), 2);
    cluster.CreateDeployment("web", 3, "RollingUpdate", "1", "0");
    cluster.CreateService("web");
    ASSERT_TRUE(cluster.RunUntil(
        [&] { return !cluster.state().deployments.empty() && cluster.Converged(); }, kConvergence));
    cluster.RequireAvailability(true);

    cluster.CrashControlAfter(commits, absl::Milliseconds(300));
    cluster.SetImage("web", "registry.local/app:2");

    ASSERT_TRUE(cluster.RunUntil(
        [&] {
          return cluster.Converged() &&
                 cluster.state().pods.begin()->second->spec().containers(0).image() ==
                     "registry.local/app:2";
        },
        kConvergence))
        << cluster.Explain();
  }
}

}  // namespace
}  // namespace mesh::sim
