// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dataplane/bpf/map.h"
#include "dataplane/dataplane.h"
#include "mesh/shared/backend_load_map.h"
#include "mesh/shared/backend_map.h"
#include "mesh/shared/flow_map.h"
#include "mesh/shared/owner_map.h"

namespace mesh::dataplane {

// Ends flows whose time is over, and keeps the books that the programs only add to: how many flows
// each pod answers for (mesh_owner) and each backend has (mesh_be_load).
//
// A call reads kRowsPerCall entries and the next one goes on from there: a table of full size takes
// eight of them. An empty table costs one lookup.
class FlowCollector {
 public:
  static constexpr size_t kRowsPerCall = 65'536;

  struct Tables {
    Map<mesh_flow_key, mesh_flow_value>& flows;
    Map<mesh_owner_key, mesh_owner_value>& owners;
    Map<mesh_backend_key, mesh_backend_load_value>& loads;
  };
  explicit FlowCollector(Tables tables, size_t rows_per_call = kRowsPerCall)
      : tables_(tables), rows_per_call_(rows_per_call) {}

  // Tells the programs how many flows have room; without it nobody is refused for his share.
  absl::Status Begin();
  // Removes flows whose time is over, halves without their other half, and flows whose backend
  // `backend_exists` does not know. Returns how many flows went.
  absl::StatusOr<int> Collect(uint64_t now_ns,
                              const std::function<bool(uint32_t backend_id)>& backend_exists);
  // Who has how many. The owners' pods are not named.
  absl::StatusOr<FlowUsage> Usage() const;

 private:
  using Counts = std::map<uint32_t, uint32_t>;

  absl::Status BeginSweep();
  absl::Status EndSweep();
  // Whether the entry went, and its other half with it.
  absl::StatusOr<bool> Judge(const mesh_flow_key& key, const mesh_flow_value& value,
                             uint64_t now_ns,
                             const std::function<bool(uint32_t backend_id)>& backend_exists);

  Tables tables_;
  size_t rows_per_call_;
  std::string cursor_;  // empty: at the beginning
  uint64_t sweeps_ = 0;
  uint64_t rows_in_sweep_ = 0, rows_in_last_sweep_ = 1;
  // By owner (network order) and by backend: as the sweep has found them, and what the rows said
  // when it began.
  Counts owner_flows_, owner_before_, backend_flows_, backend_before_;
};

}  // namespace mesh::dataplane
