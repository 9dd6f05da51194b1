// SPDX-License-Identifier: Apache-2.0
// What the kernel's maps hold, as tables. Pure.
#pragma once

#include <string>

#include "cli/output/table.h"
#include "mesh/v1/node.pb.h"

namespace mesh::cli {

// Rows of all nodes that answered, in the order of the answer.
//   service   NODE NAMESPACE SERVICE FRONTEND BACKENDS              wide: ID PODS
//   backend   NODE ID NAMESPACE SERVICE BACKEND STATE POD ON        wide: -
//   ct        NODE PROTO SOURCE DESTINATION BACKEND STATE EXPIRES PACKETS BYTES
//                                                                    wide: NAMESPACE SERVICE KIND
//                                                                    FROM TO
//   endpoint  NODE NAMESPACE POD ADDRESS INTERFACE                  wide: MAC IFINDEX IDENTITY
//   tunnel    NODE CIDR PEER VIA ROUTING
//   metrics   NODE REASON DIRECTION PACKETS BYTES
//   ct stats  NODE NAMESPACE POD ADDRESS FLOWS LIMIT; a row "(all)" for the table of each node
// Of the others see inspection_tables.h.
Table DataplaneTableOf(v1::DataplaneTable table, const v1::ListDataplaneResponse& response,
                       bool wide);

// "node-1: 12 of 65536 entries, revision 42", a line per node that answered.
std::string OccupancyText(const v1::ListDataplaneResponse& response);
// "warning: node-2: <why>", a line per node that did not answer.
std::string FailureText(const v1::ListDataplaneResponse& response);

}  // namespace mesh::cli
