// SPDX-License-Identifier: Apache-2.0
#include "tests/bpf/select_world.h"

#include <map>

#include "dataplane/tables/encode.h"
#include "dataplane/tables/maglev_rows.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::At;
using mesh::testing::kSyn;
using mesh::testing::Place;
using mesh::testing::Tcp;

using AffinityKey = std::conditional_t<kIpv6, mesh_affinity6_key, mesh_affinity_key>;

template <typename K, typename V>
KernelMap<K, V> Adopt(const Programs& programs, const char* name) {
  return *KernelMap<K, V>::Adopt(programs.map(name));
}

template <typename K, typename V>
void EraseAll(Map<K, V>& map) {
  const auto rows = *map.Dump();
  for (const auto& [key, value] : rows) ASSERT_TRUE(map.Erase(key).ok());
}

}  // namespace

struct SelectWorld::Rows {
  explicit Rows(const Programs& programs)
      : service(Adopt<F::ServiceKey, mesh_service_value>(
            programs, kIpv6 ? MESH_SERVICE6_MAP_NAME : MESH_SERVICE_MAP_NAME)),
        set(Adopt<mesh_set_key, mesh_set_value>(programs, MESH_SET_MAP_NAME)),
        slot(Adopt<mesh_slot_key, mesh_slot_value>(programs, MESH_SLOT_MAP_NAME)),
        backend(Adopt<mesh_backend_key, F::BackendValue>(
            programs, kIpv6 ? MESH_BACKEND6_MAP_NAME : MESH_BACKEND_MAP_NAME)),
        load(
            Adopt<mesh_backend_key, mesh_backend_load_value>(programs, MESH_BACKEND_LOAD_MAP_NAME)),
        affinity(Adopt<AffinityKey, mesh_affinity_value>(
            programs, kIpv6 ? MESH_AFFINITY6_MAP_NAME : MESH_AFFINITY_MAP_NAME)),
        range(Adopt<F::SourceRangeKey, mesh_source_range_value>(
            programs, kIpv6 ? MESH_SOURCE_RANGE6_MAP_NAME : MESH_SOURCE_RANGE_MAP_NAME)),
        state(Adopt<uint32_t, mesh_state_value>(programs, MESH_STATE_MAP_NAME)),
        maglev(Adopt<mesh_maglev_key, mesh_maglev_value>(programs, MESH_MAGLEV_MAP_NAME)) {}

  KernelMap<F::ServiceKey, mesh_service_value> service;
  KernelMap<mesh_set_key, mesh_set_value> set;
  KernelMap<mesh_slot_key, mesh_slot_value> slot;
  KernelMap<mesh_backend_key, F::BackendValue> backend;
  KernelMap<mesh_backend_key, mesh_backend_load_value> load;
  KernelMap<AffinityKey, mesh_affinity_value> affinity;
  KernelMap<F::SourceRangeKey, mesh_source_range_value> range;
  KernelMap<uint32_t, mesh_state_value> state;
  KernelMap<mesh_maglev_key, mesh_maglev_value> maglev;
  std::map<uint32_t, mesh_set_value> sets;  // as last written
};

void SelectWorld::SetUp() {
  World::SetUp();
  rows_ = std::make_shared<Rows>(*programs_);
  Clear();
}

void SelectWorld::Clear() {
  EraseAll(rows_->service);
  EraseAll(rows_->set);
  EraseAll(rows_->slot);
  EraseAll(rows_->maglev);
  EraseAll(rows_->backend);
  EraseAll(rows_->load);
  EraseAll(rows_->affinity);
  EraseAll(rows_->range);
  EraseAll(*flows_);
  rows_->sets.clear();
}

void SelectWorld::Put(const FrontendRow& row) {
  const Place place = At(row.place);
  ASSERT_TRUE(rows_->service
                  .Upsert({.vip = Row(place.ip),
                           .port = EncodePort(place.port),
                           .proto = static_cast<uint8_t>(row.protocol),
                           .pad0 = 0},
                          {.service_id = row.service_id,
                           .set_id = MESH_SET_ID(row.service_id, row.scope),
                           .identity = row.identity,
                           .affinity_s = row.affinity_s,
                           .flags = row.flags})
                  .ok());
}

void SelectWorld::Put(const BackendRow& row) {
  const Place place = At(row.place);
  ASSERT_TRUE(rows_->backend
                  .Upsert({.backend_id = row.id}, {.ip = Row(place.ip),
                                                   .port = EncodePort(place.port),
                                                   .proto = 6,
                                                   .state = static_cast<uint8_t>(row.state),
                                                   .service_id = row.service_id,
                                                   .weight = row.weight,
                                                   .scopes = row.scopes,
                                                   .pad0 = 0})
                  .ok());
}

