// SPDX-License-Identifier: Apache-2.0
#include "mesh/shared/source_port.h"

#include <algorithm>
#include <vector>

#include "gtest/gtest.h"

namespace {

constexpr uint32_t kFirst = MESH_MASQUERADE_PORT_FIRST, kCount = MESH_MASQUERADE_PORT_COUNT,
                   kGroups = kCount >> MESH_PORT_SHIFT_INSIDE;

// The port of each group, by number of the group.
std::vector<uint16_t> PortsOf(uint32_t holder) {
  std::vector<uint16_t> out;
  for (uint32_t group = 0; group < kGroups; ++group)
    out.push_back(mesh_source_port(holder, kFirst, kCount, MESH_PORT_SHIFT_INSIDE, group));
  return out;
}

uint32_t HolderOf(uint32_t address) { return mesh_hash_add(0, address); }
uint32_t HolderOf6(uint32_t last) {
  uint32_t hash = 0;
  for (const uint32_t word : {0xfd000010U, 0x02440001U, 0U, last}) hash = mesh_hash_add(hash, word);
  return hash;
}

TEST(SourcePort, AHolderHasOnePortOfEachGroup) {
  const std::vector<uint16_t> ports = PortsOf(HolderOf(0x0af4010a));
  for (uint32_t group = 0; group < kGroups; ++group) {
    EXPECT_GE(ports[group], kFirst + 4 * group);
    EXPECT_LE(ports[group], kFirst + 4 * group + 3);
  }
  EXPECT_EQ(ports, PortsOf(HolderOf(0x0af4010a))) << "the same each time";
}

TEST(SourcePort, EveryPortIsSomebodysAndAllNumbersAreInTheRange) {
  // Ids of ICMP: any but 0.
  for (const uint32_t random : {0U, 16382U, 16383U, 0xffffffffU}) {
    EXPECT_GE(mesh_source_port(1, 1, 65535, 2, random), 1);
    EXPECT_LE(mesh_source_port(1, 1, 65535, 2, random), 65532);
  }
  std::vector<bool> anyones(kCount);
  for (uint32_t pod = 1; pod < 64; ++pod) {
    for (const uint16_t port : PortsOf(HolderOf(0x0af40100 + pod)))
      anyones.at(port - kFirst) = true;
  }
  EXPECT_EQ(std::count(anyones.begin(), anyones.end(), true), kCount);
}

// What is promised: between any two pods of a node, of either family.
TEST(SourcePort, NoPodHasMuchMoreThanAQuarterOfThePortsOfAnother) {
  for (uint32_t (*holder)(uint32_t) : {HolderOf, HolderOf6}) {
    std::vector<std::vector<uint16_t>> ports = {PortsOf(MESH_PORT_HOLDER_OUTSIDE)};
    for (uint32_t pod = 2; pod < 255; ++pod) ports.push_back(PortsOf(holder(0x0af40100 + pod)));
    uint32_t most = 0, least = kGroups;
    for (size_t a = 0; a < ports.size(); ++a) {
      for (size_t b = a + 1; b < ports.size(); ++b) {
        uint32_t shared = 0;
        for (uint32_t group = 0; group < kGroups; ++group)
          shared += ports[a][group] == ports[b][group];
        most = std::max(most, shared);
        least = std::min(least, shared);
      }
    }
    EXPECT_LT(most, 0.28 * kGroups);
    EXPECT_GT(least, 0.22 * kGroups);
  }
}

// A sole sender draws all of his ports alike.
TEST(SourcePort, WithoutSharingEveryPortOfTheRangeIsDrawn) {
  EXPECT_EQ(mesh_source_port(0, 32768, 28232, 0, 0), 32768);
  EXPECT_EQ(mesh_source_port(0, 32768, 28232, 0, 28231), 60999);
  EXPECT_EQ(mesh_source_port(0, 32768, 28232, 0, 28232), 32768);
}

}  // namespace
