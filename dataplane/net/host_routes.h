// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "dataplane/net/netlink.h"
#include "dataplane/tables/service_tables.h"

namespace mesh::dataplane {

// First and last of what the kernel gives to clients of the network namespace
// (net.ipv4.ip_local_port_range, of both families).
std::pair<uint16_t, uint16_t> ClientPorts();

// Routes into mesh_host, where the node's programs serve.
//
// Of whole addresses: routes of the main table. Of single ports, over UDP: a rule leads who asks
// for the port, from a port that the kernel gives to clients, to a table of that port with the
// addresses of which it is served; servers answer from other ports. The kernel asks all rules one
// after the other: there are as many as ports, not as addresses. Over TCP, to both: the programs at
// sockets bind who connects to mesh_host for the life of the connection (node_sockets.h), and one
// rule leads what is bound to a table with a default route. It stays when there is nothing to serve
// any more.
class KernelHostRoutes : public HostRoutes {
 public:
  // `netlink` outlives this. Of the gateways, what the node's processes send from; `gateway6` is
  // unset on a node without IPv6.
  KernelHostRoutes(Netlink& netlink, int host_ifindex, const IpAddress& gateway,
                   const IpAddress& gateway6)
      : netlink_(netlink), ifindex_(host_ifindex), gateway_(gateway), gateway6_(gateway6) {}

  absl::Status Add(const std::vector<IpAddress>& addresses) override;
  absl::Status Remove(const std::vector<IpAddress>& addresses) override;
  absl::StatusOr<std::vector<IpAddress>> List() const override;
  absl::Status AddPorts(const std::vector<Frontend>& ports) override;
  absl::Status RemovePorts(const std::vector<Frontend>& ports) override;
  // Of UDP: who starts adds the others again, which changes nothing.
  absl::StatusOr<std::vector<Frontend>> ListPorts() const override;

  // The rules that a node has left; the routes go with mesh_host.
  static absl::Status RemoveRules(Netlink& netlink);

 private:
  static absl::Status RemoveRules(Netlink& netlink, Family family,
                                  const std::function<bool(uint32_t)>& of_table);
  absl::Status LeadBound(Family family);
  RouteInfo RouteOf(const IpAddress& address, uint32_t table) const;
  bool IsOurs(const RouteInfo& route) const;

  Netlink& netlink_;
  const int ifindex_;
  const IpAddress gateway_, gateway6_;
};

}  // namespace mesh::dataplane
