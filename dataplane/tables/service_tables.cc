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
          .service_id = entry.service_id};
}

BackendEntry Decode(const mesh_backend_value& value) {
  return {value.service_id, DecodeIp(value.ip), DecodePort(value.port),
          static_cast<Protocol>(value.proto), static_cast<BackendState>(value.state)};
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
  std::map<std::pair<uint32_t, uint32_t>, std::map<uint32_t, uint32_t>> by_service;
  for (const auto& [key, value] : slots) {
    by_service[{key.service_id, key.generation}][key.index] = value.backend_id;
  }
  ASSIGN_OR_RETURN(const auto services, maps_.service.Dump());
  for (const auto& [key, value] : services) {
    ServiceEntry& entry = out.services[Decode(key)];
    entry.service_id = value.service_id;
    entry.identity = value.identity;
    entry.generation = value.generation;
    for (const auto& [index, backend_id] : by_service[{value.service_id, value.generation}]) {
      if (index < value.count) entry.backend_ids.push_back(backend_id);
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
  std::set<std::pair<uint32_t, uint32_t>> present;
  ASSIGN_OR_RETURN(const auto services, maps_.service.Dump());
  for (const auto& [key, value] : services) present.emplace(value.service_id, value.generation);
  ASSIGN_OR_RETURN(const auto slots, maps_.slot.Dump());
  for (const auto& [key, value] : slots) {
    if (present.contains({key.service_id, key.generation})) continue;
    RETURN_IF_ERROR(maps_.slot.Remove(key));
  }
  return absl::OkStatus();
}

absl::Status ServiceTables::RemoveSlots(const ServiceEntry& entry) {
  for (uint32_t i = 0; i < entry.backend_ids.size(); ++i) {
    RETURN_IF_ERROR(maps_.slot.Remove(
        {.service_id = entry.service_id, .generation = entry.generation, .index = i}));
  }
  return absl::OkStatus();
}

absl::Status ServiceTables::Put(const PutService& action, const Observed& observed) {
  const ServiceEntry& entry = action.entry;
  const uint32_t generation = entry.generation + 1;
  for (uint32_t i = 0; i < entry.backend_ids.size(); ++i) {
    RETURN_IF_ERROR(
        maps_.slot.Upsert({.service_id = entry.service_id, .generation = generation, .index = i},
                          {.backend_id = entry.backend_ids[i]}));
  }
  RETURN_IF_ERROR(maps_.service.Upsert(Encode(action.frontend),
                                       {.service_id = entry.service_id,
                                        .generation = generation,
                                        .count = static_cast<uint32_t>(entry.backend_ids.size()),
                                        .identity = entry.identity}));
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
      return old == observed.services.end() ? absl::OkStatus() : tables.RemoveSlots(old->second);
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
