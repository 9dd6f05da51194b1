// SPDX-License-Identifier: Apache-2.0
// Keeps spec.replicas pods of a ReplicaSet alive.
//
// Pods belong to it by controller reference. Pods that match the selector and belong to nobody are
// adopted; owned pods whose labels match no longer are let go. Pods that are terminating or
// finished do not count. Surplus pods go in the order of Kubernetes: not placed before placed,
// pending before running, not ready before ready, crowded nodes first, newer before older.
#pragma once

#include "controlplane/controllers/controller.h"

namespace mesh::controlplane {

class ReplicaSetController : public Controller {
 public:
  std::string_view name() const override { return "replicaset"; }
  std::vector<ObjectKey> Affected(const ClusterState& state, const Change& change) const override;
  ReconcileResult Reconcile(const ClusterState& state, const ObjectKey& key,
                            absl::Time now) const override;
};

}  // namespace mesh::controlplane
