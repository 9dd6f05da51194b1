// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dataplane/model/state.h"
#include "dataplane/net/netlink.h"
#include "mesh/shared/base.h"

namespace mesh::dataplane {

inline constexpr char kVxlanName[] = "mesh_vxlan";
inline constexpr char kHostName[] = "mesh_host";
inline constexpr char kNetName[] = "mesh_net";
inline constexpr uint16_t kVxlanPort = MESH_VXLAN_PORT;
// Outer Ethernet, IPv4, UDP and VXLAN headers.
inline constexpr int kVxlanOverhead = 50;

inline int TunnelMtu(const NodeConfig& config) { return config.uplink_mtu - kVxlanOverhead; }
inline int PodMtu(const NodeConfig& config) {
  return config.routing == Routing::kNative ? config.uplink_mtu : TunnelMtu(config);
}

// Of the node's routes into the pod network; never on a wire.
IpAddress NextHop(Family family);

// The node's own interfaces. All nodes use the same MAC addresses: no Ethernet connects them, and
// the VXLAN driver drops only frames from its own.
struct NodeLinks {
  LinkInfo vxlan, host, net;
};

// Makes what is missing and puts right what differs; the links are up and have no programs yet.
// FAILED_PRECONDITION when one of the names belongs to something else.
absl::StatusOr<NodeLinks> EnsureNodeLinks(Netlink& netlink, const NodeConfig& config);
// The way of the node's processes into the pod network: address, next hop, routes. Idempotent.
absl::Status EnsureNodeRoutes(Netlink& netlink, const NodeConfig& config, const NodeLinks& links);
// Idempotent.
absl::Status RemoveNodeLinks(Netlink& netlink);

}  // namespace mesh::dataplane
