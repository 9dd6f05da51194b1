// SPDX-License-Identifier: Apache-2.0
// What this machine is, as the Node object tells it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "mesh/v1/core.pb.h"

namespace mesh::agent {

inline constexpr int kPodsPerNodeMax = 110;  // as in Kubernetes

// Labels of the node: kubernetes.io/{hostname,os,arch} and `labels` over them.
// Addresses, capacity, allocatable, node_info and agent_endpoint of the status.
//   node_ips  IPv4 first
v1::Node DescribeNode(const std::string& node_name, const std::vector<std::string>& node_ips,
                      const std::string& agent_endpoint, const std::string& runtime_version,
                      const std::map<std::string, std::string>& labels);

int64_t MemoryCapacityBytes();
// Of this process; what it starts cannot have less without privileges.
int64_t OwnOomScoreAdj();

}  // namespace mesh::agent
