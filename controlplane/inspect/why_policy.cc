// SPDX-License-Identifier: Apache-2.0
// A NetworkPolicy by itself: whom it selects, and the rules that admit nobody as things are.
#include <netinet/in.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "api/schema/source_annotation.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/inspect/backends.h"
#include "controlplane/inspect/label_distance.h"
#include "controlplane/inspect/policy_answer.h"
#include "controlplane/inspect/topics.h"
#include "controlplane/policy/policy_rules.h"
#include "controlplane/state/target_port.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::controlplane {
namespace {

constexpr char kNameLabel[] = "kubernetes.io/metadata.name";
constexpr size_t kMostNamespaces = 3;  // named one by one

std::string PolicyTitle(const v1::NetworkPolicy& policy) {
  return "networkpolicy " + KeyOfMeta(policy.metadata()).ToString();
}

bool IsSelected(const v1::Pod& pod, const schema::Selector& selector) {
  return !IsFinished(pod) && selector.Matches(pod.metadata().labels());
}

std::vector<const v1::Pod*> PodsOf(const ClusterState& state, const std::string& ns,
                                   const schema::Selector& selector) {
  std::vector<const v1::Pod*> out;
  for (const auto& [key, pod] : InNamespace(state.pods, ns)) {
    if (IsSelected(*pod, selector)) out.push_back(pod.get());
  }
  return out;
}

std::string Names(const std::vector<const v1::Pod*>& pods) {
  std::vector<std::string> names;
  for (const v1::Pod* pod : pods) names.push_back(pod->metadata().name());
  return NameList(names);
}

// What a selector asks for, where each requirement is one value of one label.
std::optional<Labels> WantedLabels(const schema::Selector& selector) {
  Labels out;
  for (const auto& requirement : selector.requirements()) {
    if (requirement.op != schema::Selector::Operator::kIn || requirement.values.size() != 1)
      return std::nullopt;
    out[requirement.key] = requirement.values.front();
  }
  return out;
}

struct Nearest {
  std::string name;
  LabelDistance distance;
};

// "; the nearest is pod web-1, which has app=wep, not app=web"; empty: none has one of the keys.
template <typename Objects, typename LabelsOf>
std::string NearestText(const char* kind, const Objects& objects, const schema::Selector& selector,
                        const LabelsOf& labels_of, std::optional<Nearest>* best) {
  const std::optional<Labels> wanted = WantedLabels(selector);
  if (!wanted) return "";
  for (const auto& [key, object] : objects) {
    LabelDistance distance = DistanceOf(*wanted, labels_of(*object));
    if (!distance.fixed.empty() && (!best->has_value() || distance < (*best)->distance))
      *best = {key.name, std::move(distance)};
  }
  if (!best->has_value()) return "";
  return fmt::format("; the nearest is {} {}, which has {}, not {}", kind, (*best)->name,
                     fmt::join((*best)->distance.has, ", "),
                     fmt::join((*best)->distance.wanted, ", "));
}

class Teller {
 public:
  Teller(const ClusterState& state, const ClusterRanges& ranges, const v1::NetworkPolicy& policy,
         const Known& known, Report* report, std::set<ObjectKey>* wanted)
      : state_(state),
        ranges_(ranges),
        policy_(policy),
        parsed_(Parse(policy)),
        title_(PolicyTitle(policy)),
        selected_(PodsOf(state, parsed_.ns, parsed_.pods)),
        known_(known),
        report_(report),
        wanted_(wanted) {}

  void Tell() {
    Selected();
    Types();
    WhyPolicyRefused(state_, parsed_, KeyOfMeta(policy_.metadata()).ToString(), title_,
                     known_.refusals, report_);
    for (const Direction direction : {Direction::kIngress, Direction::kEgress}) {
      if (!parsed_.Judges(direction)) continue;
      const auto& rules = parsed_.Rules(direction);
      if (rules.empty())
        report_->Ok(title_, fmt::format("admits nothing for {} by itself: it has no rule",
                                        Name(direction)));
      for (uint32_t i = 0; i < rules.size(); ++i) Rule(direction, i, rules[i]);
    }
    Resolver();
  }

 private:
  static const char* Name(Direction direction) {
    return direction == Direction::kEgress ? "egress" : "ingress";
  }

