// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/flow_table.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "common/status.h"
#include "dataplane/tables/flow_rows.h"

namespace mesh::dataplane {
namespace {

template <typename Key>
std::string_view Bytes(const Key& key) {
  return {reinterpret_cast<const char*>(&key), sizeof(key)};
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
    case MESH_FLOW_STATE_ANSWERED:
      return "answered";
    case MESH_FLOW_STATE_REPLIED:
      return "replied";
  }
  return "";
}

// The backend that the sending node has told the other in the inner MAC address: the last four
// bytes of its address, and its port.
template <typename Value>
void DirectBackend(const Value& value, const std::optional<IpPrefix>& range, ConntrackRow* row) {
  std::array<uint8_t, 16> ip = row->destination.is_v4() ? IpAddress::V4(0).bytes()
                               : range.has_value()      ? range->base().bytes()
                                                        : IpAddress().bytes();
  std::memcpy(&ip[12], value.destination_mac, 4);
  row->backend = IpAddress::FromBytes(ip);
  uint16_t port = 0;
  std::memcpy(&port, value.destination_mac + 4, sizeof(port));
  row->backend_port = DecodePort(port);
}

}  // namespace

template <typename F>
absl::StatusOr<std::vector<ConntrackRow>> FlowTable<F>::Rows(uint64_t now_ns,
                                                             const RangeOf& range_of) const {
  ASSIGN_OR_RETURN(const auto entries, map_.Dump());
  std::unordered_map<std::string_view, const typename F::FlowValue*> replies;
  replies.reserve(entries.size() / 2);
  for (const auto& [key, value] : entries) {
    if (IsReply(value)) replies[Bytes(key)] = &value;
  }
  std::vector<ConntrackRow> out;
  for (const auto& [key, value] : entries) {
    if (IsReply(value)) continue;
    // Answers that do not come by here have no entry.
    const bool one_way = IsOneWay(value);
    const auto partner = PartnerKey<F>(key, value);
    const auto it = one_way ? replies.end() : replies.find(Bytes(partner));
    if (!one_way && it == replies.end()) continue;
    const auto& reply = one_way ? value : *it->second;
    const mesh_flow_value &life = LifeOf(value), &reply_life = LifeOf(reply);
    const mesh_flow_state state = mesh_flow_state_of(key.proto, &life, &reply_life);
    ConntrackRow& row = out.emplace_back();
    row.protocol = static_cast<Protocol>(key.proto);
    row.source = F::Decode(key.saddr);
    row.destination = F::Decode(key.daddr);
    row.source_port = DecodePort(key.sport);
    row.destination_port = DecodePort(key.dport);
    row.translated = value.service_id != 0;
    row.masqueraded = value.target == MESH_TARGET_UPLINK && !SameBytes(value.saddr, key.saddr);
    row.one_way = one_way;
    row.backend = F::Decode(value.daddr);
    row.backend_port = DecodePort(value.dport);
    if (value.target == MESH_TARGET_DIRECT) {
      // It goes there untranslated.
      DirectBackend(value, range_of ? range_of(DecodeIp(value.out_peer)) : std::nullopt, &row);
    }
    row.state = StateName(state);
    const uint64_t last_ns = mesh_flow_last_seen_ns(&life, &reply_life);
    const uint64_t end_ns = last_ns + mesh_flow_timeout_ns(key.proto, state);
    row.idle = absl::Nanoseconds(now_ns > last_ns ? now_ns - last_ns : 0);
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

template <typename F>
absl::Status FlowTable<F>::RemoveAddress(const IpAddress& ip) {
  const typename F::Address address = F::Encode(ip);
  const auto is = [&](const typename F::Address& other) { return SameBytes(other, address); };
  ASSIGN_OR_RETURN(const auto entries, map_.Dump());
  for (const auto& [key, value] : entries) {
    if (!is(key.saddr) && !is(key.daddr) && !is(value.saddr) && !is(value.daddr)) continue;
    RETURN_IF_ERROR(map_.Remove(PartnerKey<F>(key, value)));
    RETURN_IF_ERROR(map_.Remove(key));
  }
  return absl::OkStatus();
}

template class FlowTable<V4>;
template class FlowTable<V6>;

}  // namespace mesh::dataplane
