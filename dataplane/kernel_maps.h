// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>

#include "dataplane/bpf/kernel_map.h"
#include "dataplane/bpf/programs.h"
#include "dataplane/tables/policy_tables.h"
#include "dataplane/tables/service_tables.h"
#include "mesh/shared/metrics_map.h"
#include "mesh/shared/service_traffic_map.h"
#include "mesh/shared/state_map.h"

namespace mesh::dataplane {

// The maps of loaded programs, typed. `programs` outlives them.
struct KernelMaps {
  // Those with addresses in their rows.
  template <typename F>
  struct OfFamily {
    KernelMap<typename F::ServiceKey, mesh_service_value> service;
    KernelMap<mesh_backend_key, typename F::BackendValue> backend;
    KernelMap<typename F::SourceRangeKey, mesh_source_range_value> source_range;
    KernelMap<typename F::TunnelKey, typename F::TunnelValue> tunnel;
    KernelMap<typename F::IdentityKey, mesh_identity_value> identity;
    KernelMap<typename F::NodeKey, uint32_t> node;
    KernelMap<typename F::NoMasqueradeKey, uint32_t> no_masquerade;
    KernelMap<typename F::AnnounceKey, uint32_t> announce;
    KernelMap<typename F::EndpointKey, mesh_endpoint_value> endpoint;
    KernelMap<typename F::FlowKey, typename F::FlowValue> flow;
    KernelMap<typename F::OwnerKey, mesh_owner_value> owner;

    ServiceTables::FamilyMaps<F> ForServices() {
      return {service, backend, source_range, tunnel, identity, node, no_masquerade, announce};
    }
  };

  OfFamily<V4> v4;
  std::optional<OfFamily<V6>> v6;  // with the programs of IPv6
  KernelMap<mesh_set_key, mesh_set_value> set;
  KernelMap<mesh_slot_key, mesh_slot_value> slot;
  KernelMap<mesh_backend_key, mesh_backend_load_value> load;
  KernelMap<mesh_namespace_key, mesh_namespace_value> ns;
  KernelMap<mesh_endpoint_key, mesh_endpoint_name> endpoint_name;
  KernelMap<uint32_t, mesh_state_value> state;
  KernelMap<mesh_maglev_key, mesh_maglev_value> maglev;
  KernelPerCpuArray<mesh_metrics_value> metrics;
  KernelPerCpuHash<mesh_service_traffic_key, mesh_service_traffic_value> traffic;
  KernelMap<mesh_pod_namespace_key, mesh_pod_namespace_value> pod_ns;
  KernelMap<mesh_policy_peer_key, mesh_policy_class> policy_peer;
  KernelMap<mesh_policy_port_key, mesh_policy_decision> policy_port;
  KernelMap<mesh_policy_block_key, mesh_policy_class> policy_block;
  KernelMap<mesh_policy_block6_key, mesh_policy_class> policy_block6;  // with v6
  KernelPerCpuHash<mesh_policy_drops_key, mesh_policy_drops_value> policy_drops;

  // INTERNAL when a map has another layout than this build.
  static absl::StatusOr<std::unique_ptr<KernelMaps>> Adopt(const Programs& programs);
  ServiceTables::Maps ForServices(HostRoutes& routes);
  PolicyTables::Maps ForPolicies();
};

}  // namespace mesh::dataplane
