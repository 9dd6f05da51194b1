// SPDX-License-Identifier: Apache-2.0
// The two families of the kernel's maps. What is the same for both is written once, with one of
// these as its parameter.
#pragma once

#include <netinet/in.h>

#include <cstring>

#include "dataplane/model/state.h"
#include "dataplane/tables/encode.h"
#include "mesh/shared/backend_map.h"
#include "mesh/shared/endpoint_map.h"
#include "mesh/shared/flow_map.h"
#include "mesh/shared/identity_map.h"
#include "mesh/shared/outside_map.h"
#include "mesh/shared/owner_map.h"
#include "mesh/shared/service_map.h"
#include "mesh/shared/source_range_map.h"
#include "mesh/shared/tunnel_map.h"

namespace mesh::dataplane {

struct V4 {
  static constexpr Family kFamily = Family::kV4;
  static constexpr uint8_t kIcmp = IPPROTO_ICMP;

  using Address = __be32;
  using ServiceKey = mesh_service_key;
  using BackendValue = mesh_backend_value;
  using SourceRangeKey = mesh_source_range_key;
  using TunnelKey = mesh_tunnel_key;
  using TunnelValue = mesh_tunnel_value;
  using IdentityKey = mesh_identity_key;
  using NodeKey = mesh_node_key;
  using NoMasqueradeKey = mesh_no_masquerade_key;
  using AnnounceKey = mesh_announce_key;
  using EndpointKey = mesh_endpoint_key;
  using FlowKey = mesh_flow_key;
  using FlowValue = mesh_flow_value;
  using OwnerKey = mesh_owner_key;

  // REQUIRES: ip is of this family.
  static Address Encode(const IpAddress& ip) { return EncodeIp(ip); }
  static IpAddress Decode(Address address) { return DecodeIp(address); }
  // Of all flows together.
  static constexpr OwnerKey kAllOwners = {MESH_OWNER_ALL};
};

struct V6 {
  static constexpr Family kFamily = Family::kV6;
  static constexpr uint8_t kIcmp = IPPROTO_ICMPV6;

  using Address = mesh_in6;
  using ServiceKey = mesh_service6_key;
  using BackendValue = mesh_backend6_value;
  using SourceRangeKey = mesh_source_range6_key;
  using TunnelKey = mesh_tunnel6_key;
  using TunnelValue = mesh_tunnel6_value;
  using IdentityKey = mesh_identity6_key;
  using NodeKey = mesh_node6_key;
  using NoMasqueradeKey = mesh_no_masquerade6_key;
  using AnnounceKey = mesh_announce6_key;
  using EndpointKey = mesh_endpoint6_key;
  using FlowKey = mesh_flow6_key;
  using FlowValue = mesh_flow6_value;
  using OwnerKey = mesh_owner6_key;

  static Address Encode(const IpAddress& ip) { return EncodeIp6(ip); }
  static IpAddress Decode(const Address& address) { return DecodeIp6(address); }
  static constexpr OwnerKey kAllOwners = {
      {{MESH_OWNER_ALL, MESH_OWNER_ALL, MESH_OWNER_ALL, MESH_OWNER_ALL}}};
};

// Bytes compare as addresses do in network order.
template <typename T>
bool SameBytes(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

}  // namespace mesh::dataplane
