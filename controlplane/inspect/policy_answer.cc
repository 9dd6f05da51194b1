// SPDX-License-Identifier: Apache-2.0
#include "controlplane/inspect/policy_answer.h"

#include <netinet/in.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "api/schema/merge.h"
#include "api/schema/source_annotation.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/inspect/report.h"
#include "controlplane/policy/policy_rules.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::controlplane {
namespace {

std::string ProtocolName(uint8_t protocol) {
  switch (protocol) {
    case IPPROTO_TCP:
      return "TCP";
    case IPPROTO_UDP:
      return "UDP";
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      return "ICMP";
    default:
      return fmt::format("protocol {}", protocol);
  }
}

schema::LabelMap LabelsOf(const PodTraits& traits) {
  schema::LabelMap out;
  for (const auto& [key, value] : traits.labels) out[key] = value;
  return out;
}

const char* DirectionName(bool egress) { return egress ? "egress" : "ingress"; }

// "a=b" when every requirement is one value of one label: what can be given to an object.
std::optional<std::string> Wanted(const schema::Selector& selector) {
  for (const auto& requirement : selector.requirements()) {
    if (requirement.op != schema::Selector::Operator::kIn || requirement.values.size() != 1) {
      return std::nullopt;
    }
  }
  return selector.ToString();
}

// What one rule says; of what it does not say about the connection, why.
struct RuleAnswer {
  const v1::NetworkPolicy* policy = nullptr;
  uint32_t index = 0;
  std::vector<std::string> missed;  // "peer", "protocol", "port"
  int distance = 0;
  std::vector<std::string> reasons, remedies;
};

class Asker {
 public:
  Asker(const ClusterState& state, const PolicyQuestion& question)
      : state_(state),
        question_(question),
        direction_(question.egress ? Direction::kEgress : Direction::kIngress),
        port_text_(question.protocol == IPPROTO_TCP || question.protocol == IPPROTO_UDP
                       ? fmt::format("{} {}", ProtocolName(question.protocol), question.port)
                       : ProtocolName(question.protocol)),
        peer_labels_(LabelsOf(question.peer.traits)) {}

  PolicyAnswer Ask() {
    PolicyAnswer out;
    const v1::ObjectMeta& meta = question_.pod.metadata();
    out.facts.set_egress(question_.egress);
    out.facts.set_namespace_(meta.namespace_());
    out.facts.set_pod(meta.name());
    out.facts.set_peer(question_.peer.title);
    out.facts.set_protocol(question_.protocol);
    out.facts.set_port(question_.port);
    std::optional<RuleAnswer> best;
    const v1::NetworkPolicy* last = nullptr;
    for (auto it = state_.network_policies.lower_bound({meta.namespace_(), ""});
         it != state_.network_policies.end() && it->first.ns == meta.namespace_(); ++it) {
      const ParsedPolicy policy = Parse(*it->second);
      if (!policy.Judges(direction_) || !policy.pods.Matches(meta.labels())) continue;
      out.facts.add_policies(it->first.ToString());
      last = it->second.get();
      const auto& rules = policy.Rules(direction_);
      for (uint32_t i = 0; i < rules.size(); ++i) {
        RuleAnswer answer = AskRule(*it->second, i, rules[i]);
        if (!best || answer.distance < best->distance) best = std::move(answer);
      }
    }
    if (best) {
      out.facts.set_policy(KeyOfMeta(best->policy->metadata()).ToString());
      out.facts.set_rule(best->index);
      out.facts.set_source(
          schema::RulePlace(best->policy->metadata(), question_.egress, best->index));
    }
    out.facts.set_allowed(last == nullptr || (best && best->distance == 0));
    if (out.facts.allowed()) return out;
    if (best) {
      out.facts.mutable_missed()->Assign(best->missed.begin(), best->missed.end());
      out.nearest = fmt::format("the nearest is {}, but {}", RuleTitle(out.facts),
                                fmt::join(best->reasons, ", and "));
      out.remedies = std::move(best->remedies);
    } else {
      out.nearest =
          fmt::format("{} no {} rule", out.facts.policies_size() == 1 ? "it has" : "they have",
                      DirectionName(question_.egress));
      if (out.facts.policies_size() == 1 && !question_.egress && !last->spec().egress().empty()) {
        if (LeftTypesOut(*last))
          out.nearest += ", and a policy without policyTypes is for ingress too";
        out.remedies.push_back(
            fmt::format("set spec.policyTypes of networkpolicy {} to [Egress], if it is meant for "
                        "egress alone",
                        KeyOfMeta(last->metadata()).ToString()));
      }
    }
    out.remedies.push_back(
        fmt::format("add a rule to spec.{} of networkpolicy {} that admits {} "
                    "on {}",
                    DirectionName(question_.egress),
                    KeyOfMeta((best ? best->policy : last)->metadata()).ToString(),
                    question_.peer.title, port_text_));
    return out;
  }

