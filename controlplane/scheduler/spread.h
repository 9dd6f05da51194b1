// SPDX-License-Identifier: Apache-2.0
// spec.topologySpreadConstraints: pods that a selector finds in the pod's namespace are to be
// spread over the values of a label of the nodes (the domains) so that no domain has more than
// maxSkew more of them than the emptiest one.
//
// As in Kubernetes: domains are those of nodes that have the labels of all constraints of the same
// kind and that the pod may have (nodeAffinityPolicy Honor: its node selector and affinity;
// nodeTaintsPolicy Honor: its tolerations; Ignore by default). Pods that are on their way out count
// for nothing. With fewer domains than minDomains the emptiest counts as empty.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "controlplane/scheduler/node_table.h"
#include "controlplane/state/cluster_state.h"

namespace mesh::controlplane {

class PodSpread {
 public:
  enum class Verdict : uint8_t {
    kFits,
    kNoDomain,  // the node lacks the topologyKey of a constraint that must hold
    kSkew,      // with the pod there, such a constraint does not hold
  };

  // `table` outlives this; `pod` may go.
  PodSpread(const ClusterState& state, const NodeTable& table, const v1::Pod& pod);
  bool empty() const { return constraints_.empty(); }
  // Another pod has been placed.
  void Add(const v1::Pod& other, int node);
  Verdict Of(int node) const;
  // What speaks against the node for constraints with ScheduleAnyway: 0 to 100 for each of them.
  int64_t Crowd(int node) const;

 private:
  struct Constraint {
    std::string key;
    v1::LabelSelector selector;  // with what matchLabelKeys adds
    bool selects = false;        // no selector finds nothing
    bool required = false;
    int64_t max_skew = 1, min_domains = 1;
    bool counts_itself = false;
    std::vector<uint8_t> eligible;        // by node: in a domain that counts
    std::map<std::string, int64_t> pods;  // by domain
    int64_t fewest = 0;                   // of all domains
    void FindFewest();
  };
  bool Matches(const Constraint& constraint, const v1::Pod& other) const;
  const std::string* Domain(const Constraint& constraint, int node) const;
  static Constraint Read(const v1::TopologySpreadConstraint& from, const v1::Pod& pod);
  void FindDomains(const v1::TopologySpreadConstraint& from, const v1::PodSpec& spec,
                   Constraint* constraint) const;

  const NodeTable& table_;
  std::string ns_;
  std::vector<Constraint> constraints_;
};

}  // namespace mesh::controlplane
