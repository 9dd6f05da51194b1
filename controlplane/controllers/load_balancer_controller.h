// SPDX-License-Identifier: Apache-2.0
// Gives Services of type LoadBalancer the addresses that they wait for, and says why they wait.
//
// Admission chooses the address when a Service is written (service_admission.h), so that no two get
// the same; this controller has it choose again when an address has become free, or when the flags
// of meshd have taken one away.
#pragma once

#include "controlplane/controllers/controller.h"
#include "controlplane/state/load_balancer_pools.h"

namespace mesh::controlplane {

// Keys: Services.
class LoadBalancerController : public Controller {
 public:
  explicit LoadBalancerController(LoadBalancerPools pools) : pools_(std::move(pools)) {}
  std::string_view name() const override { return "load-balancer"; }
  std::vector<ObjectKey> Affected(const ClusterState& state, const Change& change) const override;
  ReconcileResult Reconcile(const ClusterState& state, const ObjectKey& key,
                            absl::Time now) const override;

 private:
  const LoadBalancerPools pools_;
};

}  // namespace mesh::controlplane
