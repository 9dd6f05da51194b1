// SPDX-License-Identifier: Apache-2.0
// Rows for people: what the maps hold, with the names the planner knows. Pure.
#pragma once

#include <vector>

#include "dataplane/dataplane.h"
#include "dataplane/plan/plan.h"

namespace mesh::dataplane {

std::vector<ServiceRow> ServiceRows(const Observed& observed, const Planner& planner);
std::vector<BackendRow> BackendRows(const Observed& observed, const Planner& planner);

}  // namespace mesh::dataplane
