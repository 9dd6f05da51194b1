// SPDX-License-Identifier: Apache-2.0
// Gives every namespace its service account "default", as long as the namespace lives.
#pragma once

#include "controlplane/controllers/controller.h"

namespace mesh::controlplane {

// Keys: Namespaces.
class ServiceAccountController : public Controller {
 public:
  std::string_view name() const override { return "service-account"; }
  std::vector<ObjectKey> Affected(const ClusterState& state, const Change& change) const override;
  ReconcileResult Reconcile(const ClusterState& state, const ObjectKey& key,
                            absl::Time now) const override;
};

}  // namespace mesh::controlplane
