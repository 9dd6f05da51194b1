// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "dataplane/net/netlink.h"
#include "dataplane/tables/service_tables.h"

namespace mesh::dataplane {

// Routes of single addresses into mesh_host, where the node's program serves them. Ours are those
// of length 32 by that interface and its next hop.
class KernelHostRoutes : public HostRoutes {
 public:
  // `netlink` outlives this. `source`: what the node's processes send from.
  KernelHostRoutes(Netlink& netlink, int host_ifindex, const IpAddress& source)
      : netlink_(netlink), ifindex_(host_ifindex), source_(source) {}

  absl::Status Add(const std::vector<IpAddress>& addresses) override;
  absl::Status Remove(const std::vector<IpAddress>& addresses) override;
  absl::StatusOr<std::vector<IpAddress>> List() const override;

 private:
  Netlink& netlink_;
  const int ifindex_;
  const IpAddress source_;
};

}  // namespace mesh::dataplane
