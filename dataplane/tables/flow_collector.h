// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dataplane/bpf/map.h"
#include "dataplane/dataplane.h"
#include "dataplane/tables/family.h"
#include "mesh/shared/backend_load_map.h"

namespace mesh::dataplane {

// Ends flows whose time is over, and keeps the books that the programs only add to: how many flows
// each pod answers for (mesh_owner) and each backend has (mesh_be_load).
//
// One family's: a backend belongs to one, and the table of its loads is shared.
//
// A call reads kRowsPerCall entries and the next one goes on from there: a table of full size takes
// eight of them. An empty table costs one lookup.
template <typename F>
class FlowCollector {
 public:
  static constexpr size_t kRowsPerCall = 65'536;
  using BackendExists = std::function<bool(uint32_t backend_id)>;

  struct Tables {
    Map<typename F::FlowKey, typename F::FlowValue>& flows;
    Map<typename F::OwnerKey, mesh_owner_value>& owners;
    Map<mesh_backend_key, mesh_backend_load_value>& loads;
  };
  explicit FlowCollector(Tables tables, size_t rows_per_call = kRowsPerCall)
      : tables_(tables), rows_per_call_(rows_per_call) {}

  // Tells the programs how many flows have room; without it nobody is refused for his share.
  absl::Status Begin();
  // Removes flows whose time is over, halves without their other half, and flows whose backend
  // `backend_exists` (in this family) does not know once they have rested for seconds. Returns how
  // many flows went.
  //   left  backends that are kept for their flows only
  absl::StatusOr<int> Collect(uint64_t now_ns, const BackendExists& backend_exists,
                              const std::set<uint32_t>& left = {});
  // Of `left` those that no flow has named in two whole sweeps: in the first of them a packet might
  // still have been on its way to choose one. Each is told once.
  std::set<uint32_t> TakeUnused() { return std::exchange(unused_, {}); }
  // Who has how many. The owners' pods are not named, and nothing is said of services.
  absl::StatusOr<FlowUsage> Usage() const;
  // Entries of the table, as the last whole sweep has found them. Thread-safe.
  uint32_t Rows() const { return rows_; }
  // Flows that are open, by the number of the Service's port that they go through, as the last
  // whole sweep has found them.
  const std::map<uint32_t, uint32_t>& ServiceFlows() const { return counted_services_; }

 private:
  struct Before {
    bool operator()(const typename F::OwnerKey& a, const typename F::OwnerKey& b) const {
      return std::memcmp(&a, &b, sizeof(a)) < 0;
    }
  };
  using OwnerCounts = std::map<typename F::OwnerKey, uint32_t, Before>;
  using BackendCounts = std::map<uint32_t, uint32_t>;

  absl::Status BeginSweep(const BackendExists& backend_exists);
  absl::Status EndSweep();
  void NoteUnused();
  // Whether the entry went, and its other half with it.
  absl::StatusOr<bool> Judge(const typename F::FlowKey& key, const typename F::FlowValue& value,
                             uint64_t now_ns, const BackendExists& backend_exists);

  Tables tables_;
  size_t rows_per_call_;
  std::string cursor_;  // empty: at the beginning
  uint64_t sweeps_ = 0;
  uint64_t rows_in_sweep_ = 0, rows_in_last_sweep_ = 1;
  std::atomic<uint32_t> rows_ = 0;
  // By owner and by backend: as the sweep has found them, and what the rows said
  // when it began.
  OwnerCounts owner_flows_, owner_before_;
  BackendCounts backend_flows_, backend_before_;
  std::set<uint32_t> left_, used_;  // when the sweep began, and those of them it has met
  std::set<uint32_t> idle_, unused_;
  std::map<uint32_t, uint32_t> service_flows_, counted_services_;
};

extern template class FlowCollector<V4>;
extern template class FlowCollector<V6>;

}  // namespace mesh::dataplane
