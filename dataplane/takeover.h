// SPDX-License-Identifier: Apache-2.0
// From the maps and programs that an agent finds on its node to those of its own build, while
// packets flow: none is lost and no connection is reset.
//
// Maps are found by name under <bpf_root>/mesh/v<ABI>/. Those of another version, and those of this
// version whose rows or size are others, are carried over row by row (bpf/migrate.h). Only the
// connection table is written by packets meanwhile, so only for it more is needed:
//
//   1. A turnout is put at every hook; it leads to the program that was there. Nothing changes. XDP
//      gets the new program, which knows no flow yet and leaves all packets to them.
//   2. One write turns all hooks to new programs, which open new flows in the new table. A packet
//      without a flow there that the old table knows goes to the old program, unless that flow has
//      ended and the packet begins another one (which can be seen where the rows of both tables are
//      laid out alike).
//   3. The old table, in which nothing new is opened any more, is carried over. From the moment a
//      flow is in the new table no packet of it goes to the old program.
//   4. The final programs replace the turnouts, and the old pins go.
//
// Every step can be the last one of an agent that dies: the maps in between are pinned, and the
// next one goes on from there.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/unique_fd.h"
#include "dataplane/bpf/programs.h"
#include "dataplane/net/netlink.h"
#include "mesh/shared/config.h"

namespace mesh::dataplane {

class TakeOver {
 public:
  struct Hook {
    int ifindex = 0;
    uint32_t number = 0;  // MESH_HOOK_*
  };
  struct Options {
    std::string mesh_dir;  // <bpf_root>/mesh
    std::string pin_dir;   // within it: of this build's version
    // Interfaces of ours; those without a program are left alone.
    std::vector<Hook> hooks;
    std::optional<LinkInfo> uplink;  // which may have our program of XDP
    // Of the final programs: `pin_dir` and sizes.
    Programs::Options programs;
    // Told before each step, for tests that end there. May be empty.
    std::function<void(std::string_view)> on_step;
  };

  // Steps 1 to 3, if there is anything to take over. To be called before the final programs are
  // loaded. RESOURCE_EXHAUSTED and others: the old programs go on, and so may the caller.
  static absl::StatusOr<TakeOver> Begin(const mesh_config& config, Options options);

  // Step 4, once the final programs stand at all hooks.
  absl::Status Finish(const Programs& programs);

  // Whether something was, or is being, carried over.
  bool active() const { return !before_.empty(); }

 private:
  explicit TakeOver(Options options) : options_(std::move(options)) {}

  void Step(std::string_view step) const {
    if (options_.on_step) options_.on_step(step);
  }
  absl::Status FindBefore();
  absl::Status DropUnused();
  absl::Status SetAside();
  absl::Status Turn(const mesh_config& config);
  absl::Status CarryTables(const Programs& programs);
  absl::Status CarryFlows(const Programs& programs);
  absl::StatusOr<uint64_t> Carry(const Programs& programs, const std::string& folder,
                                 const std::string& map) const;

  Options options_;
  // Folders whose maps are carried over, the one to be believed most first.
  std::vector<std::string> before_;
  // Numbers of the maps that the programs at the hooks use.
  std::vector<uint32_t> live_maps_;
  // Clock of mesh_flow_value::last_seen_ns. No program of this agent stood at a hook then.
  uint64_t begun_ns_ = 0;
  // Whether the hooks went through a turnout: nothing was opened in the old table since.
  bool turned_ = false;
};

}  // namespace mesh::dataplane
