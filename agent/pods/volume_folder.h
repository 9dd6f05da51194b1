// SPDX-License-Identifier: Apache-2.0
// Files of a volume that change all at once, laid out as Kubernetes does:
//
//   settings.conf -> ..data/settings.conf
//   ..data -> ..3
//   ..3/settings.conf
//
// A reader that follows ..data once sees one version of all files.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "agent/pods/volume_files.h"

namespace mesh::agent {

// Brings the folder, which exists, to these files; nothing is written when they are there already.
// After a failure or a crash the version of before is whole, and the next call cleans up.
absl::Status WriteVolumeFolder(const std::string& folder, const VolumeFiles& files);

// True when the folder shows exactly these files.
bool HasVolumeFiles(const std::string& folder, const VolumeFiles& files);

}  // namespace mesh::agent
