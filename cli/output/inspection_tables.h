// SPDX-License-Identifier: Apache-2.0
// Tables of what the dataplane is made of: identities, programs, maps, names. Pure.
#pragma once

#include <string>
#include <vector>

#include "cli/output/table.h"
#include "mesh/v1/node.pb.h"

namespace mesh::cli {

//   identity    NODE IDENTITY NAMESPACE PODS ADDRESSES   (a number of each; wide: which)
//   policy      NODE PODS DIRECTION PEERS PORTS VERDICT RULE
//                                                        wide: POLICIES FAMILY SET CLASS; all names
//   policy stats  as map
//   dns         NODE NAME TYPE VALUES                    wide: TTL NAMESPACE SERVICE
//   dns stats   NODE QUESTIONS COUNT
//   prog        NODE PROGRAM FAMILY HOOK ATTACHED INSTRUCTIONS MEMORY LOADED
//                                                        wide: ID TAG MACHINE
//   map         NODE MAP TYPE KEY VALUE ENTRIES MAX FULL MEMORY   wide: ID
//   map dump    NODE KEY VALUE; a line per CPU, where each has its own
void AddInspectionRows(v1::DataplaneTable table, const v1::DataplaneNode& node, bool wide,
                       std::vector<std::vector<std::string>>* rows);
std::vector<std::string> InspectionHeaders(v1::DataplaneTable table, bool wide);

// NODE PROGRAM FAMILY RUNS RUNS/S TIME/RUN CPU of programs whose runs were counted.
Table ProgramStatsTable(const v1::ListDataplaneResponse& response);

// "4.5KiB", "12MiB".
std::string BytesText(uint64_t bytes);

}  // namespace mesh::cli
