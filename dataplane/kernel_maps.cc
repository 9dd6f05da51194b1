// SPDX-License-Identifier: Apache-2.0
#include "dataplane/kernel_maps.h"

#include <string>
#include <utility>

#include "common/status.h"

namespace mesh::dataplane {
namespace {

template <typename M>
absl::Status AdoptOne(const Programs& programs, const std::string& name, M* out) {
  ASSIGN_OR_RETURN(*out, M::Adopt(programs.map(name)));
  return absl::OkStatus();
}

// `suffix`: what the names of the family's maps end with.
template <typename F>
absl::Status AdoptFamily(const Programs& programs, const std::string& suffix,
                         KernelMaps::OfFamily<F>* out) {
  const auto adopt = [&](const char* name, auto* map) {
    return AdoptOne(programs, name + suffix, map);
  };
  RETURN_IF_ERROR(adopt(MESH_SERVICE_MAP_NAME, &out->service));
  RETURN_IF_ERROR(adopt(MESH_BACKEND_MAP_NAME, &out->backend));
  RETURN_IF_ERROR(adopt(MESH_SOURCE_RANGE_MAP_NAME, &out->source_range));
  RETURN_IF_ERROR(adopt(MESH_TUNNEL_MAP_NAME, &out->tunnel));
  RETURN_IF_ERROR(adopt(MESH_IDENTITY_MAP_NAME, &out->identity));
  RETURN_IF_ERROR(adopt(MESH_NODE_MAP_NAME, &out->node));
  RETURN_IF_ERROR(adopt(MESH_NO_MASQUERADE_MAP_NAME, &out->no_masquerade));
  RETURN_IF_ERROR(adopt(MESH_ANNOUNCE_MAP_NAME, &out->announce));
  RETURN_IF_ERROR(adopt(MESH_ENDPOINT_MAP_NAME, &out->endpoint));
  RETURN_IF_ERROR(adopt(MESH_FLOW_MAP_NAME, &out->flow));
  return adopt(MESH_OWNER_MAP_NAME, &out->owner);
}

}  // namespace

absl::StatusOr<std::unique_ptr<KernelMaps>> KernelMaps::Adopt(const Programs& programs) {
  auto out = std::unique_ptr<KernelMaps>(new KernelMaps{
      .metrics = KernelPerCpuArray<mesh_metrics_value>(programs.map(MESH_METRICS_MAP_NAME))});
  RETURN_IF_ERROR(AdoptFamily(programs, "", &out->v4));
  if (programs.has_map(MESH_FLOW6_MAP_NAME)) {
    RETURN_IF_ERROR(AdoptFamily(programs, "6", &out->v6.emplace()));
  }
  RETURN_IF_ERROR(AdoptOne(programs, MESH_SET_MAP_NAME, &out->set));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_SLOT_MAP_NAME, &out->slot));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_MAGLEV_MAP_NAME, &out->maglev));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_BACKEND_LOAD_MAP_NAME, &out->load));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_SERVICE_TRAFFIC_MAP_NAME, &out->traffic));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_NAMESPACE_MAP_NAME, &out->ns));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_ENDPOINT_NAME_MAP_NAME, &out->endpoint_name));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_STATE_MAP_NAME, &out->state));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_POD_NAMESPACE_MAP_NAME, &out->pod_ns));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_POLICY_PEER_MAP_NAME, &out->policy_peer));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_POLICY_PORT_MAP_NAME, &out->policy_port));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_POLICY_BLOCK_MAP_NAME, &out->policy_block));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_POLICY_DROPS_MAP_NAME, &out->policy_drops));
  if (!out->v6.has_value()) return out;
  RETURN_IF_ERROR(AdoptOne(programs, MESH_POLICY_BLOCK6_MAP_NAME, &out->policy_block6));
  return out;
}

PolicyTables::Maps KernelMaps::ForPolicies() {
  return {.ns = pod_ns,
          .peer = policy_peer,
          .block = policy_block,
          .block6 = v6.has_value() ? &policy_block6 : nullptr,
          .port = policy_port};
}

ServiceTables::Maps KernelMaps::ForServices(HostRoutes& routes) {
  return {.set = set,
          .slot = slot,
          .maglev = maglev,
          .load = load,
          .ns = ns,
          .routes = routes,
          .v4 = v4.ForServices(),
          .v6 = v6.has_value() ? std::optional(v6->ForServices()) : std::nullopt};
}

}  // namespace mesh::dataplane
