// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "agent/network/desired_state.h"
#include "agent/network/network.h"
#include "common/ip_address.h"
#include "common/unique_fd.h"

namespace mesh::agent {

// The name of the interface of this network namespace that has the IPv4 address `node_ip`;
// FAILED_PRECONDITION when none has.
absl::StatusOr<std::string> InterfaceOf(const IpAddress& node_ip);

// The MTU of an interface of this network namespace.
absl::StatusOr<int> MtuOf(const std::string& interface);

// Readable when a link of this network namespace has changed, until it is drained.
absl::StatusOr<UniqueFd> OpenLinkEvents();
// What the events say does not matter, nor that some are lost: who wants to know asks the link.
void DrainLinkEvents(int fd);

// The interface of this network namespace that has `node_ip`; its name, MTU and, by `mode`, whether
// XDP is to be used (says in the log why). FAILED_PRECONDITION when none has the address.
absl::StatusOr<Uplink> FindUplink(const std::string& node_ip, XdpMode mode);

}  // namespace mesh::agent
