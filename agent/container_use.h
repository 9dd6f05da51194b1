// SPDX-License-Identifier: Apache-2.0
// What containers and the node use of processors and memory, read from control groups (version 1
// and 2) and /proc: the runtime's own figures cost a quarter of a second with 150 pods.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace mesh::agent {

// What a group has used of processors since it was made, and holds of memory now without the files
// in the page cache that were not used lately (Kubernetes' working set).
struct Use {
  uint64_t cpu_ns = 0;
  uint64_t memory_bytes = 0;
};

// By container id, of the groups below `root` (/sys/fs/cgroup) whose name is an id of `ids`, or
// ends with it ("cri-containerd-ID.scope"). Containers without a group are left out.
std::map<std::string, Use> ReadContainerUse(const std::string& root,
                                            const std::set<std::string>& ids);

struct NodeUse {
  uint64_t cpu_ns = 0;  // since boot, of all processors together
  uint64_t memory_bytes = 0;
  uint64_t memory_capacity_bytes = 0;
  uint32_t cpus = 0;
};
// From `proc` (/proc). NOT_FOUND when it does not say.
absl::StatusOr<NodeUse> ReadNodeUse(const std::string& proc);

// Thousandths of a processor between two readings; 0 when the counter went back.
uint64_t CpuMilli(uint64_t before_ns, uint64_t after_ns, absl::Duration between);

}  // namespace mesh::agent
