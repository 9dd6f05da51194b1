// SPDX-License-Identifier: Apache-2.0
// Keeps which node answers for a Service's load balancer addresses, in the Service's status: the
// node stays while it can, though another one would be chosen today (a node has come back, a pod
// has come up elsewhere). The connections that clients have go through it.
//
// The choice itself is snapshot/node_snapshot.h's, which asks for what is kept here; so a node that
// dies is replaced without waiting for this write.
#pragma once

#include "controlplane/controllers/controller.h"

namespace mesh::controlplane {

// Keys: Services.
class AnnounceController : public Controller {
 public:
  std::string_view name() const override { return "announce"; }
  std::vector<ObjectKey> Affected(const ClusterState& state, const Change& change) const override;
  ReconcileResult Reconcile(const ClusterState& state, const ObjectKey& key,
                            absl::Time now) const override;
};

}  // namespace mesh::controlplane
