// SPDX-License-Identifier: Apache-2.0
// Two controllers that take away what nobody takes care of any more.
#pragma once

#include "controlplane/controllers/controller.h"

namespace mesh::controlplane {

// Deletes objects whose owners (owner_references, by uid) are all gone. Keys name an owner:
// {namespace, "<Kind>/<name>/<uid>"}. Owners of kinds we do not know are taken to exist.
class GarbageController : public Controller {
 public:
  std::string_view name() const override { return "garbage"; }
  std::vector<ObjectKey> Affected(const ClusterState& state, const Change& change) const override;
  ReconcileResult Reconcile(const ClusterState& state, const ObjectKey& key,
                            absl::Time now) const override;
};

// Removes pods whose end no agent will ever report: bound to a node that has been deleted, or
// terminating before they were bound. Keys: pods.
class PodGarbageController : public Controller {
 public:
  std::string_view name() const override { return "podgc"; }
  std::vector<ObjectKey> Affected(const ClusterState& state, const Change& change) const override;
  ReconcileResult Reconcile(const ClusterState& state, const ObjectKey& key,
                            absl::Time now) const override;
};

}  // namespace mesh::controlplane
