// SPDX-License-Identifier: Apache-2.0
// Follows each Service with selector by EndpointSlices, of each of its families: which pod answers
// which port, and whether it may get new flows.
//
// Pods of silent nodes are not ready. When that would leave a Service without any ready endpoint,
// the verdict on the nodes is set aside: the nodes may live while only their agents are away, and
// a pod that may answer is better than none (fail static).
//
// Services without selector keep the slices that people write for them; it only says which of their
// addresses lie outside of the cluster, and which slices have a family that the Service has not.
#pragma once

#include <optional>
#include <vector>

#include "common/cluster_ranges.h"
#include "controlplane/controllers/controller.h"

namespace mesh::controlplane {

inline constexpr char kServiceNameLabel[] = "kubernetes.io/service-name";
inline constexpr char kManagedByLabel[] = "endpointslice.kubernetes.io/managed-by";
// Of slices of headless Services.
inline constexpr char kHeadlessLabel[] = "service.kubernetes.io/headless";
inline constexpr char kEndpointsManager[] = "endpointslice-controller.mesh.io";

// Keys: Services.
class EndpointsController : public Controller {
 public:
  // Addresses of pods; unset: not known, nothing is outside.
  explicit EndpointsController(std::optional<DualRange> cluster_range = std::nullopt)
      : cluster_range_(cluster_range) {}
  std::string_view name() const override { return "endpoints"; }
  std::vector<ObjectKey> Affected(const ClusterState& state, const Change& change) const override;
  ReconcileResult Reconcile(const ClusterState& state, const ObjectKey& key,
                            absl::Time now) const override;

 private:
  void NoteForeign(const ClusterState& state, const v1::Service& service,
                   const std::vector<const v1::EndpointSlice*>& slices,
                   ReconcileResult* result) const;

  const std::optional<DualRange> cluster_range_;
};

}  // namespace mesh::controlplane
