// SPDX-License-Identifier: Apache-2.0
// Values of flags that kubectl writes the way Go does.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace mesh::cli {

// "30s", "1m30s", "0", "-1s". UsageError naming the flag.
absl::StatusOr<absl::Duration> ParseDurationFlag(const std::string& text, std::string_view flag);

// The moment `timeout` from `now`: zero is now, negative means a week (kubectl's wait).
absl::Time DeadlineAfter(absl::Duration timeout, absl::Time now);

}  // namespace mesh::cli
