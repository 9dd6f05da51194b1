// SPDX-License-Identifier: Apache-2.0
#include "agent/network/policy_rows.h"

#include <netinet/in.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "agent/network/trace_policy.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

using dataplane::PolicyVerdict;
using dataplane::PortPrefix;

const char* VerdictName(PolicyVerdict verdict) {
  switch (verdict) {
    case PolicyVerdict::kAllow:
      return "allow";
    case PolicyVerdict::kDeny:
      return "deny";
    case PolicyVerdict::kPass:
      return "pass";
  }
  return "unknown";
}

std::string ProtocolText(uint8_t protocol) {
  return protocol == IPPROTO_TCP   ? "TCP"
         : protocol == IPPROTO_UDP ? "UDP"
                                   : fmt::format("protocol {}", protocol);
}

struct PortSpan {
  PortPrefix prefix;
  uint32_t first = 0, last = 0;
};

// Prefixes that lie side by side are one range.
std::vector<std::string> PortTexts(const std::vector<PortPrefix>& prefixes) {
  std::vector<PortSpan> spans;
  for (const PortPrefix& prefix : prefixes) {
    const uint32_t bits = prefix.length < 8 ? 0 : prefix.length - 8u;
    const uint32_t last = prefix.port | (0xffffu >> bits);
    const bool goes_on = !spans.empty() && bits > 0 && spans.back().prefix.length > 8 &&
                         spans.back().prefix.protocol == prefix.protocol &&
                         spans.back().last + 1 == prefix.port;
    if (goes_on) {
      spans.back().last = last;
    } else {
      spans.push_back({prefix, prefix.port, last});
    }
  }
  std::vector<std::string> out;
  for (const PortSpan& span : spans) {
    if (span.prefix.length < 8) {
      out.emplace_back("any");
    } else if (span.prefix.length == 8) {
      out.push_back(ProtocolText(span.prefix.protocol));
    } else if (span.first == span.last) {
      out.push_back(fmt::format("{} {}", ProtocolText(span.prefix.protocol), span.first));
    } else {
      out.push_back(
          fmt::format("{} {}-{}", ProtocolText(span.prefix.protocol), span.first, span.last));
    }
  }
  return out;
}

}  // namespace

std::vector<v1::PolicyRow> PolicyRows(const std::vector<dataplane::PolicyClassRow>& classes,
                                      const std::vector<dataplane::Endpoint>& endpoints,
                                      const Names& names, const NodeState* state) {
  std::map<IpAddress, const dataplane::Endpoint*> by_ip;
  std::map<uint32_t, std::vector<std::string>> by_identity;
  for (const dataplane::Endpoint& pod : endpoints) {
    by_ip[pod.ip] = &pod;
    by_identity[pod.identity].push_back(fmt::format("{}/{}", pod.ns, pod.pod));
  }
  // By direction: pods whose IPv6 traffic another set judges.
  std::set<std::pair<bool, IpAddress>> apart;
  for (const dataplane::PolicyClassRow& from : classes) {
    if (!from.ipv6) continue;
    for (const IpAddress& ip : from.pods) apart.emplace(from.egress, ip);
  }
  std::vector<v1::PolicyRow> out;
  for (const dataplane::PolicyClassRow& from : classes) {
    v1::PolicyRow head;
    head.set_direction(from.egress ? "egress" : "ingress");
    if (from.ipv6) {
      head.set_family("IPv6");
    } else if (std::ranges::any_of(from.pods, [&](const IpAddress& ip) {
                 return apart.contains({from.egress, ip});
               })) {
      head.set_family("IPv4");
    }
    head.set_set(from.set);
    head.set_class_number(from.number);
    for (const IpAddress& ip : from.pods) {
      const auto pod = by_ip.find(ip);
      if (pod == by_ip.end()) continue;
      head.add_pods(fmt::format("{}/{}", pod->second->ns, pod->second->pod));
      if (state == nullptr || !head.policies().empty()) continue;
      PolicyAnswer asked{.egress = from.egress, .ipv6 = from.ipv6};
      asked.ns = pod->second->ns;
      asked.pod = pod->second->pod;
      if (const v1::PolicySetState* set = SetOf(asked, *state))
        *head.mutable_policies() = set->policies();
    }
    for (const uint32_t identity : from.identities) {
      const auto pods = by_identity.find(identity);
      if (pods != by_identity.end()) {
        for (const std::string& pod : pods->second) head.add_peers(pod);
        continue;
      }
      const auto reserved = kReservedIdentities.find(identity);
      const std::string name =
          reserved != kReservedIdentities.end() ? reserved->second : names.Namespace(identity);
      head.add_peers(name.empty() ? std::to_string(identity)
                                  : fmt::format("{}({})", identity, name));
    }
    for (const IpPrefix& block : from.blocks) head.add_peers(block.ToString());
    if (from.everybody) head.add_peers("everybody else");
    std::map<dataplane::Decision, std::vector<PortPrefix>> by_decision;
    for (const auto& [prefix, decision] : from.ports) by_decision[decision].push_back(prefix);
    for (const auto& [decision, prefixes] : by_decision) {
      v1::PolicyRow& row = out.emplace_back(head);
      for (std::string& text : PortTexts(prefixes)) row.add_ports(std::move(text));
      row.set_verdict(VerdictName(decision.verdict));
      uint32_t index = 0;
      if (state != nullptr) NameRule(decision.rule, *state, row.mutable_policy(), &index);
      row.set_rule(index);
    }
    if (!by_decision.empty()) continue;
    v1::PolicyRow& row = out.emplace_back(std::move(head));
    row.add_ports("any");
    row.set_verdict("drop");
  }
  return out;
}

}  // namespace mesh::agent
