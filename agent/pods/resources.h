// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "agent/cri/runtime_v1.pb.h"
#include "agent/pods/pod_config.h"
#include "mesh/v1/core.pb.h"

namespace mesh::agent {

// The values of a container's cgroup, and who goes first when the node has no memory left: pods
// that ask for nothing (1000), then the others by how much of the node's memory they asked for,
// those that are Guaranteed last (-997). Never below `options.oom_score_adj_min`.
void FillResources(const v1::PodSpec& pod, const v1::Container& container,
                   const PodConfigOptions& options, runtime::v1::LinuxContainerResources* out);

}  // namespace mesh::agent
