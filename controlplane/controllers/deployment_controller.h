// SPDX-License-Identifier: Apache-2.0
// Rolls a Deployment's pod template out through one ReplicaSet per template.
//
// One step works on copies of the ReplicaSets until nothing more may move, and writes those that
// differ. Bounds hold at every moment, not only in the specs: a ReplicaSet counts with the pods it
// still has (status.replicas) until they are gone, and never with more available pods than it is
// going to keep. So pods that are not terminating never exceed replicas + maxSurge, and available
// ones never fall below replicas - maxUnavailable by the rollout's own doing.
//
// Names, labels, annotations, conditions and events are those of Kubernetes.
#pragma once

#include "controlplane/controllers/controller.h"

namespace mesh::controlplane {

inline constexpr char kTemplateHashLabel[] = "pod-template-hash";
inline constexpr char kRevisionAnnotation[] = "deployment.kubernetes.io/revision";
inline constexpr char kDesiredReplicasAnnotation[] = "deployment.kubernetes.io/desired-replicas";
inline constexpr char kMaxReplicasAnnotation[] = "deployment.kubernetes.io/max-replicas";

class DeploymentController : public Controller {
 public:
  std::string_view name() const override { return "deployment"; }
  std::vector<ObjectKey> Affected(const ClusterState& state, const Change& change) const override;
  ReconcileResult Reconcile(const ClusterState& state, const ObjectKey& key,
                            absl::Time now) const override;
};

}  // namespace mesh::controlplane
