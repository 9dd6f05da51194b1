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

using NodeRoutes = std::function<absl::StatusOr<dataplane::NodeRoute>(const IpAddress&)>;

// What becomes of the packet of `request`, in words, with the names that `state` (may be null) and
// `endpoints`, the pods of this node, know; also which policies about its ends are `refused`.
// INVALID_ARGUMENT for an entry or address that is none, NOT_FOUND for a pod that is not here.
// `routes` is asked about what a process of the node sends.
absl::StatusOr<v1::TraceHopResponse> TraceHop(const v1::TraceHopRequest& request,
                                              dataplane::Tracer& tracer, const NodeRoutes& routes,
                                              const std::vector<dataplane::Endpoint>& endpoints,
                                              const dataplane::RefusedPolicies& refused,
                                              const NodeState* state);

}  // namespace mesh::agent
