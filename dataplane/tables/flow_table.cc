// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/flow_table.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <utility>

#include "common/status.h"
#include "dataplane/tables/encode.h"
#include "mesh/shared/flow_state.h"

namespace mesh::dataplane {
namespace {

mesh_flow_key PartnerKey(const mesh_flow_key& key, const mesh_flow_value& value) {
  return {.saddr = value.daddr,
          .daddr = value.saddr,
          .sport = value.dport,
          .dport = value.sport,
          .proto = key.proto,
          .pad0 = {}};
}

std::string Bytes(const mesh_flow_key& key) {
  return std::string(reinterpret_cast<const char*>(&key), sizeof(key));
}

const char* StateName(mesh_flow_state state) {
  switch (state) {
    case MESH_FLOW_STATE_NEW:
      return "new";
    case MESH_FLOW_STATE_ESTABLISHED:
      return "established";
    case MESH_FLOW_STATE_HALF_CLOSED:
    case MESH_FLOW_STATE_CLOSING:
      return "closing";
    case MESH_FLOW_STATE_UNREPLIED:
      return "unreplied";
    case MESH_FLOW_STATE_REPLIED:
      return "replied";
  }
  return "";
}

bool IsReply(const mesh_flow_value& value) { return (value.flags & MESH_FLOW_REPLY) != 0; }

}  // namespace

absl::StatusOr<std::vector<ConntrackRow>> FlowTable::Rows(uint64_t now_ns) const {
  ASSIGN_OR_RETURN(const auto entries, map_.Dump());
  std::map<std::string, const mesh_flow_value*> replies;
  for (const auto& [key, value] : entries) {
    if (IsReply(value)) replies[Bytes(key)] = &value;
  }
  std::vector<ConntrackRow> out;
  for (const auto& [key, value] : entries) {
    if (IsReply(value)) continue;
    // Answers that do not come by here have no entry.
    const bool one_way = (value.flags & MESH_FLOW_ONE_WAY) != 0;
    const auto it = one_way ? replies.end() : replies.find(Bytes(PartnerKey(key, value)));
    if (!one_way && it == replies.end()) continue;
    const mesh_flow_value& reply = one_way ? value : *it->second;
    const mesh_flow_state state = mesh_flow_state_of(key.proto, &value, &reply);
    ConntrackRow& row = out.emplace_back();
    row.protocol = static_cast<Protocol>(key.proto);
    row.source = DecodeIp(key.saddr);
    row.destination = DecodeIp(key.daddr);
    row.source_port = DecodePort(key.sport);
    row.destination_port = DecodePort(key.dport);
    row.translated = value.service_id != 0;
    row.masqueraded = value.target == MESH_TARGET_UPLINK && value.saddr != key.saddr;
    row.one_way = one_way;
    row.backend = DecodeIp(value.daddr);
    row.backend_port = DecodePort(value.dport);
    if (value.target == MESH_TARGET_DIRECT) {
      // It goes there untranslated.
      uint32_t ip = 0;
      uint16_t port = 0;
      std::memcpy(&ip, value.destination_mac, sizeof(ip));
      std::memcpy(&port, value.destination_mac + sizeof(ip), sizeof(port));
      row.backend = DecodeIp(ip);
      row.backend_port = DecodePort(port);
    }
    row.state = StateName(state);
    const uint64_t end_ns =
        mesh_flow_last_seen_ns(&value, &reply) + mesh_flow_timeout_ns(key.proto, state);
    row.expires_in = absl::Nanoseconds(end_ns > now_ns ? end_ns - now_ns : 0);
    row.packets = value.packets + (one_way ? 0 : reply.packets);
    row.bytes = value.bytes + (one_way ? 0 : reply.bytes);
  }
  std::sort(out.begin(), out.end(), [](const ConntrackRow& a, const ConntrackRow& b) {
    return std::tie(a.source, a.source_port, a.destination, a.destination_port, a.protocol) <
           std::tie(b.source, b.source_port, b.destination, b.destination_port, b.protocol);
  });
  return out;
}

absl::Status FlowTable::RemoveAddress(const IpAddress& ip) {
  const uint32_t ip_be = EncodeIp(ip);
  ASSIGN_OR_RETURN(const auto entries, map_.Dump());
  for (const auto& [key, value] : entries) {
    if (key.saddr != ip_be && key.daddr != ip_be && value.saddr != ip_be && value.daddr != ip_be) {
      continue;
    }
    RETURN_IF_ERROR(map_.Remove(PartnerKey(key, value)));
    RETURN_IF_ERROR(map_.Remove(key));
  }
  return absl::OkStatus();
}

}  // namespace mesh::dataplane
