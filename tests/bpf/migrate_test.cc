// SPDX-License-Identifier: Apache-2.0
// Goal: rows of version 1 of the maps become rows of this version. Method: maps with the old layout
// (progs/v1_maps.bpf.c) are filled and carried over to those of the real programs.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>

#include <cstring>

#include "dataplane/bpf/migrate.h"
#include "dataplane/bpf/programs.h"
#include "dataplane/carry_flows.h"
#include "mesh/shared/flow_map.h"
#include "mesh/shared/service_map.h"
#include "mesh/shared/set_map.h"
#include "mesh/shared/slot_map.h"
#include "v1_maps.skel.h"

namespace mesh::dataplane {
namespace {

// As version 1 had it.
struct OldService {
  uint32_t service_id, generation, count, identity;
};
struct OldFlow {
  uint32_t saddr, daddr;
  uint16_t sport, dport;
  uint32_t address_diff, port_diff, generation, in_ifindex, in_peer, out_ifindex, out_peer, vni;
  uint8_t destination_mac[6], source_mac[6], target, flags, tcp_fin, tcp_rst, tcp_data, pad0[3];
  uint32_t service_id, backend_id, identity, pad1;
  uint64_t last_seen_ns, packets, bytes;
};

constexpr uint64_t kBegunNs = 1ULL << 50;

class Migrate : public ::testing::Test {
 protected:
  void SetUp() override {
    LogLibbpf();
    old_ = v1_maps_bpf__open_and_load();
    ASSERT_NE(old_, nullptr);
    absl::StatusOr<std::unique_ptr<Programs>> loaded = Programs::Load({}, {});
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    programs_ = *std::move(loaded);
  }
  void TearDown() override { v1_maps_bpf__destroy(old_); }

  absl::StatusOr<Carried> Carry(bpf_map* from) {
    const std::string name = bpf_map__name(from);
    const int to = programs_->map(name);
    const auto old_rows = RowLayout::Of(bpf_map__fd(from)), new_rows = RowLayout::Of(to);
    EXPECT_TRUE(old_rows.ok() && new_rows.ok()) << old_rows.status() << new_rows.status();
    const auto change = ChangeOf(name, *old_rows, *new_rows,
                                 [&](const std::string& map) { return programs_->map(map); });
    return CarryRows(bpf_map__fd(from), to, change.value_or(RowChange()));
  }

