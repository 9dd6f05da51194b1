// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/service_tables.h"

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <utility>

#include "common/status.h"
#include "dataplane/maglev/maglev.h"
#include "dataplane/tables/service_encode.h"
#include "fmt/format.h"

namespace mesh::dataplane {
namespace {

// The table of a Maglev set: backend ids by place. Shares are those of the slots.
MaglevPlaces PlacesOf(const SetEntry& entry, uint32_t size, const Observed& observed) {
  std::vector<MaglevBackend> backends;
  std::vector<uint32_t> ids;
  for (const uint32_t id : entry.slots) {
    if (!ids.empty() && ids.back() == id) {
      ++backends.back().weight;
      continue;
    }
    const BackendEntry& backend = observed.backends.at(id);
    ids.push_back(id);
    backends.push_back({backend.ip, backend.port, 1});
  }
  MaglevPlaces places = BuildMaglevTable(backends, size);
  for (uint32_t& place : places) place = ids[place];
  return places;
}

bool HoldsOnlyKnown(const SetEntry& entry, const Observed& observed) {
  return std::all_of(entry.slots.begin(), entry.slots.end(),
                     [&](uint32_t id) { return observed.backends.contains(id); });
}

mesh_set_value Encode(const SetEntry& entry, uint32_t generation) {
  return {.generation = generation,
          .count = static_cast<uint32_t>(entry.slots.size()),
          .algorithm = static_cast<uint32_t>(entry.algorithm),
          .table_size = entry.table_size};
}

template <typename F>
absl::StatusOr<IpPrefix> DecodePrefix(const typename F::Address& ip, uint32_t length) {
  return IpPrefix::Parse(fmt::format("{}/{}", F::Decode(ip).ToString(), length));
}

// For each family that the node has, until the first error.
template <typename Visit>
absl::Status EachFamily(const ServiceTables::Maps& maps, const Visit& visit) {
  RETURN_IF_ERROR(visit(maps.v4));
  return maps.v6.has_value() ? visit(*maps.v6) : absl::OkStatus();
}

template <typename F>
absl::Status LoadBackends(const ServiceTables::FamilyMaps<F>& maps,
                          const std::set<uint32_t>& counted, Observed& out) {
  ASSIGN_OR_RETURN(const auto backends, maps.backend.Dump());
  for (const auto& [key, value] : backends) {
    out.PutBackend(key.backend_id, Decode<F>(value, counted.contains(key.backend_id)));
  }
  return absl::OkStatus();
}

template <typename F>
absl::Status LoadAddresses(const ServiceTables::FamilyMaps<F>& maps, Observed& out) {
  ASSIGN_OR_RETURN(const auto services, maps.service.Dump());
  for (const auto& [key, value] : services) out.Put(Decode<F>(key), Decode(value));
  ASSIGN_OR_RETURN(const auto ranges, maps.source_range.Dump());
  for (const auto& [key, value] : ranges) {
    ASSIGN_OR_RETURN(const IpPrefix range, DecodePrefix<F>(key.ip, key.prefix_length - 32));
    out.PutSourceRange(key.service_id, range);
  }
  ASSIGN_OR_RETURN(const auto tunnels, maps.tunnel.Dump());
  for (const auto& [key, value] : tunnels) {
    ASSIGN_OR_RETURN(const IpPrefix prefix, DecodePrefix<F>(key.ip, key.prefix_length));
    out.peers[prefix] = DecodePeer(value);
  }
  ASSIGN_OR_RETURN(const auto identities, maps.identity.Dump());
  for (const auto& [key, value] : identities)
    out.identities[F::Decode(key.ip)] = {value.identity, value.ns};
  ASSIGN_OR_RETURN(const auto nodes, maps.node.Dump());
  for (const auto& [key, value] : nodes) {
    out.outside.insert({Outside::kNode, IpPrefix::Of(F::Decode(key.ip))});
  }
  ASSIGN_OR_RETURN(const auto no_masquerade, maps.no_masquerade.Dump());
  for (const auto& [key, value] : no_masquerade) {
    ASSIGN_OR_RETURN(const IpPrefix prefix, DecodePrefix<F>(key.ip, key.prefix_length));
    out.outside.insert({Outside::kNoMasquerade, prefix});
  }
  ASSIGN_OR_RETURN(const auto announced, maps.announce.Dump());
  for (const auto& [key, value] : announced) {
    out.outside.insert({Outside::kAnnounced, IpPrefix::Of(F::Decode(key.ip))});
  }
  return absl::OkStatus();
}

// First error of several.
void Keep(absl::Status& first, absl::Status status) {
  if (first.ok()) first = std::move(status);
}

}  // namespace

absl::StatusOr<Observed> ServiceTables::Load() const {
  Observed out;
  ASSIGN_OR_RETURN(const auto loads, maps_.load.Dump());
  std::set<uint32_t> counted;
  for (const auto& [key, value] : loads) counted.insert(key.backend_id);
  RETURN_IF_ERROR(
      EachFamily(maps_, [&](const auto& maps) { return LoadBackends(maps, counted, out); }));

  ASSIGN_OR_RETURN(const auto set_rows, maps_.set.Dump());
  std::map<uint32_t, SetEntry> sets;
  for (const auto& [key, value] : set_rows) {
    SetEntry& entry = sets[key.set_id];
    entry.generation = value.generation;
    entry.algorithm = static_cast<Algorithm>(value.algorithm);
    entry.table_size = value.table_size;
    entry.slots.assign(std::min<uint32_t>(value.count, MESH_SLOT_MAX_ENTRIES), 0);
  }
  ASSIGN_OR_RETURN(const auto slots, maps_.slot.Dump());
  for (const auto& [key, value] : slots) {
    const auto set = sets.find(key.set_id);
    if (set == sets.end() || set->second.generation != key.generation) continue;
    if (key.index < set->second.slots.size()) set->second.slots[key.index] = value.backend_id;
  }
  for (auto& [id, entry] : sets) {
    if (entry.table_size != 0) {
      bool stands = !entry.slots.empty() && HoldsOnlyKnown(entry, out);
      if (stands) {
        ASSIGN_OR_RETURN(stands,
                         MaglevStands(maps_.maglev, id, PlacesOf(entry, entry.table_size, out)));
      }
      if (!stands) entry.table_size = 0;
    }
    out.PutSet(ServiceOf(id), ScopeOf(id), std::move(entry));
  }
  RETURN_IF_ERROR(EachFamily(maps_, [&](const auto& maps) { return LoadAddresses(maps, out); }));
  ASSIGN_OR_RETURN(const auto namespaces, maps_.ns.Dump());
  for (const auto& [key, value] : namespaces) {
    out.namespaces[key.identity] = static_cast<Isolation>(value.isolation);
  }
  ASSIGN_OR_RETURN(const std::vector<IpAddress> routes, maps_.routes.List());
  for (const IpAddress& route : routes) out.outside.insert({Outside::kRoute, IpPrefix::Of(route)});
  ASSIGN_OR_RETURN(const std::vector<Frontend> ports, maps_.routes.ListPorts());
  for (const Frontend& at : ports)
    out.outside.insert({Outside::kPortRoute, IpPrefix::Of(at.vip), at.port, at.protocol});
  return out;
}

absl::Status ServiceTables::RemoveOrphans() {
  std::set<uint32_t> named;
  RETURN_IF_ERROR(EachFamily(maps_, [&](const auto& maps) -> absl::Status {
    ASSIGN_OR_RETURN(const auto services, maps.service.Dump());
    for (const auto& [key, value] : services) named.insert(value.set_id);
    return absl::OkStatus();
  }));
  std::map<uint32_t, mesh_set_value> present;
  std::vector<mesh_set_key> unnamed;
  ASSIGN_OR_RETURN(const auto sets, maps_.set.Dump());
  for (const auto& [key, value] : sets) {
    if (named.contains(key.set_id)) {
      present.emplace(key.set_id, value);
    } else {
      unnamed.push_back(key);
    }
  }
  RETURN_IF_ERROR(maps_.set.RemoveAll(unnamed));
  std::vector<mesh_slot_key> old_slots;
  ASSIGN_OR_RETURN(const auto slots, maps_.slot.Dump());
  for (const auto& [key, value] : slots) {
    const auto set = present.find(key.set_id);
    if (set == present.end() || set->second.generation != key.generation ||
        key.index >= set->second.count) {
      old_slots.push_back(key);
    }
  }
  RETURN_IF_ERROR(maps_.slot.RemoveAll(old_slots));
  std::vector<mesh_maglev_key> old_tables;
  std::vector<std::pair<mesh_maglev_key, mesh_maglev_value>> parts;
  std::string cursor;
  do {
    parts.clear();
    RETURN_IF_ERROR(maps_.maglev.ReadSome(cursor, parts));
    for (const auto& [key, value] : parts) {
      const auto set = present.find(key.set_id);
      if (set == present.end() || set->second.table_size != key.table_size) {
        old_tables.push_back(key);
      }
    }
  } while (!cursor.empty());
  RETURN_IF_ERROR(maps_.maglev.RemoveAll(old_tables));
  std::vector<mesh_backend_key> old_loads;
  ASSIGN_OR_RETURN(const auto loads, maps_.load.Dump());
  for (const auto& [key, value] : loads) {
    const bool has_backend = maps_.v4.backend.Lookup(key).ok() ||
                             (maps_.v6.has_value() && maps_.v6->backend.Lookup(key).ok());
    if (!has_backend) old_loads.push_back(key);
  }
  return maps_.load.RemoveAll(old_loads);
}

// Neighbouring actions of one kind.
class ServiceTables::Run {
 public:
  Run(Maps& maps, const Observed& observed, std::span<const Action> actions)
      : maps_(maps), observed_(observed), actions_(actions) {}

