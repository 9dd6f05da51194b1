// SPDX-License-Identifier: Apache-2.0
// Goal: the running kernel's verifier takes every program, with every map as shipped, and no
// program grows unnoticed (golden/instructions.txt; scripts/update-golden writes it).
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <sys/utsname.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>

#include "common/unique_fd.h"
#include "dataplane/bpf/programs.h"
#include "fmt/format.h"
#include "mesh/shared/flow_map.h"
#include "mesh/shared/moving.h"

namespace mesh::dataplane {
namespace {

// Without a 0: the verifier does not look at what a configuration switches off.
mesh_config Config() {
  mesh_config config;
  std::memset(&config, 1, sizeof(config));
  return config;
}

// Of both families.
Programs::Options Both() {
  Programs::Options options;
  std::memset(&options.ipv6.emplace(), 1, sizeof(mesh_config6));
  return options;
}

TEST(Load, EveryProgramPassesTheVerifier) {
  const absl::StatusOr<std::unique_ptr<Programs>> programs = Programs::Load(Config(), Both());

  ASSERT_TRUE(programs.ok()) << programs.status();
  EXPECT_GE((*programs)->from_pod(), 0);
  EXPECT_GE((*programs)->node(), 0);
  EXPECT_GE((*programs)->overlay(), 0);
  EXPECT_GE((*programs)->from_pod6(), 0);
  EXPECT_GE((*programs)->node6(), 0);
  EXPECT_GE((*programs)->overlay6(), 0);
  EXPECT_GE((*programs)->uplink6(), 0);
}

// While an agent takes over a node they are loaded with two maps more.
TEST(Load, EveryProgramThatTakesOverPassesTheVerifier) {
  const UniqueFd turnout(
      bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "turnout", 4, 4, 2 * MESH_HOOK_COUNT, nullptr));
  // The connection table of another version may have longer values.
  const UniqueFd flow_was(
      bpf_map_create(BPF_MAP_TYPE_HASH, "flow_was", sizeof(mesh_flow_key), 200, 16, nullptr));
  ASSERT_TRUE(turnout && flow_was);
  Programs::Options options;
  options.before = Programs::Before{turnout.get(), flow_was.get()};

  const absl::StatusOr<std::unique_ptr<Programs>> programs = Programs::Load(Config(), options);

  EXPECT_TRUE(programs.ok()) << programs.status();
}

// That of another version may have rows like ours, which are read then.
TEST(Load, EveryProgramThatTakesOverRowsLikeItsOwnPassesTheVerifier) {
  const UniqueFd turnout(
      bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "turnout", 4, 4, 2 * MESH_HOOK_COUNT, nullptr));
  const absl::StatusOr<std::unique_ptr<Programs>> before = Programs::Load(Config(), Both());
  ASSERT_TRUE(turnout && before.ok()) << before.status();
  Programs::Options options = Both();
  options.before = Programs::Before{turnout.get(), (*before)->map(MESH_FLOW_MAP_NAME)};
  options.before6 = Programs::Before{turnout.get(), (*before)->map(MESH_FLOW6_MAP_NAME)};

  const absl::StatusOr<std::unique_ptr<Programs>> programs = Programs::Load(Config(), options);

  EXPECT_TRUE(programs.ok()) << programs.status();
}

// "6.1".
std::string Kernel() {
  utsname name{};
  uname(&name);
  int major = 0, minor = 0;
  std::sscanf(name.release, "%d.%d", &major, &minor);
  return fmt::format("{}.{}", major, minor);
}

TEST(Load, NoProgramGrowsUnnoticed) {
  const std::string path = MESH_SOURCE_DIR "/tests/bpf/golden/instructions.txt";
  std::map<std::string, uint32_t> golden;  // "instructions mesh_node"
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line.starts_with('#')) continue;
    const size_t last = line.rfind(' ');
    ASSERT_NE(last, std::string::npos) << line;
    golden[line.substr(0, last)] = static_cast<uint32_t>(std::stoul(line.substr(last + 1)));
  }
  const absl::StatusOr<std::unique_ptr<Programs>> programs = Programs::Load(Config(), Both());
  ASSERT_TRUE(programs.ok()) << programs.status();

  for (const Programs::Size& size : (*programs)->Sizes()) {
    const std::string compiled = fmt::format("instructions {}", size.program);
    const std::string verified = fmt::format("verified {} {}", Kernel(), size.program);
    // What scripts/update-golden reads.
    std::cout << "golden: " << compiled << " " << size.instructions << "\n"
              << "golden: " << verified << " " << size.verified << "\n";
    // Three in a hundred; the verifier's way depends on more than the program.
    EXPECT_TRUE(golden.contains(compiled)) << path << " lacks it: run scripts/update-golden";
    EXPECT_LE(size.instructions, golden[compiled] * 103 / 100)
        << size.program << " has grown; if that is meant, run scripts/update-golden";
    if (!golden.contains(verified)) continue;  // a kernel that was not measured
    EXPECT_LE(size.verified, golden[verified] * 125 / 100)
        << size.program << " costs the verifier more; if that is meant, run scripts/update-golden";
  }
}

TEST(Load, ProgramsShareTheirMaps) {
  const absl::StatusOr<std::unique_ptr<Programs>> programs = Programs::Load(Config(), Both());
  ASSERT_TRUE(programs.ok()) << programs.status();

  for (const char* name :
       {"mesh_service", "mesh_svc_set", "mesh_svc_slot", "mesh_backend", "mesh_endpoint",
        "mesh_ep_name", "mesh_tunnel", "mesh_namespace", "mesh_flow", "mesh_metrics", "mesh_state",
        "mesh_service6", "mesh_backend6", "mesh_endpoint6", "mesh_tunnel6", "mesh_flow6"}) {
    EXPECT_GE((*programs)->map(name), 0) << name;
  }
}

}  // namespace
}  // namespace mesh::dataplane
