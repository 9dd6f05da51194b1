// SPDX-License-Identifier: Apache-2.0
// The programs at the uplink: an interface that belongs to the node, with programs of others on it.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dataplane/model/state.h"
#include "dataplane/net/netlink.h"

namespace mesh::dataplane {

// NOT_FOUND names the interface that is missing; INVALID_ARGUMENT when it cannot be one.
absl::StatusOr<LinkInfo> FindUplink(Netlink& netlink, const NodeConfig& config);

// Puts the program at the ingress (a place of net/tc.h), in place of an earlier one of this
// project. FAILED_PRECONDITION when a program of somebody else stands there.
absl::Status AttachUplink(const LinkInfo& uplink, int program_fd, uint32_t priority);

// Takes our program of IPv6 off. Idempotent.
absl::Status DetachUplinkIpv6(const LinkInfo& uplink);

// Puts the program at the interface's XDP hook, in its driver, in place of an earlier one of this
// project. FAILED_PRECONDITION when the driver has no such hook, or another's program is there.
absl::Status AttachXdp(const LinkInfo& uplink, int program_fd);
// The same where an earlier one of this project stands; nothing elsewhere.
absl::Status ReplaceXdp(const LinkInfo& uplink, int program_fd);
// Takes ours off. Idempotent.
absl::Status DetachXdp(const LinkInfo& uplink);

// Takes the programs of this project off every uplink but `except` (an interface index; 0: none),
// and the clsact that has no other filter. Idempotent.
absl::Status DetachUplinks(Netlink& netlink, int except);

}  // namespace mesh::dataplane
