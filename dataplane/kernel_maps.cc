// SPDX-License-Identifier: Apache-2.0
#include "dataplane/kernel_maps.h"

#include <utility>

#include "common/status.h"

namespace mesh::dataplane {
namespace {

template <typename K, typename V>
absl::Status AdoptOne(const Programs& programs, const char* name, KernelMap<K, V>* out) {
  ASSIGN_OR_RETURN(*out, (KernelMap<K, V>::Adopt(programs.map(name))));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<KernelMaps>> KernelMaps::Adopt(const Programs& programs) {
  auto out = std::unique_ptr<KernelMaps>(new KernelMaps{
      .maglev = KernelMaglevTables(programs.map(MESH_MAGLEV_MAP_NAME)),
      .metrics = KernelPerCpuArray<mesh_metrics_value>(programs.map(MESH_METRICS_MAP_NAME))});
  RETURN_IF_ERROR(AdoptOne(programs, MESH_SERVICE_MAP_NAME, &out->service));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_SET_MAP_NAME, &out->set));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_SLOT_MAP_NAME, &out->slot));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_BACKEND_MAP_NAME, &out->backend));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_BACKEND_LOAD_MAP_NAME, &out->load));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_SOURCE_RANGE_MAP_NAME, &out->source_range));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_TUNNEL_MAP_NAME, &out->tunnel));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_IDENTITY_MAP_NAME, &out->identity));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_NAMESPACE_MAP_NAME, &out->ns));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_NODE_MAP_NAME, &out->node));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_NO_MASQUERADE_MAP_NAME, &out->no_masquerade));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_ANNOUNCE_MAP_NAME, &out->announce));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_ENDPOINT_MAP_NAME, &out->endpoint));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_ENDPOINT_NAME_MAP_NAME, &out->endpoint_name));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_FLOW_MAP_NAME, &out->flow));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_OWNER_MAP_NAME, &out->owner));
  RETURN_IF_ERROR(AdoptOne(programs, MESH_STATE_MAP_NAME, &out->state));
  return out;
}

ServiceTables::Maps KernelMaps::ForServices(HostRoutes& routes) {
  return {service, set,      slot, maglev, backend,       load,     source_range,
          tunnel,  identity, ns,   node,   no_masquerade, announce, routes};
}

}  // namespace mesh::dataplane
