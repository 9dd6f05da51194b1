// SPDX-License-Identifier: Apache-2.0
#include "common/status.h"

#include <string>

#include "fmt/format.h"

namespace mesh {

absl::Status Annotate(const absl::Status& status, std::string_view clause) {
  if (status.ok()) return status;
  absl::Status out(status.code(), fmt::format("{}: {}", clause, std::string(status.message())));
  status.ForEachPayload(
      [&out](absl::string_view url, const absl::Cord& payload) { out.SetPayload(url, payload); });
  return out;
}

absl::Status ErrnoStatus(int error, std::string_view what) {
  return absl::ErrnoToStatus(error, std::string(what));
}

}  // namespace mesh
