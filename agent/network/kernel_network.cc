// SPDX-License-Identifier: Apache-2.0
// Network::Start: the network over the kernel's dataplane.
#include <net/if.h>

#include <cerrno>
#include <utility>

#include "agent/network/announcer.h"
#include "agent/network/cni_server.h"
#include "agent/network/listeners.h"
#include "agent/network/network_impl.h"
#include "agent/network/node_address.h"
#include "agent/network/uplink.h"
#include "common/status.h"
#include "dataplane/bpf/features.h"
#include "dataplane/kernel_dataplane.h"
#include "dataplane/net/host_routes.h"
#include "dataplane/net/link_removal.h"
#include "dataplane/tables/endpoint_table.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

absl::Status Probe(const std::string& bpf_root) {
  dataplane::Environment environment;
  RETURN_IF_ERROR(dataplane::ReadEnvironment(bpf_root, &environment));
  return dataplane::CheckEnvironment(environment, bpf_root);
}

absl::Status RemovePodLink(const std::string& container_id, const std::string& ifname,
                           const std::function<void()>& gone) {
  const std::string name = dataplane::HostInterfaceName(container_id, ifname);
  const unsigned ifindex = ::if_nametoindex(name.c_str());
  if (ifindex == 0) {
    gone();
    return errno == ENODEV ? absl::OkStatus() : ErrnoStatus(errno, "find interface " + name);
  }
  const absl::Status deleted = dataplane::RemoveLink(static_cast<int>(ifindex), gone);
  return absl::IsNotFound(deleted) ? absl::OkStatus() : deleted;
}

absl::StatusOr<NodeListeners> LookForListeners() {
  ASSIGN_OR_RETURN(const v1::ListListenersResponse all, LoadListeners("/proc/thread-self/ns/net"));
  const auto [first, last] = dataplane::ClientPorts();
  NodeListeners out;
  for (const v1::Listener& listener : all.listeners()) {
    ASSIGN_OR_RETURN(const IpAddress ip, IpAddress::Parse(listener.address()));
    const bool udp = listener.protocol() == "UDP";
    const bool passing = udp && listener.port() >= first && listener.port() <= last;
    (passing ? out.passing : out.sockets)
        .insert({ip, static_cast<uint16_t>(listener.port()),
                 udp ? dataplane::Protocol::kUdp : dataplane::Protocol::kTcp});
  }
  ASSIGN_OR_RETURN(out.addresses, OwnAddresses());
  return out;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Network>> Network::Start(NetworkOptions options,
                                                        NodeStatePtr initial) {
  DataplaneSource source;
  source.probe = [bpf_root = options.bpf_root] { return Probe(bpf_root); };
  source.uplink = [node_ip = options.node_ip, xdp = options.xdp] {
    return FindUplink(node_ip, xdp);
  };
  source.uplink_mtu = MtuOf;
  source.link_events = OpenLinkEvents;
  source.listeners = LookForListeners;
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

absl::Status Network::Remove(const std::string& run_dir, const std::string& bpf_root) {
  if (const std::string path = CniServer::PathIn(run_dir); CniServer::IsServed(path)) {
    return absl::FailedPreconditionError(
        fmt::format("an agent runs here: it answers at {}; stop it first", path));
  }
  return dataplane::KernelDataplane::Remove({.bpf_root = bpf_root});
}

}  // namespace mesh::agent