  absl::Status Write() {
    return std::visit([&](const auto& first) { return WriteAll(first); }, actions_[0]);
  }

 private:
  template <typename T, typename F>
  void Each(const F& visit) const {
    for (const Action& action : actions_) visit(std::get<T>(action));
  }
  // One row an action.
  template <typename T, typename K, typename V, typename F>
  absl::Status UpsertEach(Map<K, V>& map, const F& row) {
    std::vector<std::pair<K, V>> rows;
    rows.reserve(actions_.size());
    Each<T>([&](const T& action) { rows.push_back(row(action)); });
    return map.UpsertAll(rows);
  }
  template <typename T, typename K, typename V, typename F>
  absl::Status RemoveEach(Map<K, V>& map, const F& key) {
    std::vector<K> keys;
    keys.reserve(actions_.size());
    Each<T>([&](const T& action) { keys.push_back(key(action)); });
    return map.RemoveAll(keys);
  }

  absl::Status WriteAll(const PutNamespace&) {
    return UpsertEach<PutNamespace>(maps_.ns, [](const PutNamespace& a) {
      return std::pair(mesh_namespace_key{a.identity},
                       mesh_namespace_value{static_cast<uint32_t>(a.isolation)});
    });
  }
  absl::Status WriteAll(const RemoveNamespace&) {
    return RemoveEach<RemoveNamespace>(
        maps_.ns, [](const RemoveNamespace& a) { return mesh_namespace_key{a.identity}; });
  }
  Family FamilyOfAction(const PutPeer& a) const { return FamilyOf(a.pod_cidr); }
  Family FamilyOfAction(const RemovePeer& a) const { return FamilyOf(a.pod_cidr); }
  Family FamilyOfAction(const PutIdentity& a) const { return FamilyOf(a.ip); }
  Family FamilyOfAction(const RemoveIdentity& a) const { return FamilyOf(a.ip); }
  Family FamilyOfAction(const PutFrontend& a) const { return FamilyOf(a.frontend.vip); }
  Family FamilyOfAction(const RemoveFrontend& a) const { return FamilyOf(a.frontend.vip); }
  Family FamilyOfAction(const PutSourceRange& a) const { return FamilyOf(a.range); }
  Family FamilyOfAction(const RemoveSourceRange& a) const { return FamilyOf(a.range); }
  Family FamilyOfAction(const PutBackend& a) const { return FamilyOf(a.entry.ip); }
  Family FamilyOfAction(const RemoveBackend& a) const {
    const auto old = observed_.backends.find(a.backend_id);
    return old == observed_.backends.end() ? Family::kV4 : FamilyOf(old->second.ip);
  }
  Family FamilyOfAction(const PutOutside& a) const { return FamilyOf(a.place.range); }
  Family FamilyOfAction(const RemoveOutside& a) const { return FamilyOf(a.place.range); }

