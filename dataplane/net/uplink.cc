// SPDX-License-Identifier: Apache-2.0
#include "dataplane/net/uplink.h"

#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "common/status.h"
#include "dataplane/bpf/errors.h"
#include "dataplane/net/node_links.h"
#include "dataplane/net/tc.h"
#include "fmt/format.h"

namespace mesh::dataplane {
namespace {

// Of the kernel's 15 characters. The second are those that lead to it while a node is taken over.
bool IsOurs(const std::string& program) {
  return program == "mesh_uplink" || program == "mesh_uplink6" || program.starts_with("mesh_turn");
}

constexpr char kXdpName[] = "mesh_uplink_xdp";

// Of the program at the driver's hook; empty: none.
absl::StatusOr<std::string> XdpProgramName(const LinkInfo& uplink) {
  bpf_xdp_query_opts options{};
  options.sz = sizeof(options);
  const int result = bpf_xdp_query(uplink.ifindex, 0, &options);
  if (result != 0) {
    return BpfErrnoStatus(-result, fmt::format("ask for the XDP program of {}", uplink.name));
  }
  const uint32_t id = options.drv_prog_id != 0 ? options.drv_prog_id : options.prog_id;
  if (id == 0) return std::string();
  return ProgramName(id);
}

}  // namespace

absl::StatusOr<LinkInfo> FindUplink(Netlink& netlink, const NodeConfig& config) {
  absl::StatusOr<LinkInfo> link = netlink.Link(config.uplink);
  if (absl::IsNotFound(link.status())) {
    return absl::NotFoundError(
        fmt::format("uplink {}: no such interface on this node; name the one that has {}",
                    config.uplink, config.node_ip.ToString()));
  }
  if (!link.ok()) return link.status();
  const MacAddress none{};
  if (link->name == kVxlanName || link->name == kHostName || link->name == kNetName ||
      link->mac == none) {
    return absl::InvalidArgumentError(
        fmt::format("uplink {}: not an interface to other machines; name the one that has {}",
                    config.uplink, config.node_ip.ToString()));
  }
  return link;
}

absl::Status AttachUplink(const LinkInfo& uplink, int program_fd, uint32_t priority) {
  const absl::StatusOr<std::string> present = IngressProgramName(uplink.ifindex, priority);
  if (!present.ok() && !absl::IsNotFound(present.status())) return present.status();
  if (present.ok() && !IsOurs(*present)) {
    return absl::FailedPreconditionError(
        fmt::format("uplink {}: the program {} of somebody else stands at its ingress with "
                    "priority {}; remove it: tc filter del dev {} ingress pref {}",
                    uplink.name, *present, priority, uplink.name, priority));
  }
  return AttachIngress(uplink.ifindex, program_fd, priority);
}

absl::Status DetachUplinkIpv6(const LinkInfo& uplink) {
  const absl::StatusOr<std::string> present = IngressProgramName(uplink.ifindex, kPriority6);
  if (!present.ok() || !IsOurs(*present)) return absl::OkStatus();
  return DetachIngress(uplink.ifindex, kPriority6);
}

absl::Status AttachXdp(const LinkInfo& uplink, int program_fd) {
  ASSIGN_OR_RETURN(const std::string present, XdpProgramName(uplink));
  if (!present.empty() && present != kXdpName) {
    return absl::FailedPreconditionError(
        fmt::format("uplink {}: the XDP program {} of somebody else is there; remove it, or run "
                    "without XDP forwarding",
                    uplink.name, present));
  }
  const int result = bpf_xdp_attach(uplink.ifindex, program_fd, XDP_FLAGS_DRV_MODE, nullptr);
  if (result == 0) return absl::OkStatus();
  if (result == -EOPNOTSUPP || result == -EINVAL || result == -ERANGE) {
    return absl::FailedPreconditionError(
        fmt::format("uplink {}: its driver takes no XDP program ({}); run without XDP forwarding",
                    uplink.name, std::strerror(-result)));
  }
  return BpfErrnoStatus(-result, fmt::format("attach an XDP program to {}", uplink.name));
}

absl::Status ReplaceXdp(const LinkInfo& uplink, int program_fd) {
  ASSIGN_OR_RETURN(const std::string present, XdpProgramName(uplink));
  return present == kXdpName ? AttachXdp(uplink, program_fd) : absl::OkStatus();
}

absl::Status DetachXdp(const LinkInfo& uplink) {
  ASSIGN_OR_RETURN(const std::string present, XdpProgramName(uplink));
  if (present != kXdpName) return absl::OkStatus();
  const int result = bpf_xdp_detach(uplink.ifindex, XDP_FLAGS_DRV_MODE, nullptr);
  if (result == 0 || result == -ENODEV) return absl::OkStatus();
  return BpfErrnoStatus(-result, fmt::format("take the XDP program off {}", uplink.name));
}

absl::Status DetachUplinks(Netlink& netlink, int except) {
  ASSIGN_OR_RETURN(const std::vector<LinkInfo> links, netlink.Links());
  for (const LinkInfo& link : links) {
    if (link.ifindex == except) continue;
    const absl::StatusOr<std::string> present = IngressProgramName(link.ifindex);
    if (!present.ok() || *present != "mesh_uplink") continue;
    RETURN_IF_ERROR(DetachXdp(link));
    RETURN_IF_ERROR(DetachIngress(link.ifindex, kPriority4));
    RETURN_IF_ERROR(DetachUplinkIpv6(link));
    ASSIGN_OR_RETURN(const bool filtered, netlink.HasFilters(link.ifindex));
    if (!filtered) RETURN_IF_ERROR(RemoveClsact(link.ifindex));
  }
  return absl::OkStatus();
}

}  // namespace mesh::dataplane
