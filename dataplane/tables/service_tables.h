// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dataplane/bpf/map.h"
#include "dataplane/plan/plan.h"
#include "mesh/shared/backend_map.h"
#include "mesh/shared/namespace_map.h"
#include "mesh/shared/service_map.h"
#include "mesh/shared/set_map.h"
#include "mesh/shared/slot_map.h"
#include "mesh/shared/tunnel_map.h"

namespace mesh::dataplane {

// The maps that follow the desired state, as bytes. Carries out plans.
//
// Owns: nothing; the maps outlive this.
// Restart: Load() reads the maps; slots that no Service names are left-overs of a crash and go.
class ServiceTables {
 public:
  struct Maps {
    Map<mesh_service_key, mesh_service_value>& service;
    Map<mesh_set_key, mesh_set_value>& set;
    Map<mesh_slot_key, mesh_slot_value>& slot;
    Map<mesh_backend_key, mesh_backend_value>& backend;
    Map<mesh_tunnel_key, mesh_tunnel_value>& tunnel;
    Map<mesh_namespace_key, mesh_namespace_value>& ns;
  };
  explicit ServiceTables(Maps maps) : maps_(maps) {}

  // What the maps hold now.
  absl::StatusOr<Observed> Load() const;
  // Removes slots of no Service's present generation.
  absl::Status RemoveOrphans();

  // A Service changes in one write for every packet: the new slots stand before the Service names
  // them, the old ones go after it no longer does.
  // `observed`: before the action; the old slots are found from it.
  // Cost: one system call; a Service 1 + its old and new backends.
  absl::Status Execute(const Action& action, const Observed& observed);

 private:
  absl::Status Put(const PutService& action, const Observed& observed);
  absl::Status RemoveSlots(const ServiceEntry& entry);

  Maps maps_;
};

}  // namespace mesh::dataplane
