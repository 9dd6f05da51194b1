// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/log_files.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

namespace mesh::agent {

std::vector<std::string> RotatedLogs(const std::string& path) {
  namespace fs = std::filesystem;
  const fs::path log(path);
  const std::string prefix = log.filename().string() + ".";
  std::vector<std::string> out;
  std::error_code error;
  for (fs::directory_iterator it(log.parent_path(), error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().filename().string().starts_with(prefix)) out.push_back(it->path().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::string RotatedName(const std::string& path, absl::Time when) {
  return fmt::format("{}.{}.{:06}", path,
                     absl::FormatTime("%Y%m%d-%H%M%S", when, absl::UTCTimeZone()),
                     absl::ToUnixMicros(when) % 1'000'000);
}

void PruneLogs(const std::string& path, size_t keep) {
  const std::vector<std::string> rotated = RotatedLogs(path);
  for (size_t i = 0; i + keep < rotated.size(); ++i) ::unlink(rotated[i].c_str());
}

void RemoveLogs(const std::string& path) {
  ::unlink(path.c_str());
  PruneLogs(path, 0);
}

}  // namespace mesh::agent
