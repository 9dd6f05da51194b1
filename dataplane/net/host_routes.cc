// SPDX-License-Identifier: Apache-2.0
#include "dataplane/net/host_routes.h"

#include <netinet/in.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <utility>

#include "common/status.h"
#include "dataplane/net/node_links.h"

namespace mesh::dataplane {
namespace {

// Ours: this, the protocol as IP numbers it, the port; of what is bound, 0. Their rules come after
// the node's own addresses and before what others would send elsewhere.
constexpr uint32_t kTables = 0x6d000000, kTablesMask = 0xff000000;
constexpr uint32_t kBoundTable = kTables | IPPROTO_TCP << 16;
constexpr uint32_t kPriority = 100;

bool IsTable(uint32_t table) { return (table & kTablesMask) == kTables; }
uint32_t TableOf(const Frontend& at) { return kTables | IPPROTO_UDP << 16 | at.port; }
Frontend FrontendOf(const RouteInfo& route) {
  return {route.destination.base(), static_cast<uint16_t>(route.table & 0xffff), Protocol::kUdp};
}

Rule BoundRule(Family family) {
  return {.family = family, .table = kBoundTable, .priority = kPriority, .output = kHostName};
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

std::pair<uint16_t, uint16_t> ClientPorts() {
  std::pair<uint16_t, uint16_t> out(32768, 60999);  // the kernel's default
  std::ifstream("/proc/sys/net/ipv4/ip_local_port_range") >> out.first >> out.second;
  return out;
}

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
  std::set<Family> bound;
  for (const IpAddress& address : addresses) bound.insert(FamilyOf(address));
  for (const Family family : bound) {
    // Without, connections of the node's processes end with their Service.
    const absl::Status led = LeadBound(family);
    if (!led.ok() && !absl::IsUnimplemented(led)) return led;
  }
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

absl::Status KernelHostRoutes::LeadBound(Family family) {
  ASSIGN_OR_RETURN(const IpPrefix all,
                   IpPrefix::Parse(family == Family::kV4 ? "0.0.0.0/0" : "::/0"));
  RouteInfo route = RouteOf(AnyAddress(family), kBoundTable);
  route.destination = all;
  RETURN_IF_ERROR(netlink_.AddRoute(route));
  return netlink_.AddRule(BoundRule(family));
}

absl::Status KernelHostRoutes::AddPorts(const std::vector<Frontend>& ports) {
  std::vector<Frontend> udp;
  std::set<Family> bound;
  for (const Frontend& at : ports) {
    if (at.protocol == Protocol::kUdp) {
      udp.push_back(at);
    } else {
      bound.insert(FamilyOf(at.vip));
    }
  }
  for (const Family family : bound) RETURN_IF_ERROR(LeadBound(family));
  RETURN_IF_ERROR(Together(netlink_, udp, [&](const Frontend& at) {
    return netlink_.AddRoute(RouteOf(at.vip, TableOf(at)));
  }));
  const auto sources = ClientPorts();
  return Together(netlink_, udp, [&](const Frontend& at) {
    return netlink_.AddRule({.family = FamilyOf(at.vip),
                             .table = TableOf(at),
                             .priority = kPriority,
                             .protocol = IPPROTO_UDP,
                             .port = at.port,
                             .sources = sources});
  });
}

absl::Status KernelHostRoutes::RemovePorts(const std::vector<Frontend>& ports) {
  absl::Status first;
  std::set<uint32_t> idle;
  for (const Frontend& at : ports) {
    if (at.protocol != Protocol::kUdp) continue;
    absl::Status status = netlink_.RemoveRoute(RouteOf(at.vip, TableOf(at)));
    if (!absl::IsNotFound(status) && first.ok()) first = status;
    idle.insert(TableOf(at));
  }
  RETURN_IF_ERROR(first);
  if (idle.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<Frontend> left, ListPorts());
  for (const Family family : kFamilies) {
    std::set<uint32_t> of_family = idle;
    for (const Frontend& at : left)
      if (FamilyOf(at.vip) == family) of_family.erase(TableOf(at));
    RETURN_IF_ERROR(
        RemoveRules(netlink_, family, [&](uint32_t table) { return of_family.contains(table); }));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Frontend>> KernelHostRoutes::ListPorts() const {
  std::vector<Frontend> out;
  for (const Family family : kFamilies) {
    if (family == Family::kV6 && gateway6_ == IpAddress()) continue;
    ASSIGN_OR_RETURN(const std::vector<RouteInfo> routes, netlink_.Routes(family, 0));
    for (const RouteInfo& route : routes)
      if (IsOurs(route) && IsTable(route.table) && route.table != kBoundTable)
        out.push_back(FrontendOf(route));
  }
  return out;
}

absl::Status KernelHostRoutes::RemoveRules(Netlink& netlink, Family family,
                                           const std::function<bool(uint32_t)>& of_table) {
  ASSIGN_OR_RETURN(std::vector<Rule> rules, netlink.Rules(family));
  std::erase_if(rules, [&](const Rule& rule) { return !of_table(rule.table); });
  return Together(netlink, rules, [&](const Rule& rule) { return netlink.RemoveRule(rule); });
}

absl::Status KernelHostRoutes::RemoveRules(Netlink& netlink) {
  for (const Family family : kFamilies) RETURN_IF_ERROR(RemoveRules(netlink, family, IsTable));
  return absl::OkStatus();
}

}  // namespace mesh::dataplane
