// SPDX-License-Identifier: Apache-2.0
// One call of NodeService.Flows.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/network/flow_hub.h"
#include "agent/network/flow_rows.h"
#include "mesh/v1/flows.pb.h"

namespace mesh::agent {

struct FlowStreamHooks {
  // Names as of now; called about once a second.
  std::function<std::shared_ptr<const FlowNamer>()> names;
  std::function<absl::StatusOr<std::vector<dataplane::ConntrackRow>>()> conntrack;
  // False: nobody reads any more.
  std::function<bool(const v1::FlowsChunk&)> write;
  std::function<bool()> cancelled;
};

// Blocks until it is cancelled, or told what there is (without `follow`).
// INVALID_ARGUMENT: the filter, naming the field.
absl::Status StreamFlows(const v1::FlowsRequest& request, FlowHub& hub,
                         const FlowStreamHooks& hooks);

}  // namespace mesh::agent
