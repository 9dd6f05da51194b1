// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "dataplane/net/netlink.h"
#include "dataplane/tables/service_tables.h"

namespace mesh::dataplane {

// Routes into mesh_host, where the node's programs serve: those of single addresses by it and its
// next hop. Of whole addresses they are in the main table. For each port there is a table of its
// own, with the addresses of which it is served, and a rule that leads there who asks for the port:
// the kernel asks all rules one after the other, so there are as many as ports, not as addresses.
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
  absl::StatusOr<std::vector<Frontend>> ListPorts() const override;

  // The rules that a node has left; the routes go with mesh_host.
  static absl::Status RemoveRules(Netlink& netlink);

 private:
  RouteInfo RouteOf(const IpAddress& address, uint32_t table) const;
  bool IsOurs(const RouteInfo& route) const;

  Netlink& netlink_;
  const int ifindex_;
  const IpAddress gateway_, gateway6_;
};

}  // namespace mesh::dataplane
