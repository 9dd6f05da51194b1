// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/unique_fd.h"

namespace mesh::dataplane {

// NOT_FOUND when there is nothing at `path`; INVALID_ARGUMENT when it is no network namespace.
absl::StatusOr<UniqueFd> OpenNetns(const std::string& path);

// Runs `work` with the calling thread inside the namespace, and returns its answer. Ends the
// process if the thread cannot come back.
absl::Status InNetns(int netns_fd, const std::function<absl::Status()>& work);

}  // namespace mesh::dataplane
