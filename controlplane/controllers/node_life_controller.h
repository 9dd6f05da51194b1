// SPDX-License-Identifier: Apache-2.0
// Judges nodes by their heartbeats. A node that is silent for `grace` gets Ready=Unknown: its
// endpoints stop being ready at once (objects.h: IsPodReady). After `evict_after` its pods are
// deleted, so that others take their place; they stay visible as terminating until the node says
// that they have stopped, or is deleted itself. The first heartbeat undoes the verdict.
//
// While no node at all is heard it is rather the control plane that is cut off: nothing is evicted,
// and when the first one is heard again the others have `evict_after` to follow.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "controlplane/controllers/controller.h"

namespace mesh::controlplane {

struct NodeLifeOptions {
  absl::Duration grace = absl::Seconds(3);
  absl::Duration evict_after = absl::Seconds(5);  // since the last heartbeat; >= grace
  // No node is silent before this: agents need a moment to find a control plane that was away.
  absl::Time not_before = absl::InfinitePast();
};

// "5s", "1m30s". INVALID_ARGUMENT, naming the flag and the limits, when it is no duration, is
// shorter than NodeLifeOptions::grace (pods would be replaced while their node counts as ready) or
// longer than kEvictAfterMax.
inline constexpr absl::Duration kEvictAfterMax = absl::Hours(24);
absl::StatusOr<absl::Duration> ParseEvictAfter(const std::string& text);

class NodeLifeController : public Controller {
 public:
  explicit NodeLifeController(NodeLifeOptions options) : options_(options) {}
  std::string_view name() const override { return "nodelife"; }
  std::vector<ObjectKey> Affected(const ClusterState& state, const Change& change) const override;
  ReconcileResult Reconcile(const ClusterState& state, const ObjectKey& key,
                            absl::Time now) const override;

 private:
  absl::Time SomeNodeHeardSince(const ClusterState& state, absl::Time now) const;
  void Evict(const ClusterState& state, const v1::Node& node, absl::Time now,
             ReconcileResult* result) const;

  const NodeLifeOptions options_;
};

}  // namespace mesh::controlplane
