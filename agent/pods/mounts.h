// SPDX-License-Identifier: Apache-2.0
// Mounts of this process' mount namespace, which is the container runtime's too, and paths that
// nobody can lead astray. Behind an interface, so that volumes are tested without privileges.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mesh::agent {

class Mounts {
 public:
  virtual ~Mounts() = default;
  // A file system in memory on this folder; OK when one is there. `bytes` 0: the kernel's limit,
  // half of the memory.
  virtual absl::Status Tmpfs(const std::string& folder, int64_t bytes, mode_t mode) = 0;
  // Shows `source`, a path below `root`, at `target`, which is made. What was mounted there before
  // is taken away first. Symbolic links are followed as long as they stay below `root`; what is not
  // there becomes a folder of the mode of the one above it. PERMISSION_DENIED for a way out.
  virtual absl::Status BindBelow(const std::string& root, const std::string& source,
                                 const std::string& target) = 0;
  // Takes away all that is mounted on the folder or below it.
  virtual absl::Status UnmountAll(const std::string& folder) = 0;
};

std::unique_ptr<Mounts> NewKernelMounts();

// Removes a folder with all that is in it, and never what is mounted there: a mount point below it
// is an error. OK when there is no such folder.
absl::Status RemoveOwnTree(const std::string& folder);

}  // namespace mesh::agent
