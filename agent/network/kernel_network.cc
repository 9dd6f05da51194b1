// SPDX-License-Identifier: Apache-2.0
// Network::Start: the network over the kernel's dataplane.
#include <utility>

#include "agent/network/announcer.h"
#include "agent/network/network_impl.h"
#include "agent/network/uplink.h"
#include "common/status.h"
#include "dataplane/bpf/features.h"
#include "dataplane/kernel_dataplane.h"
#include "dataplane/net/netlink.h"
#include "dataplane/tables/endpoint_table.h"

namespace mesh::agent {
namespace {

absl::Status Probe(const std::string& bpf_root) {
  dataplane::Environment environment;
  RETURN_IF_ERROR(dataplane::ReadEnvironment(bpf_root, &environment));
  return dataplane::CheckEnvironment(environment, bpf_root);
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
  source.uplink = [node_ip = options.node_ip, xdp = options.xdp] {
    return FindUplink(node_ip, xdp);
  };
  source.remove_link = RemovePodLink;
  source.left_behind = [bpf_root = options.bpf_root] {
    return dataplane::KernelDataplane::IsLeftAt(bpf_root);
  };
  source.announce = SendAnnouncements;
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
