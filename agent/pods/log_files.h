// SPDX-License-Identifier: Apache-2.0
// The files of one container's log: "2.log", to which the runtime writes, and what was rotated away
// from it, "2.log.20260102-030405.000000" with the time (UTC), so that names sort by age.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace mesh::agent {

// Those that were rotated away, oldest first.
std::vector<std::string> RotatedLogs(const std::string& path);
std::string RotatedName(const std::string& path, absl::Time when);
// All but the newest `keep` of those.
void PruneLogs(const std::string& path, size_t keep);
// All of them.
void RemoveLogs(const std::string& path);

}  // namespace mesh::agent
