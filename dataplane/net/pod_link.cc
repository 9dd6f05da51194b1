// SPDX-License-Identifier: Apache-2.0
#include "dataplane/net/pod_link.h"

#include <algorithm>
#include <vector>

#include "common/status.h"
#include "dataplane/net/netns.h"
#include "dataplane/net/node_links.h"
#include "dataplane/net/sysctl.h"
#include "fmt/format.h"

namespace mesh::dataplane {
namespace {

MacAddress Mac(uint8_t first, const IpAddress& ip) {
  const auto& bytes = ip.bytes();
  return {first, 0x58, bytes[12], bytes[13], bytes[14], bytes[15]};
}

struct PodAddress {
  IpAddress ip, gateway;
};
std::vector<PodAddress> AddressesOf(const AttachRequest& request, const NodeConfig& config) {
  std::vector<PodAddress> out = {{request.ip, config.gateway}};
  if (request.ip6 != IpAddress()) out.push_back({request.ip6, config.gateway6});
  return out;
}

std::vector<RouteInfo> PodRoutes(int ifindex, const IpAddress& gateway) {
  const char* everywhere = FamilyOf(gateway) == Family::kV4 ? "0.0.0.0/0" : "::/0";
  return {{IpPrefix::Of(gateway), ifindex, IpAddress(), IpAddress()},
          {*IpPrefix::Parse(everywhere), ifindex, gateway, IpAddress()}};
}

// In the pod's namespace.
absl::Status EnableIpv6(const std::string& ifname) {
  RETURN_IF_ERROR(SetIpv6(ifname, "accept_ra", "0"));
  return SetIpv6(ifname, "disable_ipv6", "0");
}

absl::Status ConfigurePod(Netlink& pod, int netns_fd, const AttachRequest& request,
                          const NodeConfig& config) {
  ASSIGN_OR_RETURN(const LinkInfo link, pod.Link(request.ifname));
  RETURN_IF_ERROR(pod.DisableIpv6Addresses(link.ifindex));
  if (request.ip6 != IpAddress()) {
    RETURN_IF_ERROR(InNetns(netns_fd, [&] { return EnableIpv6(request.ifname); }));
  }
  pod.Begin();
  for (const PodAddress& address : AddressesOf(request, config)) {
    pod.AddAddress(link.ifindex, address.ip).IgnoreError();  // queued: Commit() tells
  }
  pod.SetUp(link.ifindex).IgnoreError();
  for (const auto& [ip, gateway] : AddressesOf(request, config)) {
    pod.TakeAddress(link.ifindex, ip).IgnoreError();
    pod.AddNeighbour(link.ifindex, gateway, HostMac(request.ip)).IgnoreError();
    for (const RouteInfo& route : PodRoutes(link.ifindex, gateway)) {
      pod.AddRoute(route).IgnoreError();
    }
  }
  RETURN_IF_ERROR(pod.Commit());
  if (request.egress_bandwidth == 0) return absl::OkStatus();
  return pod.SetBandwidth(link.ifindex, request.egress_bandwidth);
}

}  // namespace

MacAddress PodMac(const IpAddress& ip) { return Mac(0x0a, ip); }
MacAddress HostMac(const IpAddress& ip) { return Mac(0x0e, ip); }

absl::StatusOr<int> MakePodLink(Netlink& host, const AttachRequest& request,
                                const std::string& host_ifname, const NodeConfig& config,
                                const std::function<absl::Status(int ifindex)>& attach) {
  ASSIGN_OR_RETURN(const UniqueFd netns, OpenNetns(request.netns));
  ASSIGN_OR_RETURN(Netlink pod, Netlink::OpenIn(netns.get()));
  const absl::Status made =
      host.AddVeth({host_ifname, HostMac(request.ip), -1},
                   {request.ifname, PodMac(request.ip), netns.get()}, PodMtu(config));
  if (absl::IsAlreadyExists(made)) {
    return absl::AlreadyExistsError(
        fmt::format("interface {} exists already in {}", request.ifname, request.netns));
  }
  RETURN_IF_ERROR(made);
  ASSIGN_OR_RETURN(const LinkInfo link, host.Link(host_ifname));
  const absl::Status configured = [&]() -> absl::Status {
    RETURN_IF_ERROR(attach(link.ifindex));
    RETURN_IF_ERROR(host.DisableIpv6Addresses(link.ifindex));
    if (request.ingress_bandwidth != 0) {
      RETURN_IF_ERROR(host.SetBandwidth(link.ifindex, request.ingress_bandwidth));
    }
    // The host's side first: the side that comes up second can send at once, the other only after
    // the kernel's link watcher has run, up to a second later. Nothing is sent by the host's side:
    // delivery is a redirect to the pod's.
    RETURN_IF_ERROR(host.SetUp(
        link.ifindex, fmt::format("mesh:{}/{}:{}", request.ns, request.pod, request.container_id)));
    return ConfigurePod(pod, netns.get(), request, config);
  }();
  if (!configured.ok()) {
    host.DeleteLink(link.ifindex).IgnoreError();  // the first error is the one to tell
    return configured;
  }
  return link.ifindex;
}

absl::Status SetPodMtu(Netlink& netlink, const LinkInfo& host, const PodInterface& pod, int mtu) {
  if (host.mtu == static_cast<uint32_t>(mtu)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const UniqueFd netns, OpenNetns(pod.netns));
  ASSIGN_OR_RETURN(Netlink inside, Netlink::OpenIn(netns.get()));
  ASSIGN_OR_RETURN(const LinkInfo link, inside.Link(pod.ifname));
  RETURN_IF_ERROR(inside.SetMtu(link.ifindex, mtu));
  return netlink.SetMtu(host.ifindex, mtu);
}

absl::Status CheckPodLink(Netlink& host, const AttachRequest& request,
                          const std::string& host_ifname, const NodeConfig& config) {
  const auto broken = [&](const std::string& what) {
    return absl::FailedPreconditionError(
        fmt::format("container {} interface {}: {}", request.container_id, request.ifname, what));
  };
  const absl::StatusOr<LinkInfo> outer = host.Link(host_ifname);
  if (!outer.ok()) return broken(fmt::format("its host side {} is gone", host_ifname));
  if (!outer->up) return broken(fmt::format("its host side {} is down", host_ifname));

  ASSIGN_OR_RETURN(const UniqueFd netns, OpenNetns(request.netns));
  ASSIGN_OR_RETURN(Netlink pod, Netlink::OpenIn(netns.get()));
  const absl::StatusOr<LinkInfo> inner = pod.Link(request.ifname);
  if (!inner.ok()) return broken(fmt::format("not in {}", request.netns));
  if (!inner->up) return broken("down");
  if (inner->mac != PodMac(request.ip)) return broken("has another MAC address");
  for (const auto& [ip, gateway] : AddressesOf(request, config)) {
    ASSIGN_OR_RETURN(const std::vector<AddressInfo> addresses, pod.Addresses(FamilyOf(ip)));
    const bool has_address =
        std::any_of(addresses.begin(), addresses.end(), [&](const AddressInfo& address) {
          return address.ifindex == inner->ifindex && address.prefix.base() == ip;
        });
    if (!has_address) return broken(fmt::format("address {} is missing", ip.ToString()));
    ASSIGN_OR_RETURN(const std::vector<RouteInfo> routes, pod.Routes(FamilyOf(ip)));
    for (const RouteInfo& route : PodRoutes(inner->ifindex, gateway)) {
      if (std::find(routes.begin(), routes.end(), route) == routes.end()) {
        return broken(fmt::format("route {} is missing", route.destination.ToString()));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace mesh::dataplane