  void Selected() {
    std::vector<std::string> directions;
    for (const Direction direction : {Direction::kIngress, Direction::kEgress})
      if (parsed_.Judges(direction)) directions.emplace_back(Name(direction));
    const std::string selector =
        parsed_.pods.empty() ? "every pod" : fmt::format("pods with {}", parsed_.pods.ToString());
    if (!selected_.empty()) {
      report_->Ok(title_, fmt::format("selects {} of namespace {} for {}: {}", selector, parsed_.ns,
                                      fmt::join(directions, " and "), Names(selected_)));
      return;
    }
    const auto pods = InNamespace(state_.pods, parsed_.ns);
    std::optional<Nearest> nearest;
    std::string text = NearestText(
        "pod", pods, parsed_.pods,
        [](const v1::Pod& pod) -> const schema::LabelMap& { return pod.metadata().labels(); },
        &nearest);
    Report::Remedies remedies;
    if (const auto [where, names] = Elsewhere(); !names.empty()) {
      text = fmt::format("; {}: a policy selects in its own namespace alone{}", where, text);
      for (const std::string& name : names)
        remedies.push_back(fmt::format("apply the policy in namespace {}", name));
    }
    if (nearest) {
      const v1::Pod* pod = FindObject(state_.pods, {parsed_.ns, nearest->name});
      remedies.push_back(
          fmt::format("set spec.podSelector of {} to the labels of pod {}", title_, nearest->name));
      remedies.push_back(fmt::format("label the pods of {} {}", TemplateTitle(state_, *pod),
                                     fmt::join(nearest->distance.wanted, ",")));
    }
    if (pods.begin() == pods.end()) text += "; there are no pods in it at all";
    report_->Problem(
        title_,
        fmt::format("selects no pod: it is about {} of namespace {}{}", selector, parsed_.ns, text),
        remedies);
  }

  // Other namespaces with pods that the selector would match: "namespace pay has 2 such pods".
  std::pair<std::string, std::vector<std::string>> Elsewhere() const {
    std::vector<std::string> names, counts;
    if (parsed_.pods.empty()) return {};
    for (const auto& [key, ns] : state_.namespaces) {
      const size_t count = PodsOf(state_, key.name, parsed_.pods).size();
      if (count == 0 || key.name == parsed_.ns) continue;
      counts.push_back(
          fmt::format("namespace {} has {} such pod{}", key.name, count, count == 1 ? "" : "s"));
      if (names.size() < kMostNamespaces) names.push_back(key.name);
    }
    return {NameList(counts, kMostNamespaces), names};
  }

  // Directions that somebody has written rules for and not asked for, or got without a rule.
  void Types() {
    for (const Direction direction : {Direction::kIngress, Direction::kEgress}) {
      if (parsed_.Judges(direction) || parsed_.Rules(direction).empty()) continue;
      const bool egress = direction == Direction::kEgress;
      report_->Problem(title_,
                       fmt::format("spec.{} has no effect: spec.policyTypes lists {} alone",
                                   Name(direction), egress ? "Ingress" : "Egress"),
                       {"set spec.policyTypes to [Ingress, Egress]",
                        fmt::format("take spec.{} out", Name(direction))});
    }
    if (parsed_.Judges(Direction::kIngress) && parsed_.ingress.empty() && !parsed_.egress.empty() &&
        LeftTypesOut(policy_))
      report_->Problem(title_,
                       "has egress rules and no policyTypes, and so is for ingress too, where it "
                       "admits nothing",
                       {"set spec.policyTypes to [Egress], if it is meant for egress alone",
                        "set spec.policyTypes to [Ingress, Egress], if nobody shall get in"});
  }

  // Who lets some requests out mostly forgets the question that comes before them. What lets
  // nothing out is meant so.
  void Resolver() {
    if (!parsed_.Judges(Direction::kEgress) || parsed_.egress.empty()) return;
    for (size_t i = 0; i < selected_.size() && i < kMostBackends; ++i) {
      const PolicyAnswer answer = AskPolicies(state_, {.egress = true,
                                                       .pod = *selected_[i],
                                                       .peer = ResolverPeer(),
                                                       .protocol = IPPROTO_UDP,
                                                       .port = 53,
                                                       .ipv6 = std::nullopt});
      if (answer.facts.allowed()) continue;
      report_->Note(
          title_,
          fmt::format("pod {} may not ask for names: no egress rule of {} admits UDP 53 "
                      "to the resolver, pods k8s-app=kube-dns of namespace kube-system",
                      selected_[i]->metadata().name(), fmt::join(answer.facts.policies(), ", ")),
          answer.remedies);
      return;
    }
  }

