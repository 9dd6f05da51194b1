// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "dataplane/dataplane.h"
#include "dataplane/kernel_maps.h"
#include "dataplane/net/netlink.h"
#include "dataplane/tables/endpoint_table.h"
#include "dataplane/tables/flow_table.h"
#include "dataplane/tables/policy_tables.h"

namespace mesh::dataplane {

// Pods of this node: their links, the programs there and their rows. A part of KernelDataplane,
// whose calls of the same name lead here; everything given outlives it.
class PodEndpoints {
 public:
  PodEndpoints(const NodeConfig& config, Netlink& netlink, const Programs& programs,
               KernelMaps& maps);

  // Puts the new program on every endpoint; one whose interface is gone is no endpoint any more.
  absl::Status Adopt();
  absl::StatusOr<Endpoint> Attach(const AttachRequest& request);
  absl::Status Detach(const std::string& container_id, const std::string& ifname);
  absl::Status Check(const AttachRequest& request);
  // Gives `pods` that MTU. The first error; the rest has it.
  absl::Status SetMtu(const std::vector<PodInterface>& pods, int mtu);
  absl::StatusOr<std::vector<Endpoint>> Endpoints() const;
  // Whom the policies of the pods are told.
  PolicyTables& policies() { return policies_; }
  const PolicyTables& policies() const { return policies_; }
  // Thread-safe.
  absl::StatusOr<bool> Settle();

 private:
  absl::Status CheckAddresses(const AttachRequest& request) const;
  std::optional<int> FromPod6() const;
  absl::Status RemoveFlows(const Endpoint& endpoint);

  const NodeConfig& config_;
  Netlink& netlink_;
  const Programs& programs_;
  EndpointTable endpoints_;
  PolicyTables policies_;
  FlowTable<V4> flows_;
  std::optional<FlowTable<V6>> flows6_;

  absl::Mutex mutex_;
  // Interfaces whose programs are where Attach() has put them.
  std::deque<int> unsettled_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mesh::dataplane
