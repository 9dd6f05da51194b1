// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "agent/state/node_state.h"
#include "dataplane/dataplane.h"
#include "mesh/v1/node.pb.h"

namespace mesh::agent {

// Reads the table of `request` from `dataplane` into `out`, with the names that `state` (may be
// null) knows where the kernel holds numbers, filtered by namespace and service.
// INVALID_ARGUMENT without a table.
absl::Status ListRows(const v1::ListDataplaneRequest& request,
                      const dataplane::Dataplane& dataplane, const NodeState* state,
                      v1::DataplaneNode* out);

// The same of DATAPLANE_TABLE_CONNTRACK, on any thread; `endpoints`: the node's pods.
absl::Status ListConntrack(const v1::ListDataplaneRequest& request,
                           const dataplane::Dataplane& dataplane,
                           const std::vector<dataplane::Endpoint>& endpoints,
                           const NodeState* state, v1::DataplaneNode* out);

// How full the connection table is, which rows of DATAPLANE_TABLE_FLOW_OWNERS come with.
void FillOccupancy(const dataplane::FlowUsage& usage, v1::DataplaneNode* out);

// Leaves in `after` the runs since `before`, which took `duration`. A program that has come in
// between has its own.
void SubtractRuns(const v1::DataplaneNode& before, absl::Duration duration,
                  v1::DataplaneNode* after);

}  // namespace mesh::agent