  // The actions of one family. FAILED_PRECONDITION: the node does not have it.
  template <typename T, typename Visit>
  absl::Status EachOfItsFamily(const Visit& visit) const {
    absl::Status missing;
    Each<T>([&](const T& action) {
      if (FamilyOfAction(action) == Family::kV4) {
        visit(maps_.v4, action);
      } else if (maps_.v6.has_value()) {
        visit(*maps_.v6, action);
      } else {
        missing = absl::FailedPreconditionError("this node has no maps of IPv6");
      }
    });
    return missing;
  }
  // One row an action, in the map that `pick` takes of its family's.
  template <typename T, typename Pick, typename Row>
  absl::Status UpsertEachFamily(const Pick& pick, const Row& row) {
    absl::Status first = EachOfItsFamily<T>([](const auto&, const T&) {});
    Keep(first, EachFamily(maps_, [&](const auto& maps) {
           using F = typename std::decay_t<decltype(maps)>::Rows;
           std::vector<decltype(row(F(), std::declval<const T&>()))> rows;
           Each<T>([&](const T& action) {
             if (FamilyOfAction(action) == F::kFamily) rows.push_back(row(F(), action));
           });
           return pick(maps).UpsertAll(rows);
         }));
    return first;
  }
  template <typename T, typename Pick, typename Key>
  absl::Status RemoveEachFamily(const Pick& pick, const Key& key) {
    return EachFamily(maps_, [&](const auto& maps) {
      using F = typename std::decay_t<decltype(maps)>::Rows;
      std::vector<decltype(key(F(), std::declval<const T&>()))> keys;
      Each<T>([&](const T& action) {
        if (FamilyOfAction(action) == F::kFamily) keys.push_back(key(F(), action));
      });
      return pick(maps).RemoveAll(keys);
    });
  }

