// SPDX-License-Identifier: Apache-2.0
#include "dataplane/policy/policy_table.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "common/check.h"
#include "fmt/format.h"

namespace mesh::dataplane {
namespace {

absl::Status TooMany(const char* what, size_t rows, size_t limit) {
  return absl::ResourceExhaustedError(
      fmt::format("policies need {} rows for {}, more than {}; nothing of the change is in force",
                  rows, what, limit));
}

}  // namespace

absl::StatusOr<PolicyRowChanges> PolicyTable::Apply(const PolicyChange& change) {
  PolicyRowChanges out;
  undo_.clear();
  for (const auto& [selector, identity] : change.removed_members) {
    SetMember(selector, identity, false, &out);
  }
  for (const auto& [selector, identity] : change.members) {
    SetMember(selector, identity, true, &out);
  }
  for (const uint32_t number : change.removed_sets) {
    if (sets_.contains(number)) RemoveSet(number, &out);
  }
  for (const auto& [number, rules] : change.sets) {
    MESH_CHECK(!sets_.contains(number)) << "policy set " << number << " does not change";
    AddSet(number, rules, &out);
  }
  const absl::Status fits = CheckFits();
  if (!fits.ok()) {
    for (; !undo_.empty(); undo_.pop_back()) undo_.back()();
    return fits;
  }
  undo_.clear();
  return out;
}

absl::Status PolicyTable::CheckFits() const {
  if (peer_rows_ > limits_.peers) return TooMany("peers", peer_rows_, limits_.peers);
  if (block_rows_ > limits_.blocks) return TooMany("address ranges", block_rows_, limits_.blocks);
  if (port_rows_ > limits_.ports) return TooMany("ports", port_rows_, limits_.ports);
  return absl::OkStatus();
}

std::optional<uint32_t> PolicyTable::ClassOfEverybody(uint32_t set) const {
  const auto it = sets_.find(set);
  if (it == sets_.end()) return std::nullopt;
  return it->second.classes.at(it->second.everybody).number;
}

void PolicyTable::AddSet(uint32_t number, const PolicySet& rules, PolicyRowChanges* out) {
  Set& set = sets_[number];
  OnUndo([this, number] { sets_.erase(number); });
  set.rules = rules;
  set.everybody = RulesAboutEverybody(rules);
  for (uint32_t place = 0; place < rules.rules.size(); ++place) {
    for (const uint32_t selector : rules.rules[place].selectors) {
      RuleList& places = set.places_of[selector];
      if (places.empty() || places.back() != place) places.push_back(place);
    }
  }
  Use(number, set.everybody, out);
  for (const auto& [range, places] : BlockRowsOf(rules)) {
    out->blocks[{number, range}] = Use(number, places, out);
    set.blocks[range] = places;
  }
  block_rows_ += set.blocks.size();
  OnUndo([this, number] { block_rows_ -= sets_.at(number).blocks.size(); });
  for (const auto& [selector, places] : set.places_of) {
    sets_naming_[selector].insert(number);
    OnUndo([this, number, selector = selector] { sets_naming_[selector].erase(number); });
    const auto members = members_.find(selector);
    if (members == members_.end()) continue;
    for (const uint32_t identity : members->second) Count(number, selector, identity, 1, out);
  }
}

void PolicyTable::RemoveSet(uint32_t number, PolicyRowChanges* out) {
  auto node = sets_.extract(number);
  const Set& set = node.mapped();
  for (const auto& [identity, places] : set.places) {
    out->peers[{number, identity}] = std::nullopt;
  }
  for (const auto& [range, places] : set.blocks) out->blocks[{number, range}] = std::nullopt;
  size_t ports = 0;
  for (const auto& [rules, made] : set.classes) {
    for (const auto& [prefix, decision] : made.rows) {
      out->ports[{made.number, prefix}] = std::nullopt;
    }
    ports += made.rows.size();
  }
  const size_t peers = set.places.size(), blocks = set.blocks.size();
  peer_rows_ -= peers;
  block_rows_ -= blocks;
  port_rows_ -= ports;
  for (const auto& [selector, places] : set.places_of) sets_naming_[selector].erase(number);
  OnUndo(
      [this, number, peers, blocks, ports, kept = std::make_shared<Set>(std::move(node.mapped()))] {
        for (const auto& [selector, places] : kept->places_of)
          sets_naming_[selector].insert(number);
        peer_rows_ += peers;
        block_rows_ += blocks;
        port_rows_ += ports;
        sets_[number] = std::move(*kept);
      });
}

void PolicyTable::SetMember(uint32_t selector, uint32_t identity, bool is_member,
                            PolicyRowChanges* out) {
  std::set<uint32_t>& members = members_[selector];
  if (members.contains(identity) == is_member) return;
  if (is_member) {
    members.insert(identity);
    OnUndo([this, selector, identity] { members_[selector].erase(identity); });
  } else {
    members.erase(identity);
    OnUndo([this, selector, identity] { members_[selector].insert(identity); });
  }
  const auto naming = sets_naming_.find(selector);
  if (naming == sets_naming_.end()) return;
  for (const uint32_t number : naming->second) {
    Count(number, selector, identity, is_member ? 1 : -1, out);
  }
}

RuleList PolicyTable::RulesOf(const Set& set, uint32_t identity) const {
  const auto places = set.places.find(identity);
  if (places == set.places.end()) return set.everybody;
  RuleList out = set.everybody;
  for (const auto& [place, count] : places->second) out.push_back(place);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

void PolicyTable::AddToPlace(uint32_t number, uint32_t identity, uint32_t place, int by) {
  Set& set = sets_.at(number);
  const size_t before = set.places.size();
  auto& places = set.places[identity];
  if ((places[place] += by) == 0) places.erase(place);
  if (places.empty()) set.places.erase(identity);
  peer_rows_ = peer_rows_ - before + set.places.size();
}

void PolicyTable::Count(uint32_t number, uint32_t selector, uint32_t identity, int by,
                        PolicyRowChanges* out) {
  const Set& set = sets_.at(number);
  const bool had_row = set.places.contains(identity);
  const RuleList before = RulesOf(set, identity);
  for (const uint32_t place : set.places_of.at(selector)) {
    AddToPlace(number, identity, place, by);
    OnUndo([=, this] { AddToPlace(number, identity, place, -by); });
  }
  const bool has_row = set.places.contains(identity);
  const RuleList after = RulesOf(set, identity);
  if (has_row && had_row && before == after) return;
  // The new class before the old one goes: they may share it.
  out->peers[{number, identity}] = has_row ? std::optional(Use(number, after, out)) : std::nullopt;
  if (had_row) Release(number, before, out);
}

uint32_t PolicyTable::Use(uint32_t number, const RuleList& rules, PolicyRowChanges* out) {
  Set& set = sets_.at(number);
  const auto [it, is_new] = set.classes.try_emplace(rules);
  Class& made = it->second;
  if (is_new) {
    made.number = next_class_++;
    made.rows = PortRowsOf(set.rules, rules);
    port_rows_ += made.rows.size();
    for (const auto& [prefix, decision] : made.rows) out->ports[{made.number, prefix}] = decision;
    OnUndo([this, number, rules] {
      auto& classes = sets_.at(number).classes;
      port_rows_ -= classes.at(rules).rows.size();
      classes.erase(rules);
    });
  }
  ++made.users;
  OnUndo([this, number, rules] { --sets_.at(number).classes.at(rules).users; });
  return made.number;
}

void PolicyTable::Release(uint32_t number, const RuleList& rules, PolicyRowChanges* out) {
  auto& classes = sets_.at(number).classes;
  const auto it = classes.find(rules);
  if (--it->second.users > 0) {
    OnUndo([this, number, rules] { ++sets_.at(number).classes.at(rules).users; });
    return;
  }
  for (const auto& [prefix, decision] : it->second.rows) {
    out->ports[{it->second.number, prefix}] = std::nullopt;
  }
  port_rows_ -= it->second.rows.size();
  OnUndo([this, number, rules, kept = std::make_shared<Class>(it->second)] {
    port_rows_ += kept->rows.size();
    Class& back = sets_.at(number).classes[rules] = std::move(*kept);
    ++back.users;
  });
  classes.erase(it);
}

}  // namespace mesh::dataplane
