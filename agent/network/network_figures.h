// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "agent/network/network.h"
#include "dataplane/dataplane.h"

namespace mesh::agent {

// What the dataplane counts, but for the rows of its maps: `rows`, `services` and `traffic` of
// `out`. Names come from `state`, which may be null. The first error; the rest is filled in still.
absl::Status FillFigures(const dataplane::Dataplane& dataplane, const NodeState* state,
                         NetworkFigures* out);

}  // namespace mesh::agent
