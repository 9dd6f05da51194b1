// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dataplane/bpf/map.h"
#include "dataplane/plan/plan.h"
#include "dataplane/tables/family.h"
#include "dataplane/tables/maglev_rows.h"
#include "mesh/shared/backend_load_map.h"
#include "mesh/shared/namespace_map.h"
#include "mesh/shared/set_map.h"
#include "mesh/shared/slot_map.h"

namespace mesh::dataplane {

// Routes of the node's own processes to Services. Adding is idempotent; removing what is absent is
// fine.
class HostRoutes {
 public:
  virtual ~HostRoutes() = default;
  // Of whole addresses.
  virtual absl::Status Add(const std::vector<IpAddress>& addresses) = 0;
  virtual absl::Status Remove(const std::vector<IpAddress>& addresses) = 0;
  virtual absl::StatusOr<std::vector<IpAddress>> List() const = 0;
  // Of single ports.
  virtual absl::Status AddPorts(const std::vector<Frontend>& ports) = 0;
  virtual absl::Status RemovePorts(const std::vector<Frontend>& ports) = 0;
  virtual absl::StatusOr<std::vector<Frontend>> ListPorts() const = 0;
};

// The maps that follow the desired state, as bytes. Carries out plans.
//
// Owns: nothing; the maps outlive this.
// Restart: Load() reads the maps; slots and tables that no set names are left-overs of a crash.
class ServiceTables {
 public:
  // Those with addresses in their rows.
  template <typename F>
  struct FamilyMaps {
    using Rows = F;
    Map<typename F::ServiceKey, mesh_service_value>& service;
    Map<mesh_backend_key, typename F::BackendValue>& backend;
    Map<typename F::SourceRangeKey, mesh_source_range_value>& source_range;
    Map<typename F::TunnelKey, typename F::TunnelValue>& tunnel;
    Map<typename F::IdentityKey, mesh_identity_value>& identity;
    Map<typename F::NodeKey, uint32_t>& node;
    Map<typename F::NoMasqueradeKey, uint32_t>& no_masquerade;
    Map<typename F::AnnounceKey, uint32_t>& announce;
  };
  struct Maps {
    Map<mesh_set_key, mesh_set_value>& set;
    Map<mesh_slot_key, mesh_slot_value>& slot;
    MaglevMap& maglev;
    Map<mesh_backend_key, mesh_backend_load_value>& load;
    Map<mesh_namespace_key, mesh_namespace_value>& ns;
    HostRoutes& routes;
    FamilyMaps<V4> v4;
    std::optional<FamilyMaps<V6>> v6;  // unset: a node without IPv6
  };
  explicit ServiceTables(Maps maps) : maps_(maps) {}

  // What the maps hold now. A Maglev set whose table is not what its backends make has table_size
  // 0: the next plan writes it.
  absl::StatusOr<Observed> Load() const;
  // Removes sets that no frontend names, slots of no set's present generation, and tables and load
  // counters that nothing needs.
  absl::Status RemoveOrphans();

  // Carries out the actions in their order and enters those that worked in `observed`. Neighbours
  // of one kind are written together. After an error the rest is still carried out, but for sets
  // that hold a backend without a row; the first error is the answer. What has found a map full is
  // tried once more at the end, when the removals have made room.
  //
  // A set changes in one write for every packet: the new slots and the new table stand before the
  // set names them, the old ones go after it no longer does.
  // Cost: of one changed set, four system calls; with Maglev one more, two when its table gets
  // another size.
  absl::Status Execute(const std::vector<Action>& actions, Observed& observed);

 private:
  class Run;

  Maps maps_;
};

}  // namespace mesh::dataplane