  v1_maps_bpf* old_ = nullptr;
  std::unique_ptr<Programs> programs_;
};

TEST_F(Migrate, AServiceKeepsItsNumberAndItsSlots) {
  const mesh_service_key frontend{0x0a00600a, 80, 6, 0};
  const OldService service{7, 3, 2, 256};
  ASSERT_EQ(bpf_map_update_elem(bpf_map__fd(old_->maps.mesh_service), &frontend, &service, 0), 0);
  for (uint32_t index = 0; index < 2; ++index) {
    const uint32_t key[3] = {7, 3, index}, backend = 40 + index;
    ASSERT_EQ(bpf_map_update_elem(bpf_map__fd(old_->maps.mesh_svc_slot), key, &backend, 0), 0);
  }

  const absl::StatusOr<Carried> services = Carry(old_->maps.mesh_service);
  const absl::StatusOr<Carried> slots = Carry(old_->maps.mesh_svc_slot);

  ASSERT_TRUE(services.ok()) << services.status();
  ASSERT_TRUE(slots.ok()) << slots.status();
  EXPECT_EQ(services->rows, 1u);
  EXPECT_EQ(slots->rows, 2u);
  mesh_service_value row;
  ASSERT_EQ(bpf_map_lookup_elem(programs_->map(MESH_SERVICE_MAP_NAME), &frontend, &row), 0);
  EXPECT_EQ(row.service_id, 7u);
  EXPECT_EQ(row.set_id, 14u);
  EXPECT_EQ(row.identity, 256u);
  EXPECT_EQ(row.affinity_s, 0u);
  EXPECT_EQ(row.flags, 0u);
  mesh_set_value set;
  const mesh_set_key set_key{14};
  ASSERT_EQ(bpf_map_lookup_elem(programs_->map(MESH_SET_MAP_NAME), &set_key, &set), 0);
  EXPECT_EQ(set.generation, 3u);
  EXPECT_EQ(set.count, 2u);
  const mesh_slot_key slot_key{14, 3, 1};
  mesh_slot_value slot;
  ASSERT_EQ(bpf_map_lookup_elem(programs_->map(MESH_SLOT_MAP_NAME), &slot_key, &slot), 0);
  EXPECT_EQ(slot.backend_id, 41u);
}

TEST_F(Migrate, AFlowKeepsEveryFieldAndNewOnesAreZero) {
  const mesh_flow_key key{1, 2, 3, 4, 6, {}};
  OldFlow flow{};
  flow.saddr = 1;
  flow.daddr = 20;
  flow.sport = 3;
  flow.dport = 40;
  flow.generation = 5;
  flow.vni = 256;
  flow.destination_mac[5] = 9;
  flow.target = MESH_TARGET_TUNNEL;
  flow.tcp_data = 1;
  flow.service_id = 7;
  flow.backend_id = 41;
  flow.pad1 = 0xffffffff;  // where this version keeps the owner
  flow.last_seen_ns = 1ULL << 40;
  flow.packets = 11;
  const int from = bpf_map__fd(old_->maps.mesh_flow), to = programs_->map(MESH_FLOW_MAP_NAME);
  ASSERT_EQ(bpf_map_update_elem(from, &key, &flow, 0), 0);

  const absl::StatusOr<Carried> carried = CarryFlows<V4>(from, to, kBegunNs);

  ASSERT_TRUE(carried.ok()) << carried.status();
  EXPECT_EQ(carried->rows, 1u);
  mesh_flow_value row;
  ASSERT_EQ(bpf_map_lookup_elem(to, &key, &row), 0);
  EXPECT_EQ(row.daddr, 20u);
  EXPECT_EQ(row.dport, 40u);
  EXPECT_EQ(row.generation, 5u);
  EXPECT_EQ(row.vni, 256u);
  EXPECT_EQ(row.destination_mac[5], 9u);
  EXPECT_EQ(row.target, MESH_TARGET_TUNNEL);
  EXPECT_EQ(row.tcp_data, 1u);
  EXPECT_EQ(row.service_id, 7u);
  EXPECT_EQ(row.backend_id, 41u);
  EXPECT_EQ(row.owner, 0u);
  EXPECT_EQ(row.last_seen_ns, 1ULL << 40);
  EXPECT_EQ(row.packets, 11u);
}

TEST_F(Migrate, AFlowThatItsClientBeganAnewIsNotOverwritten) {
  const mesh_flow_key key{1, 2, 3, 4, 6, {}};
  OldFlow flow{};
  flow.daddr = 20;
  mesh_flow_value anew{};
  anew.daddr = 30;
  const int from = bpf_map__fd(old_->maps.mesh_flow), to = programs_->map(MESH_FLOW_MAP_NAME);
  ASSERT_EQ(bpf_map_update_elem(from, &key, &flow, 0), 0);
  ASSERT_EQ(bpf_map_update_elem(to, &key, &anew, 0), 0);

  ASSERT_TRUE(CarryFlows<V4>(from, to, kBegunNs).ok());

  mesh_flow_value row;
  ASSERT_EQ(bpf_map_lookup_elem(to, &key, &row), 0);
  EXPECT_EQ(row.daddr, 30u);
}

// An older build was replaced and comes back: in its table is what it had then. The port of a flow
// that was over has another one since.
TEST_F(Migrate, AFlowOfAnEarlierTimeGivesWay) {
  const mesh_flow_key client{1, 9, 3, 53, 6, {}}, answer{9, 7, 53, 1000, 6, {}};
  const mesh_flow_key former_client{2, 9, 4, 53, 6, {}};
  OldFlow flow{};
  flow.saddr = 7;
  flow.daddr = 9;
  flow.sport = 1000;
  flow.dport = 53;
  flow.last_seen_ns = kBegunNs - 10;
  OldFlow reply{};
  reply.saddr = 9;
  reply.daddr = 1;
  reply.sport = 53;
  reply.dport = 3;
  reply.last_seen_ns = kBegunNs - 10;
  mesh_flow_value former{};
  former.saddr = 7;
  former.daddr = 9;
  former.sport = 1000;
  former.dport = 53;
  former.last_seen_ns = kBegunNs - 20;
  mesh_flow_value former_reply{};
  former_reply.saddr = 9;
  former_reply.daddr = 2;
  former_reply.sport = 53;
  former_reply.dport = 4;
  const int from = bpf_map__fd(old_->maps.mesh_flow), to = programs_->map(MESH_FLOW_MAP_NAME);
  ASSERT_EQ(bpf_map_update_elem(from, &client, &flow, 0), 0);
  ASSERT_EQ(bpf_map_update_elem(from, &answer, &reply, 0), 0);

  for (const uint64_t seen_ns : {kBegunNs - 20, kBegunNs - 5, kBegunNs + 5}) {
    SCOPED_TRACE(seen_ns);
    const bool gives_way = seen_ns < flow.last_seen_ns;
    bpf_map_delete_elem(to, &client);
    former.last_seen_ns = former_reply.last_seen_ns = seen_ns;
    ASSERT_EQ(bpf_map_update_elem(to, &former_client, &former, 0), 0);
    ASSERT_EQ(bpf_map_update_elem(to, &answer, &former_reply, 0), 0);

    ASSERT_TRUE(CarryFlows<V4>(from, to, kBegunNs).ok());

    mesh_flow_value row;
    ASSERT_EQ(bpf_map_lookup_elem(to, &answer, &row), 0);
    EXPECT_EQ(row.daddr, gives_way ? 1u : 2u);
    EXPECT_EQ(bpf_map_lookup_elem(to, &client, &row) == 0, gives_way);
    EXPECT_EQ(bpf_map_lookup_elem(to, &former_client, &row) == 0, !gives_way);
  }
}

TEST_F(Migrate, RowsWhoseKeyCannotBeMadeAreRefused) {
  const absl::StatusOr<Carried> carried =
      CarryRows(bpf_map__fd(old_->maps.mesh_svc_slot), programs_->map(MESH_SLOT_MAP_NAME));

  EXPECT_TRUE(absl::IsFailedPrecondition(carried.status())) << carried.status();
}

}  // namespace
}  // namespace mesh::dataplane
