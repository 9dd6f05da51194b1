// SPDX-License-Identifier: Apache-2.0
// NoExecute taints: deletes pods from nodes whose taints they do not tolerate, or no longer do
// after their tolerationSeconds; bare pods too, as Kubernetes. A taint without timeAdded is given
// one first, so that a restart of the control plane does not begin the seconds anew.
#pragma once

#include "controlplane/controllers/controller.h"

namespace mesh::controlplane {

// Keys: Nodes.
class TaintController : public Controller {
 public:
  std::string_view name() const override { return "taint"; }
  std::vector<ObjectKey> Affected(const ClusterState& state, const Change& change) const override;
  ReconcileResult Reconcile(const ClusterState& state, const ObjectKey& key,
                            absl::Time now) const override;
};

}  // namespace mesh::controlplane
