// SPDX-License-Identifier: Apache-2.0
#include "cli/output/age.h"

#include "fmt/format.h"

namespace mesh::cli {
namespace {

std::string Pair(int64_t big, const char* big_unit, int64_t small, const char* small_unit) {
  if (small == 0) return fmt::format("{}{}", big, big_unit);
  return fmt::format("{}{}{}{}", big, big_unit, small, small_unit);
}

}  // namespace

std::string HumanDuration(absl::Duration duration) {
  const int64_t seconds = absl::ToInt64Seconds(duration);
  if (seconds < -1) return "<invalid>";
  if (seconds < 0) return "0s";
  if (seconds < 2 * 60) return fmt::format("{}s", seconds);
  const int64_t minutes = seconds / 60;
  if (minutes < 10) return Pair(minutes, "m", seconds % 60, "s");
  if (minutes < 3 * 60) return fmt::format("{}m", minutes);
  const int64_t hours = minutes / 60;
  if (hours < 8) return Pair(hours, "h", minutes % 60, "m");
  if (hours < 48) return fmt::format("{}h", hours);
  const int64_t days = hours / 24;
  if (hours < 24 * 8) return Pair(days, "d", hours % 24, "h");
  if (hours < 24 * 365 * 2) return fmt::format("{}d", days);
  const int64_t years = days / 365;
  if (hours < 24 * 365 * 8) return Pair(years, "y", days % 365, "d");
  return fmt::format("{}y", years);
}

absl::Time ToTime(const google::protobuf::Timestamp& timestamp) {
  return absl::FromUnixSeconds(timestamp.seconds()) + absl::Nanoseconds(timestamp.nanos());
}

bool EventBefore(const v1::Event& a, const v1::Event& b) {
  const absl::Time a_time = ToTime(a.last_timestamp());
  const absl::Time b_time = ToTime(b.last_timestamp());
  if (a_time != b_time) return a_time < b_time;
  // Decimal numbers.
  const std::string& a_version = a.metadata().resource_version();
  const std::string& b_version = b.metadata().resource_version();
  if (a_version.size() != b_version.size()) return a_version.size() < b_version.size();
  return a_version < b_version;
}

std::string AgeSince(bool set, const google::protobuf::Timestamp& timestamp, absl::Time now) {
  return set ? HumanDuration(now - ToTime(timestamp)) : "<unknown>";
}

std::string Rfc1123(const google::protobuf::Timestamp& timestamp) {
  return absl::FormatTime("%a, %d %b %Y %H:%M:%S %z", ToTime(timestamp), absl::LocalTimeZone());
}

}  // namespace mesh::cli
