// SPDX-License-Identifier: Apache-2.0
// Goal: programs and maps are shown as the kernel has them. Method: the two nodes of live.h, in
// every family and routing, with a Service that is dialled. Needs root.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/bpf/live.h"

namespace mesh::dataplane::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

class Inspected : public LiveWays {
 protected:
  std::string Six(const std::string& name) const {
    return way_.family == Family::kV4 ? name : name + "6";
  }
  // Of the client's node, as its network namespace sees it.
  template <typename T>
  T Read(const std::function<absl::StatusOr<T>(const KernelDataplane&)>& read) {
    T out{};
    const absl::Status status = InNetns(one_.netns->fd(), [&] {
      absl::StatusOr<T> result = read(*one_.dataplane);
      if (result.ok()) out = *std::move(result);
      return result.status();
    });
    EXPECT_TRUE(status.ok()) << status;
    return out;
  }
  ProgramRow Program(const std::string& name) {
    const auto rows = Read<std::vector<ProgramRow>>(
        [](const KernelDataplane& dataplane) { return dataplane.LoadedPrograms(); });
    const auto it = std::ranges::find(rows, name, &ProgramRow::name);
    EXPECT_NE(it, rows.end()) << name;
    return it == rows.end() ? ProgramRow() : *it;
  }
};

TEST_P(Inspected, ProgramsTellWhereTheyStandAndHowOftenTheyRan) {
  Serve({near_.ip});
  Socket listener = Listener(near_);
  UniqueFd counting;
  ASSERT_STATUS(InNetns(one_.netns->fd(), [&]() -> absl::Status {
    ASSIGN_OR_RETURN(counting, one_.dataplane->CountRuns());
    return absl::OkStatus();
  }));
  const ProgramRow before = Program(Six("mesh_from_pod"));

  ExpectTalk(*client_.netns, vip_, 80, listener);

  const ProgramRow after = Program(Six("mesh_from_pod"));
  EXPECT_GT(after.runs, before.runs);
  EXPECT_GT(after.run_time_ns, before.run_time_ns);
  EXPECT_EQ(after.hook, "tc");
  EXPECT_EQ(after.family, way_.family == Family::kV4 ? "IPv4" : "IPv6");
  EXPECT_EQ(after.tag.size(), 16u);
  EXPECT_GT(after.instructions, 1000u);
  EXPECT_GT(after.memory_bytes, 0u);
  EXPECT_LT(absl::AbsDuration(absl::Now() - after.loaded), absl::Hours(1));
  // At each of the node's pods.
  EXPECT_GE(after.interfaces.size(), 2u);
  EXPECT_THAT(Program(Six("mesh_node")).interfaces, Contains("mesh_net"));
  EXPECT_THAT(Program(Six("mesh_overlay")).interfaces, Contains("mesh_vxlan"));
}

TEST_P(Inspected, MapsTellHowFullTheyAreAndShowTheirRows) {
  Serve({near_.ip});

  const auto maps = Read<std::vector<MapRow>>(
      [](const KernelDataplane& dataplane) { return dataplane.LoadedMaps(); });
  const auto service = std::ranges::find(maps, Six("mesh_service"), &MapRow::name);
  ASSERT_NE(service, maps.end());
  EXPECT_EQ(service->type, "hash");
  EXPECT_EQ(service->entries, 2u);  // TCP and UDP
  EXPECT_GT(service->max_entries, 1000u);
  EXPECT_GT(service->memory_bytes, 0u);

  const auto rows = Read<MapRows>(
      [&](const KernelDataplane& dataplane) { return dataplane.RowsOf(Six("mesh_service"), 10); });
  ASSERT_EQ(rows.rows.size(), 2u);
  EXPECT_FALSE(rows.more);
  std::vector<std::string> keys;
  for (const MapEntryText& row : rows.rows) keys.push_back(row.key);
  EXPECT_THAT(keys, Contains("vip=" + vip_.ToString() + " port=80 proto=TCP"));
  EXPECT_THAT(rows.rows[0].values.at(0), HasSubstr("affinity_s=0"));

  const auto one = Read<MapRows>(
      [&](const KernelDataplane& dataplane) { return dataplane.RowsOf(Six("mesh_service"), 1); });
  EXPECT_EQ(one.rows.size(), 1u);
  EXPECT_TRUE(one.more);
  const auto metrics = Read<MapRows>(
      [](const KernelDataplane& dataplane) { return dataplane.RowsOf("mesh_metrics", 2); });
  ASSERT_EQ(metrics.rows.size(), 2u);
  EXPECT_EQ(metrics.rows[1].key, "reason=forwarded direction=ingress");
  EXPECT_THAT(metrics.rows[1].values.at(0), HasSubstr("packets="));
}

TEST_P(Inspected, FlowsAreCountedByTheCollector) {
  Serve({near_.ip});
  Socket listener = Listener(near_);
  ExpectTalk(*client_.netns, vip_, 80, listener);
  const auto flows = [&] {
    const auto maps = Read<std::vector<MapRow>>(
        [](const KernelDataplane& dataplane) { return dataplane.LoadedMaps(); });
    return std::ranges::find(maps, Six("mesh_flow"), &MapRow::name)->entries;
  };
  EXPECT_EQ(flows(), 0u);  // nobody has looked yet

  ASSERT_STATUS(
      InNetns(one_.netns->fd(), [&] { return one_.dataplane->CollectGarbage().status(); }));

  const auto rows = Read<MapRows>(
      [&](const KernelDataplane& dataplane) { return dataplane.RowsOf(Six("mesh_flow"), 1000); });
  EXPECT_GE(rows.rows.size(), 2u);
  EXPECT_EQ(flows(), rows.rows.size());
}

TEST_P(Inspected, AMapThatIsNotThereIsAnErrorThatNamesThoseThatAre) {
  ASSERT_STATUS(InNetns(one_.netns->fd(), [&] {
    const absl::Status status = one_.dataplane->RowsOf("mesh_none", 1).status();
    EXPECT_TRUE(absl::IsNotFound(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("mesh_service"));
    return absl::OkStatus();
  }));
}

// Whatever their type, none is left out.
TEST_P(Inspected, EveryMapCanBeRead) {
  for (const MapRow& map : Read<std::vector<MapRow>>(
           [](const KernelDataplane& dataplane) { return dataplane.LoadedMaps(); })) {
    // Of sockets; counted by the collector; a ring has no rows.
    if (map.name.starts_with("mesh_dialled") || map.name.starts_with("mesh_flow")) continue;
    if (map.type == "ringbuf") continue;
    const auto rows = Read<MapRows>(
        [&](const KernelDataplane& dataplane) { return dataplane.RowsOf(map.name, 100'000); });
    EXPECT_EQ(rows.rows.size(), std::min(map.entries, 100'000u)) << map.name;
    // By the names of its fields, not in hex.
    if (rows.rows.empty()) continue;
    EXPECT_THAT(rows.rows[0].key,
                Not(::testing::MatchesRegex("([0-9a-f][0-9a-f] )+[0-9a-f][0-9a-f]")))
        << map.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Ways, Inspected, ::testing::ValuesIn(AllWays()), NameOf);

}  // namespace
}  // namespace mesh::dataplane::testing