  absl::Status WriteAll(const PutPeer&) {
    return UpsertEachFamily<PutPeer>(
        [](const auto& maps) -> auto& { return maps.tunnel; },
        []<typename F>(F family, const PutPeer& a) {
          return std::pair(EncodeRange<F>(a.pod_cidr), EncodePeer(family, a.node));
        });
  }
  absl::Status WriteAll(const RemovePeer&) {
    return RemoveEachFamily<RemovePeer>(
        [](const auto& maps) -> auto& { return maps.tunnel; },
        []<typename F>(F, const RemovePeer& a) { return EncodeRange<F>(a.pod_cidr); });
  }
  absl::Status WriteAll(const PutIdentity&) {
    return UpsertEachFamily<PutIdentity>(
        [](const auto& maps) -> auto& { return maps.identity; },
        []<typename F>(F, const PutIdentity& a) {
          return std::pair(typename F::IdentityKey{F::Encode(a.ip)},
                           mesh_identity_value{a.entry.identity, a.entry.ns});
        });
  }
  absl::Status WriteAll(const RemoveIdentity&) {
    return RemoveEachFamily<RemoveIdentity>(
        [](const auto& maps) -> auto& { return maps.identity; },
        []<typename F>(F, const RemoveIdentity& a) {
          return typename F::IdentityKey{F::Encode(a.ip)};
        });
  }
  absl::Status WriteAll(const PutFrontend&) {
    return UpsertEachFamily<PutFrontend>(
        [](const auto& maps) -> auto& { return maps.service; },
        []<typename F>(F, const PutFrontend& a) {
          return std::pair(Encode<F>(a.frontend), Encode(a.entry));
        });
  }
  absl::Status WriteAll(const RemoveFrontend&) {
    return RemoveEachFamily<RemoveFrontend>(
        [](const auto& maps) -> auto& { return maps.service; },
        []<typename F>(F, const RemoveFrontend& a) { return Encode<F>(a.frontend); });
  }
  absl::Status WriteAll(const PutSourceRange&) {
    return UpsertEachFamily<PutSourceRange>(
        [](const auto& maps) -> auto& { return maps.source_range; },
        []<typename F>(F, const PutSourceRange& a) {
          return std::pair(EncodeSourceRange<F>(a.service_id, a.range), mesh_source_range_value{1});
        });
  }
  absl::Status WriteAll(const RemoveSourceRange&) {
    return RemoveEachFamily<RemoveSourceRange>(
        [](const auto& maps) -> auto& { return maps.source_range; },
        []<typename F>(F, const RemoveSourceRange& a) {
          return EncodeSourceRange<F>(a.service_id, a.range);
        });
  }

