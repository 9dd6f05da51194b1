// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "cli/local/node.h"

namespace mesh::cli::local {
namespace {

TEST(NodeSpec, SurvivesItsFile) {
  const NodeSpec spec{.name = "n1",
                      .netns = "/run/netns/mesh-n1",
                      .cgroup = "mesh-local/n1",
                      .run_dir = "/run/mesh/local/n1",
                      .log_file = "/log",
                      .shim_dir = "/shims",
                      .address6 = "fd00:10:89::11",
                      .services = {{"agent", {"/bin/a", "--x", "a b"}, "/agent.log"}}};

  const auto read = NodeSpecFromJson(NodeSpecToJson(spec));

  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, spec);
}

TEST(NodeSpec, RefusesAFileThatIsCutOff) { EXPECT_FALSE(NodeSpecFromJson("{\"name\":").ok()); }

TEST(RestartDelay, StartsShortAndIsCapped) {
  EXPECT_EQ(RestartDelay(1), absl::Milliseconds(50));
  EXPECT_EQ(RestartDelay(2), absl::Milliseconds(100));
  EXPECT_EQ(RestartDelay(3), absl::Milliseconds(200));
  EXPECT_EQ(RestartDelay(100), absl::Seconds(2));
}

}  // namespace
}  // namespace mesh::cli::local