 private:
  RuleAnswer AskRule(const v1::NetworkPolicy& policy, uint32_t index, const ParsedRule& rule) {
    RuleAnswer out{.policy = &policy, .index = index, .missed = {}, .reasons = {}, .remedies = {}};
    title_ = fmt::format("rule {}[{}] of networkpolicy {}", DirectionName(question_.egress), index,
                         KeyOfMeta(policy.metadata()).ToString());
    AskPorts(rule, &out);
    AskPeers(rule, &out);
    // Of two things that miss both have to be changed.
    if (out.missed.size() == out.remedies.size() && out.missed.size() > 1) {
      out.remedies = {fmt::format("{}", fmt::join(out.remedies, ", and "))};
    } else if (out.missed.size() > 1) {
      out.remedies.clear();
    }
    return out;
  }

  void AskPeers(const ParsedRule& rule, RuleAnswer* out) const {
    if (rule.about_everybody) return;
    const PolicyPeer& peer = question_.peer;
    // The entry that comes nearest: 1, one change away (other labels in a right namespace, a
    // podSelector that fits and no namespaceSelector, an exception of a range); 2, the rest.
    int nearest = 3;
    std::string reason = "none of its peers is known", remedy;
    const auto consider = [&](int distance, std::string why, std::string change) {
      if (distance >= nearest) return;
      nearest = distance;
      reason = std::move(why);
      remedy = std::move(change);
    };
    for (const PodSelector& wanted : rule.peers) {
      if (!peer.is_pod) {
        consider(2, fmt::format("it is about pods, and {} is none", peer.title), "");
        continue;
      }
      const v1::Namespace* ns = FindObject(state_.namespaces, {"", peer.traits.ns});
      const bool of_namespace =
          wanted.ns.empty() ? wanted.namespaces.empty() ||
                                  (ns != nullptr && wanted.namespaces.Matches(NamespaceLabels(*ns)))
                            : wanted.ns == peer.traits.ns;
      const bool has_labels = wanted.pods.Matches(peer_labels_);
      if (of_namespace && has_labels) return;
      if (of_namespace) {
        const auto labels = Wanted(wanted.pods);
        consider(
            1,
            fmt::format(
                "{} does not match {}{}", peer.title, wanted.pods.ToString(),
                peer_labels_.empty() ? "" : fmt::format(" (it has {})", LabelText(peer_labels_))),
            labels ? fmt::format("give {} the label{} {}", peer.title,
                                 labels->find(',') == std::string::npos ? "" : "s", *labels)
                   : "");
      } else if (!wanted.ns.empty()) {
        const std::string about = fmt::format(
            "its podSelector without a namespaceSelector is about namespace {}", wanted.ns);
        if (has_labels) {
          consider(1, fmt::format("{}, and {} is of {}", about, peer.title, peer.traits.ns),
                   fmt::format("add a namespaceSelector with kubernetes.io/metadata.name={} to the "
                               "peer of {}",
                               peer.traits.ns, title_));
        } else {
          consider(2,
                   fmt::format("{}, and {} is of {} and does not match {} either", about,
                               peer.title, peer.traits.ns, wanted.pods.ToString()),
                   "");
        }
      } else {
        const auto labels = Wanted(wanted.namespaces);
        const bool is_name = labels && labels->starts_with("kubernetes.io/metadata.name=");
        consider(2,
                 fmt::format("namespace {} does not match {}", peer.traits.ns,
                             wanted.namespaces.ToString()),
                 has_labels && labels && !is_name
                     ? fmt::format("give namespace {} the label {}", peer.traits.ns, *labels)
                     : "");
      }
    }
    std::vector<IpAddress> addresses = peer.addresses;
    std::erase_if(addresses, [&](const IpAddress& address) {
      return question_.ipv6.has_value() && address.is_v4() == *question_.ipv6;
    });
    for (const Block& block : rule.blocks) {
      for (const IpAddress& address : addresses) {
        if (block.Contains(address)) return;
      }
      const std::string who = addresses.empty() ? peer.title : addresses[0].ToString();
      const auto [address, hole] = HoleOf(block, addresses);
      if (hole == nullptr) {
        consider(2, fmt::format("{} is not in {}", who, block.ToString()), "");
      } else {
        consider(1,
                 fmt::format("{} is in {}, of which except {} takes it out", address->ToString(),
                             block.cidr.ToString(), hole->ToString()),
                 fmt::format("narrow except {} of {} so that it leaves {} in", hole->ToString(),
                             title_, address->ToString()));
      }
    }
    out->missed.emplace_back("peer");
    out->distance += nearest == 1 ? 6 : 8;
    out->reasons.push_back(std::move(reason));
    if (!remedy.empty()) out->remedies.push_back(std::move(remedy));
  }

