// SPDX-License-Identifier: Apache-2.0
// The node's configuration: whether it can be, and as the programs read it. Pure.
#pragma once

#include <optional>

#include "absl/status/status.h"
#include "dataplane/model/state.h"
#include "dataplane/net/node_links.h"
#include "mesh/shared/config.h"

namespace mesh::dataplane {

// INVALID_ARGUMENT names what is impossible.
absl::Status CheckConfig(const NodeConfig& config);

mesh_config Encode(const NodeConfig& config, const NodeLinks& links,
                   const std::optional<LinkInfo>& uplink);
// REQUIRES: config.has_ipv6().
mesh_config6 EncodeIpv6(const NodeConfig& config);

// Whether a pod of this node may have the address: those of a node's range differ in their last 32
// bits only (mesh_addr_of_pod).
bool IsForPods(const NodeConfig& config, const IpAddress& ip6);

}  // namespace mesh::dataplane
