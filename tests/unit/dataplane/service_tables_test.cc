// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/service_tables.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "dataplane/bpf/fake_map.h"
#include "dataplane/tables/fake_host_routes.h"
#include "fmt/format.h"

namespace mesh::dataplane {
namespace {

IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }
IpPrefix Range(const std::string& text) { return *IpPrefix::Parse(text); }

class Tables : public ::testing::Test {
 protected:
  absl::Status Execute(std::vector<Action> actions) { return tables_.Execute(actions, observed_); }

  static PutBackend Backend(uint32_t id, const std::string& ip, bool counted = false) {
    BackendEntry entry{1, Ip(ip), 8080};
    entry.counted = counted;
    return {id, entry};
  }
  PutSet Set(std::vector<uint32_t> slots, Algorithm algorithm = Algorithm::kRandom) const {
    SetEntry entry;
    entry.algorithm = algorithm;
    entry.slots = std::move(slots);
    if (algorithm == Algorithm::kMaglev && !entry.slots.empty()) entry.table_size = 1021;
    if (const SetEntry* old = observed_.FindSet(1, Scope::kExternal)) {
      entry.generation = old->generation;
    }
    return {1, Scope::kExternal, entry};
  }
  PutFrontend Web() const {
    FrontendEntry entry;
    entry.service_id = 1;
    entry.scope = Scope::kExternal;
    entry.identity = 256;
    entry.affinity_seconds = 60;
    entry.source_ranges = true;
    return {frontend_, entry};
  }
  // As a packet sees it: what the row of the set names is complete.
  void ExpectWholeSet() {
    const absl::StatusOr<mesh_set_value> set = set_.Lookup({3});
    if (!set.ok()) return;
    for (uint32_t i = 0; i < set->count; ++i) {
      const auto slot = slot_.Lookup({3, set->generation, i});
      ASSERT_TRUE(slot.ok());
      EXPECT_TRUE(backend_.Lookup({slot->backend_id}).ok());
    }
    if (set->table_size == 0) return;
    for (uint32_t place = 0; place < set->table_size; ++place) {
      const auto part = maglev_.Lookup({3, set->table_size, place / MESH_MAGLEV_PART});
      ASSERT_TRUE(part.ok());
      const uint32_t id = part->backend_id[place % MESH_MAGLEV_PART];
      EXPECT_TRUE(backend_.Lookup({id}).ok());
    }
  }

  const Frontend frontend_ = {Ip("192.0.2.200"), 80, Protocol::kTcp};
  FakeMap<mesh_service_key, mesh_service_value> service_;
  FakeMap<mesh_set_key, mesh_set_value> set_;
  FakeMap<mesh_slot_key, mesh_slot_value> slot_{8};
  FakeMap<mesh_maglev_key, mesh_maglev_value> maglev_{32};
  FakeMap<mesh_backend_key, mesh_backend_value> backend_;
  FakeMap<mesh_backend_key, mesh_backend_load_value> load_;
  FakeMap<mesh_source_range_key, mesh_source_range_value> source_range_;
  FakeMap<mesh_tunnel_key, mesh_tunnel_value> tunnel_;
  FakeMap<mesh_identity_key, mesh_identity_value> identity_;
  FakeMap<mesh_namespace_key, mesh_namespace_value> ns_;
  FakeMap<mesh_node_key, uint32_t> node_;
  FakeMap<mesh_no_masquerade_key, uint32_t> no_masquerade_;
  FakeMap<mesh_announce_key, uint32_t> announce_;
  FakeHostRoutes routes_;
  FakeMap<mesh_service6_key, mesh_service_value> service6_;
  FakeMap<mesh_backend_key, mesh_backend6_value> backend6_;
  FakeMap<mesh_source_range6_key, mesh_source_range_value> source_range6_;
  FakeMap<mesh_tunnel6_key, mesh_tunnel6_value> tunnel6_;
  FakeMap<mesh_identity6_key, mesh_identity_value> identity6_;
  FakeMap<mesh_node6_key, uint32_t> node6_;
  FakeMap<mesh_no_masquerade6_key, uint32_t> no_masquerade6_;
  FakeMap<mesh_announce6_key, uint32_t> announce6_;
  ServiceTables::Maps maps_{.set = set_,
                            .slot = slot_,
                            .maglev = maglev_,
                            .load = load_,
                            .ns = ns_,
                            .routes = routes_,
                            .v4 = {service_, backend_, source_range_, tunnel_, identity_, node_,
                                   no_masquerade_, announce_},
                            .v6 = {{service6_, backend6_, source_range6_, tunnel6_, identity6_,
                                    node6_, no_masquerade6_, announce6_}}};
  ServiceTables tables_{maps_};
  Observed observed_;
};

TEST_F(Tables, KeepsTheIdentitiesOfOtherNodesPods) {
  ASSERT_TRUE(
      Execute({PutIdentity{Ip("10.244.2.10"), {300}}, PutIdentity{Ip("10.244.2.11"), {301}}}).ok());
  ASSERT_TRUE(
      Execute({PutIdentity{Ip("10.244.2.10"), {302}}, RemoveIdentity{Ip("10.244.2.11")}}).ok());

  const auto rows = *identity_.Dump();
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].first.ip, htonl(0x0af4020a));
  EXPECT_EQ(rows[0].second.identity, 302u);
  EXPECT_EQ(*tables_.Load(), observed_);
}

