// SPDX-License-Identifier: Apache-2.0
// The last words of a container (terminationMessagePath and terminationMessagePolicy).
//
// Each attempt has a file of its own below the pod's folder, "containers/<container>/<attempt>",
// which is mounted at the path that the spec names: whatever that path is, the container writes
// this file and no other of the node. The one before is kept too, for the container's last state.
//
// Limits, as in Kubernetes: the last 4096 bytes of the file; of the log, where the policy takes it,
// the last 2048 bytes of the last 80 lines; 12 KiB for all containers of a pod. Bytes that are no
// UTF-8 are replaced. The file itself can be as large as the container makes it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "agent/pods/pod_config.h"
#include "agent/pods/pod_model.h"

namespace mesh::agent {

inline constexpr int64_t kTerminationFileMost = 4096;
inline constexpr int64_t kTerminationLogMost = 2048;
inline constexpr int kTerminationLogLines = 80;
inline constexpr size_t kTerminationPodMost = 12288;

// Before the container is created: makes the file, empty and writable for every user, and removes
// those of attempts before the last one. OK when the spec names no path.
absl::Status MakeTerminationFile(const PodConfigOptions& options, const std::string& uid,
                                 const v1::Container& container, uint32_t attempt);

// What a container that has ended has left, behind what the runtime says of its end. `log`: path of
// its log. Blocks for a read of a few KiB.
std::string TerminationMessage(const PodConfigOptions& options, const std::string& uid,
                               const v1::Container& container, const ObservedContainer& exited,
                               const std::string& log);

// Bytes that each container of the pod has in its status.
size_t TerminationMessageMost(const v1::PodSpec& spec);

}  // namespace mesh::agent
