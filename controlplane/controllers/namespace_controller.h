// SPDX-License-Identifier: Apache-2.0
// Empties a namespace that is being deleted, then lets it go.
//
// It always ends: a pod whose node does not answer any more leaves the store `kSilentNodeMargin`
// after its grace period, and any other one after `kStuckPodMargin`. The agent of a node that
// returns finds such pods gone and stops their containers.
#pragma once

#include "controlplane/controllers/controller.h"

namespace mesh::controlplane {

inline constexpr absl::Duration kSilentNodeMargin = absl::Seconds(5);
inline constexpr absl::Duration kStuckPodMargin = absl::Seconds(60);

class NamespaceController : public Controller {
 public:
  std::string_view name() const override { return "namespace"; }
  std::vector<ObjectKey> Affected(const ClusterState& state, const Change& change) const override;
  ReconcileResult Reconcile(const ClusterState& state, const ObjectKey& key,
                            absl::Time now) const override;
};

}  // namespace mesh::controlplane
