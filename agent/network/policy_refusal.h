// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/state/node_state.h"
#include "dataplane/dataplane.h"
#include "mesh/v1/node.pb.h"

namespace mesh::agent {

// What of the policies is not in force on this node, by the names that `state` (may be null) and
// `endpoints`, the pods of this node, know. nullopt: all are in force.
std::optional<v1::PolicyRefusal> NameRefusal(const dataplane::RefusedPolicies& refused,
                                             const std::vector<dataplane::Endpoint>& endpoints,
                                             const NodeState* state);

// In a line, for people; nullopt: empty.
std::string RefusalText(const std::optional<v1::PolicyRefusal>& refusal);

}  // namespace mesh::agent