TEST_F(Tables, WritesAServiceInNetworkOrder) {
  ASSERT_TRUE(Execute({Backend(7, "10.244.1.10"), Set({7}), Web()}).ok());

  const auto rows = *service_.Dump();
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].first.vip, htonl(0xc00002c8));
  EXPECT_EQ(rows[0].first.port, htons(80));
  EXPECT_EQ(rows[0].first.proto, 6);
  EXPECT_EQ(rows[0].second.set_id, 3u);
  EXPECT_EQ(rows[0].second.affinity_s, 60u);
  EXPECT_EQ(rows[0].second.flags, uint32_t{MESH_SERVICE_EXTERNAL | MESH_SERVICE_SOURCE_RANGES});
  EXPECT_EQ(set_.Lookup({rows[0].second.set_id})->count, 1u);
  const auto backend = *backend_.Lookup({7});
  EXPECT_EQ(backend.ip, htonl(0x0af4010a));
  EXPECT_EQ(backend.port, htons(8080));
}

TEST_F(Tables, KeepsAPortOfTheNodeUnderNoAddress) {
  const PutFrontend node_port{{IpAddress::V4(0), 30080, Protocol::kTcp}, Web().entry};

  ASSERT_TRUE(Execute({node_port}).ok());

  EXPECT_EQ((*service_.Dump())[0].first.vip, 0u);
  EXPECT_EQ(tables_.Load()->frontends, observed_.frontends);
}

