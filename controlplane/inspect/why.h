// SPDX-License-Identifier: Apache-2.0
// What keeps a pod from running, a Service from having backends or a policy from meaning somebody,
// and the smallest change that ends it: reasoned from the objects, with the scheduler's and the
// controllers' own functions. Pure.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/cluster_ranges.h"
#include "controlplane/state/cluster_state.h"
#include "mesh/v1/why.pb.h"

namespace mesh::controlplane {

// Who listens in pods, as their nodes have answered.
using Listeners = std::map<ObjectKey, absl::StatusOr<v1::ListListenersResponse>>;

// What of the policies is not in force, by the node that has told so.
using Refusals = std::map<std::string, v1::PolicyRefusal>;

// What only the nodes know.
struct Known {
  Listeners listeners;
  Refusals refusals;
};

// Nodes whose condition says that some policies are not in force there: Known::refusals of theirs
// make the answers right.
std::vector<std::string> NodesThatRefusePolicies(const ClusterState& state);

struct WhyAnswer {
  v1::WhyResponse response;
  // Pods whose sockets matter and are not in `known.listeners`: the answer is better with them.
  std::set<ObjectKey> wanted;
};

// NOT_FOUND when the object is not there; INVALID_ARGUMENT when the request names none.
absl::StatusOr<WhyAnswer> Why(const ClusterState& state, const ClusterRanges& ranges,
                              const v1::WhyRequest& request, const Known& known, absl::Time now);

}  // namespace mesh::controlplane
