// SPDX-License-Identifier: Apache-2.0
// A NetworkPolicy in kubectl's words, down to its indents.
#include <algorithm>

#include "cli/output/age.h"
#include "cli/output/describe_text.h"
#include "cli/output/printers.h"
#include "fmt/ranges.h"

namespace mesh::cli {
namespace {

template <typename T>
using List = google::protobuf::RepeatedPtrField<T>;

std::string PortText(const v1::NetworkPolicyPort& port) {
  std::string text = IntOrStringText(port.port());
  if (text.empty()) text = "<any>";
  if (port.has_end_port()) text += fmt::format("-{}", port.end_port());
  return fmt::format("{}/{}", text, port.protocol().empty() ? "TCP" : port.protocol());
}

void DescribePeer(const v1::NetworkPolicyPeer& peer, Text* text) {
  if (peer.has_ip_block()) {
    text->Line(3, "IPBlock:");
    text->Line(4, "CIDR: {}", peer.ip_block().cidr());
    text->Line(4, "Except: {}", fmt::join(peer.ip_block().except(), ", "));
    return;
  }
  if (peer.has_namespace_selector()) {
    text->Line(3, "NamespaceSelector: {}", SelectorText(peer.namespace_selector()));
  }
  if (peer.has_pod_selector()) {
    text->Line(3, "PodSelector: {}", SelectorText(peer.pod_selector()));
  }
}

void DescribeRule(const List<v1::NetworkPolicyPort>& ports,
                  const List<v1::NetworkPolicyPeer>& peers, bool ingress, Text* text) {
  if (ports.empty()) text->Line(2, "To Port: <any> (traffic allowed to all ports)");
  for (const auto& port : ports) text->Line(2, "To Port: {}", PortText(port));
  if (peers.empty()) {
    text->Line(2, "{}",
               ingress ? "From: <any> (traffic not restricted by source)"
                       : "To: <any> (traffic not restricted by destination)");
  }
  for (const auto& peer : peers) {
    text->Line(2, ingress ? "From:" : "To:");
    DescribePeer(peer, text);
  }
}

}  // namespace

void DescribeNetworkPolicy(const v1::NetworkPolicy& policy, const Related& related, absl::Time now,
                           Text* text) {
  const v1::ObjectMeta& meta = policy.metadata();
  const v1::NetworkPolicySpec& spec = policy.spec();
  text->Line(0, "Name:\t{}", meta.name());
  text->Line(0, "Namespace:\t{}", meta.namespace_());
  text->Line(0, "Created on:\t{}", Rfc1123(meta.creation_timestamp()));
  text->Map("Labels", meta.labels());
  text->Annotations(meta.annotations());
  text->Line(0, "Spec:");
  const std::string pods = SelectorText(spec.pod_selector());
  text->Line(1, "PodSelector:     {}",
             pods == "<none>"
                 ? "<none> (Allowing the specific traffic to all pods in this namespace)"
                 : pods);
  for (const bool ingress : {true, false}) {
    const auto& types = spec.policy_types();
    const char* const word = ingress ? "ingress" : "egress";
    if (std::find(types.begin(), types.end(), ingress ? "Ingress" : "Egress") == types.end()) {
      text->Line(1, "Not affecting {} traffic", word);
      continue;
    }
    text->Line(1, "Allowing {} traffic:", word);
    const int count = ingress ? spec.ingress_size() : spec.egress_size();
    if (count == 0) {
      text->Line(2, "<none> (Selected pods are isolated for {} connectivity)", word);
    }
    for (int i = 0; i < count; ++i) {
      if (i > 0) text->Line(2, "----------");
      if (ingress) {
        DescribeRule(spec.ingress(i).ports(), spec.ingress(i).from(), true, text);
      } else {
        DescribeRule(spec.egress(i).ports(), spec.egress(i).to(), false, text);
      }
    }
  }
  text->Line(1, "Policy Types: {}", fmt::join(spec.policy_types(), ", "));
  DescribeEvents(related.events, now, text);
}

}  // namespace mesh::cli
