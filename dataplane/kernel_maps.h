// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "dataplane/bpf/kernel_maglev.h"
#include "dataplane/bpf/kernel_map.h"
#include "dataplane/bpf/programs.h"
#include "dataplane/tables/service_tables.h"
#include "mesh/shared/endpoint_map.h"
#include "mesh/shared/flow_map.h"
#include "mesh/shared/metrics_map.h"
#include "mesh/shared/owner_map.h"
#include "mesh/shared/state_map.h"

namespace mesh::dataplane {

// The maps of loaded programs, typed. `programs` outlives them.
struct KernelMaps {
  KernelMap<mesh_service_key, mesh_service_value> service;
  KernelMap<mesh_set_key, mesh_set_value> set;
  KernelMap<mesh_slot_key, mesh_slot_value> slot;
  KernelMap<mesh_backend_key, mesh_backend_value> backend;
  KernelMap<mesh_backend_key, mesh_backend_load_value> load;
  KernelMap<mesh_source_range_key, mesh_source_range_value> source_range;
  KernelMap<mesh_tunnel_key, mesh_tunnel_value> tunnel;
  KernelMap<mesh_identity_key, mesh_identity_value> identity;
  KernelMap<mesh_namespace_key, mesh_namespace_value> ns;
  KernelMap<mesh_node_key, uint32_t> node;
  KernelMap<mesh_no_masquerade_key, uint32_t> no_masquerade;
  KernelMap<mesh_announce_key, uint32_t> announce;
  KernelMap<mesh_endpoint_key, mesh_endpoint_value> endpoint;
  KernelMap<mesh_endpoint_key, mesh_endpoint_name> endpoint_name;
  KernelMap<mesh_flow_key, mesh_flow_value> flow;
  KernelMap<mesh_owner_key, mesh_owner_value> owner;
  KernelMap<uint32_t, mesh_state_value> state;
  KernelMaglevTables maglev;
  KernelPerCpuArray<mesh_metrics_value> metrics;

  // INTERNAL when a map has another layout than this build.
  static absl::StatusOr<std::unique_ptr<KernelMaps>> Adopt(const Programs& programs);
  ServiceTables::Maps ForServices(HostRoutes& routes);
};

}  // namespace mesh::dataplane
