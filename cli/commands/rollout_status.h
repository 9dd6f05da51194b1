// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "mesh/v1/apps.pb.h"

namespace mesh::cli {

struct RolloutState {
  // With its line end.
  std::string message;
  bool done = false;
};

// How far the rollout of a Deployment is, in kubectl's words. Pure. DEADLINE_EXCEEDED when it made
// no progress for the progress deadline.
absl::StatusOr<RolloutState> RolloutStatus(const v1::Deployment& deployment);

}  // namespace mesh::cli
