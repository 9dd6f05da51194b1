// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/unique_fd.h"
#include "dataplane/flow_events.h"
#include "mesh/shared/flow_event.h"

namespace mesh::dataplane {

// `event` in host terms.
FlowEvent DecodeFlowEvent(const mesh_flow_event& event);

// Over the maps of Programs::CopyMaps(). What another agent has left in the ring is thrown away.
absl::StatusOr<std::unique_ptr<FlowEvents>> OpenFlowEvents(std::map<std::string, UniqueFd> maps);

}  // namespace mesh::dataplane
