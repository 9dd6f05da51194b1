// SPDX-License-Identifier: Apache-2.0
// Rows of Services: model to map bytes and back.
#pragma once

#include "dataplane/plan/observed.h"
#include "dataplane/tables/encode.h"
#include "dataplane/tables/family.h"
#include "mesh/shared/set_map.h"

namespace mesh::dataplane {

static_assert(static_cast<int>(Scope::kInternal) == MESH_SCOPE_INTERNAL);
static_assert(static_cast<int>(Scope::kExternal) == MESH_SCOPE_EXTERNAL);
static_assert(static_cast<int>(Algorithm::kRandom) == MESH_ALGORITHM_RANDOM);
static_assert(static_cast<int>(Algorithm::kMaglev) == MESH_ALGORITHM_MAGLEV);
static_assert(static_cast<int>(Algorithm::kLeastLoaded) == MESH_ALGORITHM_LEAST_LOADED);
static_assert(static_cast<int>(BackendState::kActive) == MESH_BACKEND_ACTIVE);
static_assert(static_cast<int>(BackendState::kDraining) == MESH_BACKEND_DRAINING);
static_assert(static_cast<int>(BackendState::kLeft) == MESH_BACKEND_LEFT);

inline uint32_t SetId(uint32_t service_id, Scope scope) {
  return MESH_SET_ID(service_id, static_cast<uint32_t>(scope));
}
inline uint32_t ServiceOf(uint32_t set_id) { return set_id / 2; }
inline Scope ScopeOf(uint32_t set_id) { return static_cast<Scope>(set_id % 2); }

template <typename F>
typename F::ServiceKey Encode(const Frontend& frontend) {
  return {.vip = F::Encode(frontend.vip),
          .port = EncodePort(frontend.port),
          .proto = static_cast<uint8_t>(frontend.protocol),
          .pad0 = 0};
}

template <typename F>
Frontend Decode(const typename F::ServiceKey& key) {
  return {F::Decode(key.vip), DecodePort(key.port), static_cast<Protocol>(key.proto)};
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

template <typename F>
typename F::BackendValue Encode(const BackendEntry& entry) {
  return {.ip = F::Encode(entry.ip),
          .port = EncodePort(entry.port),
          .proto = static_cast<uint8_t>(entry.protocol),
          .state = static_cast<uint8_t>(entry.state),
          .service_id = entry.service_id,
          .weight = entry.weight,
          .scopes = entry.scopes,
          .pad0 = 0};
}

template <typename F>
BackendEntry Decode(const typename F::BackendValue& value, bool counted) {
  return {value.service_id,
          F::Decode(value.ip),
          DecodePort(value.port),
          static_cast<Protocol>(value.proto),
          static_cast<BackendState>(value.state),
          value.weight,
          value.scopes,
          counted};
}

template <typename F>
typename F::TunnelKey EncodeRange(const IpPrefix& range) {
  return {.prefix_length = static_cast<uint32_t>(range.length()), .ip = F::Encode(range.base())};
}

inline mesh_tunnel_value EncodePeer(V4, const PeerEntry& peer) { return {EncodeIp(peer.ip)}; }
inline mesh_tunnel6_value EncodePeer(V6, const PeerEntry& peer) {
  return {EncodeIp(peer.ip), EncodeIp6(peer.ip6)};
}
inline PeerEntry DecodePeer(const mesh_tunnel_value& value) {
  return {DecodeIp(value.node_ip), IpAddress()};
}
inline PeerEntry DecodePeer(const mesh_tunnel6_value& value) {
  return {DecodeIp(value.node_ip), DecodeIp6(value.node_ip6)};
}

template <typename F>
typename F::SourceRangeKey EncodeSourceRange(uint32_t service_id, const IpPrefix& range) {
  return {.prefix_length = 32 + static_cast<uint32_t>(range.length()),
          .service_id = service_id,
          .ip = F::Encode(range.base())};
}

}  // namespace mesh::dataplane