  void Rule(Direction direction, uint32_t index, const ParsedRule& rule) {
    const bool egress = direction == Direction::kEgress;
    const std::string place = schema::RulePlace(policy_.metadata(), egress, index);
    rule_ = fmt::format("rule {}[{}]{}", Name(direction), index,
                        place.empty() ? "" : fmt::format(" ({})", place));
    const int before = problems_;
    const std::vector<const v1::Pod*> peers = Peers(rule);
    Blocks(direction, rule);
    if (rule.ports) Ports(direction, rule, egress ? peers : selected_);
    if (problems_ > before) return;
    std::vector<std::string> about;
    if (rule.about_everybody) about.emplace_back("everybody");
    if (!peers.empty())
      about.push_back(
          fmt::format("{} pod{}: {}", peers.size(), peers.size() == 1 ? "" : "s", Names(peers)));
    if (!rule.blocks.empty()) {
      std::vector<std::string> ranges;
      for (const Block& block : rule.blocks) ranges.push_back(block.ToString());
      about.push_back(NameList(ranges));
    }
    if (!about.empty())
      report_->Ok(title_, fmt::format("{} is about {}", rule_, fmt::join(about, ", and ")));
  }

  // Pods that the rule is about; entries that are about none are told.
  std::vector<const v1::Pod*> Peers(const ParsedRule& rule) {
    std::vector<const v1::Pod*> out;
    std::set<std::string> told;
    for (const PodSelector& peer : rule.peers) {
      if (peer.block || !told.insert(peer.Key()).second) continue;
      std::vector<std::string> namespaces;
      std::vector<const v1::Pod*> pods;
      for (const auto& [key, ns] : state_.namespaces) {
        const bool fits =
            peer.ns.empty() ? peer.namespaces.Matches(NamespaceLabels(*ns)) : peer.ns == key.name;
        if (!fits) continue;
        namespaces.push_back(key.name);
        const auto of = PodsOf(state_, key.name, peer.pods);
        pods.insert(pods.end(), of.begin(), of.end());
      }
      out.insert(out.end(), pods.begin(), pods.end());
      if (IsResolver(peer)) continue;
      if (namespaces.empty()) {
        NoNamespace(peer);
      } else if (pods.empty()) {
        NoPod(peer, namespaces);
      }
    }
    return out;
  }

  // The resolver is no pod, and is known by the labels and the namespace that it has elsewhere.
  static bool IsResolver(const PodSelector& peer) {
    const PodTraits resolver = ResolverTraits();
    schema::LabelMap labels;
    for (const auto& [key, value] : resolver.labels) labels[key] = value;
    v1::Namespace ns;
    ns.mutable_metadata()->set_name(resolver.ns);
    return peer.pods.Matches(labels) &&
           (peer.ns.empty() ? peer.namespaces.Matches(NamespaceLabels(ns))
                            : peer.ns == resolver.ns);
  }

  void NoNamespace(const PodSelector& peer) {
    std::optional<Nearest> nearest;
    const std::string text = NearestText(
        "namespace", state_.namespaces, peer.namespaces,
        [](const v1::Namespace& ns) { return NamespaceLabels(ns); }, &nearest);
    Report::Remedies remedies;
    const bool is_name = nearest && nearest->distance.wanted.front().starts_with("kubernetes.io/");
    if (nearest && !is_name)
      remedies.push_back(fmt::format("label namespace {} {}", nearest->name,
                                     fmt::join(nearest->distance.wanted, ",")));
    // The label that every namespace has is mostly taken for a shorter one.
    const std::optional<Labels> wanted = WantedLabels(peer.namespaces);
    if (wanted && wanted->size() == 1) {
      const auto& [label, name] = *wanted->begin();
      if (label != kNameLabel && state_.namespaces.contains({"", name}))
        remedies.insert(remedies.begin(), fmt::format("write {}={} in the namespaceSelector of {}",
                                                      kNameLabel, name, rule_));
    }
    remedies.push_back(fmt::format("correct the namespaceSelector of {}", rule_));
    Problem(fmt::format("{}: no namespace has {}{}", rule_, peer.namespaces.ToString(), text),
            remedies);
  }

