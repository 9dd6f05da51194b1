// SPDX-License-Identifier: Apache-2.0
#include "tests/support/policy/policy_model.h"

#include <algorithm>

namespace mesh::testing {
namespace {

using Labels = std::map<std::string, std::string>;

bool Selects(const v1::LabelSelector& selector, const Labels& labels) {
  for (const auto& [key, value] : selector.match_labels()) {
    const auto it = labels.find(key);
    if (it == labels.end() || it->second != value) return false;
  }
  for (const auto& term : selector.match_expressions()) {
    const auto it = labels.find(term.key());
    const bool there = it != labels.end();
    const bool listed = there && std::find(term.values().begin(), term.values().end(),
                                           it->second) != term.values().end();
    if (term.operator_() == "In" && !listed) return false;
    if (term.operator_() == "NotIn" && listed) return false;
    if (term.operator_() == "Exists" && !there) return false;
    if (term.operator_() == "DoesNotExist" && there) return false;
  }
  return true;
}

bool Contains(const std::string& range, const IpAddress& address) {
  return IpPrefix::ParseMasked(range)->Contains(address);
}

bool IsPeer(const PolicyModel& model, const std::string& ns, const v1::NetworkPolicyPeer& peer,
            const PolicyModel::End& end) {
  if (peer.has_ip_block()) {
    if (!Contains(peer.ip_block().cidr(), end.address)) return false;
    for (const std::string& hole : peer.ip_block().except()) {
      if (Contains(hole, end.address)) return false;
    }
    return true;
  }
  if (end.pod == nullptr) return false;
  if (peer.has_namespace_selector()) {
    const auto labels = model.namespaces.find(end.pod->ns);
    if (labels == model.namespaces.end()) return false;
    if (!Selects(peer.namespace_selector(), labels->second)) return false;
  } else if (end.pod->ns != ns) {
    return false;
  }
  return Selects(peer.pod_selector(), end.pod->labels);
}

bool IsPort(const v1::NetworkPolicyPort& wanted, const PolicyModel::End& receiver, uint8_t protocol,
            uint16_t port) {
  const std::string name = wanted.protocol().empty() ? "TCP" : wanted.protocol();
  if (protocol != (name == "TCP" ? 6 : name == "UDP" ? 17 : 132)) return false;
  if (wanted.port().has_int_value()) {
    const int last = wanted.has_end_port() ? wanted.end_port() : wanted.port().int_value();
    return wanted.port().int_value() <= port && port <= last;
  }
  if (!wanted.port().has_string_value()) return true;
  if (receiver.pod == nullptr) return false;
  for (const ModelPort& own : receiver.pod->ports) {
    if (own.name == wanted.port().string_value() && own.protocol == protocol) {
      return own.port == port;
    }
  }
  return false;
}

template <typename Ports, typename Peers>
bool Allows(const PolicyModel& model, const std::string& ns, const Ports& ports, const Peers& peers,
            const PolicyModel::End& peer, const PolicyModel::End& receiver, uint8_t protocol,
            uint16_t port) {
  const bool port_fits = ports.empty() || std::any_of(ports.begin(), ports.end(), [&](auto& p) {
                           return IsPort(p, receiver, protocol, port);
                         });
  return port_fits && (peers.empty() || std::any_of(peers.begin(), peers.end(), [&](auto& p) {
                         return IsPeer(model, ns, p, peer);
                       }));
}

}  // namespace

std::optional<bool> PolicyModel::AllowsIngress(const End& from, const End& to, uint8_t protocol,
                                               uint16_t port) const {
  std::optional<bool> out;
  for (const v1::NetworkPolicy& policy : policies) {
    const std::string& ns = policy.metadata().namespace_();
    const auto& types = policy.spec().policy_types();
    if (ns != to.pod->ns || !Selects(policy.spec().pod_selector(), to.pod->labels) ||
        std::find(types.begin(), types.end(), "Ingress") == types.end()) {
      continue;
    }
    if (!out) out = false;
    for (const auto& rule : policy.spec().ingress()) {
      if (Allows(*this, ns, rule.ports(), rule.from(), from, to, protocol, port)) out = true;
    }
  }
  return out;
}

std::optional<bool> PolicyModel::AllowsEgress(const End& from, const End& to, uint8_t protocol,
                                              uint16_t port) const {
  std::optional<bool> out;
  for (const v1::NetworkPolicy& policy : policies) {
    const std::string& ns = policy.metadata().namespace_();
    const auto& types = policy.spec().policy_types();
    if (ns != from.pod->ns || !Selects(policy.spec().pod_selector(), from.pod->labels) ||
        std::find(types.begin(), types.end(), "Egress") == types.end()) {
      continue;
    }
    if (!out) out = false;
    for (const auto& rule : policy.spec().egress()) {
      if (Allows(*this, ns, rule.ports(), rule.to(), to, to, protocol, port)) out = true;
    }
  }
  return out;
}

}  // namespace mesh::testing
