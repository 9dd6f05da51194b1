// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/state/node_state.h"
#include "common/ip_address.h"
#include "dataplane/dataplane.h"
#include "dataplane/model/state.h"
#include "dataplane/policy/policy_set.h"
#include "dataplane/trace/trace.h"
#include "mesh/v1/node.pb.h"

namespace mesh::agent {

// What the agent knows about its node.
struct TraceView {
  std::vector<dataplane::Endpoint> endpoints;  // its pods
  dataplane::RefusedPolicies refused;
  const NodeState* state = nullptr;  // may be null: nothing has a name
  std::vector<IpAddress> own;        // addresses of the node
  // Asked about what a process of the node sends, and about the way to another node.
  std::function<absl::StatusOr<dataplane::NodeRoute>(const IpAddress& destination, uint8_t protocol,
                                                     uint16_t port)>
      routes;
};

// What becomes of the packet of `request`, in words, with the names that `view` knows, and with the
// policies about its ends that are refused. INVALID_ARGUMENT for an entry or address that is none,
// NOT_FOUND for a pod that is not here.
absl::StatusOr<v1::TraceHopResponse> TraceHop(const v1::TraceHopRequest& request,
                                              dataplane::Tracer& tracer, const TraceView& view);

}  // namespace mesh::agent
