// SPDX-License-Identifier: Apache-2.0
// What a machine must have to run a local cluster.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace mesh::cli::local {

struct MachineFacts {
  bool root = false;
  uint64_t capabilities = 0;   // effective, as in /proc/self/status
  std::string kernel_release;  // "6.1.0-18-amd64"
  std::string filesystems;     // /proc/filesystems
  bool containerd = false, ctr = false, shim = false, ip = false, runtime = false;
  std::vector<std::string> missing_files;  // of our own build
};

MachineFacts ReadMachineFacts(const std::vector<std::string>& own_files);
// One line for each thing that is missing, with the way out. Pure.
std::vector<std::string> MissingRequirements(const MachineFacts& facts);
// FAILED_PRECONDITION with all of them.
absl::Status CheckRequirements(const MachineFacts& facts);

}  // namespace mesh::cli::local
