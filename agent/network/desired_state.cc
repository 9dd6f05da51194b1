// SPDX-License-Identifier: Apache-2.0
#include "agent/network/desired_state.h"

#include <optional>
#include <utility>

#include "agent/network/policy_translation.h"
#include "common/status.h"
#include "fmt/format.h"
#include "mesh/shared/base.h"

namespace mesh::agent {
namespace {

constexpr const char* kHostPortNotServed = "HostPortNotServed";

using dataplane::Isolation;

absl::StatusOr<IpPrefix> ParseRange(const char* what, const std::string& text) {
  auto range = IpPrefix::Parse(text);
  if (!range.ok()) return Annotate(range.status(), what);
  return range;
}

absl::StatusOr<IpPrefix> ParseRange4(const char* what, const std::string& text) {
  ASSIGN_OR_RETURN(const IpPrefix range, ParseRange(what, text));
  if (!range.base().is_v4())
    return absl::InvalidArgumentError(fmt::format("{}: {} is not an IPv4 range", what, text));
  return range;
}

absl::StatusOr<IpPrefix> ParseRange6(const char* what, const std::string& text) {
  ASSIGN_OR_RETURN(const IpPrefix range, ParseRange(what, text));
  if (range.base().is_v4())
    return absl::InvalidArgumentError(fmt::format("{}: {} is not an IPv6 range", what, text));
  return range;
}

// The IPv6 half of `out`; nothing of it in a cluster without.
absl::Status AddRanges6(const v1::Welcome& config, const std::string& node_ip6,
                        dataplane::NodeConfig* out) {
  const bool all = !config.pod_cidr6().empty() && !config.cluster_cidr6().empty() &&
                   !config.service_cidr6().empty();
  const bool none = config.pod_cidr6().empty() && config.cluster_cidr6().empty() &&
                    config.service_cidr6().empty();
  if (none) return absl::OkStatus();
  if (!all)
    return absl::UnavailableError(fmt::format(
        "the control plane has given this node some of its IPv6 ranges only: pods \"{}\", all pods "
        "\"{}\", services \"{}\"",
        config.pod_cidr6(), config.cluster_cidr6(), config.service_cidr6()));
  ASSIGN_OR_RETURN(out->pod_cidr6, ParseRange6("IPv6 pod range of the node", config.pod_cidr6()));
  ASSIGN_OR_RETURN(out->cluster_cidr6,
                   ParseRange6("IPv6 pod range of the cluster", config.cluster_cidr6()));
  ASSIGN_OR_RETURN(out->service_cidr6, ParseRange6("IPv6 service range", config.service_cidr6()));
  if (out->pod_cidr6.size() < out->pod_cidr.size())
    return absl::InvalidArgumentError(
        fmt::format("IPv6 pod range of the node: {} has fewer addresses than {}",
                    config.pod_cidr6(), config.pod_cidr()));
  const auto gateway = out->pod_cidr6.At(1);
  if (!gateway)
    return absl::InvalidArgumentError(fmt::format(
        "IPv6 pod range of the node: {} has no room for a gateway", config.pod_cidr6()));
  out->gateway6 = *gateway;
  if (node_ip6.empty()) return absl::OkStatus();
  auto ip = IpAddress::Parse(node_ip6);
  if (!ip.ok()) return Annotate(ip.status(), "IPv6 address of the node");
  out->node_ip6 = *ip;
  return absl::OkStatus();
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
                                                      const std::string& node_ip6,
                                                      const Uplink& uplink) {
  if (config.node_name().empty() || config.pod_cidr().empty())
    return absl::UnavailableError("the control plane has not given this node a pod range yet");
  dataplane::NodeConfig out;
  out.node_name = node_name;
  auto ip = IpAddress::Parse(node_ip);
  if (!ip.ok()) return Annotate(ip.status(), "node ip");
  out.node_ip = *ip;
  ASSIGN_OR_RETURN(out.pod_cidr, ParseRange4("pod range of the node", config.pod_cidr()));
  ASSIGN_OR_RETURN(out.cluster_cidr,
                   ParseRange4("pod range of the cluster", config.cluster_cidr()));
  ASSIGN_OR_RETURN(out.service_cidr, ParseRange4("service range", config.service_cidr()));
  for (const std::string& text : config.non_masquerade_cidrs()) {
    ASSIGN_OR_RETURN(const IpPrefix range, ParseRange("range without masquerade", text));
    out.non_masquerade.push_back(range);
  }
  const auto gateway = out.pod_cidr.At(1);
  if (!gateway)
    return absl::InvalidArgumentError(
        fmt::format("pod range of the node: {} has no room for a gateway", config.pod_cidr()));
  out.gateway = *gateway;
  RETURN_IF_ERROR(AddRanges6(config, node_ip6, &out));
  switch (config.routing()) {
    case v1::Welcome::VXLAN:
      out.routing = dataplane::Routing::kVxlan;
      break;
    case v1::Welcome::NATIVE:
      out.routing = dataplane::Routing::kNative;
      break;
    default:
      return absl::InvalidArgumentError(
          fmt::format("routing {} is not known to this node: update its agent",
                      static_cast<int>(config.routing())));
  }
  out.uplink = uplink.name;
  out.uplink_mtu = uplink.mtu;
  out.xdp = uplink.xdp;
  return out;
}

const Translation& DesiredStateBuilder::Build(NodeStatePtr state) {
  const NodeView node{.name = state->config.node_name(),
                      .zone = state->config.zone(),
                      .ip = config_.node_ip,
                      .ip6 = config_.node_ip6,
                      .ipv6 = config_.has_ipv6(),
                      .direct_return = state->config.return_path() == v1::ServiceState::DIRECT};
  const bool first = state_ == nullptr;
  // What every Service depends on has changed: none of the old translations holds.
  static const NodeState kNothing;
  const NodeState& before = first || node != node_ ? kNothing : *state_;

  dataplane::DesiredState& desired = out_.desired;
  desired.revision = state->revision;
  desired.complete = state->complete;
  desired.changed_services.emplace();
  desired.changed_pod_identities.emplace();
  desired.changed_identities.emplace();
  desired.non_masquerade.emplace();
  for (const std::string& text : state->config.non_masquerade_cidrs()) {
    // One that is none was told when the config was read.
    if (const auto range = IpPrefix::Parse(text); range.ok())
      desired.non_masquerade->push_back(*range);
  }
  names_anew_ = false;
  UpdateServices(before, *state, node);
  if (&before == &kNothing || !state->pods.SameAs(before.pods)) UpdateHostPorts(*state, node);
  if (first || !state->nodes.SameAs(state_->nodes)) UpdatePeers(*state);
  if (first || !state->namespaces.SameAs(state_->namespaces)) UpdateNamespaces(*state);
  const NodeState& last = first ? kNothing : *state_;
  UpdatePodIdentities(last, *state);
  UpdatePolicies(last, *state);
  if (first) {
    desired.changed_services.reset();
    desired.changed_identities.reset();
    desired.changed_pod_identities.reset();
  }
  desired.taken = taken_ports_.Compute();

  out_.skipped.clear();
  for (const auto& [key, lines] : skipped_)
    out_.skipped.insert(out_.skipped.end(), lines.begin(), lines.end());
  for (const auto& [ip, lines] : skipped_identities_)
    out_.skipped.insert(out_.skipped.end(), lines.begin(), lines.end());
  for (const auto& [number, line] : skipped_sets_) out_.skipped.push_back(line);
  for (const auto* lines : {&skipped_peers_, &skipped_namespaces_})
    out_.skipped.insert(out_.skipped.end(), lines->begin(), lines->end());
  state_ = std::move(state);
  node_ = node;
  return out_;
}

void DesiredStateBuilder::Change(const std::string& key, Translated translated,
                                 std::vector<std::string> skipped) {
  if (skipped.empty()) {
    skipped_.erase(key);
  } else {
    skipped_[key] = std::move(skipped);
  }
  ChangeOne(key, std::move(translated.v4));
  ChangeOne(OutsideKey(key), std::move(translated.v4_outside));
  ChangeOne(BalancerKey(key), std::move(translated.v4_balancer));
  ChangeOne(Ipv6Key(key), std::move(translated.v6));
  ChangeOne(OutsideKey(Ipv6Key(key)), std::move(translated.v6_outside));
  ChangeOne(BalancerKey(Ipv6Key(key)), std::move(translated.v6_balancer));
}

void DesiredStateBuilder::ChangeOne(const std::string& key,
                                    std::optional<dataplane::Service> service) {
  auto& services = out_.desired.services;
  const auto it = services.find(key);
  const bool same = it == services.end() ? !service.has_value() : service == it->second;
  if (same) return;
  out_.desired.changed_services->push_back(key);
  taken_ports_.SetService(key, service.has_value() ? &*service : nullptr);
  names_anew_ = names_anew_ || (service.has_value() && !service->external_ips.empty());
  if (service.has_value()) {
    services.insert_or_assign(key, *std::move(service));
  } else {
    services.erase(it);
  }
}

void DesiredStateBuilder::UpdateServices(const NodeState& before, const NodeState& now,
                                         const NodeView& node) {
  before.services.ForEachChangeTo(now.services, [&](const std::string& key, const auto*,
                                                    const auto* service) {
    std::vector<std::string> skipped;
    Translated translated;
    taken_ports_.SetHealthPort(key, service == nullptr ? 0 : (*service)->health_check_node_port());
    if (service != nullptr) translated = TranslateService(key, **service, node, &skipped);
    Change(key, std::move(translated), std::move(skipped));
  });
  if (&before == state_.get() || state_ == nullptr) return;
  // `before` is nothing: what the last state had and this one has not is still here.
  for (const auto& [key, service] : state_->services) {
    if (now.services.contains(key)) continue;
    taken_ports_.SetHealthPort(key, 0);
    Change(key, {}, {});
  }
}

bool DesiredStateBuilder::SetListeners(const NodeListeners& listeners) {
  taken_ports_.SetListeners(listeners);
  auto taken = taken_ports_.Compute();
  if (taken == out_.desired.taken) return false;
  out_.desired.taken = std::move(taken);
  return true;
}

void DesiredStateBuilder::UpdateHostPorts(const NodeState& now, const NodeView& node) {
  std::set<std::string> gone = std::exchange(host_ports_, {});
  for (const auto& [uid, pod] : now.pods) {
    std::vector<std::string> skipped;
    Translated translated = TranslateHostPorts(*pod, node, &skipped);
    if (!translated.v4 && !translated.v6 && skipped.empty()) continue;
    // With two slashes it is no Service's.
    const std::string key =
        fmt::format("{}/pod/{}", pod->metadata().namespace_(), pod->metadata().name());
    host_ports_.insert(key);
    gone.erase(key);
    Change(key, std::move(translated), std::move(skipped));
  }
  for (const std::string& key : gone) Change(key, {}, {});
}

std::set<NetworkWarning> DesiredStateBuilder::HostPortProblems() const {
  std::set<NetworkWarning> out;
  for (const std::string& key : host_ports_) {
    const std::string ns = key.substr(0, key.find('/')), pod = key.substr(key.rfind('/') + 1);
    if (const auto it = skipped_.find(key); it != skipped_.end()) {
      for (const std::string& line : it->second)
        out.insert({ns, pod, {}, kHostPortNotServed, line});
    }
    std::set<std::string> own;
    for (const std::string& half : {key, Ipv6Key(key)}) {
      const auto it = out_.desired.services.find(half);
      if (it == out_.desired.services.end()) continue;
      for (const dataplane::ServicePort& port : it->second.ports) {
        const bool udp = port.protocol == dataplane::Protocol::kUdp;
        if (udp ? config_.routing == dataplane::Routing::kVxlan && port.node_port == MESH_VXLAN_PORT
                : config_.own_ports.contains(port.node_port))
          own.insert(fmt::format("{}/{}", port.node_port, udp ? "UDP" : "TCP"));
      }
    }
    for (const std::string& port : own) {
      out.insert({ns,
                  pod,
                  {},
                  kHostPortNotServed,
                  fmt::format("hostPort {} is not served: the agent, the control plane or the "
                              "tunnel of node {} listens there; give the pod another one",
                              port, config_.node_name)});
    }
  }
  return out;
}

std::set<NetworkWarning> DesiredStateBuilder::ServiceProblems() const {
  std::set<NetworkWarning> out;
  for (const auto& [key, lines] : skipped_) {
    if (host_ports_.contains(key)) continue;
    const size_t slash = key.find('/');
    for (const std::string& line : lines)
      out.insert({key.substr(0, slash), {}, key.substr(slash + 1), "NotServed", line});
  }
  return out;
}

void DesiredStateBuilder::UpdatePeers(const NodeState& now) {
  auto& peers = out_.desired.peers;
  peers.clear();
  skipped_peers_.clear();
  for (const auto& [name, from] : now.nodes) {
    // A node that has registered but has no range yet has no pods either.
    if (from->pod_cidr().empty() || from->ip().empty()) continue;
    if (auto peer = TranslatePeer(name, *from)) peers.emplace(name, *std::move(peer));
  }
}

std::optional<dataplane::Peer> DesiredStateBuilder::TranslatePeer(const std::string& name,
                                                                  const v1::PeerNode& from) {
  const auto skip = [&](const std::string& why) {
    skipped_peers_.push_back(fmt::format("node {}: {}", name, why));
    return std::nullopt;
  };
  dataplane::Peer out;
  out.name = name;
  const auto ip = IpAddress::Parse(from.ip());
  if (!ip.ok() || !ip->is_v4())
    return skip(fmt::format("\"{}\" is not an IPv4 address", from.ip()));
  out.ip = *ip;
  const auto cidr = ParseRange4("podCIDR", from.pod_cidr());
  if (!cidr.ok()) return skip(std::string(cidr.status().message()));
  out.pod_cidr = *cidr;
  if (!config_.has_ipv6()) return out;
  // Without its IPv6 half the node is still worth having.
  if (!from.pod_cidr6().empty()) {
    if (const auto cidr6 = ParseRange6("IPv6 podCIDR", from.pod_cidr6()); cidr6.ok()) {
      out.pod_cidr6 = *cidr6;
    } else {
      skip(std::string(cidr6.status().message()));
    }
  }
  if (!from.ip6().empty()) {
    if (const auto ip6 = IpAddress::Parse(from.ip6()); ip6.ok() && !ip6->is_v4()) {
      out.ip6 = *ip6;
    } else {
      skip(fmt::format("\"{}\" is not an IPv6 address", from.ip6()));
    }
  }
  return out;
}

void DesiredStateBuilder::UpdatePodIdentities(const NodeState& before, const NodeState& now) {
  auto& identities = out_.desired.pod_identities;
  std::vector<IpAddress>& changed = *out_.desired.changed_pod_identities;
  // All that goes goes first: an address may have moved from one pod to another.
  before.pod_identities.ForEachChangeTo(
      now.pod_identities, [&](const std::string& ip, const PodIdentity* was, const PodIdentity*) {
        if (was == nullptr) return;
        skipped_identities_.erase(ip);
        for (const IpAddress& address : AddressesOf(ip, *was, nullptr)) {
          identities.erase(address);
          changed.push_back(address);
        }
      });
  before.pod_identities.ForEachChangeTo(
      now.pod_identities, [&](const std::string& ip, const PodIdentity*, const PodIdentity* is) {
        if (is == nullptr) return;
        std::vector<std::string> skipped;
        for (const IpAddress& address : AddressesOf(ip, *is, &skipped)) {
          identities[address] = is->identity;
          changed.push_back(address);
        }
        if (!skipped.empty()) skipped_identities_[ip] = std::move(skipped);
      });
}

void DesiredStateBuilder::UpdatePolicies(const NodeState& before, const NodeState& now) {
  static const NodeState kNothing;
  dataplane::DesiredState& desired = out_.desired;
  const bool anew = before.policy_epoch != now.policy_epoch;
  desired.policy_epoch = now.policy_epoch;
  if (anew) {
    desired.policy_sets.clear();
    skipped_sets_.clear();
  }
  const NodeState& known = anew ? kNothing : before;
  known.policy_sets.ForEachChangeTo(
      now.policy_sets, [&](uint32_t number, const auto*, const auto* set) {
        desired.policy_sets.erase(number);
        skipped_sets_.erase(number);
        if (set == nullptr) return;
        auto translated = TranslatePolicySet(**set);
        if (translated.ok()) {
          desired.policy_sets[number] = *std::move(translated);
        } else {
          // Its pods are shut: what is not understood must not open anything.
          skipped_sets_[number] = std::string(translated.status().message());
        }
      });
  before.identities.ForEachChangeTo(now.identities, [&](uint32_t identity, const auto*,
                                                        const auto* state) {
    desired.changed_identities->push_back(identity);
    if (state == nullptr) {
      desired.identities.erase(identity);
      return;
    }
    const v1::IdentityState& row = **state;
    desired.identities[identity] = {.ns = row.namespace_number(),
                                    .ingress = row.ingress(),
                                    .egress = row.egress(),
                                    .ingress6 = row.ingress6(),
                                    .egress6 = row.egress6(),
                                    .selectors = {row.selectors().begin(), row.selectors().end()}};
  });
  if (now.pods.SameAs(before.pods)) return;
  desired.pods.clear();
  for (const auto& [uid, pod] : now.pods) {
    const auto ip = IpAddress::Parse(pod->status().pod_ip());
    if (ip.ok() && ip->is_v4()) desired.pods[*ip] = pod->status().identity();
  }
}

std::vector<IpAddress> DesiredStateBuilder::AddressesOf(const std::string& ip,
                                                        const PodIdentity& pod,
                                                        std::vector<std::string>* skipped) const {
  std::vector<IpAddress> out;
  const auto add = [&](const std::string& text, bool v4) {
    const auto address = IpAddress::Parse(text);
    if (address.ok() && address->is_v4() == v4) {
      out.push_back(*address);
    } else if (skipped != nullptr) {
      skipped->push_back(fmt::format("pod {} of another node: \"{}\" is not an IPv{} address", ip,
                                     text, v4 ? 4 : 6));
    }
  };
  add(ip, true);
  if (!pod.ip6.empty() && config_.has_ipv6()) add(pod.ip6, false);
  return out;
}

void DesiredStateBuilder::UpdateNamespaces(const NodeState& now) {
  auto& namespaces = out_.desired.namespaces;
  namespaces.clear();
  skipped_namespaces_.clear();
  for (const auto& [identity, from] : now.namespaces) {
    const auto isolation = ParseIsolation(from->isolation());
    if (!isolation.has_value()) {
      // What is not understood must not open anything.
      skipped_namespaces_.push_back(
          fmt::format("namespace {}: mesh.io/isolation is \"{}\", neither \"open\" nor "
                      "\"closed\"; the default holds",
                      from->name(), from->isolation()));
    }
    namespaces.emplace(identity, dataplane::NamespacePolicy{
                                     from->name(), isolation.value_or(Isolation::kDefault)});
  }
}

}  // namespace mesh::agent
