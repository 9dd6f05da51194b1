// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "controlplane/controllers/controller.h"

namespace mesh::controlplane {

// Pods whose identity does not stand for them any more: address ranges of policies have come or
// gone, or the pod is of a time before policies. Any write gives them one (Admission), so it writes
// them as they are. Key: pod.
class IdentityController : public Controller {
 public:
  std::string_view name() const override { return "identity"; }
  std::vector<ObjectKey> Affected(const ClusterState& state, const Change& change) const override;
  ReconcileResult Reconcile(const ClusterState& state, const ObjectKey& key,
                            absl::Time now) const override;
};

}  // namespace mesh::controlplane
