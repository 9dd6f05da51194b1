// SPDX-License-Identifier: Apache-2.0
// Logs of a node's processes, which they write by their standard error.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace mesh::cli::local {

// A log of a process of the local cluster, and the one before it, are at most about so long each.
inline constexpr int64_t kLogBytesMax = 16 << 20;

// Moves what a log holds to `path` + ".1" once it is longer than `bytes_max`. Who has it open to
// append (O_APPEND) goes on at its start; a line that is written between the last byte copied and
// the end of this call is lost. A log that is not there is fine.
absl::Status RotateLog(const std::string& path, int64_t bytes_max = kLogBytesMax);

}  // namespace mesh::cli::local
