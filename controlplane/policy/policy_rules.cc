// SPDX-License-Identifier: Apache-2.0
#include "controlplane/policy/policy_rules.h"

#include <algorithm>

#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

template <typename T>
using List = google::protobuf::RepeatedPtrField<T>;

std::optional<std::vector<RulePort>> PortsOf(const List<v1::NetworkPolicyPort>& ports) {
  if (ports.empty()) return std::nullopt;
  std::vector<RulePort> out;
  for (const v1::NetworkPolicyPort& port : ports) {
    RulePort parsed{.protocol = ProtocolNumber(port.protocol())};
    if (parsed.protocol == 0) continue;
    if (port.port().has_int_value()) {
      parsed.first = static_cast<uint16_t>(port.port().int_value());
      parsed.last = port.has_end_port() ? static_cast<uint16_t>(port.end_port()) : parsed.first;
    } else if (port.port().has_string_value()) {
      parsed.name = port.port().string_value();
    }
    out.push_back(std::move(parsed));
  }
  return out;
}

ParsedRule RuleOf(const std::string& ns, const List<v1::NetworkPolicyPort>& ports,
                  const List<v1::NetworkPolicyPeer>& peers) {
  ParsedRule out{.about_everybody = peers.empty(), .ports = PortsOf(ports)};
  for (const v1::NetworkPolicyPeer& peer : peers) {
    if (peer.has_ip_block()) {
      out.blocks.push_back(BlockOf(peer.ip_block()));
      continue;
    }
    auto pods = schema::Selector::From(peer.pod_selector());
    auto namespaces = schema::Selector::From(peer.namespace_selector());
    if (!pods.ok() || !namespaces.ok()) continue;
    PodSelector selector{.pods = *std::move(pods)};
    if (peer.has_namespace_selector()) {
      selector.namespaces = *std::move(namespaces);
    } else {
      selector.ns = ns;
    }
    out.peers.push_back(std::move(selector));
  }
  return out;
}

}  // namespace

std::string PodSelector::Key() const {
  std::string key = ns.empty() ? fmt::format("in namespaces ({})", namespaces.ToString())
                               : fmt::format("in namespace {}", ns);
  key += fmt::format(" pods ({})", pods.ToString());
  if (port_name) key += fmt::format(" port {}/{}={}", port_name->first, port_name->second, port);
  if (block) {
    key += fmt::format(" block {}", block->cidr.ToString());
    for (const IpPrefix& hole : block->except) key += fmt::format(" except {}", hole.ToString());
  }
  return key;
}

schema::LabelMap NamespaceLabels(const v1::Namespace& ns) {
  schema::LabelMap labels = ns.metadata().labels();
  labels["kubernetes.io/metadata.name"] = ns.metadata().name();
  return labels;
}

ParsedPolicy Parse(const v1::NetworkPolicy& policy) {
  const v1::NetworkPolicySpec& spec = policy.spec();
  ParsedPolicy out{.ns = policy.metadata().namespace_(), .name = policy.metadata().name()};
  // One that does not parse was refused when it was applied; it would select every pod.
  if (auto pods = schema::Selector::From(spec.pod_selector()); pods.ok()) out.pods = *pods;
  const auto& types = spec.policy_types();
  const auto has = [&](const char* type) {
    return std::find(types.begin(), types.end(), type) != types.end();
  };
  out.is_ingress = types.empty() || has("Ingress");
  out.is_egress = types.empty() ? !spec.egress().empty() : has("Egress");
  for (const auto& rule : spec.ingress()) {
    out.ingress.push_back(RuleOf(out.ns, rule.ports(), rule.from()));
  }
  for (const auto& rule : spec.egress()) {
    out.egress.push_back(RuleOf(out.ns, rule.ports(), rule.to()));
  }
  return out;
}

}  // namespace mesh::controlplane
