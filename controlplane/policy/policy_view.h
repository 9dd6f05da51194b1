// SPDX-License-Identifier: Apache-2.0
// What every node must know of policies and of those they speak about, kept current change by
// change, as the messages of the nodes' streams: the cost of a change is what it affects.
//
// Thread: loop only. Deterministic.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "controlplane/controllers/controller.h"
#include "controlplane/policy/policy_index.h"
#include "controlplane/state/cluster_state.h"
#include "mesh/v1/node_sync.pb.h"

namespace mesh::controlplane {

class PolicyView {
 public:
  struct Options {
    std::vector<IpPrefix> pod_ranges;
    // Tells the numbers of this object from those of others: of another run of meshd.
    uint64_t epoch = 1;
    // An identity that no pod has any more is told for so long: its pods may still send, under it,
    // until their node has heard of another one.
    absl::Duration linger = absl::Seconds(30);
  };
  explicit PolicyView(Options options);

  // Everything anew; the increment is not of interest.
  void Reset(const ClusterState& state, absl::Time now);
  // Marks what a change may concern. Cheap.
  void Note(const Change& change);
  bool dirty() const {
    return !namespaces_dirty_.empty() || !policies_dirty_.empty() || !pods_dirty_.empty();
  }
  // Looks at what is dirty, and adds to `out` what is different from before. The same for every
  // node.
  void Refresh(const ClusterState& state, absl::Time now, v1::NodeUpdate* out);
  // When Refresh() has something to do without any change; nullopt: never.
  std::optional<absl::Time> next() const;

  // Everything, as of the last Refresh.
  void Full(v1::NodeUpdate* out) const;

  // Some policy asks whom pods send to: nodes must know the pods of the others.
  bool asks_about_receivers() const { return egress_sets_ > 0; }

 private:
  void RefreshNamespace(const ClusterState& state, const std::string& name);
  void RefreshPod(const ClusterState& state, const ObjectKey& key, absl::Time now);
  void Tell(const PolicyDelta& delta, v1::NodeUpdate* out);

  const Options options_;
  PolicyIndex index_;
  std::map<std::string, uint32_t> namespaces_;  // their numbers
  std::map<ObjectKey, uint32_t> pods_;          // their identities
  struct Identity {
    std::string ns;
    int users = 0;
    absl::Time gone_at;  // while nobody uses it
  };
  std::map<uint32_t, Identity> identities_;
  std::map<absl::Time, std::set<uint32_t>> unused_;  // by when they go
  std::map<uint32_t, std::set<uint32_t>> selectors_of_;
  // As told.
  std::map<uint32_t, v1::IdentityState> rows_;
  std::map<uint32_t, v1::PolicySetState> sets_;
  int egress_sets_ = 0;

  std::set<std::string> namespaces_dirty_;
  std::set<ObjectKey> policies_dirty_, pods_dirty_;
  std::set<uint32_t> rows_dirty_;
};

}  // namespace mesh::controlplane
