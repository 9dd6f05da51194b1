// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dataplane/dataplane.h"
#include "dataplane/net/netlink.h"

namespace mesh::dataplane {

// Derived from the pod's address: nothing to remember, nothing to collide.
MacAddress PodMac(const IpAddress& ip);
MacAddress HostMac(const IpAddress& ip);

// Makes the veth pair, runs `attach` with the host side's index, and configures the pod's side: an
// address (in each family that is asked for), the gateway on the link, default route, a permanent
// neighbour (no ARP or neighbour discovery is ever needed).
// Returns the host side's index. On error nothing is left.
// ALREADY_EXISTS: the pod has an interface of that name.
absl::StatusOr<int> MakePodLink(Netlink& host, const AttachRequest& request,
                                const std::string& host_ifname, const NodeConfig& config,
                                const std::function<absl::Status(int ifindex)>& attach);

// Gives both sides of the pair that MTU; `host`: the host's side as it is. That one is last, so a
// pair whose host side has it needs nothing.
absl::Status SetPodMtu(Netlink& netlink, const LinkInfo& host, const PodInterface& pod, int mtu);

// FAILED_PRECONDITION names the first difference from what MakePodLink made.
absl::Status CheckPodLink(Netlink& host, const AttachRequest& request,
                          const std::string& host_ifname, const NodeConfig& config);

}  // namespace mesh::dataplane
