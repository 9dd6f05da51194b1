// SPDX-License-Identifier: Apache-2.0
// Which addresses the node goes by.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/ip_address.h"

namespace mesh::agent {

struct NodeAddresses {
  IpAddress v4;
  IpAddress v6;  // unset: none given
};

// "A" or "A,B": one of IPv4, and perhaps one of IPv6 after it. INVALID_ARGUMENT names the flag.
absl::StatusOr<NodeAddresses> ParseNodeIp(const std::string& text);

// Of the IPv6 addresses of `interface` that others can reach (no link-local ones) one that stays:
// neither deprecated nor temporary nor taken by somebody else, one made by hand before others, then
// the lowest. Unset when there is none.
//   if_inet6  text of /proc/net/if_inet6
IpAddress ChooseNodeIp6(std::string_view if_inet6, std::string_view interface);

// For the interface that has `node_ip`, of this network namespace.
IpAddress FindNodeIp6(const IpAddress& node_ip);

// Of all interfaces of this network namespace.
absl::StatusOr<std::set<IpAddress>> OwnAddresses();

// What is wrong with the addresses that the node goes by, with the way out: no interface of this
// network namespace has one any more, or there is none of IPv6 and the cluster has both families.
// Empty: nothing.
std::string TellMissingAddresses(const NodeAddresses& node, bool dual_stack);

// TCP ports at the node's addresses where its agent (`listen`, host:port) and a meshd of this
// machine listen: those of `servers` with an address of the node or a loopback address.
std::set<uint16_t> OwnPorts(const std::string& listen, const std::vector<std::string>& servers,
                            const NodeAddresses& node);

}  // namespace mesh::agent