  absl::Status WriteAll(const PutBackend&) {
    std::vector<std::pair<mesh_backend_key, mesh_backend_load_value>> counted;
    std::vector<mesh_backend_key> uncounted;
    Each<PutBackend>([&](const PutBackend& a) {
      const auto old = observed_.backends.find(a.backend_id);
      const bool was = old != observed_.backends.end() && old->second.counted;
      // The programs count in it: never written over.
      if (a.entry.counted && !was) counted.push_back({{a.backend_id}, {.flows = 0}});
      if (!a.entry.counted && was) uncounted.push_back({a.backend_id});
    });
    RETURN_IF_ERROR(maps_.load.UpsertAll(counted));
    RETURN_IF_ERROR(UpsertEachFamily<PutBackend>(
        [](const auto& maps) -> auto& { return maps.backend; },
        []<typename F>(F, const PutBackend& a) {
          return std::pair(mesh_backend_key{a.backend_id}, Encode<F>(a.entry));
        }));
    return maps_.load.RemoveAll(uncounted);
  }
  absl::Status WriteAll(const RemoveBackend&) {
    RETURN_IF_ERROR(RemoveEachFamily<RemoveBackend>(
        [](const auto& maps) -> auto& { return maps.backend; },
        [](auto, const RemoveBackend& a) { return mesh_backend_key{a.backend_id}; }));
    std::vector<mesh_backend_key> counted;
    Each<RemoveBackend>([&](const RemoveBackend& a) {
      const auto old = observed_.backends.find(a.backend_id);
      if (old != observed_.backends.end() && old->second.counted) {
        counted.push_back({a.backend_id});
      }
    });
    return maps_.load.RemoveAll(counted);
  }

  void CollectSlots(uint32_t set_id, uint32_t generation, size_t count,
                    std::vector<mesh_slot_key>* out) const {
    for (uint32_t i = 0; i < count; ++i) out->push_back({set_id, generation, i});
  }

  // Some thousand rows at a time: those of 10,000 tables are 50 MB. What does not fit leaves
  // nothing of it behind, once it is tried alone.
  absl::Status WriteTables(const std::vector<const PutSet*>& sets) {
    const absl::Status written = TryTables(sets);
    if (written.ok() || sets.size() != 1) return written;
    const PutSet& set = *sets[0];
    const SetEntry* old = observed_.FindSet(set.service_id, set.scope);
    if (old != nullptr && old->table_size == set.entry.table_size) return written;
    std::vector<mesh_maglev_key> keys;
    CollectMaglevKeys(SetId(set.service_id, set.scope), set.entry.table_size, &keys);
    maps_.maglev.RemoveAll(keys).IgnoreError();  // the first error is the answer
    return written;
  }
  absl::Status TryTables(const std::vector<const PutSet*>& sets) {
    constexpr size_t kTogether = 4096;
    std::vector<std::pair<mesh_maglev_key, mesh_maglev_value>> rows;
    for (const PutSet* set : sets) {
      EncodeMaglev(SetId(set->service_id, set->scope),
                   PlacesOf(set->entry, set->entry.table_size, observed_), &rows);
      if (rows.size() < kTogether) continue;
      RETURN_IF_ERROR(maps_.maglev.UpsertAll(rows));
      rows.clear();
    }
    return maps_.maglev.UpsertAll(rows);
  }
  absl::Status WriteAll(const PutSet&) {
    std::vector<const PutSet*> tables;
    std::vector<mesh_maglev_key> old_tables;
    std::vector<std::pair<mesh_slot_key, mesh_slot_value>> slots;
    std::vector<std::pair<mesh_set_key, mesh_set_value>> sets;
    std::vector<mesh_slot_key> old_slots;
    absl::Status unknown;
    Each<PutSet>([&](const PutSet& a) {
      const uint32_t id = SetId(a.service_id, a.scope), generation = a.entry.generation + 1;
      if (!HoldsOnlyKnown(a.entry, observed_)) {
        Keep(unknown, absl::FailedPreconditionError(fmt::format(
                          "service id {}: a backend of its new set could not be written, the old "
                          "set stays",
                          a.service_id)));
        return;
      }
      for (uint32_t i = 0; i < a.entry.slots.size(); ++i) {
        slots.push_back({{id, generation, i}, {a.entry.slots[i]}});
      }
      sets.push_back({{id}, Encode(a.entry, generation)});
      if (a.entry.table_size != 0) tables.push_back(&a);
      const SetEntry* old = observed_.FindSet(a.service_id, a.scope);
      if (old == nullptr) return;
      CollectSlots(id, old->generation, old->slots.size(), &old_slots);
      if (old->table_size != a.entry.table_size) {
        CollectMaglevKeys(id, old->table_size, &old_tables);
      }
    });
    RETURN_IF_ERROR(unknown);
    RETURN_IF_ERROR(maps_.slot.UpsertAll(slots));
    RETURN_IF_ERROR(WriteTables(tables));
    RETURN_IF_ERROR(maps_.set.UpsertAll(sets));
    RETURN_IF_ERROR(maps_.slot.RemoveAll(old_slots));
    return maps_.maglev.RemoveAll(old_tables);
  }
  absl::Status WriteAll(const RemoveSet&) {
    std::vector<mesh_set_key> sets;
    std::vector<mesh_maglev_key> tables;
    std::vector<mesh_slot_key> slots;
    Each<RemoveSet>([&](const RemoveSet& a) {
      const uint32_t id = SetId(a.service_id, a.scope);
      sets.push_back({id});
      const SetEntry* old = observed_.FindSet(a.service_id, a.scope);
      if (old == nullptr) return;
      CollectSlots(id, old->generation, old->slots.size(), &slots);
      CollectMaglevKeys(id, old->table_size, &tables);
    });
    RETURN_IF_ERROR(maps_.set.RemoveAll(sets));
    RETURN_IF_ERROR(maps_.slot.RemoveAll(slots));
    return maps_.maglev.RemoveAll(tables);
  }

