// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "api/schema/rules.h"
#include "common/ip_address.h"

namespace mesh::schema::internal {
namespace {

template <typename T>
using List = google::protobuf::RepeatedPtrField<T>;

constexpr char kRangeText[] = "must be a valid address range, e.g. 10.9.8.0/24";

bool IsPort(int64_t number) { return number >= 1 && number <= 65535; }

void CheckPort(const v1::NetworkPolicyPort& port, const std::string& path, Problems* problems) {
  const v1::IntOrString& first = port.port();
  if (first.has_int_value()) {
    if (!IsPort(first.int_value())) {
      Add(problems, path + ".port", "Invalid value: {}: must be between 1 and 65535, inclusive",
          first.int_value());
    }
    if (port.has_end_port() && port.end_port() < first.int_value()) {
      Add(problems, path + ".endPort", "Invalid value: {}: must be greater than or equal to `port`",
          port.end_port());
    }
    return;
  }
  if (first.has_string_value()) {
    if (const std::string why = CheckPortName(first.string_value()); !why.empty()) {
      Add(problems, path + ".port", "{}", InvalidText(first.string_value(), why));
    }
    if (port.has_end_port()) {
      Add(problems, path + ".endPort",
          "Invalid value: {}: may not be specified when `port` is non-numeric", port.end_port());
    }
  } else if (port.has_end_port()) {
    Add(problems, path + ".port", "Required value: must be specified when `endPort` is specified");
  }
}

void CheckIpBlock(const v1::IPBlock& block, const std::string& path, Problems* problems) {
  const auto range = IpPrefix::ParseMasked(block.cidr());
  if (!range.ok() && !block.cidr().empty()) {
    Add(problems, path + ".cidr", "{}", InvalidText(block.cidr(), kRangeText));
  }
  for (int i = 0; i < block.except_size(); ++i) {
    const std::string here = fmt::format("{}.except[{}]", path, i);
    const auto hole = IpPrefix::ParseMasked(block.except(i));
    if (!hole.ok()) {
      Add(problems, here, "{}", InvalidText(block.except(i), kRangeText));
    } else if (range.ok() &&
               (hole->length() <= range->length() || !range->Contains(hole->base()))) {
      Add(problems, here, "{}",
          InvalidText(block.except(i),
                      fmt::format("must be a strict subset of `cidr` ({})", block.cidr())));
    }
  }
}

void CheckPeer(const v1::NetworkPolicyPeer& peer, const std::string& path, Problems* problems) {
  const bool of_pods = peer.has_pod_selector() || peer.has_namespace_selector();
  if (peer.has_pod_selector()) {
    CheckSelector(peer.pod_selector(), path + ".podSelector", problems);
  }
  if (peer.has_namespace_selector()) {
    CheckSelector(peer.namespace_selector(), path + ".namespaceSelector", problems);
  }
  if (peer.has_ip_block()) CheckIpBlock(peer.ip_block(), path + ".ipBlock", problems);
  if (of_pods && peer.has_ip_block()) {
    Add(problems, path, "Forbidden: may not specify both ipBlock and another peer");
  } else if (!of_pods && !peer.has_ip_block()) {
    Add(problems, path, "Required value: must specify a peer");
  }
}

void CheckRule(const List<v1::NetworkPolicyPort>& ports, const List<v1::NetworkPolicyPeer>& peers,
               const std::string& path, const char* peers_name, Problems* problems) {
  for (int i = 0; i < ports.size(); ++i) {
    CheckPort(ports[i], fmt::format("{}.ports[{}]", path, i), problems);
  }
  for (int i = 0; i < peers.size(); ++i) {
    CheckPeer(peers[i], fmt::format("{}.{}[{}]", path, peers_name, i), problems);
  }
}

bool HasSctp(const List<v1::NetworkPolicyPort>& ports) {
  return std::any_of(ports.begin(), ports.end(),
                     [](const auto& port) { return port.protocol() == "SCTP"; });
}

}  // namespace

void CheckNetworkPolicy(const v1::NetworkPolicy& object, Problems* problems) {
  const v1::NetworkPolicySpec& spec = object.spec();
  CheckSelector(spec.pod_selector(), "spec.podSelector", problems);
  for (int i = 0; i < spec.ingress_size(); ++i) {
    CheckRule(spec.ingress(i).ports(), spec.ingress(i).from(), fmt::format("spec.ingress[{}]", i),
              "from", problems);
  }
  for (int i = 0; i < spec.egress_size(); ++i) {
    CheckRule(spec.egress(i).ports(), spec.egress(i).to(), fmt::format("spec.egress[{}]", i), "to",
              problems);
  }
  if (spec.policy_types_size() > 2) {
    Add(problems, "spec.policyTypes",
        "Invalid value: {}: may not specify more than two policyTypes",
        ListText(spec.policy_types()));
    return;
  }
  for (int i = 0; i < spec.policy_types_size(); ++i) {
    const std::string& type = spec.policy_types(i);
    if (type == "Ingress" || type == "Egress") continue;
    Add(problems, fmt::format("spec.policyTypes[{}]", i),
        "Unsupported value: \"{}\": supported values: \"Egress\", \"Ingress\"", type);
  }
}

void WarnNetworkPolicy(const v1::NetworkPolicy& object, Problems* problems) {
  const v1::NetworkPolicySpec& spec = object.spec();
  const auto warn = [&](const auto& rules, const char* name) {
    for (int i = 0; i < rules.size(); ++i) {
      if (HasSctp(rules[i].ports())) {
        Add(problems, fmt::format("spec.{}[{}].ports", name, i),
            "SCTP is not carried between pods: its ports allow nothing");
      }
    }
  };
  warn(spec.ingress(), "ingress");
  warn(spec.egress(), "egress");
  const auto& types = spec.policy_types();
  const auto has = [&](const char* type) {
    return types.empty() || std::find(types.begin(), types.end(), type) != types.end();
  };
  // Kubernetes takes them and does nothing with them.
  if (spec.ingress_size() > 0 && !has("Ingress")) {
    Add(problems, "spec.ingress", "has no effect: policyTypes does not list Ingress");
  }
  if (spec.egress_size() > 0 && !has("Egress")) {
    Add(problems, "spec.egress", "has no effect: policyTypes does not list Egress");
  }
}

}  // namespace mesh::schema::internal
