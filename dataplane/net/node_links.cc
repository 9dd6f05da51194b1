// SPDX-License-Identifier: Apache-2.0
#include "dataplane/net/node_links.h"

#include <algorithm>

#include "common/status.h"
#include "dataplane/net/sysctl.h"
#include "fmt/format.h"
#include "mesh/shared/base.h"

namespace mesh::dataplane {
namespace {

constexpr MacAddress kHostMac = {0x0e, 0x6d, 0x65, 0x73, 0x68, 0x01};
constexpr MacAddress kNetMac = {0x0e, 0x6d, 0x65, 0x73, 0x68, 0x02};
constexpr MacAddress kVxlanMac = {0x0e, 0x6d, 0x65, 0x73, 0x68, 0x03};

absl::StatusOr<LinkInfo> EnsureVxlan(Netlink& netlink, int mtu) {
  absl::StatusOr<LinkInfo> link = netlink.Link(kVxlanName);
  if (absl::IsNotFound(link.status())) {
    RETURN_IF_ERROR(netlink.AddVxlan(kVxlanName, kVxlanPort, kVxlanMac, mtu));
    return netlink.Link(kVxlanName);
  }
  if (!link.ok()) return link.status();
  if (link->kind != "vxlan" || !link->collect_metadata || link->vxlan_port != kVxlanPort) {
    return absl::FailedPreconditionError(
        fmt::format("interface {} is not the overlay of this project; remove it: ip link del {}",
                    kVxlanName, kVxlanName));
  }
  if (link->mtu != static_cast<uint32_t>(mtu)) {
    RETURN_IF_ERROR(netlink.SetMtu(link->ifindex, mtu));
  }
  return link;
}

// True when the link holds an address of an earlier configuration.
absl::StatusOr<bool> IsStale(Netlink& netlink, int ifindex, const NodeConfig& config,
                             Family family) {
  ASSIGN_OR_RETURN(const std::vector<AddressInfo> addresses, netlink.Addresses(family));
  const IpAddress& gateway = family == Family::kV4 ? config.gateway : config.gateway6;
  return std::ranges::any_of(addresses, [&](const AddressInfo& address) {
    return address.ifindex == ifindex && address.prefix.base() != gateway;
  });
}

// The links and what they have of IPv4 stay; addresses and routes of IPv6 go.
absl::Status DisableIpv6() {
  for (const char* name : {kHostName, kNetName}) {
    RETURN_IF_ERROR(SetIpv6(name, "disable_ipv6", "1"));
  }
  return absl::OkStatus();
}

// IPv6 at the node's own links; no setting of others is touched.
absl::Status EnableIpv6() {
  for (const char* name : {kHostName, kNetName}) {
    RETURN_IF_ERROR(SetIpv6(name, "disable_ipv6", "0"));
    RETURN_IF_ERROR(SetIpv6(name, "accept_ra", "0"));
  }
  // The programs ask there which way leads outside, whatever the node's own setting is.
  return SetIpv6(kNetName, "forwarding", "1");
}

}  // namespace

IpAddress NextHop(Family family) {
  if (family == Family::kV4) return IpAddress::V4(MESH_NEXT_HOP);
  return *IpAddress::Parse("fe80::6d65:7368");
}

absl::StatusOr<NodeLinks> EnsureNodeLinks(Netlink& netlink, const NodeConfig& config) {
  const int mtu = PodMtu(config);
  NodeLinks out;
  ASSIGN_OR_RETURN(out.vxlan, EnsureVxlan(netlink, TunnelMtu(config)));

  absl::StatusOr<LinkInfo> host = netlink.Link(kHostName);
  if (host.ok() && host->kind != "veth") {
    return absl::FailedPreconditionError(fmt::format(
        "interface {} is not of this project; remove it: ip link del {}", kHostName, kHostName));
  }
  if (host.ok()) {
    ASSIGN_OR_RETURN(const bool stale, IsStale(netlink, host->ifindex, config, Family::kV4));
    ASSIGN_OR_RETURN(const bool stale6, IsStale(netlink, host->ifindex, config, Family::kV6));
    if (stale6) RETURN_IF_ERROR(DisableIpv6());
    if (stale) {
      RETURN_IF_ERROR(netlink.DeleteLink(host->ifindex));
      host = absl::NotFoundError("");
    }
  }
  if (absl::IsNotFound(host.status())) {
    RETURN_IF_ERROR(netlink.AddVeth({kHostName, kHostMac, -1}, {kNetName, kNetMac, -1}, mtu));
    host = netlink.Link(kHostName);
  }
  if (!host.ok()) return host.status();
  out.host = *host;
  ASSIGN_OR_RETURN(out.net, netlink.Link(kNetName));
  for (const LinkInfo* link : {&out.host, &out.net}) {
    if (link->mtu != static_cast<uint32_t>(mtu)) {
      RETURN_IF_ERROR(netlink.SetMtu(link->ifindex, mtu));
    }
  }
  return out;
}

absl::Status EnsureNodeRoutes(Netlink& netlink, const NodeConfig& config, const NodeLinks& links) {
  const IpAddress next_hop = NextHop(Family::kV4);
  const int host = links.host.ifindex;
  for (const LinkInfo* link : {&links.vxlan, &links.host, &links.net}) {
    RETURN_IF_ERROR(netlink.DisableIpv6Addresses(link->ifindex));
  }
  if (config.has_ipv6()) RETURN_IF_ERROR(EnableIpv6());
  netlink.Begin();
  netlink.SetUp(links.vxlan.ifindex).IgnoreError();  // queued: Commit() tells
  // mesh_host last: the end that sends (see pod_link.cc).
  netlink.SetUp(links.net.ifindex).IgnoreError();
  netlink.SetUp(host).IgnoreError();
  // The programs ask there which way leads outside, whatever the node's own setting is.
  netlink.SetForwarding(links.net.ifindex).IgnoreError();
  netlink.AddAddress(host, config.gateway).IgnoreError();
  netlink.AddNeighbour(host, next_hop, links.net.mac).IgnoreError();
  for (const IpPrefix& range : {config.cluster_cidr, config.service_cidr}) {
    netlink.AddRoute({range, host, next_hop, config.gateway}).IgnoreError();
  }
  // The address that stands for clients outside where a process of the node is the backend. Of
  // length 31, because those of length 32 are addresses of Services.
  static_assert(MESH_HAIRPIN_ADDRESS == 0xa9fe4001);
  netlink.AddRoute({*IpPrefix::Parse("169.254.64.0/31"), host, next_hop, {}}).IgnoreError();
  // And what processes of the node dial in place of its own address.
  static_assert(MESH_OWN_ADDRESS == 0xa9fe4004);
  netlink.AddRoute({*IpPrefix::Parse("169.254.64.4/31"), host, next_hop, config.gateway})
      .IgnoreError();
  if (config.has_ipv6()) {
    const IpAddress next_hop6 = NextHop(Family::kV6);
    netlink.AddAddress(host, config.gateway6).IgnoreError();
    netlink.TakeAddress(host, config.gateway6).IgnoreError();
    netlink.AddNeighbour(host, next_hop6, links.net.mac).IgnoreError();
    for (const IpPrefix& range : {config.cluster_cidr6, config.service_cidr6}) {
      netlink.AddRoute({range, host, next_hop6, config.gateway6}).IgnoreError();
    }
    static_assert(MESH_HAIRPIN_ADDRESS6_0 == 0xfd6d6573 && MESH_HAIRPIN_ADDRESS6_1 == 0x68000000 &&
                  MESH_HAIRPIN_ADDRESS6_2 == 0 && MESH_HAIRPIN_ADDRESS6_3 == 1);
    netlink.AddRoute({*IpPrefix::Parse("fd6d:6573:6800::/127"), host, next_hop6, {}}).IgnoreError();
    static_assert(MESH_OWN_ADDRESS6_0 == 0xfd6d6573 && MESH_OWN_ADDRESS6_1 == 0x68000000 &&
                  MESH_OWN_ADDRESS6_2 == 0 && MESH_OWN_ADDRESS6_3 == 4);
    netlink.AddRoute({*IpPrefix::Parse("fd6d:6573:6800::4/127"), host, next_hop6, config.gateway6})
        .IgnoreError();
  }
  return netlink.Commit();
}

absl::Status RemoveNodeLinks(Netlink& netlink) {
  for (const char* name : {kVxlanName, kHostName}) {
    const absl::StatusOr<LinkInfo> link = netlink.Link(name);
    if (absl::IsNotFound(link.status())) continue;
    if (!link.ok()) return link.status();
    const absl::Status status = netlink.DeleteLink(link->ifindex);
    if (!status.ok() && !absl::IsNotFound(status)) return status;
  }
  return absl::OkStatus();
}

}  // namespace mesh::dataplane