TEST_F(Tables, KeepsIpv6InMapsOfItsOwn) {
  const Frontend any = {IpAddress(), 30080, Protocol::kTcp};
  const Frontend frontend = {Ip("2001:db8::50"), 80, Protocol::kTcp};
  ASSERT_TRUE(
      Execute({PutPeer{Range("10.244.2.0/24"), {Ip("192.0.2.2"), {}}},
               PutPeer{Range("fd00:10:244:2::/64"), {Ip("192.0.2.2"), Ip("2001:db8::2")}},
               PutOutside{{Outside::kNode, Range("192.0.2.2/32")}},
               PutOutside{{Outside::kNode, Range("2001:db8::2/128")}},
               PutOutside{{Outside::kNoMasquerade, Range("fd00::/8")}},
               PutOutside{{Outside::kAnnounced, Range("2001:db8::50/128")}},
               PutOutside{{Outside::kRoute, Range("2001:db8::50/128")}},
               PutOutside{{Outside::kPortRoute, Range("2001:db8::51/128"), 80, Protocol::kUdp}},
               Backend(7, "10.244.1.10"), Backend(8, "fd00:10:244:1::a", true),
               PutSourceRange{1, Range("2001:db8:1::/48")}, PutSourceRange{1, Range("::/0")},
               Set({8}, Algorithm::kMaglev), PutFrontend{frontend, Web().entry},
               PutFrontend{any, Web().entry}, Web()})
          .ok());

  EXPECT_EQ(service_.size(), 1u);
  EXPECT_EQ(service6_.size(), 2u);
  EXPECT_EQ(backend_.size(), 1u);
  EXPECT_EQ(backend6_.size(), 1u);
  EXPECT_EQ(tunnel_.size(), 1u);
  const auto backend = *backend6_.Lookup({8});
  const uint8_t ip[] = {0xfd, 0, 0, 0x10, 2, 0x44, 0, 1, 0, 0, 0, 0, 0, 0, 0, 10};
  EXPECT_EQ(std::memcmp(&backend.ip, ip, sizeof(ip)), 0);
  const auto tunnel = *tunnel6_.Dump();
  ASSERT_EQ(tunnel.size(), 1u);
  EXPECT_EQ(tunnel[0].first.prefix_length, 64u);
  EXPECT_EQ(tunnel[0].second.node_ip, htonl(0xc0000202));
  const auto ranges = *source_range6_.Dump();
  for (const auto& [key, value] : ranges) {
    EXPECT_TRUE(key.prefix_length == 32 + 48 || key.prefix_length == 32) << key.prefix_length;
  }
  EXPECT_EQ(*tables_.Load(), observed_);
  ASSERT_TRUE(tables_.RemoveOrphans().ok());
  EXPECT_EQ(*tables_.Load(), observed_) << "its set and load are no left-overs";

  ASSERT_TRUE(Execute({RemoveFrontend{frontend}, RemoveFrontend{any}, RemoveFrontend{frontend_},
                       RemoveSet{1, Scope::kExternal}, RemoveSourceRange{1, Range("::/0")},
                       RemoveSourceRange{1, Range("2001:db8:1::/48")}, RemoveBackend{7},
                       RemoveBackend{8}, RemoveOutside{{Outside::kNode, Range("2001:db8::2/128")}},
                       RemovePeer{Range("fd00:10:244:2::/64")}})
                  .ok());
  EXPECT_EQ(service6_.size() + backend6_.size() + source_range6_.size() + node6_.size() +
                tunnel6_.size() + load_.size(),
            0u);
  EXPECT_EQ(tunnel_.size(), 1u);
}

TEST_F(Tables, RefusesIpv6OnANodeWithout) {
  ServiceTables::Maps maps{maps_};
  maps.v6.reset();
  ServiceTables tables(maps);

  const absl::Status status =
      tables.Execute({Backend(7, "10.244.1.10"), Backend(8, "fd00:10:244:1::a")}, observed_);

  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(observed_.backends.size(), 1u);
  EXPECT_EQ(backend_.size(), 1u);
}

TEST_F(Tables, ReadsBackWhatWasWrittenAndTakesEverythingAwayAgain) {
  const OutsidePlace udp = {Outside::kPortRoute, Range("192.0.2.201/32"), 80, Protocol::kUdp};
  ASSERT_TRUE(
      Execute({PutNamespace{300, Isolation::kClosed},
               PutPeer{Range("10.244.2.0/24"), Ip("192.0.2.2")},
               PutOutside{{Outside::kNode, Range("192.0.2.2/32")}},
               PutOutside{{Outside::kNoMasquerade, Range("10.0.0.0/8")}},
               PutOutside{{Outside::kAnnounced, Range("192.0.2.200/32")}},
               PutOutside{{Outside::kRoute, Range("192.0.2.200/32")}},
               PutOutside{{Outside::kPortRoute, Range("192.0.2.201/32"), 80}}, PutOutside{udp},
               Backend(7, "10.244.1.10", true), Backend(8, "10.244.1.11"),
               PutSourceRange{1, Range("203.0.113.0/24")}, PutSourceRange{1, Range("0.0.0.0/0")},
               Set({7, 7, 8}, Algorithm::kMaglev), Web()})
          .ok());

  EXPECT_EQ(*tables_.Load(), observed_);
  EXPECT_EQ(observed_.outside.size(), 6u);

  ASSERT_TRUE(
      Execute({RemoveOutside{{Outside::kNode, Range("192.0.2.2/32")}},
               RemoveOutside{{Outside::kNoMasquerade, Range("10.0.0.0/8")}},
               RemoveOutside{{Outside::kAnnounced, Range("192.0.2.200/32")}},
               RemoveOutside{{Outside::kRoute, Range("192.0.2.200/32")}},
               RemoveOutside{{Outside::kPortRoute, Range("192.0.2.201/32"), 80}},
               RemoveOutside{udp}, RemoveFrontend{frontend_}, RemoveSet{1, Scope::kExternal},
               RemoveSourceRange{1, Range("203.0.113.0/24")},
               RemoveSourceRange{1, Range("0.0.0.0/0")}, RemoveBackend{7}, RemoveBackend{8},
               RemovePeer{Range("10.244.2.0/24")}, RemoveNamespace{300}})
          .ok());

  EXPECT_EQ(*tables_.Load(), Observed());
  EXPECT_EQ(observed_, Observed());
  EXPECT_EQ(slot_.size() + load_.size(), 0u);
  EXPECT_EQ(maglev_.size(), 0u);
}

