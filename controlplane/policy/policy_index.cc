// SPDX-License-Identifier: Apache-2.0
#include "controlplane/policy/policy_index.h"

#include <algorithm>

#include "common/check.h"
#include "google/protobuf/util/message_differencer.h"

namespace mesh::controlplane {
namespace {

constexpr Direction kDirections[] = {Direction::kIngress, Direction::kEgress};

size_t PlaceOf(Direction direction, bool ipv6) {
  return static_cast<size_t>(direction) + (ipv6 ? 2 : 0);
}

bool Same(const schema::LabelMap& a, const schema::LabelMap& b) {
  return a.size() == b.size() && std::all_of(a.begin(), a.end(), [&](const auto& entry) {
           const auto it = b.find(entry.first);
           return it != b.end() && it->second == entry.second;
         });
}

// A key that appears a second time is taken out: the two changes undo each other.
template <typename Map, typename Key, typename Value>
void Toggle(Map* map, const Key& key, const Value& value) {
  if (map->erase(key) == 0) map->emplace(key, value);
}

}  // namespace

bool PolicyIndex::Matches(const schema::Selector& selector, const Identity& identity) const {
  ++comparisons_;
  return selector.Matches(identity.labels);
}

void PolicyIndex::MarkSelected(const std::string& ns, const schema::Selector& pods) {
  const auto of = identities_of_.find(ns);
  if (of == identities_of_.end()) return;
  for (const uint32_t number : of->second.MayMatch(pods)) {
    if (Matches(pods, identities_.at(number))) dirty_.insert(number);
  }
}

void PolicyIndex::UpdateMember(const std::string& of, uint32_t number, const Identity& identity) {
  const auto selectors = selectors_of_.find(of);
  if (selectors == selectors_of_.end()) return;
  for (const std::string& key : selectors->second.MayMatch(identity.labels)) {
    Selector& selector = selectors_.at(key);
    SetMember(&selector, number, IsMember(selector, identity));
  }
}

void PolicyIndex::PutNamespace(const std::string& name, const schema::LabelMap& labels) {
  const auto [it, is_new] = namespaces_.try_emplace(name, labels);
  if (!is_new && Same(it->second, labels)) return;
  it->second = labels;
  for (const uint32_t number : identities_of_[name].all()) {
    UpdateMember("", number, identities_.at(number));
  }
}

void PolicyIndex::RemoveNamespace(const std::string& name) {
  // Pods that are left in it belong to no namespace that a selector could select.
  if (namespaces_.erase(name) == 0) return;
  for (const uint32_t number : identities_of_[name].all()) {
    UpdateMember("", number, identities_.at(number));
  }
}

bool PolicyIndex::IsOverPods(const Block& block) const {
  return std::any_of(pod_ranges_.begin(), pod_ranges_.end(),
                     [&](const IpPrefix& range) { return range.Overlaps(block.cidr); });
}

void PolicyIndex::PutPolicy(const v1::NetworkPolicy& policy) {
  const ObjectKey key{policy.metadata().namespace_(), policy.metadata().name()};
  RemovePolicy(key);
  Policy& added = policies_[key];
  added.parsed = Parse(policy);
  added.version = next_version_++;
  for (const Direction direction : kDirections) {
    added.first_rule[static_cast<size_t>(direction)] = next_rule_;
    for (const ParsedRule& rule : added.parsed.Rules(direction)) {
      ++next_rule_;
      for (const Block& block : rule.blocks) {
        added.has_blocks = true;
        if (IsOverPods(block)) ++blocks_[block];
      }
      if (direction == Direction::kIngress || !rule.ports) continue;
      for (const RulePort& port : *rule.ports) {
        if (!port.name.empty()) added.egress_names.insert({port.name, port.protocol});
      }
    }
  }
  policies_of_[key.ns].Add(added.parsed.pods, key.name);
  MarkSelected(key.ns, added.parsed.pods);
}

void PolicyIndex::RemovePolicy(const ObjectKey& key) {
  const auto it = policies_.find(key);
  if (it == policies_.end()) return;
  for (const Direction direction : kDirections) {
    for (const ParsedRule& rule : it->second.parsed.Rules(direction)) {
      for (const Block& block : rule.blocks) {
        if (IsOverPods(block) && --blocks_[block] == 0) blocks_.erase(block);
      }
    }
  }
  policies_of_[key.ns].Remove(it->second.parsed.pods, key.name);
  MarkSelected(key.ns, it->second.parsed.pods);
  policies_.erase(it);
}

std::set<Block> PolicyIndex::PodBlocks() const {
  std::set<Block> out;
  for (const auto& [block, users] : blocks_) out.insert(block);
  return out;
}

// Egress rules that speak of a port by its name depend on the numbers it has.
void PolicyIndex::MarkNaming(const PortName& name) {
  for (const auto& [key, policy] : policies_) {
    if (policy.egress_names.contains(name)) MarkSelected(key.ns, policy.parsed.pods);
  }
}

void PolicyIndex::CountNames(const PodTraits& traits, int by) {
  for (const auto& [name, port] : traits.named_ports) {
    auto& numbers = port_names_[name];
    const bool was_there = numbers.contains(port);
    if ((numbers[port] += by) == 0) numbers.erase(port);
    if (was_there != numbers.contains(port)) MarkNaming(name);
    if (numbers.empty()) port_names_.erase(name);
  }
}

void PolicyIndex::AddIdentity(uint32_t number, const PodTraits& traits) {
  const auto [it, is_new] = identities_.try_emplace(number);
  if (!is_new) {
    MESH_CHECK(it->second.traits == traits) << "identity " << number << " has other traits";
    return;
  }
  Identity& identity = it->second;
  identity.traits = traits;
  for (const auto& [key, value] : traits.labels) identity.labels[key] = value;
  identity.told.set_identity(number);
  identities_of_[traits.ns].Add(identity.labels, number);
  CountNames(traits, 1);
  for (const std::string& of : {traits.ns, std::string()}) UpdateMember(of, number, identity);
  dirty_.insert(number);
}

void PolicyIndex::RemoveIdentity(uint32_t number) {
  const auto it = identities_.find(number);
  if (it == identities_.end()) return;
  const Identity& identity = it->second;
  const std::string ns = identity.traits.ns;
  for (const std::string& of : {ns, std::string()}) {
    for (const std::string& key : selectors_of_[of].MayMatch(identity.labels)) {
      SetMember(&selectors_.at(key), number, false);
    }
  }
  for (const auto& set : identity.sets) {
    if (set) ReleaseSet(*set);
  }
  identities_of_[ns].Remove(identity.labels, number);
  CountNames(identity.traits, -1);
  identities_.erase(it);
  dirty_.erase(number);
}

bool PolicyIndex::IsMember(const Selector& selector, const Identity& identity) const {
  ++comparisons_;
  const PodSelector& wanted = selector.selector;
  if (wanted.ns.empty()) {
    const auto ns = namespaces_.find(identity.traits.ns);
    if (ns == namespaces_.end() || !wanted.namespaces.Matches(ns->second)) return false;
  } else if (wanted.ns != identity.traits.ns) {
    return false;
  }
  if (wanted.port_name) {
    const auto port = identity.traits.named_ports.find(*wanted.port_name);
    if (port == identity.traits.named_ports.end() || port->second != wanted.port) return false;
  }
  if (wanted.block && !identity.traits.blocks.contains(*wanted.block)) return false;
  return wanted.pods.Matches(identity.labels);
}

void PolicyIndex::SetMember(Selector* selector, uint32_t identity, bool is_member) {
  const bool changed =
      is_member ? selector->members.insert(identity).second : selector->members.erase(identity) > 0;
  if (changed) Toggle(&members_changed_, std::pair(selector->number, identity), is_member);
}

std::vector<const PolicyIndex::Policy*> PolicyIndex::PoliciesOf(const Identity& identity,
                                                                Direction direction) const {
  std::vector<const Policy*> out;
  const std::string& ns = identity.traits.ns;
  const auto policies = policies_of_.find(ns);
  if (policies == policies_of_.end()) return out;
  for (const std::string& name : policies->second.MayMatch(identity.labels)) {
    const Policy& policy = policies_.at({ns, name});
    if (policy.parsed.Judges(direction) && Matches(policy.parsed.pods, identity)) {
      out.push_back(&policy);
    }
  }
  return out;
}

PolicyIndex::SetKey PolicyIndex::KeyOf(const Identity& identity, Direction direction, bool ipv6,
                                       const std::vector<const Policy*>& policies) const {
  SetKey key{.direction = direction};
  for (const Policy* policy : policies) {
    key.versions.push_back(policy->version);
    key.ipv6 |= ipv6 && policy->has_blocks;
    if (direction == Direction::kEgress) {
      for (const PortName& name : policy->egress_names) {
        std::vector<uint16_t>& numbers = key.names[name];
        numbers.clear();
        if (const auto known = port_names_.find(name); known != port_names_.end()) {
          for (const auto& [port, users] : known->second) numbers.push_back(port);
        }
      }
      continue;
    }
    for (const ParsedRule& rule : policy->parsed.ingress) {
      if (!rule.ports) continue;
      for (const RulePort& port : *rule.ports) {
        const auto own = identity.traits.named_ports.find({port.name, port.protocol});
        if (port.name.empty() || own == identity.traits.named_ports.end()) continue;
        key.names[own->first] = {own->second};
      }
    }
  }
  return key;
}

void PolicyIndex::Recompute(uint32_t number, Identity* identity) {
  v1::IdentityPolicy next;
  next.set_identity(number);
  std::array<std::optional<SetKey>, 4> sets;
  for (const Direction direction : kDirections) {
    const std::vector<const Policy*> policies = PoliciesOf(*identity, direction);
    if (policies.empty()) continue;
    for (const bool ipv6 : {false, true}) {
      auto& key = sets[PlaceOf(direction, ipv6)];
      key = KeyOf(*identity, direction, ipv6, policies);
      const uint32_t set = UseSet(*key, policies);
      if (direction == Direction::kIngress) {
        ipv6 ? next.set_ingress6(set) : next.set_ingress(set);
      } else {
        ipv6 ? next.set_egress6(set) : next.set_egress(set);
      }
    }
  }
  for (const auto& set : identity->sets) {
    if (set) ReleaseSet(*set);
  }
  identity->sets = std::move(sets);
  identity->told = next;
}

uint32_t PolicyIndex::UseSet(const SetKey& key, const std::vector<const Policy*>& policies) {
  const auto [it, is_new] = sets_.try_emplace(key);
  Set& set = it->second;
  ++set.users;
  if (!is_new) return set.state.number();
  set.state.set_number(next_set_++);
  set.state.set_egress(key.direction == Direction::kEgress);
  Compile(key, policies, &set);
  sets_new_[set.state.number()] = &set;
  return set.state.number();
}

void PolicyIndex::ReleaseSet(const SetKey& key) {
  const auto it = sets_.find(key);
  if (--it->second.users > 0) return;
  for (const std::string& selector : it->second.selectors) ReleaseSelector(selector);
  const uint32_t number = it->second.state.number();
  if (sets_new_.erase(number) == 0) sets_gone_.insert(number);
  sets_.erase(it);
}

uint32_t PolicyIndex::UseSelector(PodSelector wanted, Set* set) {
  std::string key = wanted.Key();
  const auto [it, is_new] = selectors_.try_emplace(key);
  Selector& selector = it->second;
  if (is_new) {
    selector.number = next_selector_++;
    selector.selector = std::move(wanted);
    const std::string& ns = selector.selector.ns;
    selectors_of_[ns].Add(selector.selector.pods, key);
    const auto look = [&](const std::string& of) {
      const auto identities = identities_of_.find(of);
      if (identities == identities_of_.end()) return;
      for (const uint32_t number : identities->second.MayMatch(selector.selector.pods)) {
        if (IsMember(selector, identities_.at(number))) SetMember(&selector, number, true);
      }
    };
    if (ns.empty()) {
      for (const auto& [name, labels] : namespaces_) {
        if (selector.selector.namespaces.Matches(labels)) look(name);
      }
    } else {
      look(ns);
    }
  }
  ++selector.users;
  const uint32_t number = selector.number;
  set->selectors.push_back(std::move(key));
  return number;
}

void PolicyIndex::ReleaseSelector(const std::string& key) {
  const auto it = selectors_.find(key);
  if (--it->second.users > 0) return;
  for (const uint32_t identity : std::set<uint32_t>(it->second.members)) {
    SetMember(&it->second, identity, false);
  }
  const PodSelector& selector = it->second.selector;
  selectors_of_[selector.ns].Remove(selector.pods, key);
  selectors_.erase(it);
}

void PolicyIndex::Compile(const SetKey& key, const std::vector<const Policy*>& policies, Set* set) {
  for (size_t place = 0; place < policies.size(); ++place) {
    const Policy& policy = *policies[place];
    set->state.add_policies(policy.parsed.ns + "/" + policy.parsed.name);
    const auto& rules = policy.parsed.Rules(key.direction);
    for (uint32_t index = 0; index < rules.size(); ++index) {
      v1::PolicyRuleState head;
      head.set_id(policy.first_rule[static_cast<size_t>(key.direction)] + index);
      head.set_policy(static_cast<uint32_t>(place));
      head.set_index(index);
      CompileRule(key, rules[index], head, set);
    }
  }
}

// Becomes several rules where a name of a port means several numbers.
void PolicyIndex::CompileRule(const SetKey& key, const ParsedRule& rule,
                              const v1::PolicyRuleState& head, Set* set) {
  std::vector<PodSelector> peers = rule.peers;
  v1::PolicyRuleState out = head;
  out.set_about_everybody(rule.about_everybody);
  for (const Block& block : rule.blocks) {
    if (block.cidr.base().is_v4() == key.ipv6) continue;
    v1::AddressBlockState* state = out.add_blocks();
    state->set_cidr(block.cidr.ToString());
    for (const IpPrefix& hole : block.except) state->add_except(hole.ToString());
    if (IsOverPods(block)) peers.push_back({.block = block});
  }
  if (rule.about_everybody) peers.push_back({});
  const auto add_port = [](v1::PolicyRuleState* to, const RulePort& port) {
    v1::PortRangeState* range = to->add_ports();
    range->set_protocol(port.protocol);
    range->set_first(port.first);
    range->set_last(port.last);
  };
  for (const RulePort& port : rule.ports.value_or(std::vector<RulePort>())) {
    if (port.name.empty()) {
      add_port(&out, port);
      continue;
    }
    const PortName name{port.name, port.protocol};
    const auto numbers = key.names.find(name);
    if (numbers == key.names.end()) continue;
    for (const uint16_t number : numbers->second) {
      const RulePort known{.protocol = port.protocol, .first = number, .last = number};
      if (key.direction == Direction::kIngress) {
        add_port(&out, known);
        continue;
      }
      // The receiver's: only pods have names for their ports.
      v1::PolicyRuleState named = head;
      for (PodSelector peer : peers) {
        peer.port_name = name;
        peer.port = number;
        named.add_selectors(UseSelector(std::move(peer), set));
      }
      add_port(&named, known);
      if (!named.selectors().empty()) *set->state.add_rules() = std::move(named);
    }
  }
  if (rule.ports && out.ports().empty()) return;
  if (!rule.about_everybody) {
    for (PodSelector& peer : peers) out.add_selectors(UseSelector(std::move(peer), set));
    if (out.selectors().empty() && out.blocks().empty()) return;
  }
  *set->state.add_rules() = std::move(out);
}

PolicyDelta PolicyIndex::Take() {
  PolicyDelta out;
  for (const uint32_t number : std::exchange(dirty_, {})) {
    Identity& identity = identities_.at(number);
    const v1::IdentityPolicy before = identity.told;
    Recompute(number, &identity);
    if (!google::protobuf::util::MessageDifferencer::Equals(before, identity.told)) {
      out.identities.push_back(identity.told);
    }
  }
  for (const auto& [number, set] : std::exchange(sets_new_, {})) out.sets.push_back(set->state);
  for (const uint32_t number : std::exchange(sets_gone_, {})) out.removed_sets.push_back(number);
  for (const auto& [pair, is_member] : std::exchange(members_changed_, {})) {
    v1::SelectorMember member;
    member.set_selector(pair.first);
    member.set_identity(pair.second);
    (is_member ? out.members : out.removed_members).push_back(member);
  }
  return out;
}

v1::IdentityPolicy PolicyIndex::PolicyOf(uint32_t identity) const {
  const auto it = identities_.find(identity);
  return it == identities_.end() ? v1::IdentityPolicy() : it->second.told;
}

}  // namespace mesh::controlplane
