// SPDX-License-Identifier: Apache-2.0
#include "dataplane/net/host_routes.h"

#include "common/status.h"
#include "dataplane/net/node_links.h"

namespace mesh::dataplane {

absl::Status KernelHostRoutes::Add(const std::vector<IpAddress>& addresses) {
  // One system call for as many as its message buffer holds.
  constexpr size_t kTogether = 64;
  for (size_t i = 0; i < addresses.size(); i += kTogether) {
    netlink_.Begin();
    for (size_t j = i; j < std::min(addresses.size(), i + kTogether); ++j) {
      // Queued: Commit() tells.
      const Family family = FamilyOf(addresses[j]);
      netlink_
          .AddRoute({IpPrefix::Of(addresses[j]), ifindex_, NextHop(family),
                     family == Family::kV4 ? gateway_ : gateway6_})
          .IgnoreError();
    }
    RETURN_IF_ERROR(netlink_.Commit());
  }
  return absl::OkStatus();
}

absl::Status KernelHostRoutes::Remove(const std::vector<IpAddress>& addresses) {
  absl::Status first;
  for (const IpAddress& address : addresses) {
    absl::Status status = netlink_.RemoveRoute({IpPrefix::Of(address), ifindex_, {}, {}});
    if (!absl::IsNotFound(status) && first.ok()) first = status;
  }
  return first;
}

absl::StatusOr<std::vector<IpAddress>> KernelHostRoutes::List() const {
  std::vector<IpAddress> out;
  for (const Family family : kFamilies) {
    if (family == Family::kV6 && gateway6_ == IpAddress()) continue;
    ASSIGN_OR_RETURN(const std::vector<RouteInfo> routes, netlink_.Routes(family));
    for (const RouteInfo& route : routes) {
      if (route.ifindex == ifindex_ && route.gateway == NextHop(family) &&
          route.destination == IpPrefix::Of(route.destination.base())) {
        out.push_back(route.destination.base());
      }
    }
  }
  return out;
}

}  // namespace mesh::dataplane