  // The address that the range would hold but for one of its exceptions, and that one; null: none.
  static std::pair<const IpAddress*, const IpPrefix*> HoleOf(
      const Block& block, const std::vector<IpAddress>& addresses) {
    for (const IpAddress& address : addresses) {
      if (!block.cidr.Contains(address)) continue;
      for (const IpPrefix& hole : block.except)
        if (hole.Contains(address)) return {&address, &hole};
    }
    return {nullptr, nullptr};
  }

  void AskPorts(const ParsedRule& rule, RuleAnswer* out) const {
    if (!rule.ports) return;
    std::vector<std::string> has;
    bool of_protocol = false;
    const auto& names = question_.egress ? question_.peer.traits.named_ports : own_ports_;
    for (const RulePort& port : *rule.ports) {
      std::string text = ProtocolName(port.protocol);
      uint32_t first = port.first, last = port.last;
      if (!port.name.empty()) {
        const auto number = names.find({port.name, port.protocol});
        const bool known = number != names.end();
        first = known ? number->second : 65536;
        last = first;
        text += known ? fmt::format(" {} ({})", port.name, first)
                      : fmt::format(" {} (which no container of the receiver names)", port.name);
      } else if (first == last) {
        text += fmt::format(" {}", first);
      } else if (first != 0) {
        text += fmt::format(" {}-{}", first, last);
      }
      const bool same = port.protocol == question_.protocol;
      if (same && question_.port >= first && question_.port <= last) return;
      of_protocol |= same;
      has.push_back(std::move(text));
    }
    out->missed.emplace_back(of_protocol ? "port" : "protocol");
    out->distance += of_protocol ? 1 : 2;
    out->reasons.push_back(
        has.empty() ? std::string("its ports are of protocols that are not carried")
                    : fmt::format("it is about {}, not about {}", NameList(has, 8), port_text_));
    out->remedies.push_back(fmt::format("add {} to the ports of {}", port_text_, title_));
  }

