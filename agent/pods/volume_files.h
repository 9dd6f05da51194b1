// SPDX-License-Identifier: Apache-2.0
// What is in volumes of the kinds configMap, secret, downwardAPI and projected. Pure.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "agent/pods/pod_fields.h"
#include "agent/state/node_state.h"
#include "mesh/v1/pod.pb.h"

namespace mesh::agent {

struct VolumeFile {
  std::string content;
  uint32_t mode = 0644;
  friend bool operator==(const VolumeFile&, const VolumeFile&) = default;
};
// By relative path, "app/settings.conf".
using VolumeFiles = std::map<std::string, VolumeFile>;

// Whether its files are written from other objects or the pod itself, and follow them.
bool HasFiles(const v1::Volume& volume);
// Whether its files must not reach a disk.
bool HasSecrets(const v1::Volume& volume);

// NOT_FOUND for what is required and missing, in Kubernetes' words.
absl::StatusOr<VolumeFiles> FilesOf(const v1::Volume& volume, const v1::Pod& pod,
                                    const NodeState& state, const NodeFacts& node);

}  // namespace mesh::agent
