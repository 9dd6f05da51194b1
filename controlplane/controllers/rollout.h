// SPDX-License-Identifier: Apache-2.0
// The arithmetic of rolling updates, as Kubernetes defines it. Pure numbers.
#pragma once

#include <cstdint>

#include "mesh/v1/apps.pb.h"

namespace mesh::controlplane {

// How far a rollout may leave the wanted size, in pods.
struct Fenceposts {
  int32_t max_surge = 0;
  int32_t max_unavailable = 0;
};

// Percentages of max_surge round up, of max_unavailable down; both 25% when absent. When both come
// out as 0, one pod may be unavailable: otherwise nothing could ever move.
Fenceposts ResolveFenceposts(const v1::RollingUpdateDeployment& strategy, int32_t replicas);

// Of the Deployment's own strategy; {0, 0} for Recreate. max_unavailable is at most `replicas`.
Fenceposts FencepostsOf(const v1::Deployment& deployment);

int32_t ReplicasOf(const v1::Deployment& deployment);
int32_t ReplicasOf(const v1::ReplicaSet& replica_set);

// Share of a change of `to_add` pods (negative: fewer) that one ReplicaSet of `replicas` pods takes
// when the Deployment is scaled during a rollout.
//   allowed_size       replicas + max_surge of the Deployment, now
//   old_allowed_size   the same when this ReplicaSet was last sized (> 0)
//   added              what other ReplicaSets have taken already
int32_t Proportion(int32_t replicas, int32_t allowed_size, int32_t old_allowed_size,
                   bool deployment_is_empty, int32_t to_add, int32_t added);

}  // namespace mesh::controlplane