void SelectWorld::RemoveBackend(uint32_t id) {
  ASSERT_TRUE(rows_->backend.Erase({.backend_id = id}).ok());
}

void SelectWorld::PutSet(uint32_t service_id, int scope, const std::vector<uint32_t>& backend_ids,
                         uint32_t algorithm, uint32_t table_size) {
  const uint32_t set_id = MESH_SET_ID(service_id, static_cast<uint32_t>(scope));
  mesh_set_value& set = rows_->sets[set_id];
  const mesh_set_value old = set;
  set = {.generation = old.generation + 1,
         .count = static_cast<uint32_t>(backend_ids.size()),
         .algorithm = algorithm,
         .table_size = table_size};
  for (uint32_t i = 0; i < set.count; ++i) {
    ASSERT_TRUE(rows_->slot
                    .Upsert({.set_id = set_id, .generation = set.generation, .index = i},
                            {.backend_id = backend_ids[i]})
                    .ok());
  }
  ASSERT_TRUE(rows_->set.Upsert({.set_id = set_id}, set).ok());
  for (uint32_t i = 0; i < old.count; ++i) {
    ASSERT_TRUE(
        rows_->slot.Erase({.set_id = set_id, .generation = old.generation, .index = i}).ok());
  }
}

void SelectWorld::PutMaglevSet(uint32_t service_id, int scope,
                               const std::vector<uint32_t>& backend_ids, uint32_t table_size) {
  const uint32_t set_id = MESH_SET_ID(service_id, static_cast<uint32_t>(scope));
  MaglevPlaces places;
  for (uint32_t i = 0; i < table_size; ++i) places.push_back(backend_ids[i % backend_ids.size()]);
  std::vector<std::pair<mesh_maglev_key, mesh_maglev_value>> rows;
  EncodeMaglev(set_id, places, &rows);
  ASSERT_TRUE(rows_->maglev.UpsertAll(rows).ok());
  const uint32_t old_size = rows_->sets[set_id].table_size;
  PutSet(service_id, scope, backend_ids, MESH_ALGORITHM_MAGLEV, table_size);
  if (old_size == table_size) return;
  std::vector<mesh_maglev_key> old;
  CollectMaglevKeys(set_id, old_size, &old);
  ASSERT_TRUE(rows_->maglev.RemoveAll(old).ok());
}

void SelectWorld::PutService(const FrontendRow& frontend, const std::vector<std::string>& places,
                             uint32_t algorithm) {
  Put(frontend);
  std::vector<uint32_t> ids;
  for (const std::string& place : places) {
    ids.push_back(static_cast<uint32_t>(ids.size()) + 1);
    Put(BackendRow{ids.back(), frontend.service_id, place});
  }
  PutSet(frontend.service_id, frontend.scope, ids, algorithm);
}

void SelectWorld::PutRange(uint32_t service_id, const std::string& range) {
  const IpPrefix prefix = *IpPrefix::Parse(range);
  ASSERT_TRUE(rows_->range
                  .Upsert({.prefix_length = 32 + static_cast<uint32_t>(Own(prefix).length()),
                           .service_id = service_id,
                           .ip = F::Encode(Own(prefix).base())},
                          {.allowed = 1})
                  .ok());
}

void SelectWorld::PutLoad(uint32_t backend_id, uint32_t flows) {
  ASSERT_TRUE(rows_->load.Upsert({.backend_id = backend_id}, {.flows = flows}).ok());
}

uint32_t SelectWorld::LoadOf(uint32_t backend_id) {
  return rows_->load.Lookup({.backend_id = backend_id})->flows;
}

void SelectWorld::AgeAffinity(int seconds) {
  const auto rows = *rows_->affinity.Dump();
  for (auto [key, value] : rows) {
    value.last_seen_ns -= static_cast<uint64_t>(seconds) * 1'000'000'000;
    ASSERT_TRUE(rows_->affinity.Upsert(key, value).ok());
  }
}

void SelectWorld::JudgeAgain() {
  mesh_state_value state = *rows_->state.Lookup(0);
  ++state.generation;
  ASSERT_TRUE(rows_->state.Upsert(0, state).ok());
}

std::string SelectWorld::Dial(const std::string& to, uint16_t port) {
  return Dial(client_, to, port);
}

std::string SelectWorld::Dial(const Pod& pod, const std::string& to, uint16_t port) {
  const Place from{*IpAddress::Parse(pod.ip), port};
  const Outcome out = FromPod(pod, Tcp(from, At(to), kSyn));
  if (out.reason != "forwarded") return out.reason;
  if (!out.packet.has_value()) return "not a packet";
  return out.packet->destination.ToString();
}

}  // namespace mesh::dataplane::testing
