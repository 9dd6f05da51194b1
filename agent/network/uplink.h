// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "agent/network/desired_state.h"
#include "agent/network/network.h"
#include "common/ip_address.h"

namespace mesh::agent {

// The name of the interface of this network namespace that has the IPv4 address `node_ip`;
// FAILED_PRECONDITION when none has.
absl::StatusOr<std::string> InterfaceOf(const IpAddress& node_ip);

// The interface of this network namespace that has `node_ip`; its name, MTU and, by `mode`, whether
// XDP is to be used (says in the log why). FAILED_PRECONDITION when none has the address.
absl::StatusOr<Uplink> FindUplink(const std::string& node_ip, XdpMode mode);

}  // namespace mesh::agent
