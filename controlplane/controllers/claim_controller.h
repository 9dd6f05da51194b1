// SPDX-License-Identifier: Apache-2.0
// Gives every PersistentVolumeClaim a volume: one that exists, or one that it makes where the class
// has the built-in provisioner (claims.h). The volume gets its claim first, the claim its volume
// then: whatever stops between leaves nothing that two could have.
//
// A claim of a class that waits for its first consumer is looked at when the scheduler has chosen a
// node for it (annotation volume.kubernetes.io/selected-node). What cannot be made there gives the
// choice back. A claim that a pod on a node uses stays when it is deleted, until the pod has ended.
#pragma once

#include "controlplane/controllers/controller.h"

namespace mesh::controlplane {

inline constexpr char kClaimProtection[] = "kubernetes.io/pvc-protection";

// Keys: PersistentVolumeClaims.
class ClaimController : public Controller {
 public:
  std::string_view name() const override { return "claim"; }
  std::vector<ObjectKey> Affected(const ClusterState& state, const Change& change) const override;
  ReconcileResult Reconcile(const ClusterState& state, const ObjectKey& key,
                            absl::Time now) const override;
};

}  // namespace mesh::controlplane