  void NoPod(const PodSelector& peer, const std::vector<std::string>& namespaces) {
    const std::string where = namespaces.size() == 1
                                  ? "namespace " + namespaces.front()
                                  : fmt::format("namespaces {}", NameList(namespaces));
    std::string elsewhere;
    Report::Remedies remedies;
    std::vector<std::string> others;
    if (!peer.ns.empty()) {
      for (const auto& [key, ns] : state_.namespaces)
        if (key.name != peer.ns && !PodsOf(state_, key.name, peer.pods).empty())
          others.push_back(key.name);
    }
    if (!others.empty()) {
      elsewhere = fmt::format(
          "; namespace{} {} {} such pods, and a podSelector without a namespaceSelector is about "
          "the policy's own namespace",
          others.size() == 1 ? "" : "s", NameList(others), others.size() == 1 ? "has" : "have");
      for (size_t i = 0; i < others.size() && i < kMostNamespaces; ++i)
        remedies.push_back(
            fmt::format("add a namespaceSelector with {}={} to the peer", kNameLabel, others[i]));
    }
    if (peer.pods.empty()) {
      // Nothing is wrong with the selector: whoever comes there is meant.
      report_->Note(title_, fmt::format("{}: there are no pods in {}{}", rule_, where, elsewhere),
                    remedies);
      return;
    }
    remedies.push_back(fmt::format("correct the podSelector of {}", rule_));
    Problem(fmt::format("{}: no pod of {} has {}{}", rule_, where, peer.pods.ToString(), elsewhere),
            remedies);
  }

  // What goes through a Service is judged by its backend, never by the Service's address.
  void Blocks(Direction direction, const ParsedRule& rule) {
    if (direction != Direction::kEgress) return;
    for (const Block& block : rule.blocks) {
      const IpPrefix* services = ranges_.services.Of(block.cidr.base().is_v4());
      if (services == nullptr || !services->Contains(block.cidr.base()) ||
          block.cidr.length() < services->length())
        continue;
      Problem(fmt::format("{}: {} are addresses of Services ({}): what is sent to a Service is "
                          "judged by the pod that gets it",
                          rule_, block.cidr.ToString(), services->ToString()),
              {"name the pods behind the Service by podSelector and namespaceSelector"});
    }
  }

  void Ports(Direction direction, const ParsedRule& rule, const std::vector<const v1::Pod*>& pods) {
    if (rule.ports->empty()) {
      Problem(fmt::format("{}: its ports are of protocols that are not carried", rule_),
              {"name ports of TCP or UDP"});
      return;
    }
    for (const RulePort& port : *rule.ports) {
      if (port.name.empty()) Number(direction, rule, port, pods);
      const bool anybody = direction == Direction::kEgress && rule.about_everybody;
      if (port.name.empty() || (pods.empty() && !anybody)) continue;
      std::set<std::string> names;
      bool known = direction == Direction::kEgress &&
                   ResolverTraits().named_ports.contains({port.name, port.protocol});
      const auto look = [&](const v1::Pod& pod) {
        for (const auto& [name, number] : TraitsOf(pod).named_ports) {
          known = known || name == PortName(port.name, port.protocol);
          names.insert(fmt::format("{} {} ({})", Protocol(name.second), name.first, number));
        }
      };
      for (const v1::Pod* pod : pods) look(*pod);
      if (anybody) {
        for (const auto& [key, pod] : state_.pods)
          if (!IsFinished(*pod)) look(*pod);
      }
      if (known) continue;
      Report::Remedies remedies;
      if (!names.empty())
        remedies.push_back(fmt::format("name one of {}", NameList({names.begin(), names.end()})));
      remedies.push_back("give the port by its number");
      Problem(
          fmt::format("{}: no container of {} names a port {} {}{}", rule_,
                      anybody                           ? "any pod"
                      : direction == Direction::kEgress ? "the pods it is about"
                                                        : "the pods that the policy selects",
                      Protocol(port.protocol), port.name, names.empty() ? "; they name none" : ""),
          remedies);
    }
  }

