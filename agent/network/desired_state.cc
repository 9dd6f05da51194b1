// SPDX-License-Identifier: Apache-2.0
#include "agent/network/desired_state.h"

#include <optional>
#include <utility>

#include "common/status.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

using dataplane::Isolation;

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

}  // namespace

absl::StatusOr<dataplane::NodeConfig> BuildNodeConfig(const v1::Welcome& config,
                                                      const std::string& node_name,
                                                      const std::string& node_ip,
                                                      const Uplink& uplink) {
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
  for (const std::string& text : config.non_masquerade_cidrs()) {
    ASSIGN_OR_RETURN(const IpPrefix range, ParseRange("range without masquerade", text));
    out.non_masquerade.push_back(range);
  }
  const auto gateway = out.pod_cidr.At(1);
  if (!gateway)
    return absl::InvalidArgumentError(
        fmt::format("pod range of the node: {} has no room for a gateway", config.pod_cidr()));
  out.gateway = *gateway;
  out.uplink = uplink.name;
  out.uplink_mtu = uplink.mtu;
  out.xdp = uplink.xdp;
  return out;
}

const Translation& DesiredStateBuilder::Build(NodeStatePtr state) {
  const NodeView node{.name = state->config.node_name(),
                      .zone = state->config.zone(),
                      .ip = node_ip_,
                      .direct_return = state->config.return_path() == v1::ServiceState::DIRECT};
  const bool first = state_ == nullptr;
  // What every Service depends on has changed: none of the old translations holds.
  static const NodeState kNothing;
  const NodeState& before = first || node != node_ ? kNothing : *state_;

  dataplane::DesiredState& desired = out_.desired;
  desired.revision = state->revision;
  desired.complete = state->complete;
  desired.changed_services.emplace();
  UpdateServices(before, *state, node);
  UpdateHostPorts(*state, node);
  skipped_others_.clear();
  UpdatePeers(*state);
  UpdateNamespaces(*state);
  if (first) desired.changed_services.reset();

  out_.skipped.clear();
  for (const auto& [key, lines] : skipped_)
    out_.skipped.insert(out_.skipped.end(), lines.begin(), lines.end());
  out_.skipped.insert(out_.skipped.end(), skipped_others_.begin(), skipped_others_.end());
  state_ = std::move(state);
  node_ = node;
  return out_;
}

void DesiredStateBuilder::Change(const std::string& key, std::optional<dataplane::Service> service,
                                 std::vector<std::string> skipped) {
  if (skipped.empty()) {
    skipped_.erase(key);
  } else {
    skipped_[key] = std::move(skipped);
  }
  auto& services = out_.desired.services;
  const auto it = services.find(key);
  const bool same = it == services.end() ? !service.has_value() : service == it->second;
  if (same) return;
  out_.desired.changed_services->push_back(key);
  if (service.has_value()) {
    services.insert_or_assign(key, *std::move(service));
  } else {
    services.erase(it);
  }
}

void DesiredStateBuilder::UpdateServices(const NodeState& before, const NodeState& now,
                                         const NodeView& node) {
  ForEachChangedService(before, now, [&](const std::string& key, const v1::ServiceState* service) {
    std::vector<std::string> skipped;
    std::optional<dataplane::Service> translated;
    if (service != nullptr) translated = TranslateService(key, *service, node, &skipped);
    Change(key, std::move(translated), std::move(skipped));
  });
  if (&before == state_.get() || state_ == nullptr) return;
  // `before` is nothing: what the last state had and this one has not is still here.
  for (const auto& [key, service] : state_->services) {
    if (!now.services.contains(key)) Change(key, std::nullopt, {});
  }
}

void DesiredStateBuilder::UpdateHostPorts(const NodeState& now, const NodeView& node) {
  std::set<std::string> gone = std::exchange(host_ports_, {});
  for (const auto& [uid, pod] : now.pods) {
    std::vector<std::string> skipped;
    auto translated = TranslateHostPorts(pod, node, &skipped);
    if (!translated.has_value() && skipped.empty()) continue;
    // With two slashes it is no Service's.
    const std::string key =
        fmt::format("{}/pod/{}", pod.metadata().namespace_(), pod.metadata().name());
    host_ports_.insert(key);
    gone.erase(key);
    Change(key, std::move(translated), std::move(skipped));
  }
  for (const std::string& key : gone) Change(key, std::nullopt, {});
}

void DesiredStateBuilder::UpdatePeers(const NodeState& now) {
  auto& peers = out_.desired.peers;
  peers.clear();
  for (const auto& [name, from] : now.nodes) {
    // A node that has registered but has no range yet has no pods either.
    if (from.pod_cidr().empty() || from.ip().empty()) continue;
    const auto ip = IpAddress::Parse(from.ip());
    if (!ip.ok() || !ip->is_v4()) {
      skipped_others_.push_back(
          fmt::format("node {}: \"{}\" is not an IPv4 address", name, from.ip()));
      continue;
    }
    const auto cidr = ParseRange("podCIDR", from.pod_cidr());
    if (!cidr.ok()) {
      skipped_others_.push_back(
          fmt::format("node {}: {}", name, std::string(cidr.status().message())));
      continue;
    }
    peers.emplace(name, dataplane::Peer{name, *ip, *cidr});
  }
}

void DesiredStateBuilder::UpdateNamespaces(const NodeState& now) {
  auto& namespaces = out_.desired.namespaces;
  namespaces.clear();
  for (const auto& [identity, from] : now.namespaces) {
    const auto isolation = ParseIsolation(from.isolation());
    if (!isolation.has_value()) {
      // What is not understood must not open anything.
      skipped_others_.push_back(
          fmt::format("namespace {}: mesh.io/isolation is \"{}\", neither \"open\" nor "
                      "\"closed\"; the default holds",
                      from.name(), from.isolation()));
    }
    namespaces.emplace(
        identity, dataplane::NamespacePolicy{from.name(), isolation.value_or(Isolation::kDefault)});
  }
}

}  // namespace mesh::agent
