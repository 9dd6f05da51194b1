// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/policy_tables.h"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

#include "common/status.h"
#include "dataplane/tables/encode.h"
#include "fmt/format.h"

namespace mesh::dataplane {
namespace {

// A set without rows: nothing is admitted.
constexpr uint32_t kShut = UINT32_MAX;
constexpr EndpointPolicy::Sets kShutSets = {kShut, kShut, kShut, kShut};

mesh_policy_block_key BlockKey(uint32_t set, const IpPrefix& range) {
  return {static_cast<uint32_t>(32 + range.length()), set, EncodeIp(range.base())};
}
mesh_policy_block6_key BlockKey6(uint32_t set, const IpPrefix& range) {
  return {static_cast<uint32_t>(32 + range.length()), set, EncodeIp6(range.base())};
}

mesh_policy_port_key PortKey(uint32_t number, const PortPrefix& prefix) {
  mesh_policy_port_key out{};
  out.prefix_length = 32u + prefix.length;
  out.class_number = number;
  out.proto = prefix.protocol;
  out.port[0] = static_cast<uint8_t>(prefix.port >> 8);
  out.port[1] = static_cast<uint8_t>(prefix.port & 0xff);
  return out;
}

mesh_policy_decision Encode(const Decision& decision) {
  mesh_policy_decision out{};
  out.verdict = static_cast<uint8_t>(decision.verdict);
  out.rule = decision.rule;
  return out;
}
static_assert(static_cast<int>(PolicyVerdict::kAllow) == MESH_VERDICT_ALLOW);
static_assert(static_cast<int>(PolicyVerdict::kDeny) == MESH_VERDICT_DENY);
static_assert(static_cast<int>(PolicyVerdict::kPass) == MESH_VERDICT_PASS);

}  // namespace

PolicyTables::PolicyTables(Maps maps, EndpointTable& endpoints, const PolicyLimits& limits)
    : maps_(maps), endpoint_table_(endpoints), limits_(limits) {}

absl::Status PolicyTables::Load() {
  ASSIGN_OR_RETURN(const auto rows, maps_.ns.Dump());
  for (const auto& [key, value] : rows) namespaces_[key.identity] = value.ns;
  uint32_t set = 0, number = 0;
  const auto see_set = [&](uint32_t seen) {
    if (seen != kShut) set = std::max(set, seen);
  };
  ASSIGN_OR_RETURN(const auto peers, maps_.peer.Dump());
  for (const auto& [key, value] : peers) {
    see_set(key.set);
    number = std::max(number, value.number);
  }
  ASSIGN_OR_RETURN(const auto blocks, maps_.block.Dump());
  for (const auto& [key, value] : blocks) see_set(key.set);
  if (maps_.block6 != nullptr) {
    ASSIGN_OR_RETURN(const auto blocks6, maps_.block6->Dump());
    for (const auto& [key, value] : blocks6) see_set(key.set);
  }
  ASSIGN_OR_RETURN(const auto ports, maps_.port.Dump());
  for (const auto& [key, value] : ports) number = std::max(number, key.class_number);
  ASSIGN_OR_RETURN(const std::vector<EndpointRecord> records, endpoint_table_.Dump());
  for (const EndpointRecord& record : records) {
    for (const EndpointPolicy::Sets& sets : {record.policy.v4, record.policy.v6}) {
      see_set(sets.ingress);
      see_set(sets.egress);
    }
    Attached(record.endpoint, record.policy);
  }
  next_set_ = set + 1;
  first_class_ = number + 1;
  loaded_ = true;
  return absl::OkStatus();
}

// All numbers of the control plane mean something else from now on: nothing of the old table is
// changed any more, it is in force until the endpoints name the sets of the new one.
void PolicyTables::BeginAnew(uint64_t epoch) {
  if (table_.has_value()) first_class_ = table_->next_class();
  table_.emplace(limits_, first_class_);
  first_set_ = next_set_;
  numbers_.clear();
  identities_.clear();
  epoch_ = epoch;
  all_dirty_ = true;
  strangers_ = true;
}

absl::Status PolicyTables::WriteNamespaces(const DesiredState& desired) {
  std::vector<std::pair<mesh_pod_namespace_key, mesh_pod_namespace_value>> rows;
  std::vector<mesh_pod_namespace_key> gone;
  const auto look = [&](uint32_t identity) {
    const auto wanted = desired.identities.find(identity);
    const auto there = namespaces_.find(identity);
    if (wanted == desired.identities.end()) {
      if (there != namespaces_.end()) gone.push_back({identity});
    } else if (there == namespaces_.end() || there->second != wanted->second.ns) {
      rows.push_back({{identity}, {wanted->second.ns}});
    }
  };
  if (all_dirty_) {
    for (const auto& [identity, policy] : desired.identities) look(identity);
    if (desired.complete) {
      for (const auto& [identity, ns] : namespaces_) {
        if (!desired.identities.contains(identity)) look(identity);
      }
    }
  } else {
    for (const uint32_t identity : dirty_) look(identity);
  }
  RETURN_IF_ERROR(maps_.ns.UpsertAll(rows));
  for (const auto& [key, value] : rows) namespaces_[key.identity] = value.ns;
  RETURN_IF_ERROR(maps_.ns.RemoveAll(gone));
  for (const mesh_pod_namespace_key& key : gone) namespaces_.erase(key.identity);
  return absl::OkStatus();
}

PolicyTables::Step PolicyTables::StepTo(const DesiredState& desired) const {
  Step out;
  // Sets that the pods of this node need, with their numbers of the control plane.
  std::set<uint32_t> needed;
  const auto need = [&](uint32_t identity) {
    const auto policy = desired.identities.find(identity);
    if (policy == desired.identities.end()) return;
    needed.insert({policy->second.ingress, policy->second.egress});
    if (maps_.block6 != nullptr) needed.insert({policy->second.ingress6, policy->second.egress6});
  };
  for (const auto& [ip, identity] : desired.pods) need(identity);
  for (const auto& [ip, bound] : endpoints_) {
    if (!desired.pods.contains(ip)) need(bound.policy.identity);
  }
  needed.erase(0);
  for (const uint32_t set : needed) {
    const auto rules = desired.policy_sets.find(set);
    if (numbers_.contains(set) || rules == desired.policy_sets.end()) continue;
    const auto number = static_cast<uint32_t>(next_set_ + out.added.size());
    out.added[set] = number;
    out.change.sets[number] = rules->second;
  }
  for (const auto& [set, number] : numbers_) {
    if (needed.contains(set)) continue;
    out.removed.push_back(set);
    out.change.removed_sets.push_back(number);
  }
  const auto look = [&](uint32_t identity) {
    static const std::vector<uint32_t> kNone;
    const auto known = identities_.find(identity);
    const auto asked = desired.identities.find(identity);
    const auto& has = known == identities_.end() ? kNone : known->second.selectors;
    const auto& wants = asked == desired.identities.end() ? kNone : asked->second.selectors;
    std::vector<uint32_t> added, removed;
    std::set_difference(wants.begin(), wants.end(), has.begin(), has.end(),
                        std::back_inserter(added));
    std::set_difference(has.begin(), has.end(), wants.begin(), wants.end(),
                        std::back_inserter(removed));
    for (const uint32_t selector : added) out.change.members.emplace_back(selector, identity);
    for (const uint32_t selector : removed)
      out.change.removed_members.emplace_back(selector, identity);
  };
  if (!all_dirty_) {
    for (const uint32_t identity : dirty_) look(identity);
    return out;
  }
  for (const auto& [identity, policy] : desired.identities) look(identity);
  for (const auto& [identity, policy] : identities_) {
    if (!desired.identities.contains(identity)) look(identity);
  }
  return out;
}

std::vector<uint32_t> PolicyTables::SetsOf(const Step& step, const DesiredState& desired) const {
  std::vector<uint32_t> out;
  for (const auto& [set, number] : step.added) out.push_back(set);
  if (!out.empty()) return out;
  // More pods are selected by what is there.
  std::set<uint32_t> selectors;
  for (const auto& [selector, identity] : step.change.members) selectors.insert(selector);
  for (const auto& [set, number] : numbers_) {
    const auto rules = desired.policy_sets.find(set);
    if (rules == desired.policy_sets.end()) continue;
    const auto names = [&](const PolicyRule& rule) {
      return std::any_of(rule.selectors.begin(), rule.selectors.end(),
                         [&](uint32_t selector) { return selectors.contains(selector); });
    };
    if (std::any_of(rules->second.rules.begin(), rules->second.rules.end(), names))
      out.push_back(set);
  }
  return out;
}

absl::Status PolicyTables::Whole(absl::Status status, const Step& step,
                                 const DesiredState& desired) {
  if (status.ok()) return status;
  refused_ = {std::string(status.message()), SetsOf(step, desired), {}};
  BeginAnew(epoch_);
  return status;
}

absl::Status PolicyTables::Write(const DesiredState& desired, bool* judge_again) {
  written_.reset();
  if (!loaded_) RETURN_IF_ERROR(Load());
  if (desired.changed_identities.has_value()) {
    dirty_.insert(desired.changed_identities->begin(), desired.changed_identities->end());
  } else {
    all_dirty_ = true;
  }
  // What is not whole yet says nothing: what is in force stays.
  if (!desired.complete || desired.policy_epoch == 0) return absl::OkStatus();
  if (!table_.has_value() || desired.policy_epoch != epoch_) BeginAnew(desired.policy_epoch);
  RETURN_IF_ERROR(WriteNamespaces(desired));

  Step step = StepTo(desired);
  absl::StatusOr<PolicyRowChanges> rows = table_->Apply(step.change);
  if (!rows.ok()) {
    // The endpoints keep their sets; new ones that need others are shut.
    all_dirty_ = true;
    KnowNew(desired);
    refused_ = {std::string(rows.status().message()), SetsOf(step, desired), {}};
    return absl::InvalidArgumentError(rows.status().message());
  }
  refused_ = {};
  next_set_ += static_cast<uint32_t>(step.added.size());
  for (const auto& [key, value] : rows->peers) {
    *judge_again = *judge_again || identities_.contains(key.second);
  }
  RETURN_IF_ERROR(Whole(WriteRows(*rows), step, desired));
  for (const uint32_t set : step.removed) numbers_.erase(set);
  numbers_.insert(step.added.begin(), step.added.end());
  written_ = {std::move(step), *std::move(rows)};
  if (all_dirty_) {
    identities_ = desired.identities;
  } else {
    for (const uint32_t identity : dirty_) {
      const auto asked = desired.identities.find(identity);
      if (asked == desired.identities.end()) {
        identities_.erase(identity);
      } else {
        identities_[identity] = asked->second;
      }
    }
  }
  all_dirty_ = false;
  dirty_.clear();
  return absl::OkStatus();
}

absl::Status PolicyTables::Enforce(const DesiredState& desired, bool* judge_again) {
  if (!written_.has_value()) return absl::OkStatus();
  const Written written = *std::exchange(written_, std::nullopt);
  RETURN_IF_ERROR(Whole(Bind(desired.pods, judge_again), written.step, desired));
  RETURN_IF_ERROR(Whole(RemoveMembers(written.rows), written.step, desired));
  Doom(written.rows);
  return strangers_ ? DoomStrangers() : absl::OkStatus();
}

// To the sets that are there they are strangers until all fits: the rows of their selectors are not
// written.
void PolicyTables::KnowNew(const DesiredState& desired) {
  const auto is_there = [&](uint32_t set) { return set == 0 || numbers_.contains(set); };
  for (const auto& [identity, policy] : desired.identities) {
    if (identities_.contains(identity)) continue;
    const bool all = is_there(policy.ingress) && is_there(policy.egress) &&
                     is_there(policy.ingress6) && is_there(policy.egress6);
    if (!all) continue;
    identities_[identity] = policy;
    identities_[identity].selectors.clear();
  }
}

absl::Status PolicyTables::WriteRows(const PolicyRowChanges& changes) {
  std::vector<std::pair<mesh_policy_port_key, mesh_policy_decision>> ports;
  for (const auto& [key, decision] : changes.ports) {
    if (decision) ports.emplace_back(PortKey(key.first, key.second), Encode(*decision));
  }
  RETURN_IF_ERROR(maps_.port.UpsertAll(ports));
  std::vector<std::pair<mesh_policy_block_key, mesh_policy_class>> blocks;
  std::vector<std::pair<mesh_policy_block6_key, mesh_policy_class>> blocks6;
  for (const auto& [key, number] : changes.blocks) {
    if (!number) continue;
    const mesh_policy_class value{*number};
    if (FamilyOf(key.second) == Family::kV4) {
      blocks.emplace_back(BlockKey(key.first, key.second), value);
    } else {
      blocks6.emplace_back(BlockKey6(key.first, key.second), value);
    }
  }
  RETURN_IF_ERROR(maps_.block.UpsertAll(blocks));
  if (maps_.block6 != nullptr) RETURN_IF_ERROR(maps_.block6->UpsertAll(blocks6));
  std::vector<std::pair<mesh_policy_peer_key, mesh_policy_class>> peers;
  for (const auto& [key, number] : changes.peers) {
    if (number) peers.push_back({{key.first, key.second}, {*number}});
  }
  return maps_.peer.UpsertAll(peers);
}

// Who is selected no more by a set that stays.
absl::Status PolicyTables::RemoveMembers(const PolicyRowChanges& changes) {
  std::vector<mesh_policy_peer_key> keys;
  for (const auto& [key, number] : changes.peers) {
    if (!number && table_->ClassOfEverybody(key.first)) keys.push_back({key.first, key.second});
  }
  return maps_.peer.RemoveAll(keys);
}

void PolicyTables::Doom(const PolicyRowChanges& changes) {
  for (const auto& [key, number] : changes.peers) {
    if (!number && !table_->ClassOfEverybody(key.first))
      doomed_.peers.push_back({key.first, key.second});
  }
  for (const auto& [key, number] : changes.blocks) {
    if (number) continue;
    if (FamilyOf(key.second) == Family::kV4) {
      doomed_.blocks.push_back(BlockKey(key.first, key.second));
    } else {
      doomed_.blocks6.push_back(BlockKey6(key.first, key.second));
    }
  }
  for (const auto& [key, decision] : changes.ports) {
    if (!decision) doomed_.ports.push_back(PortKey(key.first, key.second));
  }
}

// Rows under numbers of tables before this one.
absl::Status PolicyTables::DoomStrangers() {
  ASSIGN_OR_RETURN(const auto peers, maps_.peer.Dump());
  for (const auto& [key, value] : peers) {
    if (key.set < first_set_) doomed_.peers.push_back(key);
  }
  ASSIGN_OR_RETURN(const auto blocks, maps_.block.Dump());
  for (const auto& [key, value] : blocks) {
    if (key.set < first_set_) doomed_.blocks.push_back(key);
  }
  if (maps_.block6 != nullptr) {
    ASSIGN_OR_RETURN(const auto blocks6, maps_.block6->Dump());
    for (const auto& [key, value] : blocks6) {
      if (key.set < first_set_) doomed_.blocks6.push_back(key);
    }
  }
  ASSIGN_OR_RETURN(const auto ports, maps_.port.Dump());
  for (const auto& [key, value] : ports) {
    if (key.class_number < first_class_) doomed_.ports.push_back(key);
  }
  strangers_ = false;
  return absl::OkStatus();
}

absl::Status PolicyTables::Collect() {
  Doomed doomed = std::exchange(doomed_, {});
  absl::Status first = maps_.peer.RemoveAll(doomed.peers);
  const auto keep = [&](absl::Status status) {
    if (first.ok()) first = std::move(status);
  };
  keep(maps_.block.RemoveAll(doomed.blocks));
  if (maps_.block6 != nullptr) keep(maps_.block6->RemoveAll(doomed.blocks6));
  keep(maps_.port.RemoveAll(doomed.ports));
  return first;
}

EndpointPolicy::Sets PolicyTables::SetsOf(uint32_t ingress, uint32_t egress) const {
  const auto place = [&](uint32_t set) -> std::pair<uint32_t, uint32_t> {
    if (set == 0) return {0, 0};
    const auto number = numbers_.find(set);
    if (number == numbers_.end()) return {kShut, kShut};
    return {number->second, table_->ClassOfEverybody(number->second).value_or(kShut)};
  };
  EndpointPolicy::Sets out;
  std::tie(out.ingress, out.ingress_class) = place(ingress);
  std::tie(out.egress, out.egress_class) = place(egress);
  return out;
}

EndpointPolicy PolicyTables::PolicyOf(uint32_t identity) const {
  EndpointPolicy out{.identity = identity, .ns = 0, .v4 = {}, .v6 = {}};
  if (const auto ns = namespaces_.find(identity); ns != namespaces_.end()) out.ns = ns->second;
  if (identity < kIdentityFirstPod || epoch_ == 0) return out;
  const auto policy = identities_.find(identity);
  if (policy == identities_.end()) {
    out.v4 = out.v6 = kShutSets;
    return out;
  }
  out.v4 = SetsOf(policy->second.ingress, policy->second.egress);
  out.v6 = SetsOf(policy->second.ingress6, policy->second.egress6);
  return out;
}

void PolicyTables::Attached(const Endpoint& endpoint, const EndpointPolicy& policy) {
  endpoints_[endpoint.ip] = {endpoint.ip6, policy};
}

absl::Status PolicyTables::Bind(const std::map<IpAddress, uint32_t>& pods, bool* judge_again) {
  for (auto& [ip, bound] : endpoints_) {
    const auto pod = pods.find(ip);
    const EndpointPolicy policy = PolicyOf(pod == pods.end() ? bound.policy.identity : pod->second);
    if (policy == bound.policy) continue;
    *judge_again = true;
    RETURN_IF_ERROR(endpoint_table_.SetPolicy(ip, bound.ip6, policy));
    bound.policy = policy;
  }
  return absl::OkStatus();
}

RefusedPolicies PolicyTables::refused() const {
  RefusedPolicies out = refused_;
  if (out.text.empty()) return out;
  for (const auto& [ip, bound] : endpoints_) {
    const EndpointPolicy::Sets &v4 = bound.policy.v4, &v6 = bound.policy.v6;
    const RefusedPolicies::Shut shut{.ingress = v4.ingress == kShut || v6.ingress == kShut,
                                     .egress = v4.egress == kShut || v6.egress == kShut};
    if (shut != RefusedPolicies::Shut()) out.shut[ip] = shut;
  }
  return out;
}

std::map<uint32_t, uint32_t> PolicyTables::Numbers() const {
  std::map<uint32_t, uint32_t> out;
  for (const auto& [set, number] : numbers_) out[number] = set;
  return out;
}

absl::StatusOr<std::vector<PolicyClassRow>> PolicyTables::Rows() const {
  struct Set {
    bool egress = false, ipv4 = false;
    std::vector<IpAddress> pods;
  };
  std::map<uint32_t, Set> sets;
  std::map<std::pair<uint32_t, uint32_t>, PolicyClassRow> rows;  // by set and class
  ASSIGN_OR_RETURN(const std::vector<EndpointRecord> records, endpoint_table_.Dump());
  for (const EndpointRecord& record : records) {
    const auto see = [&](uint32_t number, uint32_t everybody, bool egress, bool ipv4) {
      if (number == 0) return;
      Set& set = sets[number];
      set.egress = egress;
      set.ipv4 |= ipv4;
      const IpAddress& ip = record.endpoint.ip;
      if (set.pods.empty() || set.pods.back() != ip) set.pods.push_back(ip);
      rows[{number, everybody}].everybody = true;
    };
    const EndpointPolicy::Sets &v4 = record.policy.v4, &v6 = record.policy.v6;
    see(v4.ingress, v4.ingress_class, false, true);
    see(v6.ingress, v6.ingress_class, false, false);
    see(v4.egress, v4.egress_class, true, true);
    see(v6.egress, v6.egress_class, true, false);
  }
  ASSIGN_OR_RETURN(const auto peers, maps_.peer.Dump());
  for (const auto& [key, value] : peers) {
    if (sets.contains(key.set)) rows[{key.set, value.number}].identities.push_back(key.identity);
  }
  const auto add_block = [&](uint32_t set, uint32_t number, const IpAddress& base,
                             uint32_t length) {
    const auto range = IpPrefix::Parse(fmt::format("{}/{}", base.ToString(), length - 32));
    if (sets.contains(set) && range.ok()) rows[{set, number}].blocks.push_back(*range);
  };
  ASSIGN_OR_RETURN(const auto blocks, maps_.block.Dump());
  for (const auto& [key, value] : blocks) {
    add_block(key.set, value.number, DecodeIp(key.ip), key.prefix_length);
  }
  if (maps_.block6 != nullptr) {
    ASSIGN_OR_RETURN(const auto blocks6, maps_.block6->Dump());
    for (const auto& [key, value] : blocks6) {
      add_block(key.set, value.number, DecodeIp6(key.ip), key.prefix_length);
    }
  }
  std::map<uint32_t, PortRows> ports;
  ASSIGN_OR_RETURN(const auto decisions, maps_.port.Dump());
  for (const auto& [key, value] : decisions) {
    const PortPrefix prefix{.protocol = key.proto,
                            .port = static_cast<uint16_t>(key.port[0] << 8 | key.port[1]),
                            .length = static_cast<uint8_t>(key.prefix_length - 32)};
    ports[key.class_number][prefix] = {static_cast<PolicyVerdict>(value.verdict), value.rule};
  }
  std::vector<PolicyClassRow> out;
  for (auto& [key, row] : rows) {
    const Set& set = sets.at(key.first);
    row.set = key.first;
    row.number = key.second;
    row.egress = set.egress;
    row.ipv6 = !set.ipv4;
    row.pods = set.pods;
    std::sort(row.identities.begin(), row.identities.end());
    std::sort(row.blocks.begin(), row.blocks.end());
    if (const auto found = ports.find(row.number); found != ports.end()) row.ports = found->second;
    out.push_back(std::move(row));
  }
  return out;
}

}  // namespace mesh::dataplane
