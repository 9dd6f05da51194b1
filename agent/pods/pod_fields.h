// SPDX-License-Identifier: Apache-2.0
// What a pod may ask about itself and its node (Kubernetes' downward API). Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "mesh/v1/pod.pb.h"

namespace mesh::agent {

// What the node has for pods.
struct NodeFacts {
  std::vector<std::string> ips;  // IPv4 first
  int64_t cpu_milli = 0;
  int64_t memory_bytes = 0;
};

// "metadata.labels['app']" and so on. A label or annotation that the pod does not have is empty.
// INVALID_ARGUMENT for a path that is none.
absl::StatusOr<std::string> PodField(const v1::Pod& pod, std::string_view path,
                                     const NodeFacts& node);

// "limits.cpu" and so on of a container, in units of the divisor, rounded up. A limit that the
// container does not have is what the node has, a request is 0.
absl::StatusOr<std::string> ContainerResource(const v1::Container& container,
                                              const v1::ResourceFieldSelector& selector,
                                              const NodeFacts& node);

// One line per entry, sorted: key="value", quoted as Go does.
std::string MapText(const google::protobuf::Map<std::string, std::string>& map);

// The container of that name, among those that start first too; null: none.
const v1::Container* FindContainer(const v1::PodSpec& spec, std::string_view name);

}  // namespace mesh::agent
