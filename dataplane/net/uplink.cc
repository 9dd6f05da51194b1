// SPDX-License-Identifier: Apache-2.0
#include "dataplane/net/uplink.h"

#include <vector>

#include "common/status.h"
#include "dataplane/net/node_links.h"
#include "dataplane/net/tc.h"
#include "fmt/format.h"

namespace mesh::dataplane {
namespace {

// Of the kernel's 15 characters. The second are those that lead to it while a node is taken over.
bool IsOurs(const std::string& program) {
  return program == "mesh_uplink" || program.starts_with("mesh_turn");
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

absl::Status AttachUplink(const LinkInfo& uplink, int program_fd) {
  const absl::StatusOr<std::string> present = IngressProgramName(uplink.ifindex);
  if (!present.ok() && !absl::IsNotFound(present.status())) return present.status();
  if (present.ok() && !IsOurs(*present)) {
    return absl::FailedPreconditionError(
        fmt::format("uplink {}: the program {} of somebody else stands at its ingress with "
                    "priority 1; remove it: tc filter del dev {} ingress pref 1",
                    uplink.name, *present, uplink.name));
  }
  return AttachIngress(uplink.ifindex, program_fd);
}

absl::Status DetachUplinks(Netlink& netlink, int except) {
  ASSIGN_OR_RETURN(const std::vector<LinkInfo> links, netlink.Links());
  for (const LinkInfo& link : links) {
    if (link.ifindex == except) continue;
    const absl::StatusOr<std::string> present = IngressProgramName(link.ifindex);
    if (!present.ok() || *present != "mesh_uplink") continue;
    RETURN_IF_ERROR(DetachIngress(link.ifindex));
    ASSIGN_OR_RETURN(const bool filtered, netlink.HasFilters(link.ifindex));
    if (!filtered) RETURN_IF_ERROR(RemoveClsact(link.ifindex));
  }
  return absl::OkStatus();
}

}  // namespace mesh::dataplane
