// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "dataplane/net/netlink.h"
#include "dataplane/tables/service_tables.h"

namespace mesh::dataplane {

// Routes of single addresses into mesh_host, where the node's programs serve them. Ours are those
// of one address by that interface and its next hop.
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

 private:
  Netlink& netlink_;
  const int ifindex_;
  const IpAddress gateway_, gateway6_;
};

}  // namespace mesh::dataplane
