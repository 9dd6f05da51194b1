// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "dataplane/dataplane.h"

namespace mesh::agent {

// What the dataplane was opened with (`open`) stays for the life of this process; `now` is what
// meshd says. A range of which pods have addresses must not change: FAILED_PRECONDITION. Else what
// waits for the next start, for people; empty: nothing. Pure.
absl::StatusOr<std::string> CheckFixed(const dataplane::NodeConfig& open,
                                       const dataplane::NodeConfig& now);

}  // namespace mesh::agent