  // A number that nobody uses is no fault of a policy; it may be one of who has written it.
  void Number(Direction direction, const ParsedRule& rule, const RulePort& port,
              const std::vector<const v1::Pod*>& pods) {
    const bool egress = direction == Direction::kEgress;
    if (port.first == 0) return;
    // Those who are no pods have ports too.
    if (egress && (rule.about_everybody || !rule.blocks.empty() ||
                   std::ranges::any_of(rule.peers, IsResolver)))
      return;
    const std::string protocol = Protocol(port.protocol);
    std::map<uint32_t, std::string> has;
    std::set<ObjectKey> unknown;
    for (size_t i = 0; i < pods.size() && i < kMostBackends; ++i) {
      for (const v1::Container& container : pods[i]->spec().containers()) {
        for (const v1::ContainerPort& own : container.ports())
          if (ProtocolOf(own.protocol()) == protocol)
            has[static_cast<uint32_t>(own.container_port())] = own.name();
      }
      const auto sockets = known_.listeners.find(KeyOfMeta(pods[i]->metadata()));
      if (sockets == known_.listeners.end()) {
        unknown.insert(KeyOfMeta(pods[i]->metadata()));
      } else if (sockets->second.ok()) {
        for (const v1::Listener& listener : sockets->second->listeners())
          if (listener.protocol() == protocol && !IsLoopback(listener.address()))
            has.emplace(listener.port(), "");
      }
    }
    const auto used = has.lower_bound(port.first);
    if (used != has.end() && used->first <= port.last) return;
    wanted_->insert(unknown.begin(), unknown.end());
    if (has.empty()) return;
    std::vector<std::string> names;
    for (const auto& [number, name] : has)
      names.push_back(
          fmt::format("{} {}{}", protocol, number, name.empty() ? "" : fmt::format(" ({})", name)));
    std::string text =
        fmt::format("{}: {} have no port {} {}; they have {}", rule_,
                    egress ? "the pods it is about" : "the pods that the policy selects", protocol,
                    port.first == port.last ? fmt::format("{}", port.first)
                                            : fmt::format("{}-{}", port.first, port.last),
                    NameList(names));
    Report::Remedies remedies;
    const auto [service, number] = ServiceAt(port, pods);
    if (service != nullptr) {
      text += fmt::format("; {} is a port of {}, and policies are about the ports of pods",
                          port.first, ServiceTitle(*service));
      remedies.push_back(fmt::format("let the rule name {} {}", protocol, number));
    } else {
      remedies.push_back(fmt::format("let the rule name {}", names.front()));
    }
    report_->Note(title_, text, remedies);
  }

  // The Service of one of the pods that has the rule's only port, and where that port leads.
  std::pair<const v1::Service*, int32_t> ServiceAt(const RulePort& wanted,
                                                   const std::vector<const v1::Pod*>& pods) const {
    if (wanted.first != wanted.last) return {nullptr, 0};
    for (size_t i = 0; i < pods.size() && i < kMostBackends; ++i) {
      const v1::ObjectMeta& meta = pods[i]->metadata();
      for (const auto& [key, service] : InNamespace(state_.services, meta.namespace_())) {
        if (service->spec().selector().empty() ||
            !MatchesLabels(service->spec().selector(), meta.labels()))
          continue;
        for (const v1::ServicePort& port : service->spec().ports()) {
          if (port.port() != wanted.first || ProtocolNumber(port.protocol()) != wanted.protocol)
            continue;
          const int32_t number = ResolvePort(port, *pods[i]);
          if (number != 0 && number != port.port()) return {service.get(), number};
        }
      }
    }
    return {nullptr, 0};
  }

  static const char* Protocol(uint8_t protocol) { return protocol == IPPROTO_UDP ? "UDP" : "TCP"; }

  void Problem(const std::string& text, const Report::Remedies& remedies) {
    ++problems_;
    report_->Problem(title_, text, remedies);
  }

  const ClusterState& state_;
  const ClusterRanges& ranges_;
  const v1::NetworkPolicy& policy_;
  const ParsedPolicy parsed_;
  const std::string title_;
  const std::vector<const v1::Pod*> selected_;
  const Known& known_;
  Report* const report_;
  std::set<ObjectKey>* const wanted_;
  std::string rule_;  // the one that is looked at
  int problems_ = 0;
};

}  // namespace

void WhyPolicy(const ClusterState& state, const ClusterRanges& ranges,
               const v1::NetworkPolicy& policy, const Known& known, Report* report,
               std::set<ObjectKey>* wanted) {
  Teller(state, ranges, policy, known, report, wanted).Tell();
}

std::vector<std::string> PoliciesOfNobody(const ClusterState& state, const std::string& ns,
                                          Direction direction) {
  std::vector<std::string> out;
  for (const auto& [key, policy] : InNamespace(state.network_policies, ns)) {
    const ParsedPolicy parsed = Parse(*policy);
    if (!parsed.Judges(direction)) continue;
    // Most select somebody, and are done with that one.
    const auto pods = InNamespace(state.pods, ns);
    if (std::none_of(pods.begin(), pods.end(),
                     [&](const auto& pod) { return IsSelected(*pod.second, parsed.pods); }))
      out.push_back(key.ToString());
  }
  return out;
}

}  // namespace mesh::controlplane
