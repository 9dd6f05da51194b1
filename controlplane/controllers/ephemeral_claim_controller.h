// SPDX-License-Identifier: Apache-2.0
// Makes the claims of ephemeral volumes: POD-VOLUME, which the pod owns and takes with it. A claim
// of that name that another has made is left alone: the pod waits (scheduler/pod_volumes.h).
#pragma once

#include "controlplane/controllers/controller.h"

namespace mesh::controlplane {

// Keys: pods.
class EphemeralClaimController : public Controller {
 public:
  std::string_view name() const override { return "ephemeral-claim"; }
  std::vector<ObjectKey> Affected(const ClusterState& state, const Change& change) const override;
  ReconcileResult Reconcile(const ClusterState& state, const ObjectKey& key,
                            absl::Time now) const override;
};

}  // namespace mesh::controlplane
