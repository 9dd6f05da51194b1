// SPDX-License-Identifier: Apache-2.0
// The policy maps of a node as they should be, kept current change by change: the cost of a change
// is what it affects. Pure.
//
//   set, identity of the peer  -> class     (peers that are pods)
//   set, address of the peer   -> class     (all others: the longest range)
//   class, protocol, port      -> decision  (the longest prefix)
//
// A peer without a row is of the set's class for everybody. A packet without a decision is dropped.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "dataplane/policy/policy_rows.h"
#include "dataplane/policy/policy_set.h"

namespace mesh::dataplane {

// Rows that a change adds or replaces (a value), and takes away (nullopt).
struct PolicyRowChanges {
  using Peer = std::pair<uint32_t, uint32_t>;    // set, identity
  using Block = std::pair<uint32_t, IpPrefix>;   // set
  using Port = std::pair<uint32_t, PortPrefix>;  // class
  std::map<Peer, std::optional<uint32_t>> peers;
  std::map<Block, std::optional<uint32_t>> blocks;
  std::map<Port, std::optional<Decision>> ports;
  bool empty() const { return peers.empty() && blocks.empty() && ports.empty(); }
};

struct PolicyChange {
  std::map<uint32_t, PolicySet> sets;  // new ones, by number
  std::vector<uint32_t> removed_sets;
  // Pairs of a selector and an identity. Those of a selector that no set names are remembered.
  std::vector<std::pair<uint32_t, uint32_t>> members;
  std::vector<std::pair<uint32_t, uint32_t>> removed_members;
};

struct PolicyLimits {
  size_t peers = 0, blocks = 0, ports = 0;
};

class PolicyTable {
 public:
  // `first_class`: classes get numbers from there on, never one twice.
  explicit PolicyTable(const PolicyLimits& limits, uint32_t first_class = 1)
      : limits_(limits), next_class_(first_class) {}

  // All of it or nothing: RESOURCE_EXHAUSTED, with the map, the number of rows and the limit, when
  // the rows do not fit. Rows are to be written in the order ports, peers and blocks, and removed
  // the other way round; then no packet meets a class without its decisions.
  absl::StatusOr<PolicyRowChanges> Apply(const PolicyChange& change);

  // Class of peers that no other row of the set is about; nullopt: there is no such set.
  std::optional<uint32_t> ClassOfEverybody(uint32_t set) const;

  uint32_t next_class() const { return next_class_; }
  size_t peer_rows() const { return peer_rows_; }
  size_t block_rows() const { return block_rows_; }
  size_t port_rows() const { return port_rows_; }

 private:
  struct Class {
    uint32_t number = 0;
    size_t users = 0;  // rows of peers and blocks, and one for everybody
    PortRows rows;
  };
  struct Set {
    PolicySet rules;
    std::map<RuleList, Class> classes;
    std::map<uint32_t, RuleList> places_of;  // of the rules that name a selector
    // Of each identity that a selector selects: the rules, and by how many selectors.
    std::map<uint32_t, std::map<uint32_t, int>> places;
    std::map<IpPrefix, RuleList> blocks;
    RuleList everybody;
  };

  void AddSet(uint32_t number, const PolicySet& rules, PolicyRowChanges* out);
  void RemoveSet(uint32_t number, PolicyRowChanges* out);
  void SetMember(uint32_t selector, uint32_t identity, bool is_member, PolicyRowChanges* out);
  // The rules of the set that name `selector` are, or are no more, about `identity` because of it.
  void Count(uint32_t number, uint32_t selector, uint32_t identity, int by, PolicyRowChanges* out);
  // Adds to how often a rule is about an identity.
  void AddToPlace(uint32_t number, uint32_t identity, uint32_t place, int by);
  RuleList RulesOf(const Set& set, uint32_t identity) const;
  // One user more of the class of these rules, which is made for the first one. Its number.
  uint32_t Use(uint32_t number, const RuleList& rules, PolicyRowChanges* out);
  void Release(uint32_t number, const RuleList& rules, PolicyRowChanges* out);
  absl::Status CheckFits() const;
  // How to take back the last step, exactly.
  void OnUndo(std::function<void()> step) { undo_.push_back(std::move(step)); }

  PolicyLimits limits_;
  std::map<uint32_t, Set> sets_;
  std::map<uint32_t, std::set<uint32_t>> members_;      // by selector
  std::map<uint32_t, std::set<uint32_t>> sets_naming_;  // by selector
  uint32_t next_class_;
  size_t peer_rows_ = 0, block_rows_ = 0, port_rows_ = 0;
  std::vector<std::function<void()>> undo_;  // of the change that is being applied
};

}  // namespace mesh::dataplane
