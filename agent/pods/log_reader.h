// SPDX-License-Identifier: Apache-2.0
// Reads a container's log as the runtime writes it: "<RFC 3339 time> stdout|stderr F|P <text>" per
// line, P for a part of a line that was too long for one. What was rotated away (log_files.h) is
// read first, and who follows goes on in the new file.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace mesh::agent {

struct LogOptions {
  bool follow = false;
  bool timestamps = false;
  std::optional<int64_t> tail_lines;
  absl::Time since = absl::InfinitePast();
};

struct LogHooks {
  // Whole lines with their ends, at most 64 KiB; false ends the reading.
  std::function<bool(std::string data)> sink;
  // With `follow`: reading ends at the end of the file once this is false.
  std::function<bool()> running;
  std::function<bool()> cancelled;
};

// Blocks. NOT_FOUND when there is no file.
absl::Status ReadLog(const std::string& path, const LogOptions& options, const LogHooks& hooks);

// One raw line without its end. Text that is not in the format is passed as it is.
struct LogLine {
  std::string_view time;
  std::string_view text;
  bool partial = false;
};
LogLine ParseLogLine(std::string_view raw);

}  // namespace mesh::agent
