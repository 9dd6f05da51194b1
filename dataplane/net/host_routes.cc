// SPDX-License-Identifier: Apache-2.0
#include "dataplane/net/host_routes.h"

#include <netinet/in.h>

#include <algorithm>
#include <set>

#include "common/status.h"
#include "dataplane/net/node_links.h"

namespace mesh::dataplane {
namespace {

// Tables of ports: this, the protocol as IP numbers it, the port. Their rules come after the node's
// own addresses and before what others would send elsewhere.
constexpr uint32_t kTables = 0x6d000000, kTablesMask = 0xff000000;
constexpr uint32_t kPriority = 100;

uint32_t TableOf(const Frontend& at) {
  return kTables | (at.protocol == Protocol::kTcp ? IPPROTO_TCP : IPPROTO_UDP) << 16 | at.port;
}
bool IsTable(uint32_t table) { return (table & kTablesMask) == kTables; }
Frontend FrontendOf(const RouteInfo& route) {
  const bool udp = (route.table >> 16 & 0xff) == IPPROTO_UDP;
  return {route.destination.base(), static_cast<uint16_t>(route.table & 0xffff),
          udp ? Protocol::kUdp : Protocol::kTcp};
}
PortRule RuleOf(const Frontend& at) {
  return {FamilyOf(at.vip), at.protocol, at.port, TableOf(at), kPriority};
}

// One system call for as many as its message buffer holds.
template <typename T, typename Queue>
absl::Status Together(Netlink& netlink, const std::vector<T>& all, const Queue& queue) {
  constexpr size_t kTogether = 64;
  for (size_t i = 0; i < all.size(); i += kTogether) {
    netlink.Begin();
    for (size_t j = i; j < std::min(all.size(), i + kTogether); ++j)
      queue(all[j]).IgnoreError();  // Commit() tells
    RETURN_IF_ERROR(netlink.Commit());
  }
  return absl::OkStatus();
}

}  // namespace

RouteInfo KernelHostRoutes::RouteOf(const IpAddress& address, uint32_t table) const {
  const Family family = FamilyOf(address);
  return {IpPrefix::Of(address), ifindex_, NextHop(family),
          family == Family::kV4 ? gateway_ : gateway6_, table};
}

bool KernelHostRoutes::IsOurs(const RouteInfo& route) const {
  const IpAddress& base = route.destination.base();
  return route.ifindex == ifindex_ && route.gateway == NextHop(FamilyOf(base)) &&
         route.destination == IpPrefix::Of(base);
}

absl::Status KernelHostRoutes::Add(const std::vector<IpAddress>& addresses) {
  return Together(netlink_, addresses, [&](const IpAddress& address) {
    return netlink_.AddRoute(RouteOf(address, kMainTable));
  });
}

absl::Status KernelHostRoutes::Remove(const std::vector<IpAddress>& addresses) {
  absl::Status first;
  for (const IpAddress& address : addresses) {
    absl::Status status = netlink_.RemoveRoute(RouteOf(address, kMainTable));
    if (!absl::IsNotFound(status) && first.ok()) first = status;
  }
  return first;
}

absl::StatusOr<std::vector<IpAddress>> KernelHostRoutes::List() const {
  std::vector<IpAddress> out;
  for (const Family family : kFamilies) {
    if (family == Family::kV6 && gateway6_ == IpAddress()) continue;
    ASSIGN_OR_RETURN(const std::vector<RouteInfo> routes, netlink_.Routes(family));
    for (const RouteInfo& route : routes)
      if (IsOurs(route)) out.push_back(route.destination.base());
  }
  return out;
}

absl::Status KernelHostRoutes::AddPorts(const std::vector<Frontend>& ports) {
  RETURN_IF_ERROR(Together(netlink_, ports, [&](const Frontend& at) {
    return netlink_.AddRoute(RouteOf(at.vip, TableOf(at)));
  }));
  return Together(netlink_, ports,
                  [&](const Frontend& at) { return netlink_.AddRule(RuleOf(at)); });
}

absl::Status KernelHostRoutes::RemovePorts(const std::vector<Frontend>& ports) {
  absl::Status first;
  for (const Frontend& at : ports) {
    absl::Status status = netlink_.RemoveRoute(RouteOf(at.vip, TableOf(at)));
    if (!absl::IsNotFound(status) && first.ok()) first = status;
  }
  RETURN_IF_ERROR(first);
  ASSIGN_OR_RETURN(const std::vector<Frontend> left, ListPorts());
  std::set<PortRule> needed, idle;
  for (const Frontend& at : left) needed.insert(RuleOf(at));
  for (const Frontend& at : ports)
    if (!needed.contains(RuleOf(at))) idle.insert(RuleOf(at));
  return Together(netlink_, std::vector(idle.begin(), idle.end()),
                  [&](const PortRule& rule) { return netlink_.RemoveRule(rule); });
}

absl::StatusOr<std::vector<Frontend>> KernelHostRoutes::ListPorts() const {
  std::vector<Frontend> out;
  for (const Family family : kFamilies) {
    if (family == Family::kV6 && gateway6_ == IpAddress()) continue;
    ASSIGN_OR_RETURN(const std::vector<RouteInfo> routes, netlink_.Routes(family, 0));
    for (const RouteInfo& route : routes)
      if (IsOurs(route) && IsTable(route.table)) out.push_back(FrontendOf(route));
  }
  return out;
}

absl::Status KernelHostRoutes::RemoveRules(Netlink& netlink) {
  for (const Family family : kFamilies) {
    ASSIGN_OR_RETURN(std::vector<PortRule> rules, netlink.Rules(family));
    std::erase_if(rules, [](const PortRule& rule) { return !IsTable(rule.table); });
    RETURN_IF_ERROR(
        Together(netlink, rules, [&](const PortRule& rule) { return netlink.RemoveRule(rule); }));
  }
  return absl::OkStatus();
}

}  // namespace mesh::dataplane
