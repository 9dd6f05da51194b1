// SPDX-License-Identifier: Apache-2.0
// Rows of Services: model to map bytes and back.
#pragma once

#include "dataplane/plan/observed.h"
#include "dataplane/tables/encode.h"
#include "mesh/shared/backend_map.h"
#include "mesh/shared/service_map.h"
#include "mesh/shared/set_map.h"
#include "mesh/shared/source_range_map.h"
#include "mesh/shared/tunnel_map.h"

namespace mesh::dataplane {

static_assert(static_cast<int>(Scope::kInternal) == MESH_SCOPE_INTERNAL);
static_assert(static_cast<int>(Scope::kExternal) == MESH_SCOPE_EXTERNAL);
static_assert(static_cast<int>(Algorithm::kRandom) == MESH_ALGORITHM_RANDOM);
static_assert(static_cast<int>(Algorithm::kMaglev) == MESH_ALGORITHM_MAGLEV);
static_assert(static_cast<int>(Algorithm::kLeastLoaded) == MESH_ALGORITHM_LEAST_LOADED);
static_assert(static_cast<int>(BackendState::kActive) == MESH_BACKEND_ACTIVE);
static_assert(static_cast<int>(BackendState::kDraining) == MESH_BACKEND_DRAINING);

inline uint32_t SetId(uint32_t service_id, Scope scope) {
  return MESH_SET_ID(service_id, static_cast<uint32_t>(scope));
}
inline uint32_t ServiceOf(uint32_t set_id) { return set_id / 2; }
inline Scope ScopeOf(uint32_t set_id) { return static_cast<Scope>(set_id % 2); }

inline mesh_service_key Encode(const Frontend& frontend) {
  return {.vip = frontend.vip.is_v4() ? EncodeIp(frontend.vip) : 0,
          .port = EncodePort(frontend.port),
          .proto = static_cast<uint8_t>(frontend.protocol),
          .pad0 = 0};
}

inline Frontend Decode(const mesh_service_key& key) {
  return {key.vip == 0 ? IpAddress() : DecodeIp(key.vip), DecodePort(key.port),
          static_cast<Protocol>(key.proto)};
}

inline mesh_service_value Encode(const FrontendEntry& entry) {
  uint32_t flags = 0;
  if (entry.scope == Scope::kExternal) flags |= MESH_SERVICE_EXTERNAL;
  if (entry.source_ranges) flags |= MESH_SERVICE_SOURCE_RANGES;
  if (entry.direct_return) flags |= MESH_SERVICE_DIRECT_RETURN;
  return {.service_id = entry.service_id,
          .set_id = SetId(entry.service_id, entry.scope),
          .identity = entry.identity,
          .affinity_s = entry.affinity_seconds,
          .flags = flags};
}

inline FrontendEntry Decode(const mesh_service_value& value) {
  return {value.service_id,
          ScopeOf(value.set_id),
          value.identity,
          value.affinity_s,
          (value.flags & MESH_SERVICE_SOURCE_RANGES) != 0,
          (value.flags & MESH_SERVICE_DIRECT_RETURN) != 0};
}

inline mesh_backend_value Encode(const BackendEntry& entry) {
  return {.ip = EncodeIp(entry.ip),
          .port = EncodePort(entry.port),
          .proto = static_cast<uint8_t>(entry.protocol),
          .state = static_cast<uint8_t>(entry.state),
          .service_id = entry.service_id,
          .weight = entry.weight,
          .scopes = entry.scopes,
          .pad0 = 0};
}

inline BackendEntry Decode(const mesh_backend_value& value, bool counted) {
  return {value.service_id,
          DecodeIp(value.ip),
          DecodePort(value.port),
          static_cast<Protocol>(value.proto),
          static_cast<BackendState>(value.state),
          value.weight,
          value.scopes,
          counted};
}

inline mesh_tunnel_key Encode(const IpPrefix& prefix) {
  return {.prefix_length = static_cast<uint32_t>(prefix.length()), .ip = EncodeIp(prefix.base())};
}

inline mesh_source_range_key EncodeSourceRange(uint32_t service_id, const IpPrefix& range) {
  return {.prefix_length = 32 + static_cast<uint32_t>(range.length()),
          .service_id = service_id,
          .ip = EncodeIp(range.base())};
}

}  // namespace mesh::dataplane
