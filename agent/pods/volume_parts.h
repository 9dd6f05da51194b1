// SPDX-License-Identifier: Apache-2.0
// What the parts of Volumes share.
#pragma once

#include "absl/status/status.h"
#include "mesh/v1/volume.pb.h"

namespace mesh::agent {

// Folders on their way out. No uid and no volume begins so.
inline constexpr char kRemovedPrefix[] = ".removed-";

// That the path is what its type says; makes what the type lets be made.
absl::Status CheckHostPath(const v1::HostPathVolumeSource& source);

}  // namespace mesh::agent
