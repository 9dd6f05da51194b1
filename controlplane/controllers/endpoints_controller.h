// SPDX-License-Identifier: Apache-2.0
// Follows each Service with selector by EndpointSlices: which pod answers which port, and whether
// it may get new flows.
//
// Pods of silent nodes are not ready. When that would leave a Service without any ready endpoint,
// the verdict on the nodes is set aside: the nodes may live while only their agents are away, and
// a pod that may answer is better than none (fail static).
#pragma once

#include "controlplane/controllers/controller.h"

namespace mesh::controlplane {

inline constexpr char kServiceNameLabel[] = "kubernetes.io/service-name";
inline constexpr char kManagedByLabel[] = "endpointslice.kubernetes.io/managed-by";
inline constexpr char kEndpointsManager[] = "endpointslice-controller.mesh.io";

// Keys: Services.
class EndpointsController : public Controller {
 public:
  std::string_view name() const override { return "endpoints"; }
  std::vector<ObjectKey> Affected(const ClusterState& state, const Change& change) const override;
  ReconcileResult Reconcile(const ClusterState& state, const ObjectKey& key,
                            absl::Time now) const override;
};

}  // namespace mesh::controlplane
