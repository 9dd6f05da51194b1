// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace mesh::cli::local {

// The full form of an image reference, as container runtimes store and look it up:
//   redis                  -> docker.io/library/redis:latest
//   team/web:v1            -> docker.io/team/web:v1
//   localhost/web          -> localhost/web:latest
// INVALID_ARGUMENT when it is no reference.
absl::StatusOr<std::string> NormalizeImageReference(std::string_view reference);

}  // namespace mesh::cli::local
