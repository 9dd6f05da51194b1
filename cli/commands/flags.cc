// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/flags.h"

#include "cli/command.h"
#include "fmt/format.h"

namespace mesh::cli {

absl::StatusOr<absl::Duration> ParseDurationFlag(const std::string& text, std::string_view flag) {
  absl::Duration duration;
  if (absl::ParseDuration(text, &duration)) return duration;
  return UsageError(
      fmt::format("invalid argument \"{}\" for \"{}\" flag: expected a duration such as 30s or 2m",
                  text, flag));
}

absl::Time DeadlineAfter(absl::Duration timeout, absl::Time now) {
  return now + (timeout < absl::ZeroDuration() ? absl::Hours(24 * 7) : timeout);
}

}  // namespace mesh::cli
