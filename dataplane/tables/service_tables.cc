// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/service_tables.h"

#include <map>
#include <set>
#include <utility>

#include "common/status.h"
#include "dataplane/tables/encode.h"
#include "fmt/format.h"

namespace mesh::dataplane {
namespace {

uint32_t SetOf(const ServiceEntry& entry) {
  return MESH_SET_ID(entry.service_id, MESH_SCOPE_INTERNAL);
}

mesh_service_key Encode(const Frontend& frontend) {
  return {.vip = EncodeIp(frontend.vip),
          .port = EncodePort(frontend.port),
          .proto = static_cast<uint8_t>(frontend.protocol),
          .pad0 = 0};
}

Frontend Decode(const mesh_service_key& key) {
  return {DecodeIp(key.vip), DecodePort(key.port), static_cast<Protocol>(key.proto)};
}

mesh_backend_value Encode(const BackendEntry& entry) {
  return {.ip = EncodeIp(entry.ip),
          .port = EncodePort(entry.port),
          .proto = static_cast<uint8_t>(entry.protocol),
          .state = static_cast<uint8_t>(entry.state),
          .service_id = entry.service_id,
          .weight = entry.weight,
          .scopes = entry.scopes,
          .pad0 = 0};
}

BackendEntry Decode(const mesh_backend_value& value) {
  return {value.service_id,
          DecodeIp(value.ip),
          DecodePort(value.port),
          static_cast<Protocol>(value.proto),
          static_cast<BackendState>(value.state),
          value.weight,
          value.scopes};
}

mesh_tunnel_key Encode(const IpPrefix& prefix) {
  return {.prefix_length = static_cast<uint32_t>(prefix.length()), .ip = EncodeIp(prefix.base())};
}

}  // namespace

absl::StatusOr<Observed> ServiceTables::Load() const {
  Observed out;
  ASSIGN_OR_RETURN(const auto backends, maps_.backend.Dump());
  for (const auto& [key, value] : backends) out.backends[key.backend_id] = Decode(value);

  ASSIGN_OR_RETURN(const auto slots, maps_.slot.Dump());
  std::map<std::pair<uint32_t, uint32_t>, std::map<uint32_t, uint32_t>> by_set;
  for (const auto& [key, value] : slots) {
    by_set[{key.set_id, key.generation}][key.index] = value.backend_id;
  }
  ASSIGN_OR_RETURN(const auto set_rows, maps_.set.Dump());
  std::map<uint32_t, mesh_set_value> sets;
  for (const auto& [key, value] : set_rows) sets.emplace(key.set_id, value);
  ASSIGN_OR_RETURN(const auto services, maps_.service.Dump());
  for (const auto& [key, value] : services) {
    ServiceEntry& entry = out.services[Decode(key)];
    entry.service_id = value.service_id;
    entry.identity = value.identity;
    const auto set = sets.find(value.set_id);
    if (set == sets.end()) continue;
    entry.generation = set->second.generation;
    for (const auto& [index, backend_id] : by_set[{value.set_id, entry.generation}]) {
      if (index < set->second.count) entry.backend_ids.push_back(backend_id);
    }
  }

  ASSIGN_OR_RETURN(const auto tunnels, maps_.tunnel.Dump());
  for (const auto& [key, value] : tunnels) {
    ASSIGN_OR_RETURN(
        const IpPrefix prefix,
        IpPrefix::Parse(fmt::format("{}/{}", DecodeIp(key.ip).ToString(), key.prefix_length)));
    out.peers[prefix] = DecodeIp(value.node_ip);
  }
  ASSIGN_OR_RETURN(const auto namespaces, maps_.ns.Dump());
  for (const auto& [key, value] : namespaces) {
    out.namespaces[key.identity] = static_cast<Isolation>(value.isolation);
  }
  return out;
}

absl::Status ServiceTables::RemoveOrphans() {
  std::set<uint32_t> named;
  ASSIGN_OR_RETURN(const auto services, maps_.service.Dump());
  for (const auto& [key, value] : services) named.insert(value.set_id);
  std::set<std::pair<uint32_t, uint32_t>> present;
  ASSIGN_OR_RETURN(const auto sets, maps_.set.Dump());
  for (const auto& [key, value] : sets) {
    if (named.contains(key.set_id)) {
      present.emplace(key.set_id, value.generation);
    } else {
      RETURN_IF_ERROR(maps_.set.Remove(key));
    }
  }
  ASSIGN_OR_RETURN(const auto slots, maps_.slot.Dump());
  for (const auto& [key, value] : slots) {
    if (present.contains({key.set_id, key.generation})) continue;
    RETURN_IF_ERROR(maps_.slot.Remove(key));
  }
  return absl::OkStatus();
}

absl::Status ServiceTables::RemoveSlots(const ServiceEntry& entry) {
  for (uint32_t i = 0; i < entry.backend_ids.size(); ++i) {
    RETURN_IF_ERROR(
        maps_.slot.Remove({.set_id = SetOf(entry), .generation = entry.generation, .index = i}));
  }
  return absl::OkStatus();
}

absl::Status ServiceTables::Put(const PutService& action, const Observed& observed) {
  const ServiceEntry& entry = action.entry;
  const uint32_t generation = entry.generation + 1;
  for (uint32_t i = 0; i < entry.backend_ids.size(); ++i) {
    RETURN_IF_ERROR(
        maps_.slot.Upsert({.set_id = SetOf(entry), .generation = generation, .index = i},
                          {.backend_id = entry.backend_ids[i]}));
  }
  RETURN_IF_ERROR(maps_.set.Upsert({.set_id = SetOf(entry)},
                                   {.generation = generation,
                                    .count = static_cast<uint32_t>(entry.backend_ids.size()),
                                    .algorithm = MESH_ALGORITHM_RANDOM,
                                    .table_size = 0}));
  RETURN_IF_ERROR(maps_.service.Upsert(Encode(action.frontend), {.service_id = entry.service_id,
                                                                 .set_id = SetOf(entry),
                                                                 .identity = entry.identity,
                                                                 .affinity_s = 0,
                                                                 .flags = 0}));
  const auto old = observed.services.find(action.frontend);
  return old == observed.services.end() ? absl::OkStatus() : RemoveSlots(old->second);
}

absl::Status ServiceTables::Execute(const Action& action, const Observed& observed) {
  struct Visitor {
    ServiceTables& tables;
    const Observed& observed;

    absl::Status operator()(const PutNamespace& a) {
      return tables.maps_.ns.Upsert({.identity = a.identity},
                                    {.isolation = static_cast<uint32_t>(a.isolation)});
    }
    absl::Status operator()(const PutPeer& a) {
      return tables.maps_.tunnel.Upsert(Encode(a.pod_cidr), {.node_ip = EncodeIp(a.node)});
    }
    absl::Status operator()(const PutBackend& a) {
      return tables.maps_.backend.Upsert({.backend_id = a.backend_id}, Encode(a.entry));
    }
    absl::Status operator()(const PutService& a) { return tables.Put(a, observed); }
    absl::Status operator()(const RemoveService& a) {
      RETURN_IF_ERROR(tables.maps_.service.Remove(Encode(a.frontend)));
      const auto old = observed.services.find(a.frontend);
      if (old == observed.services.end()) return absl::OkStatus();
      RETURN_IF_ERROR(tables.maps_.set.Remove({.set_id = SetOf(old->second)}));
      return tables.RemoveSlots(old->second);
    }
    absl::Status operator()(const RemoveBackend& a) {
      return tables.maps_.backend.Remove({.backend_id = a.backend_id});
    }
    absl::Status operator()(const RemovePeer& a) {
      return tables.maps_.tunnel.Remove(Encode(a.pod_cidr));
    }
    absl::Status operator()(const RemoveNamespace& a) {
      return tables.maps_.ns.Remove({.identity = a.identity});
    }
  };
  return std::visit(Visitor{*this, observed}, action);
}

}  // namespace mesh::dataplane
