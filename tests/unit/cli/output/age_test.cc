// SPDX-License-Identifier: Apache-2.0
#include "cli/output/age.h"

#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace mesh::cli {
namespace {

TEST(HumanDuration, ChoosesUnitsAsKubectlDoes) {
  const absl::Duration day = absl::Hours(24), year = day * 365;
  const std::vector<std::pair<absl::Duration, const char*>> cases = {
      {absl::Seconds(-2), "<invalid>"},
      {absl::Seconds(-1), "0s"},
      {absl::ZeroDuration(), "0s"},
      {absl::Milliseconds(999), "0s"},
      {absl::Seconds(119), "119s"},
      {absl::Seconds(120), "2m"},
      {absl::Seconds(200), "3m20s"},
      {absl::Minutes(10) - absl::Seconds(1), "9m59s"},
      {absl::Minutes(10), "10m"},
      {absl::Minutes(179), "179m"},
      {absl::Hours(3), "3h"},
      {absl::Hours(5) + absl::Minutes(10), "5h10m"},
      {absl::Hours(8), "8h"},
      {absl::Hours(47), "47h"},
      {absl::Hours(48), "2d"},
      {absl::Hours(76), "3d4h"},
      {day * 8, "8d"},
      {day * 400, "400d"},
      {year * 2, "2y"},
      {year * 2 + day * 10, "2y10d"},
      {year * 9, "9y"},
  };
  for (const auto& [duration, text] : cases) {
    EXPECT_EQ(HumanDuration(duration), text) << absl::FormatDuration(duration);
  }
}

TEST(AgeSince, IsUnknownWithoutATime) {
  EXPECT_EQ(AgeSince(false, {}, absl::UnixEpoch()), "<unknown>");
}

}  // namespace
}  // namespace mesh::cli