  const ClusterState& state_;
  const PolicyQuestion& question_;
  const Direction direction_;
  const std::string port_text_;
  const schema::LabelMap peer_labels_;
  const std::map<PortName, uint16_t> own_ports_ = TraitsOf(question_.pod).named_ports;
  std::string title_;  // of the rule that is asked
};

// The pod with the address; null: none has it.
const v1::Pod* PodWith(const ClusterState& state, const std::string& address) {
  for (const auto& [key, pod] : state.pods) {
    for (const v1::PodIP& ip : pod->status().pod_ips()) {
      if (ip.ip() == address && !IsFinished(*pod)) return pod.get();
    }
  }
  return nullptr;
}

std::optional<PolicyPeer> PeerAt(const ClusterState& state, const std::string& text) {
  if (text == kResolverTitle) return ResolverPeer();
  const auto address = IpAddress::Parse(text);
  if (!address.ok()) return std::nullopt;
  if (const v1::Pod* pod = PodWith(state, text)) return PeerOf(*pod);
  return PolicyPeer{.title = text, .is_pod = false, .traits = {}, .addresses = {*address}};
}

// Unset: no address.
std::optional<bool> IsIpv6(const std::string& text) {
  const auto address = IpAddress::Parse(text);
  if (!address.ok()) return std::nullopt;
  return !address->is_v4();
}

void Explain(const ClusterState& state, v1::TraceStep* step) {
  v1::TracePolicy& told = *step->mutable_policy();
  if (told.allowed()) {
    const size_t slash = told.policy().find('/');
    if (slash == std::string::npos) return;
    const v1::NetworkPolicy* policy = FindObject(
        state.network_policies, {told.policy().substr(0, slash), told.policy().substr(slash + 1)});
    if (policy == nullptr) return;
    told.set_source(schema::RulePlace(policy->metadata(), told.egress(), told.rule()));
    if (!told.source().empty()) step->mutable_text()->append(fmt::format(" ({})", told.source()));
    return;
  }
  const v1::Pod* pod = FindObject(state.pods, {told.namespace_(), told.pod()});
  const std::optional<PolicyPeer> peer = PeerAt(state, told.peer());
  if (pod == nullptr || !peer) return;
  const PolicyAnswer answer = AskPolicies(state, {.egress = told.egress(),
                                                  .pod = *pod,
                                                  .peer = *peer,
                                                  .protocol = static_cast<uint8_t>(told.protocol()),
                                                  .port = static_cast<uint16_t>(told.port()),
                                                  .ipv6 = IsIpv6(told.peer())});
  if (!told.not_in_force().empty()) {
    step->mutable_text()->append(answer.facts.allowed()
                                     ? "; once in force, they admit it"
                                     : "; nor do they admit it: " + answer.nearest);
    return;
  }
  if (answer.facts.allowed()) {
    // The packet was judged by what the node has.
    step->mutable_text()->append("; what has been applied since admits it, and is on its way");
    return;
  }
  told.set_policy(answer.facts.policy());
  told.set_rule(answer.facts.rule());
  told.set_source(answer.facts.source());
  *told.mutable_missed() = answer.facts.missed();
  step->mutable_text()->append("; " + answer.nearest);
}

}  // namespace

PolicyPeer PeerOf(const v1::Pod& pod) {
  PolicyPeer out{.title = PodTitle(pod), .is_pod = true, .traits = TraitsOf(pod), .addresses = {}};
  for (const v1::PodIP& ip : pod.status().pod_ips()) {
    if (const auto address = IpAddress::Parse(ip.ip()); address.ok())
      out.addresses.push_back(*address);
  }
  return out;
}

PolicyPeer ResolverPeer() {
  return {.title = kResolverTitle, .is_pod = true, .traits = ResolverTraits(), .addresses = {}};
}

std::string RuleTitle(const v1::TracePolicy& facts) {
  return fmt::format("policy {}, rule {}[{}]{}", facts.policy(), DirectionName(facts.egress()),
                     facts.rule(),
                     facts.source().empty() ? "" : fmt::format(" ({})", facts.source()));
}

bool LeftTypesOut(const v1::NetworkPolicy& policy) {
  if (policy.metadata().last_applied().empty()) return false;
  const auto applied = schema::DecodeLastApplied(policy.metadata().last_applied());
  return applied.ok() && applied->has_network_policy() &&
         applied->network_policy().spec().policy_types().empty();
}

PolicyAnswer AskPolicies(const ClusterState& state, const PolicyQuestion& question) {
  return Asker(state, question).Ask();
}

void ExplainPolicies(const ClusterState& state, v1::TraceHopResponse* hop) {
  for (v1::TraceStep& step : *hop->mutable_steps()) {
    if (step.has_policy()) Explain(state, &step);
  }
}

}  // namespace mesh::controlplane