  template <typename T>
  absl::Status WriteOutside(bool put) {
    absl::Status first;
    std::vector<IpAddress> routes;
    std::vector<Frontend> ports;
    Keep(first, EachOfItsFamily<T>([&](const auto& maps, const T& a) {
           using F = typename std::decay_t<decltype(maps)>::Rows;
           const OutsidePlace& place = a.place;
           const auto length = static_cast<uint32_t>(place.range.length());
           const typename F::Address ip = F::Encode(place.range.base());
           const auto set = [&](auto& map, const auto& key) {
             Keep(first, put ? map.Upsert(key, 1) : map.Remove(key));
           };
           switch (place.kind) {
             case Outside::kNode:
               return set(maps.node, typename F::NodeKey{ip});
             case Outside::kNoMasquerade:
               return set(maps.no_masquerade, typename F::NoMasqueradeKey{length, ip});
             case Outside::kAnnounced:
               return set(maps.announce, typename F::AnnounceKey{ip});
             case Outside::kRoute:
               routes.push_back(place.range.base());
               return;
             case Outside::kPortRoute:
               ports.push_back({place.range.base(), place.port, place.protocol});
           }
         }));
    if (!routes.empty()) Keep(first, put ? maps_.routes.Add(routes) : maps_.routes.Remove(routes));
    if (!ports.empty())
      Keep(first, put ? maps_.routes.AddPorts(ports) : maps_.routes.RemovePorts(ports));
    return first;
  }
  absl::Status WriteAll(const PutOutside&) { return WriteOutside<PutOutside>(true); }
  absl::Status WriteAll(const RemoveOutside&) { return WriteOutside<RemoveOutside>(false); }

  Maps& maps_;
  const Observed& observed_;
  std::span<const Action> actions_;
};

absl::Status ServiceTables::Execute(const std::vector<Action>& actions, Observed& observed) {
  absl::Status first;
  std::vector<Action> failed;
  bool full = false;
  const std::span<const Action> all(actions);
  for (size_t begin = 0; begin < all.size();) {
    size_t end = begin + 1;
    while (end < all.size() && all[end].index() == all[begin].index()) ++end;
    const std::span<const Action> run = all.subspan(begin, end - begin);
    begin = end;
    const absl::Status together = Run(maps_, observed, run).Write();
    if (together.ok()) {
      for (const Action& action : run) Perform(action, observed);
      continue;
    }
    // One by one: what can be written is. Writing a row again does no harm.
    for (size_t i = 0; i < run.size(); ++i) {
      const absl::Status alone =
          run.size() == 1 ? together : Run(maps_, observed, run.subspan(i, 1)).Write();
      if (alone.ok()) {
        Perform(run[i], observed);
        continue;
      }
      Keep(first, alone);
      failed.push_back(run[i]);
      full = full || absl::IsResourceExhausted(alone);
    }
  }
  if (!full) return first;
  // What comes is written before that in whose place it comes: there may be room now.
  first = absl::OkStatus();
  for (const Action& action : failed) {
    const absl::Status again = Run(maps_, observed, std::span(&action, 1)).Write();
    if (again.ok()) Perform(action, observed);
    Keep(first, again);
  }
  return first;
}

}  // namespace mesh::dataplane
