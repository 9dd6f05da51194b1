// SPDX-License-Identifier: Apache-2.0
// Policies as meshd sends them, as the dataplane takes them. Pure.
#pragma once

#include "absl/status/statusor.h"
#include "dataplane/policy/policy_set.h"
#include "mesh/v1/policy.pb.h"

namespace mesh::agent {

// INVALID_ARGUMENT, naming the policy, when a range is none: the whole set is refused.
absl::StatusOr<dataplane::PolicySet> TranslatePolicySet(const v1::PolicySetState& state);

}  // namespace mesh::agent