TEST_F(Tables, ShowsPacketsAWholeSetAtEveryWrite) {
  ASSERT_TRUE(
      Execute({Backend(7, "10.244.1.10"), Backend(8, "10.244.1.11"), Set({7}), Web()}).ok());
  // Looks, like a packet, before each write.
  const auto look = [&] {
    ExpectWholeSet();
    return absl::OkStatus();
  };
  slot_.fault = set_.fault = maglev_.fault = backend_.fault = service_.fault = look;

  ASSERT_TRUE(Execute({Set({7, 8})}).ok());
  ASSERT_TRUE(Execute({Set({8}, Algorithm::kMaglev)}).ok());
  ASSERT_TRUE(Execute({Set({7, 8}, Algorithm::kMaglev)}).ok());
  ASSERT_TRUE(Execute({Set({8}), RemoveBackend{7}}).ok());

  EXPECT_EQ(slot_.size(), 1u);
  EXPECT_EQ(maglev_.size(), 0u) << "another algorithm needs no table";
}

TEST_F(Tables, KeepsTheSetWhenOneOfItsBackendsCannotBeWritten) {
  ASSERT_TRUE(Execute({Backend(7, "10.244.1.10"), Set({7}), Web()}).ok());
  backend_.fault = [] { return absl::ResourceExhaustedError("the map is full"); };

  EXPECT_TRUE(absl::IsResourceExhausted(Execute({Backend(8, "10.244.1.11"), Set({7, 8})})));

  ExpectWholeSet();
  EXPECT_EQ(set_.Lookup({3})->count, 1u);
  EXPECT_EQ(observed_.FindSet(1, Scope::kExternal)->slots, std::vector<uint32_t>({7}));
}

TEST_F(Tables, WritesWhatCanBeWrittenOfManyRows) {
  backend_.fault = [n = 0]() mutable {
    ++n;  // all together until the 2nd, each alone from the 3rd, what failed again from the 6th
    return n == 2 || n > 4 ? absl::ResourceExhaustedError("the map is full") : absl::OkStatus();
  };

  EXPECT_FALSE(
      Execute({Backend(7, "10.244.1.10"), Backend(8, "10.244.1.11"), Backend(9, "10.244.1.12")})
          .ok());

  EXPECT_EQ(*tables_.Load(), observed_);
  EXPECT_EQ(observed_.backends.size(), 2u);
}

TEST_F(Tables, NeverWritesOverACounterOfFlows) {
  ASSERT_TRUE(Execute({Backend(7, "10.244.1.10", true)}).ok());
  ASSERT_TRUE(load_.Upsert({7}, {.flows = 5}).ok());
  PutBackend drains = Backend(7, "10.244.1.10", true);
  drains.entry.state = BackendState::kDraining;

  ASSERT_TRUE(Execute({drains}).ok());
  EXPECT_EQ(load_.Lookup({7})->flows, 5u);
  ASSERT_TRUE(Execute({Backend(7, "10.244.1.10", false)}).ok());

  EXPECT_EQ(load_.size(), 0u);
}

TEST_F(Tables, TellsWhenTheSlotsAreFull) {
  std::vector<Action> actions;
  std::vector<uint32_t> many;
  for (uint32_t id = 1; id <= 9; ++id) {
    actions.push_back(Backend(id, "10.244.1.10"));
    many.push_back(id);
  }
  actions.push_back(Set(many));

  EXPECT_TRUE(absl::IsResourceExhausted(Execute(actions)));
  EXPECT_EQ(set_.size(), 0u);
}

