// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"
#include "mesh/v1/container.pb.h"

namespace mesh::agent {

// Gives a volume to the group of spec.securityContext.fsGroup, as Kubernetes does: everything in
// the folder belongs to the group, which may read and write it (`read_only`: read), and what is
// made there later does too (setgid). Symbolic links are not followed. Nothing happens without
// fsGroup, nor with fsGroupChangePolicy OnRootMismatch where the folder itself is as it must be.
//
// Not for a hostPath: its files are the node's.
absl::Status ApplyOwnership(const std::string& folder, const v1::PodSecurityContext& context,
                            bool read_only = false);

}  // namespace mesh::agent
