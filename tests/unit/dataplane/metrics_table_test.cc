// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/metrics_table.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "dataplane/reasons.h"
#include "mesh/shared/drop_reason.h"

namespace mesh::dataplane {
namespace {

TEST(ReasonName, IsThereAndDifferentForEveryReason) {
  std::set<std::string> names;
  for (uint32_t reason = 0; reason < MESH_REASON_COUNT; ++reason) {
    const std::string name = ReasonName(reason);
    EXPECT_FALSE(name.starts_with("reason_")) << reason;
    EXPECT_TRUE(names.insert(name).second) << name;
  }
  EXPECT_EQ(ReasonName(MESH_REASON_COUNT), "reason_27");
}

TEST(DecodeMetric, AddsUpTheCpus) {
  const MetricRow row = DecodeMetric(
      MESH_METRICS_INDEX(MESH_REASON_ISOLATION, MESH_DIRECTION_INGRESS), {{1, 100}, {2, 50}});

  EXPECT_EQ(row.reason, "isolation");
  EXPECT_EQ(row.direction, "ingress");
  EXPECT_EQ(row.packets, 3u);
  EXPECT_EQ(row.bytes, 150u);
}

}  // namespace
}  // namespace mesh::dataplane
