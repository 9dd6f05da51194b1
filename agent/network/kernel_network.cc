// SPDX-License-Identifier: Apache-2.0
// Network::Start: the network over the kernel's dataplane.
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "agent/network/network_impl.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "dataplane/bpf/features.h"
#include "dataplane/kernel_dataplane.h"
#include "dataplane/net/netlink.h"
#include "dataplane/tables/endpoint_table.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

absl::Status Probe(const std::string& bpf_root) {
  dataplane::Environment environment;
  RETURN_IF_ERROR(dataplane::ReadEnvironment(bpf_root, &environment));
  return dataplane::CheckEnvironment(environment, bpf_root);
}

absl::StatusOr<int> MtuOf(const std::string& node_ip) {
  ASSIGN_OR_RETURN(const IpAddress wanted, IpAddress::Parse(node_ip));
  ifaddrs* raw = nullptr;
  if (::getifaddrs(&raw) != 0) return ErrnoStatus(errno, "cannot list the addresses of the node");
  std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> list(raw, ::freeifaddrs);
  for (const ifaddrs* at = list.get(); at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr || at->ifa_addr->sa_family != AF_INET) continue;
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(at->ifa_addr);
    if (IpAddress::V4(ntohl(v4->sin_addr.s_addr)) != wanted) continue;
    UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strncpy(request.ifr_name, at->ifa_name, IFNAMSIZ - 1);
    if (!fd || ::ioctl(fd.get(), SIOCGIFMTU, &request) != 0)
      return ErrnoStatus(errno, fmt::format("cannot read the MTU of {}", at->ifa_name));
    return request.ifr_mtu;
  }
  return absl::FailedPreconditionError(fmt::format(
      "no interface of this node has the address {}: give the node's own address", node_ip));
}

absl::Status RemovePodLink(const std::string& container_id, const std::string& ifname) {
  ASSIGN_OR_RETURN(dataplane::Netlink netlink, dataplane::Netlink::Open());
  const auto link = netlink.Link(dataplane::HostInterfaceName(container_id, ifname));
  if (!link.ok()) return absl::IsNotFound(link.status()) ? absl::OkStatus() : link.status();
  const absl::Status deleted = netlink.DeleteLink(link->ifindex);
  return absl::IsNotFound(deleted) ? absl::OkStatus() : deleted;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Network>> Network::Start(NetworkOptions options,
                                                        NodeStatePtr initial) {
  DataplaneSource source;
  source.probe = [bpf_root = options.bpf_root] { return Probe(bpf_root); };
  source.uplink_mtu = [node_ip = options.node_ip] { return MtuOf(node_ip); };
  source.remove_link = RemovePodLink;
  source.open = [bpf_root = options.bpf_root](const dataplane::NodeConfig& config)
      -> absl::StatusOr<std::unique_ptr<dataplane::Dataplane>> {
    dataplane::KernelDataplane::Options kernel;
    kernel.bpf_root = bpf_root;
    auto opened = dataplane::KernelDataplane::Open(config, kernel);
    if (!opened.ok()) return opened.status();
    return *std::move(opened);
  };
  return StartNetwork(std::move(options), std::move(initial), std::move(source));
}

}  // namespace mesh::agent
