// SPDX-License-Identifier: Apache-2.0
// Findings as people read them. Pure.
#pragma once

#include <string>

#include "mesh/v1/why.pb.h"

namespace mesh::cli {

// "PROBLEM  pod shop/web: ..." with each remedy on a line of its own, "or" between them.
std::string FindingText(const v1::Finding& finding);
bool HasProblem(const v1::WhyResponse& response);

}  // namespace mesh::cli
