// SPDX-License-Identifier: Apache-2.0
#include "dataplane/node_config.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "common/cluster_ranges.h"
#include "common/status.h"
#include "dataplane/tables/encode.h"
#include "fmt/format.h"
#include "mesh/shared/limits.h"

namespace mesh::dataplane {

// meshd keeps node ports out of the range that the programs masquerade with.
static_assert(kMasqueradePortFirst == MESH_MASQUERADE_PORT_FIRST);
static_assert(kMasqueradePortLast == MESH_MASQUERADE_PORT_FIRST + MESH_MASQUERADE_PORT_COUNT - 1);
static_assert(static_cast<int>(Routing::kVxlan) == MESH_ROUTING_VXLAN);
static_assert(static_cast<int>(Routing::kNative) == MESH_ROUTING_NATIVE);

namespace {

absl::Status CheckIpv6(const NodeConfig& config) {
  const auto bad = [](const std::string& text) { return absl::InvalidArgumentError(text); };
  for (const IpPrefix* range : {&config.pod_cidr6, &config.cluster_cidr6, &config.service_cidr6}) {
    if (FamilyOf(*range) != Family::kV6 || range->length() == 0) {
      return bad(fmt::format("range {}: an IPv6 range is needed", range->ToString()));
    }
  }
  if (!config.cluster_cidr6.Contains(config.pod_cidr6.base())) {
    return bad(fmt::format("pod range {} is outside of the cluster's {}",
                           config.pod_cidr6.ToString(), config.cluster_cidr6.ToString()));
  }
  if (!config.pod_cidr6.Contains(config.gateway6)) {
    return bad(fmt::format("gateway {} is outside of the pod range {}", config.gateway6.ToString(),
                           config.pod_cidr6.ToString()));
  }
  if (config.node_ip6 != IpAddress() && FamilyOf(config.node_ip6) != Family::kV6) {
    return bad(fmt::format("node address {}: not of IPv6", config.node_ip6.ToString()));
  }
  // RFC 8200: every link carries 1280 bytes; the kernel refuses IPv6 on less.
  if (TunnelMtu(config) < 1280) {
    return bad(fmt::format("uplink MTU {}: {} remain for the tunnel, IPv6 needs 1280",
                           config.uplink_mtu, TunnelMtu(config)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckConfig(const NodeConfig& config) {
  const auto bad = [](const std::string& text) { return absl::InvalidArgumentError(text); };
  if (!config.node_ip.is_v4()) {
    return bad(fmt::format("node address {}: only IPv4 is supported", config.node_ip.ToString()));
  }
  for (const IpPrefix* range : {&config.pod_cidr, &config.cluster_cidr, &config.service_cidr}) {
    if (!range->base().is_v4() || range->length() == 0) {
      return bad(fmt::format("range {}: an IPv4 range is needed", range->ToString()));
    }
  }
  if (!config.cluster_cidr.Contains(config.pod_cidr.base())) {
    return bad(fmt::format("pod range {} is outside of the cluster's {}",
                           config.pod_cidr.ToString(), config.cluster_cidr.ToString()));
  }
  if (!config.pod_cidr.Contains(config.gateway)) {
    return bad(fmt::format("gateway {} is outside of the pod range {}", config.gateway.ToString(),
                           config.pod_cidr.ToString()));
  }
  if (config.has_ipv6()) RETURN_IF_ERROR(CheckIpv6(config));
  // RFC 791: every link carries 68 bytes; the kernel refuses IPv4 on less.
  if (TunnelMtu(config) < 68) {
    return bad(fmt::format("uplink MTU {}: {} remain for the tunnel, 68 are needed",
                           config.uplink_mtu, TunnelMtu(config)));
  }
  if (config.routing == Routing::kNative && config.uplink.empty()) {
    return bad(fmt::format("native routing needs an uplink: name the interface that has {}",
                           config.node_ip.ToString()));
  }
  return absl::OkStatus();
}

mesh_config Encode(const NodeConfig& config, const NodeLinks& links,
                   const std::optional<LinkInfo>& uplink) {
  mesh_config out{};
  out.node_ip = EncodeIp(config.node_ip);
  out.gateway = EncodeIp(config.gateway);
  out.pod_base = EncodeIp(config.pod_cidr.base());
  out.pod_mask = EncodeMask(config.pod_cidr.length());
  out.cluster_base = EncodeIp(config.cluster_cidr.base());
  out.cluster_mask = EncodeMask(config.cluster_cidr.length());
  out.service_base = EncodeIp(config.service_cidr.base());
  out.service_mask = EncodeMask(config.service_cidr.length());
  out.host_ifindex = links.host.ifindex;
  out.net_ifindex = links.net.ifindex;
  out.vxlan_ifindex = links.vxlan.ifindex;
  out.pod_mtu = static_cast<uint32_t>(PodMtu(config));
  out.tunnel_mtu = static_cast<uint32_t>(TunnelMtu(config));
  out.routing = static_cast<uint8_t>(config.routing);
  std::memcpy(out.host_mac, links.host.mac.data(), links.host.mac.size());
  std::memcpy(out.net_mac, links.net.mac.data(), links.net.mac.size());
  if (uplink.has_value()) {
    out.uplink_ifindex = static_cast<uint32_t>(uplink->ifindex);
    std::memcpy(out.uplink_mac, uplink->mac.data(), uplink->mac.size());
  }
  return out;
}

mesh_config6 EncodeIpv6(const NodeConfig& config) {
  mesh_config6 out{};
  out.node_ip = EncodeIp6(config.node_ip6);
  out.gateway = EncodeIp6(config.gateway6);
  const auto range = [](const IpPrefix& from, mesh_in6* base, mesh_in6* mask) {
    *base = EncodeIp6(from.base());
    *mask = EncodeMask6(from.length());
  };
  range(config.pod_cidr6, &out.pod_base, &out.pod_mask);
  range(config.cluster_cidr6, &out.cluster_base, &out.cluster_mask);
  range(config.service_cidr6, &out.service_base, &out.service_mask);
  return out;
}

bool IsForPods(const NodeConfig& config, const IpAddress& ip6) {
  const auto& range = config.pod_cidr6.base().bytes();
  return config.pod_cidr6.Contains(ip6) && ip6 != config.gateway6 &&
         std::equal(range.begin(), range.begin() + 12, ip6.bytes().begin());
}

}  // namespace mesh::dataplane
