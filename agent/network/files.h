// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mesh::agent {

// mkdir -p; `mode` for folders that are made. OK when it exists.
absl::Status MakeDirectories(const std::string& path, mode_t mode);
// NOT_FOUND when there is none.
absl::StatusOr<std::string> ReadWholeFile(const std::string& path);
// Readers see the old content or the new, never half of it: written to a hidden file beside it and
// renamed. Nothing is left behind on failure.
absl::Status ReplaceFile(const std::string& path, std::string_view content, mode_t mode);

}  // namespace mesh::agent