TEST_F(Tables, WritesWhatComesIntoTheRoomOfWhatGoes) {
  std::vector<Action> actions;
  std::vector<uint32_t> many;
  for (uint32_t id = 1; id <= 8; ++id) {
    actions.push_back(Backend(id, fmt::format("10.244.1.{}", id)));
    many.push_back(id);
  }
  actions.push_back(Set(many));
  actions.push_back(Web());
  ASSERT_TRUE(Execute(actions).ok());
  ASSERT_EQ(slot_.size(), slot_.max_entries());
  PutSet other = Set({1, 2});
  other.service_id = 2;
  other.entry.generation = 0;

  EXPECT_TRUE(Execute({other, RemoveFrontend{frontend_}, RemoveSet{1, Scope::kExternal}}).ok());

  EXPECT_EQ(slot_.size(), 2u);
  EXPECT_NE(observed_.FindSet(2, Scope::kExternal), nullptr);
  EXPECT_EQ(*tables_.Load(), observed_);
}

TEST_F(Tables, RemovesWhatACrashHasLeft) {
  ASSERT_TRUE(Execute({Backend(7, "10.244.1.10"), Set({7}, Algorithm::kMaglev), Web()}).ok());
  ASSERT_TRUE(slot_.Upsert({3, 99, 0}, {7}).ok());
  ASSERT_TRUE(slot_.Upsert({5, 1, 0}, {7}).ok());
  ASSERT_TRUE(
      set_.Upsert({8}, {.generation = 1, .count = 1, .algorithm = 0, .table_size = 0}).ok());
  // Of a set that is none, and of another size than the set names.
  ASSERT_TRUE(maglev_.Upsert({8, 1021, 0}, {}).ok());
  ASSERT_TRUE(maglev_.Upsert({3, 4093, 7}, {}).ok());
  ASSERT_TRUE(load_.Upsert({99}, {.flows = 1}).ok());

  ASSERT_TRUE(tables_.RemoveOrphans().ok());

  EXPECT_EQ(slot_.size(), 1u);
  EXPECT_EQ(load_.size(), 0u);
  EXPECT_EQ(maglev_.size(), 5u);
  EXPECT_EQ(*tables_.Load(), observed_);
}

TEST_F(Tables, SeesATableThatACrashHasLeftHalfWritten) {
  ASSERT_TRUE(Execute({Backend(7, "10.244.1.10"), Backend(8, "10.244.1.11"),
                       Set({7, 8}, Algorithm::kMaglev), Web()})
                  .ok());
  mesh_maglev_value part = *maglev_.Lookup({3, 1021, 1});
  part.backend_id[5] = part.backend_id[5] == 7 ? 8 : 7;
  ASSERT_TRUE(maglev_.Upsert({3, 1021, 1}, part).ok());

  EXPECT_EQ(tables_.Load()->FindSet(1, Scope::kExternal)->table_size, 0u);
  ASSERT_TRUE(maglev_.Erase({3, 1021, 1}).ok());
  EXPECT_EQ(tables_.Load()->FindSet(1, Scope::kExternal)->table_size, 0u);
}

TEST_F(Tables, PutsATableOfAnotherSizeBesideTheOldOne) {
  ASSERT_TRUE(Execute({Backend(7, "10.244.1.10"), Backend(8, "10.244.1.11"),
                       Set({7}, Algorithm::kMaglev), Web()})
                  .ok());
  const auto look = [&] {
    ExpectWholeSet();
    return absl::OkStatus();
  };
  slot_.fault = set_.fault = maglev_.fault = look;
  PutSet larger = Set({7, 8}, Algorithm::kMaglev);
  larger.entry.table_size = 4093;

  ASSERT_TRUE(Execute({larger}).ok());

  EXPECT_EQ(maglev_.size(), 18u) << "the old one is gone";
  EXPECT_EQ(*tables_.Load(), observed_);
}

TEST_F(Tables, LeavesNothingOfATableThatDoesNotFit) {
  ASSERT_TRUE(Execute({Backend(7, "10.244.1.10"), Set({7}, Algorithm::kMaglev), Web()}).ok());
  PutSet larger = Set({7}, Algorithm::kMaglev);
  larger.entry.table_size = 16381;

  EXPECT_TRUE(absl::IsResourceExhausted(Execute({larger})));

  EXPECT_EQ(maglev_.size(), 5u);
  ExpectWholeSet();
  EXPECT_EQ(*tables_.Load(), observed_);
}

}  // namespace
}  // namespace mesh::dataplane
