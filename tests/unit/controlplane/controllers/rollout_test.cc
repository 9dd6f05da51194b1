// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/rollout.h"

#include <string>

#include "gtest/gtest.h"
#include "tests/unit/controlplane/controllers/cluster_world.h"

namespace mesh::controlplane {
namespace {

struct FencepostCase {
  const char* surge;
  const char* unavailable;
  int replicas;
  int max_surge;
  int max_unavailable;
};

TEST(ResolveFenceposts, RoundsAsKubernetesDoes) {
  const FencepostCase cases[] = {
      {"25%", "25%", 10, 3, 2}, {"25%", "25%", 4, 1, 1}, {"25%", "25%", 3, 1, 0},
      {"25%", "25%", 1, 1, 0},  {"0", "0", 5, 0, 1},     {"0%", "0%", 5, 0, 1},
      {"1", "0", 5, 1, 0},      {"0", "1", 5, 0, 1},     {"100%", "100%", 7, 7, 7},
      {"1%", "1%", 1, 1, 0},    {"0", "10%", 5, 0, 1},   {"3", "2", 0, 3, 2},
  };
  for (const FencepostCase& c : cases) {
    SCOPED_TRACE(std::string(c.surge) + " " + c.unavailable + " of " + std::to_string(c.replicas));
    v1::RollingUpdateDeployment strategy;
    *strategy.mutable_max_surge() = ParseAmount(c.surge);
    *strategy.mutable_max_unavailable() = ParseAmount(c.unavailable);
    const Fenceposts posts = ResolveFenceposts(strategy, c.replicas);
    EXPECT_EQ(posts.max_surge, c.max_surge);
    EXPECT_EQ(posts.max_unavailable, c.max_unavailable);
  }
}

TEST(ResolveFenceposts, TakesAQuarterWhenNothingIsGiven) {
  const Fenceposts posts = ResolveFenceposts({}, 8);
  EXPECT_EQ(posts.max_surge, 2);
  EXPECT_EQ(posts.max_unavailable, 2);
}

TEST(Proportion, SharesByTheSizeBefore) {
  // 10 of 15 allowed grow to 30 allowed: doubled.
  EXPECT_EQ(Proportion(10, 30, 15, false, 15, 0), 10);
  EXPECT_EQ(Proportion(5, 30, 15, false, 15, 10), 5);
  // Never more than what is left to give.
  EXPECT_EQ(Proportion(10, 30, 15, false, 15, 8), 7);
  EXPECT_EQ(Proportion(10, 5, 15, false, -10, 0), -7);
  EXPECT_EQ(Proportion(10, 5, 15, false, -10, -9), -1);
  EXPECT_EQ(Proportion(4, 0, 15, true, -4, 0), -4);
  EXPECT_EQ(Proportion(0, 30, 15, false, 15, 0), 0);
}

}  // namespace
}  // namespace mesh::controlplane
