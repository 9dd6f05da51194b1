// SPDX-License-Identifier: Apache-2.0
// The way of one packet through the cluster, node by node.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/client.h"
#include "cli/trace/place.h"
#include "mesh/v1/control.pb.h"

namespace mesh::cli {

// Follows `frame` from `origin` until it is delivered or dropped. `from`: the address that the pod
// sends it from. Errors are those of the nodes.
absl::StatusOr<v1::TraceReport> WalkPacket(const TraceOrigin& origin, const IpAddress& from,
                                           const std::string& frame,
                                           const std::vector<v1::Node>& nodes,
                                           ControlClient& client);

// For people, with line ends.
std::string ReportText(const v1::TraceReport& report);

}  // namespace mesh::cli
