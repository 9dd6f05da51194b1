// SPDX-License-Identifier: Apache-2.0
#include "agent/network/desired_state.h"

#include <algorithm>
#include <optional>

#include "common/status.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

using dataplane::Isolation;
using dataplane::Protocol;

absl::StatusOr<IpPrefix> ParseRange(const char* what, const std::string& text) {
  auto range = IpPrefix::Parse(text);
  if (!range.ok()) return Annotate(range.status(), what);
  if (!range->base().is_v4())
    return absl::InvalidArgumentError(fmt::format("{}: {} is not an IPv4 range", what, text));
  return range;
}

std::optional<Isolation> ParseIsolation(const std::string& text) {
  if (text.empty()) return Isolation::kDefault;
  if (text == "open") return Isolation::kOpen;
  if (text == "closed") return Isolation::kClosed;
  return std::nullopt;
}

bool IsPort(uint32_t port) { return port >= 1 && port <= 65535; }

class Translator {
 public:
  explicit Translator(const NodeState& state) : state_(state) {}

  Translation Run() {
    out_.desired.revision = state_.revision;
    out_.desired.complete = state_.complete;
    for (const auto& [key, service] : state_.services) AddService(key, *service);
    for (const auto& [name, peer] : state_.nodes) AddPeer(name, peer);
    for (const auto& [identity, ns] : state_.namespaces) AddNamespace(identity, ns);
    return std::move(out_);
  }

 private:
  template <typename... Args>
  void Skip(fmt::format_string<Args...> format, Args&&... args) {
    out_.skipped.push_back(fmt::format(format, std::forward<Args>(args)...));
  }

  void AddService(const std::string& key, const v1::ServiceState& from) {
    if (from.cluster_ip().empty() || from.cluster_ip() == "None") return;
    dataplane::Service service;
    service.ns = from.namespace_();
    service.name = from.name();
    service.identity = from.identity();
    auto ip = IpAddress::Parse(from.cluster_ip());
    if (!ip.ok() || !ip->is_v4())
      return Skip("service {}: \"{}\" is not an IPv4 address", key, from.cluster_ip());
    service.cluster_ip = *ip;
    for (const v1::ServicePortState& port : from.ports()) AddPort(key, port, &service);
    out_.desired.services.emplace(key, std::move(service));
  }

  void AddPort(const std::string& key, const v1::ServicePortState& from,
               dataplane::Service* service) {
    dataplane::ServicePort port;
    port.name = from.name();
    if (from.protocol() != 6 && from.protocol() != 17)
      return Skip("service {} port {}: protocol {} is neither TCP (6) nor UDP (17)", key,
                  from.port(), from.protocol());
    port.protocol = static_cast<Protocol>(from.protocol());
    if (!IsPort(from.port()))
      return Skip("service {}: port {} is not in 1..65535", key, from.port());
    port.port = static_cast<uint16_t>(from.port());
    for (const v1::BackendState& backend : from.backends()) {
      auto ip = IpAddress::Parse(backend.ip());
      if (!ip.ok() || !ip->is_v4() || !IsPort(backend.port())) {
        Skip("service {} port {}: backend {}:{} is not an IPv4 address and port", key, from.port(),
             backend.ip(), backend.port());
        continue;
      }
      port.backends.push_back({*ip, static_cast<uint16_t>(backend.port()),
                               backend.state() == v1::BackendState::DRAINING
                                   ? dataplane::BackendState::kDraining
                                   : dataplane::BackendState::kActive,
                               backend.node_name(), backend.pod_name()});
    }
    // One entry per (ip, port); an active one wins over a draining one.
    std::sort(port.backends.begin(), port.backends.end());
    auto same = [](const dataplane::Backend& a, const dataplane::Backend& b) {
      return a.ip == b.ip && a.port == b.port;
    };
    port.backends.erase(std::unique(port.backends.begin(), port.backends.end(), same),
                        port.backends.end());
    service->ports.push_back(std::move(port));
  }

  void AddPeer(const std::string& name, const v1::PeerNode& from) {
    // A node that has registered but has no range yet has no pods either.
    if (from.pod_cidr().empty() || from.ip().empty()) return;
    auto ip = IpAddress::Parse(from.ip());
    if (!ip.ok() || !ip->is_v4())
      return Skip("node {}: \"{}\" is not an IPv4 address", name, from.ip());
    auto cidr = ParseRange("podCIDR", from.pod_cidr());
    if (!cidr.ok()) return Skip("node {}: {}", name, std::string(cidr.status().message()));
    out_.desired.peers.emplace(name, dataplane::Peer{name, *ip, *cidr});
  }

  void AddNamespace(uint32_t identity, const v1::NamespaceState& from) {
    dataplane::NamespacePolicy policy;
    policy.name = from.name();
    const auto isolation = ParseIsolation(from.isolation());
    if (!isolation)
      // What is not understood must not open anything.
      Skip(
          "namespace {}: mesh.io/isolation is \"{}\", neither \"open\" nor \"closed\"; the default "
          "holds",
          from.name(), from.isolation());
    policy.isolation = isolation.value_or(Isolation::kDefault);
    out_.desired.namespaces.emplace(identity, std::move(policy));
  }

  const NodeState& state_;
  Translation out_;
};

}  // namespace

absl::StatusOr<dataplane::NodeConfig> BuildNodeConfig(const v1::Welcome& config,
                                                      const std::string& node_name,
                                                      const std::string& node_ip, int uplink_mtu) {
  if (config.node_name().empty() || config.pod_cidr().empty())
    return absl::UnavailableError("the control plane has not given this node a pod range yet");
  dataplane::NodeConfig out;
  out.node_name = node_name;
  auto ip = IpAddress::Parse(node_ip);
  if (!ip.ok()) return Annotate(ip.status(), "node ip");
  out.node_ip = *ip;
  ASSIGN_OR_RETURN(out.pod_cidr, ParseRange("pod range of the node", config.pod_cidr()));
  ASSIGN_OR_RETURN(out.cluster_cidr, ParseRange("pod range of the cluster", config.cluster_cidr()));
  ASSIGN_OR_RETURN(out.service_cidr, ParseRange("service range", config.service_cidr()));
  const auto gateway = out.pod_cidr.At(1);
  if (!gateway)
    return absl::InvalidArgumentError(
        fmt::format("pod range of the node: {} has no room for a gateway", config.pod_cidr()));
  out.gateway = *gateway;
  out.uplink_mtu = uplink_mtu;
  return out;
}

Translation BuildDesiredState(const NodeState& state) { return Translator(state).Run(); }

}  // namespace mesh::agent
