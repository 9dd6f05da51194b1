// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "controlplane/state/cluster_state.h"

namespace mesh::controlplane {

// Reasons why no node could ever take such a pod, were it empty and ready; empty when one could,
// and while there are no nodes at all. For warnings on apply. Example:
//   "requests cpu 64, the largest node has 2"
std::vector<std::string> WhyNeverFits(const ClusterState& state, const v1::PodSpec& spec);

}  // namespace mesh::controlplane
