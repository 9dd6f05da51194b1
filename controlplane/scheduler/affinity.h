// SPDX-License-Identifier: Apache-2.0
// spec.affinity: which nodes a pod must have, which it would rather have, and which pods must or
// must not be near it; with it spec.topologySpreadConstraints (spread.h).
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "controlplane/scheduler/node_table.h"
#include "controlplane/scheduler/spread.h"
#include "controlplane/state/cluster_state.h"

namespace mesh::controlplane {

// Of nodeAffinity.required...: one of the terms matches. True where there are none.
bool MatchesNodeAffinity(const v1::PodSpec& spec, const v1::Node& node);
// Sum of the weights of nodeAffinity.preferred... whose terms match.
int64_t NodePreference(const v1::PodSpec& spec, const v1::Node& node);

// Pods that run and whose required anti-affinity may keep others away, with their nodes.
using AntiAffinePods = std::vector<std::pair<const v1::Pod*, int>>;
AntiAffinePods FindAntiAffine(const ClusterState& state, const NodeTable& table);

// One pod against those that run. A node without the label of a topologyKey is in no domain: it
// satisfies no affinity and violates no anti-affinity.
class PodAffinity {
 public:
  enum class Verdict : uint8_t {
    kFits,
    kAffinity,              // a pod that must be near is not
    kAntiAffinity,          // a pod is near that must not be
    kExistingAntiAffinity,  // a pod is near that does not want this one
    kNoDomain,              // see PodSpread
    kSkew,
  };

  // `state` and `table` outlive this.
  PodAffinity(const ClusterState& state, const NodeTable& table, const AntiAffinePods& anti_affine,
              const v1::Pod& pod);
  // Nothing to ask: each node fits and none is preferred.
  bool empty() const { return terms_.empty() && forbidden_.empty() && spread_.empty(); }
  // Another pod has been placed.
  void Add(const v1::Pod& other, int node);
  Verdict Of(int node) const;
  // Weights of the preferred terms, those of anti-affinity negative, and what spreading asks for.
  int64_t Preference(int node) const;

 private:
  struct Term {
    const v1::PodAffinityTerm* term = nullptr;
    bool anti = false, required = false;
    int32_t weight = 0;
    std::map<std::string, int> pods;  // that match, by value of the topology's label
  };
  void AddTerms(const v1::Affinity& affinity);
  void Count(const v1::Pod& other, int node);
  // Of an existing pod that may not want this one.
  void Forbid(const v1::Pod& other, int node);
  bool Matches(const v1::PodAffinityTerm& term, const std::string& own_namespace,
               const v1::Pod& other) const;
  // nullptr: the node is in no such domain.
  const std::string* Domain(int node, const std::string& key) const;

  const ClusterState& state_;
  const NodeTable& table_;
  const v1::Pod pod_;
  PodSpread spread_;
  std::vector<Term> terms_;
  bool has_required_ = false;  // affinity
  // The pod is what it looks for: the first of its kind may start.
  bool matches_itself_ = false;
  int near_ = 0;  // pods that match all required terms of affinity
  std::map<std::string, std::set<std::string>> forbidden_;  // label of nodes, its values
};

}  // namespace mesh::controlplane
