// SPDX-License-Identifier: Apache-2.0
// Flows as rows of a table. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "mesh/v1/flows.pb.h"

namespace mesh::cli {

//   TIME NODE EVENT VERDICT REASON PROTO SOURCE DESTINATION SERVICE
//   wide: DIALLED TARGET TCP PACKETS BYTES IDENTITIES POLICY
std::vector<std::string> FlowHeaders(bool wide);
// Cells as long as most are, for columns that are aligned before all rows have come.
std::vector<std::string> TypicalFlowRow();
// Times of day in `zone`, to the millisecond. Ends are "NAMESPACE/POD:PORT", "node/NAME:PORT", or
// the address.
std::vector<std::string> FlowRow(const v1::Flow& flow, bool wide, absl::TimeZone zone);

// "pod/web-1:8080"; the port is left out where there is none.
std::string FlowEndText(const v1::FlowEnd& end);
// "warning: n1: 12 events were lost: the node's ring was full"; a line for each kind that is not 0.
std::string FlowLossText(const std::string& node, const v1::FlowLoss& lost);

}  // namespace mesh::cli
