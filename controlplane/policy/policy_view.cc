// SPDX-License-Identifier: Apache-2.0
#include "controlplane/policy/policy_view.h"

#include <utility>

#include "api/schema/merge.h"
#include "common/log.h"
#include "controlplane/policy/pod_traits.h"
#include "google/protobuf/util/message_differencer.h"

namespace mesh::controlplane {
namespace {

// MESH_IDENTITY_DNS: the resolver of each node, which policies know as the cluster's.
constexpr uint32_t kDns = 5;

}  // namespace

PolicyView::PolicyView(Options options)
    : options_(std::move(options)), index_(options_.pod_ranges) {
  index_.AddIdentity(kDns, ResolverTraits());
  identities_[kDns] = {.ns = "kube-system", .users = 1, .gone_at = {}};
  rows_dirty_.insert(kDns);
}

void PolicyView::Reset(const ClusterState& state, absl::Time now) {
  for (const auto& [key, ns] : state.namespaces) namespaces_dirty_.insert(key.name);
  for (const auto& [key, policy] : state.network_policies) policies_dirty_.insert(key);
  for (const auto& [key, pod] : state.pods) pods_dirty_.insert(key);
  v1::NodeUpdate unused;
  Refresh(state, now, &unused);
}

void PolicyView::Note(const Change& change) {
  // Applied again from another file or place in it.
  const bool same_rules = change.before != nullptr && change.after != nullptr &&
                          change.before->has_network_policy() &&
                          schema::SameSpec(*change.before, *change.after);
  for (const v1::Resource* side : {change.before.get(), change.after.get()}) {
    if (side == nullptr) continue;
    if (side->has_namespace_()) namespaces_dirty_.insert(KeyOf(*side).name);
    if (side->has_network_policy() && !same_rules) policies_dirty_.insert(KeyOf(*side));
  }
  const v1::Resource& some = change.after != nullptr ? *change.after : *change.before;
  if (!some.has_pod()) return;
  // Most writes of pods are reports of their nodes.
  const uint32_t identity = change.after == nullptr ? 0 : some.pod().status().identity();
  const auto known = pods_.find(KeyOf(some));
  if (identity != (known == pods_.end() ? 0 : known->second)) pods_dirty_.insert(KeyOf(some));
}

std::optional<absl::Time> PolicyView::next() const {
  if (unused_.empty()) return std::nullopt;
  return unused_.begin()->first;
}

void PolicyView::Refresh(const ClusterState& state, absl::Time now, v1::NodeUpdate* out) {
  for (const std::string& name : std::exchange(namespaces_dirty_, {})) {
    RefreshNamespace(state, name);
  }
  for (const ObjectKey& key : std::exchange(policies_dirty_, {})) {
    const auto policy = state.network_policies.find(key);
    if (policy == state.network_policies.end()) {
      index_.RemovePolicy(key);
    } else {
      index_.PutPolicy(*policy->second);
    }
  }
  for (const ObjectKey& key : std::exchange(pods_dirty_, {})) RefreshPod(state, key, now);
  while (!unused_.empty() && unused_.begin()->first <= now) {
    for (const uint32_t identity : unused_.begin()->second) {
      index_.RemoveIdentity(identity);
      identities_.erase(identity);
      rows_dirty_.insert(identity);
    }
    unused_.erase(unused_.begin());
  }
  Tell(index_.Take(), out);
}

void PolicyView::RefreshNamespace(const ClusterState& state, const std::string& name) {
  const auto ns = state.namespaces.find({"", name});
  if (ns == state.namespaces.end()) {
    index_.RemoveNamespace(name);
    namespaces_.erase(name);
    return;
  }
  index_.PutNamespace(name, NamespaceLabels(*ns->second));
  const uint32_t number = ns->second->status().identity();
  if (std::exchange(namespaces_[name], number) == number) return;
  for (const auto& [identity, known] : identities_) {
    if (known.ns == name) rows_dirty_.insert(identity);
  }
}

void PolicyView::RefreshPod(const ClusterState& state, const ObjectKey& key, absl::Time now) {
  const auto pod = state.pods.find(key);
  const uint32_t next = pod == state.pods.end() ? 0 : pod->second->status().identity();
  const auto was = pods_.find(key);
  const uint32_t before = was == pods_.end() ? 0 : was->second;
  if (next == before) return;
  if (next != 0) {
    pods_[key] = next;
    const auto [it, is_new] = identities_.try_emplace(next);
    Identity& identity = it->second;
    if (is_new) {
      identity.ns = key.ns;
      PodTraits traits = TraitsOf(*pod->second);
      const auto number = namespaces_.find(key.ns);
      // Of a time before policies: it stands for the namespace and nothing else.
      if (number != namespaces_.end() && number->second == next) {
        traits.labels.clear();
        traits.named_ports.clear();
        traits.blocks.clear();
      }
      index_.AddIdentity(next, traits);
      rows_dirty_.insert(next);
    } else if (identity.users == 0) {
      unused_[identity.gone_at].erase(next);
    }
    ++identity.users;
  } else {
    pods_.erase(key);
  }
  if (before == 0) return;
  Identity& left = identities_.at(before);
  if (--left.users > 0) return;
  left.gone_at = now + options_.linger;
  unused_[left.gone_at].insert(before);
}

void PolicyView::Tell(const PolicyDelta& delta, v1::NodeUpdate* out) {
  for (const v1::PolicySetState& set : delta.sets) {
    egress_sets_ += set.egress() ? 1 : 0;
    *out->add_policy_sets() = set;
    sets_[set.number()] = set;
  }
  for (const uint32_t number : delta.removed_sets) {
    egress_sets_ -= sets_.at(number).egress() ? 1 : 0;
    sets_.erase(number);
    out->add_removed_policy_sets(number);
  }
  for (const v1::SelectorMember& member : delta.members) {
    selectors_of_[member.identity()].insert(member.selector());
    rows_dirty_.insert(member.identity());
  }
  for (const v1::SelectorMember& member : delta.removed_members) {
    const auto selectors = selectors_of_.find(member.identity());
    selectors->second.erase(member.selector());
    if (selectors->second.empty()) selectors_of_.erase(selectors);
    rows_dirty_.insert(member.identity());
  }
  for (const v1::IdentityPolicy& policy : delta.identities) rows_dirty_.insert(policy.identity());
  for (const uint32_t number : std::exchange(rows_dirty_, {})) {
    const auto identity = identities_.find(number);
    if (identity == identities_.end()) {
      if (rows_.erase(number) > 0) out->add_removed_pod_identities(number);
      continue;
    }
    v1::IdentityState row;
    row.set_identity(number);
    if (const auto ns = namespaces_.find(identity->second.ns); ns != namespaces_.end()) {
      row.set_namespace_number(ns->second);
    }
    const v1::IdentityPolicy policy = index_.PolicyOf(number);
    row.set_ingress(policy.ingress());
    row.set_egress(policy.egress());
    row.set_ingress6(policy.ingress6());
    row.set_egress6(policy.egress6());
    if (const auto selectors = selectors_of_.find(number); selectors != selectors_of_.end()) {
      row.mutable_selectors()->Assign(selectors->second.begin(), selectors->second.end());
    }
    const auto told = rows_.find(number);
    if (told != rows_.end() &&
        google::protobuf::util::MessageDifferencer::Equals(told->second, row)) {
      continue;
    }
    *out->add_identities() = row;
    rows_[number] = std::move(row);
  }
}

void PolicyView::Full(v1::NodeUpdate* out) const {
  out->set_policy_epoch(options_.epoch);
  for (const auto& [number, row] : rows_) *out->add_identities() = row;
  for (const auto& [number, set] : sets_) *out->add_policy_sets() = set;
}

}  // namespace mesh::controlplane
