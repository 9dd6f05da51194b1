// SPDX-License-Identifier: Apache-2.0
// Addresses that packets have at and between nodes; private to this folder.
#pragma once

#include <optional>
#include <string>

#include "common/ip_address.h"
#include "controlplane/state/cluster_state.h"

namespace mesh::controlplane {

// The node's own address of a family; nullopt: it has none.
std::optional<IpAddress> NodeAddressOf(const v1::Node& node, bool is_v4);
// The address that its pods have as their gateway: the first of their range.
std::optional<IpAddress> GatewayOf(const v1::Node& node, bool is_v4);

// Whose the address is; null: no node's.
const v1::Node* NodeWith(const ClusterState& state, const IpAddress& address);
const v1::Node* NodeWithGateway(const ClusterState& state, const IpAddress& address);

// The source that a backend sees of a pod of node `from` that has asked at an address of another
// node, `asked`. The request leaves `from` with that node's address, and `asked` passes it to
// backends of other nodes with its gateway's, so that answers come back to it.
struct SeenSource {
  std::string title;  // "10.0.0.11 (node n1)"
  IpAddress address;
};
std::optional<SeenSource> SourceSeen(const v1::Node& from, const v1::Node& asked,
                                     const std::string& backend_node, bool is_v4);

}  // namespace mesh::controlplane
