// SPDX-License-Identifier: Apache-2.0
// What stays with a cluster from one start of meshd to the next, held against the flags.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/cluster_ranges.h"
#include "common/event_loop.h"
#include "controlplane/state/cluster_state.h"
#include "controlplane/state/writer.h"
#include "controlplane/store/store.h"

namespace mesh::controlplane {

inline constexpr char kRoutingVxlan[] = "vxlan";
inline constexpr char kRoutingNative[] = "native";

// How packets travel between nodes: `wanted` ("vxlan", "native", or empty for what is recorded,
// "vxlan" at first), which is recorded. FAILED_PRECONDITION when the cluster has nodes that do it
// the other way: their pods could not reach each other while some have changed and some have not.
// Blocks on the store; before `store` has other writers.
absl::StatusOr<std::string> RecordRouting(Store& store, const ClusterState& state,
                                          const std::string& wanted);

// OK when the ranges hold what nodes and Services have. FAILED_PRECONDITION names the first that
// does not fit.
absl::Status CheckRangesHold(const ClusterState& state, const ClusterRanges& ranges);

// Gives what a second range brings to those that are from before: each node its range of IPv6, each
// PreferDualStack Service its second address. Pods keep what they have. `done` runs when the writes
// have ended.
void CompleteFamilies(Writer& writer, const ClusterState& state, const ClusterRanges& ranges,
                      Task done);

}  // namespace mesh::controlplane
