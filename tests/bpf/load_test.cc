// SPDX-License-Identifier: Apache-2.0
// Goal: the running kernel's verifier takes every program, with every map as shipped.
#include <gtest/gtest.h>

#include "dataplane/bpf/programs.h"

namespace mesh::dataplane {
namespace {

TEST(Load, EveryProgramPassesTheVerifier) {
  const absl::StatusOr<std::unique_ptr<Programs>> programs = Programs::Load({}, {});

  ASSERT_TRUE(programs.ok()) << programs.status();
  EXPECT_GE((*programs)->from_pod(), 0);
  EXPECT_GE((*programs)->node(), 0);
  EXPECT_GE((*programs)->overlay(), 0);
}

TEST(Load, ProgramsShareTheirMaps) {
  const absl::StatusOr<std::unique_ptr<Programs>> programs = Programs::Load({}, {});
  ASSERT_TRUE(programs.ok()) << programs.status();

  for (const char* name : {"mesh_service", "mesh_svc_set", "mesh_svc_slot", "mesh_backend",
                           "mesh_endpoint", "mesh_ep_name", "mesh_tunnel", "mesh_namespace",
                           "mesh_flow", "mesh_metrics", "mesh_state"}) {
    EXPECT_GE((*programs)->map(name), 0) << name;
  }
}

}  // namespace
}  // namespace mesh::dataplane
