// SPDX-License-Identifier: Apache-2.0
// Network::Start: the network over the kernel's dataplane.
#include <ifaddrs.h>
#include <linux/magic.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "agent/network/network_impl.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "dataplane/kernel_dataplane.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

absl::Status ProbePrivileges(const std::string& bpf_root) {
  if (::geteuid() != 0)
    return absl::FailedPreconditionError(
        "the dataplane needs root (CAP_NET_ADMIN, CAP_BPF, CAP_SYS_ADMIN): start mesh-agent as "
        "root");
  // The folder itself may have to be made yet.
  std::string existing = bpf_root;
  struct statfs info;
  while (::statfs(existing.c_str(), &info) != 0) {
    const size_t slash = existing.rfind('/');
    if (errno != ENOENT || slash == std::string::npos || slash == 0)
      return ErrnoStatus(errno, fmt::format("cannot look at {}", existing));
    existing.resize(slash);
  }
  if (static_cast<unsigned long>(info.f_type) != BPF_FS_MAGIC)
    return absl::FailedPreconditionError(
        fmt::format("{} is not on a BPF filesystem: mount one with \"mount -t bpf bpf {}\"",
                    bpf_root, bpf_root));
  return absl::OkStatus();
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

}  // namespace

absl::StatusOr<std::unique_ptr<Network>> Network::Start(NetworkOptions options,
                                                        NodeStatePtr initial) {
  DataplaneSource source;
  source.probe = [bpf_root = options.bpf_root] { return ProbePrivileges(bpf_root); };
  source.uplink_mtu = [node_ip = options.node_ip] { return MtuOf(node_ip); };
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
