// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "agent/network/names.h"
#include "agent/state/node_state.h"
#include "dataplane/policy/policy_rows.h"
#include "mesh/v1/node.pb.h"

namespace mesh::agent {

// The rows of the policy maps with the names of pods, policies and rules that `state` (may be null)
// and `endpoints`, the pods of this node, know: one for each rule that decides about a class of
// peers, and one for each class that nothing is admitted of.
std::vector<v1::PolicyRow> PolicyRows(const std::vector<dataplane::PolicyClassRow>& classes,
                                      const std::vector<dataplane::Endpoint>& endpoints,
                                      const Names& names, const NodeState* state);

}  // namespace mesh::agent
