// SPDX-License-Identifier: Apache-2.0
// What the NetworkPolicies of the cluster say about its pods, kept current change by change: the
// cost of a change is what it affects.
//
//   identity -> sets (one per direction): which policies select its pods
//   set -> rules, whose peers are selectors and ranges of addresses
//   selector -> identities
//
// Pure and deterministic. Thread: one.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "controlplane/policy/pod_traits.h"
#include "controlplane/policy/policy_rules.h"
#include "controlplane/policy/selector_index.h"
#include "controlplane/state/state_index.h"
#include "mesh/v1/policy.pb.h"

namespace mesh::controlplane {

struct PolicyDelta {
  std::vector<v1::PolicySetState> sets;  // new ones
  std::vector<uint32_t> removed_sets;
  std::vector<v1::SelectorMember> members, removed_members;
  // Identities whose sets are others now; those that are gone are not named.
  std::vector<v1::IdentityPolicy> identities;
  bool empty() const {
    return sets.empty() && removed_sets.empty() && members.empty() && removed_members.empty() &&
           identities.empty();
  }
};

class PolicyIndex {
 public:
  // `pod_ranges`: addresses in them are pods'. A pod is known by its identity, all else by its
  // address.
  explicit PolicyIndex(std::vector<IpPrefix> pod_ranges) : pod_ranges_(std::move(pod_ranges)) {}

  void PutNamespace(const std::string& name, const schema::LabelMap& labels);
  void RemoveNamespace(const std::string& name);
  void PutPolicy(const v1::NetworkPolicy& policy);
  void RemovePolicy(const ObjectKey& key);
  // A number that is known already must have the same traits.
  void AddIdentity(uint32_t identity, const PodTraits& traits);
  void RemoveIdentity(uint32_t identity);

  // Blocks of the policies that lie in the pods' ranges or around them: TraitsOf asks for them, and
  // a change here changes the traits of pods.
  std::set<Block> PodBlocks() const;

  // What is different since the last call.
  PolicyDelta Take();

  // Of the last Take(). All 0 when no policy selects its pods.
  v1::IdentityPolicy PolicyOf(uint32_t identity) const;

  // How often a selector was compared with a pod's labels, ever: what changes cost.
  uint64_t comparisons() const { return comparisons_; }

 private:
  struct Policy {
    ParsedPolicy parsed;
    uint64_t version = 0;
    std::array<uint32_t, 2> first_rule{};  // ids of the rules of each direction
    bool has_blocks = false;
    std::set<PortName> egress_names;
  };
  // Everything that the rules of a set depend on.
  struct SetKey {
    Direction direction = Direction::kIngress;
    bool ipv6 = false;  // only where it matters
    std::vector<uint64_t> versions;
    std::map<PortName, std::vector<uint16_t>> names;
    friend auto operator<=>(const SetKey&, const SetKey&) = default;
  };
  struct Set {
    v1::PolicySetState state;
    size_t users = 0;
    std::vector<std::string> selectors;  // keys
  };
  struct Identity {
    PodTraits traits;
    schema::LabelMap labels;
    std::array<std::optional<SetKey>, 4> sets;  // ingress, egress, and of IPv6
    v1::IdentityPolicy told;
  };
  struct Selector {
    uint32_t number = 0;
    PodSelector selector;
    size_t users = 0;
    std::set<uint32_t> members;
  };

  // Identities of the namespace that the selector selects.
  void MarkSelected(const std::string& ns, const schema::Selector& pods);
  bool Matches(const schema::Selector& selector, const Identity& identity) const;
  void MarkNaming(const PortName& name);
  void CountNames(const PodTraits& traits, int by);
  bool IsMember(const Selector& selector, const Identity& identity) const;
  void SetMember(Selector* selector, uint32_t identity, bool is_member);
  // Looks at those of namespace `of` ("": of several) that may select it.
  void UpdateMember(const std::string& of, uint32_t number, const Identity& identity);
  bool IsOverPods(const Block& block) const;

  std::vector<const Policy*> PoliciesOf(const Identity& identity, Direction direction) const;
  SetKey KeyOf(const Identity& identity, Direction direction, bool ipv6,
               const std::vector<const Policy*>& policies) const;
  void Recompute(uint32_t number, Identity* identity);
  uint32_t UseSet(const SetKey& key, const std::vector<const Policy*>& policies);
  void ReleaseSet(const SetKey& key);
  uint32_t UseSelector(PodSelector selector, Set* set);
  void ReleaseSelector(const std::string& key);
  void Compile(const SetKey& key, const std::vector<const Policy*>& policies, Set* set);
  void CompileRule(const SetKey& key, const ParsedRule& rule, const v1::PolicyRuleState& head,
                   Set* set);

  std::vector<IpPrefix> pod_ranges_;
  std::map<std::string, schema::LabelMap> namespaces_;
  std::map<ObjectKey, Policy> policies_;
  std::map<uint32_t, Identity> identities_;
  // By namespace.
  std::map<std::string, LabelledIndex<uint32_t>> identities_of_;
  std::map<std::string, SelectorIndex<std::string>> policies_of_;   // names
  std::map<std::string, Selector> selectors_;                       // by key
  std::map<std::string, SelectorIndex<std::string>> selectors_of_;  // keys; "": of several
  std::map<SetKey, Set> sets_;
  std::map<Block, int> blocks_;                             // over pods, with their policies
  std::map<PortName, std::map<uint16_t, int>> port_names_;  // identities that have them
  uint64_t next_version_ = 1;
  uint32_t next_rule_ = 1, next_selector_ = 1, next_set_ = 1;
  mutable uint64_t comparisons_ = 0;

  // For Take(). What appears twice is as it was.
  std::set<uint32_t> dirty_;
  std::map<uint32_t, const Set*> sets_new_;
  std::set<uint32_t> sets_gone_;
  std::map<std::pair<uint32_t, uint32_t>, bool> members_changed_;
};

}  // namespace mesh::controlplane
