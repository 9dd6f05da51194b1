// SPDX-License-Identifier: Apache-2.0
// A Node object as its agent tells of it. Pure functions.
#pragma once

#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "common/cluster_ranges.h"
#include "controlplane/state/cluster_state.h"
#include "mesh/v1/node_sync.pb.h"

namespace mesh::controlplane {

// The Node object of a registration, over the present one (null: there is none). A range for pods
// that the agent works with already is kept where no other node has it.
v1::Resource RegisteredNode(const ClusterState& state, const DualRange& pods,
                            const v1::Resource* current, const v1::Hello& hello, absl::Time now);

// What the node was heard to say at `now`, over what it said before; conditions of other types
// stay.
void NoteHeartbeat(const std::vector<v1::Condition>& conditions, absl::Time now,
                   v1::NodeStatus* status);

// Of an agent that says nothing else.
v1::Condition ReadyCondition();

}  // namespace mesh::controlplane
