// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "dataplane/bpf/map.h"
#include "dataplane/dataplane.h"
#include "mesh/shared/flow_map.h"

namespace mesh::dataplane {

// Connection tracking as the programs keep it; see flow_map.h. `now_ns` is CLOCK_MONOTONIC_COARSE.
class FlowTable {
 public:
  using FlowMap = Map<mesh_flow_key, mesh_flow_value>;
  explicit FlowTable(FlowMap& map) : map_(map) {}

  // One row per flow, in the order of its addresses.
  absl::StatusOr<std::vector<ConntrackRow>> Rows(uint64_t now_ns) const;
  // Removes all flows from or to an address.
  absl::Status RemoveAddress(const IpAddress& ip);

 private:
  FlowMap& map_;
};

}  // namespace mesh::dataplane
