// SPDX-License-Identifier: Apache-2.0
// Entries of the connection table, of either family.
#pragma once

#include "dataplane/tables/family.h"
#include "mesh/shared/flow_state.h"

namespace mesh::dataplane {

// Key of the other direction.
template <typename F>
typename F::FlowKey PartnerKey(const typename F::FlowKey& key, const typename F::FlowValue& value) {
  typename F::FlowKey out{};
  out.saddr = value.daddr;
  out.daddr = value.saddr;
  out.sport = value.dport;
  out.dport = value.sport;
  out.proto = key.proto;
  return out;
}

template <typename Value>
bool IsReply(const Value& value) {
  return (value.flags & MESH_FLOW_REPLY) != 0;
}
template <typename Value>
bool IsOneWay(const Value& value) {
  return (value.flags & MESH_FLOW_ONE_WAY) != 0;
}

// What mesh/shared/flow_state.h reads of an entry.
inline const mesh_flow_value& LifeOf(const mesh_flow_value& value) { return value; }
inline mesh_flow_value LifeOf(const mesh_flow6_value& value) {
  mesh_flow_value out{};
  out.flags = value.flags;
  out.tcp_fin = value.tcp_fin;
  out.tcp_rst = value.tcp_rst;
  out.tcp_data = value.tcp_data;
  out.last_seen_ns = value.last_seen_ns;
  out.packets = value.packets;
  return out;
}

}  // namespace mesh::dataplane
