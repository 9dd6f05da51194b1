// SPDX-License-Identifier: Apache-2.0
#include "tests/bpf/oracle.h"

#include <algorithm>
#include <array>

#include "mesh/shared/flow_hash.h"
#include "tests/bpf/world.h"
#include "tests/support/packet/family.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::kAck;
using mesh::testing::kFin;
using mesh::testing::kRst;
using mesh::testing::kSyn;
using mesh::testing::Packet;

constexpr uint8_t kIcmp = 1, kTcp = 6, kUdp = 17;
constexpr uint8_t kEchoReply = 0, kEcho = 8;
constexpr char kAgain[] = "again";
const IpAddress kHairpin = IpAddress::V4(0xa9fe4001);
// Moments nearer than this to the end of a time are not decided.
constexpr double kMargin = 0.5;

bool Opens(const Packet& packet) {
  return packet.protocol == kTcp && (packet.tcp_flags & (kSyn | kAck)) == kSyn;
}

Tuple TupleOf(const Packet& packet) {
  Tuple out{packet.source, packet.destination, 0, 0, packet.protocol};
  if (packet.protocol == kIcmp) {
    (packet.icmp_type == kEcho ? out.source_port : out.destination_port) = packet.icmp_id;
  } else {
    out.source_port = packet.source_port;
    out.destination_port = packet.destination_port;
  }
  return out;
}

Packet WithTuple(Packet packet, const Tuple& tuple) {
  packet.source = tuple.source;
  packet.destination = tuple.destination;
  if (packet.protocol == kIcmp) {
    packet.icmp_id = std::max(tuple.source_port, tuple.destination_port);
  } else {
    packet.source_port = tuple.source_port;
    packet.destination_port = tuple.destination_port;
  }
  return packet;
}

// Of the address in IPv6, in host order.
std::array<uint32_t, 4> Words(const IpAddress& address) {
  std::array<uint32_t, 4> out{};
  const auto bytes = mesh::testing::ToIpv6(address).bytes();
  for (size_t i = 0; i < bytes.size(); ++i) out[i / 4] = out[i / 4] << 8 | bytes[i];
  return out;
}

// Where a flow, or all of its client, stands in a Maglev table.
uint32_t MaglevHash(const Tuple& key, const IpAddress& vip, bool of_client) {
  if (!kIpv6) {
    return of_client ? mesh_client_hash(key.source.v4())
                     : mesh_flow_hash(key.source.v4(), vip.v4(), key.source_port,
                                      key.destination_port, key.protocol);
  }
  const auto client = Words(key.source), dialled = Words(vip);
  return of_client ? mesh_client6_hash(client.data())
                   : mesh_flow6_hash(client.data(), dialled.data(), key.source_port,
                                     key.destination_port, key.protocol);
}

// Of each `share` ports from `first` on the sender may have one. Clients outside have a /64 each,
// and to where pods go as well (`with_pods`) they are one sender together.
std::function<bool(uint16_t)> SharedPorts(const IpAddress& sender, bool outside, bool with_pods,
                                          uint16_t first) {
  const uint32_t share = outside && !with_pods ? 2 : 4;
  uint32_t hash = 0;
  if (!outside || !with_pods) {
    const auto words = Words(sender);
    const size_t known = outside ? 2 : 4;
    if (!kIpv6) hash = mesh_hash_add(0, sender.v4());
    for (size_t i = 0; kIpv6 && i < known; ++i) hash = mesh_hash_add(hash, words.at(i));
  }
  return [=](uint16_t port) {
    const uint32_t group = static_cast<uint32_t>(port - first) / share;
    return (port - first) % share == mesh_hash_end(mesh_hash_add(hash, group)) % share;
  };
}

}  // namespace

Tuple Tuple::Reversed() const {
  return {destination, source, destination_port, source_port, protocol};
}

std::ostream& operator<<(std::ostream& out, const Expectation& expectation) {
  out << expectation.reason;
  if (expectation.reason != "forwarded") return out;
  out << " " << expectation.packet;
  return expectation.last_port != 0 ? out << " from another port" : out;
}

void Oracle::Age(double seconds) {
  for (auto& [key, entry] : table_) entry.last_seen_s -= seconds;
}

void Oracle::AgeAffinity(double seconds) {
  for (auto& [key, row] : affinity_) row.last_seen_s -= seconds;
}

bool Oracle::After(double last_seen_s, double seconds) const {
  const double rested = now_s_ - last_seen_s;
  if (rested > seconds - kMargin && rested < seconds + kMargin) undecided_ = true;
  return rested > seconds;
}

bool Oracle::Over(const Entry& entry) const {
  const auto it = table_.find(entry.out.Reversed());
  if (it == table_.end()) return true;
  const Entry& forward = entry.reply ? it->second : entry;
  const Entry& reply = entry.reply ? entry : it->second;
  double timeout_s = 30;
  if (entry.out.protocol == kTcp) {
    if (forward.rst || reply.rst || (forward.fin && reply.fin)) {
      timeout_s = 10;
    } else if (forward.fin || reply.fin) {
      timeout_s = 300;
    } else {
      timeout_s = forward.data && reply.packets > 0 ? 8000 : 60;
    }
  } else if (entry.out.protocol == kUdp && reply.packets > 0) {
    timeout_s = forward.packets > 2 || reply.packets > 2 ? 180 : 30;
  }
  return After(std::max(forward.last_seen_s, reply.last_seen_s), timeout_s);
}

bool Oracle::Finished(const Entry& entry) const {
  const auto it = table_.find(entry.out.Reversed());
  if (entry.rst || it == table_.end() || it->second.rst) return true;
  return (entry.fin && it->second.fin) || Over(entry);
}

void Oracle::Delete(const Tuple& key) {
  const auto it = table_.find(key);
  if (it == table_.end()) return;
  const Tuple partner = it->second.out.Reversed();
  table_.erase(it);
  table_.erase(partner);
}

std::string Oracle::CheckSource(const OraclePacket& packet, uint32_t* identity) const {
  const IpAddress& source = packet.packet.source;
  switch (packet.from.kind) {
    case Side::Kind::kPod: {
      const auto it = pods.find(source);
      if (it == pods.end() || source != packet.from.ip) return "source_address";
      *identity = it->second;
      return "";
    }
    case Side::Kind::kNode:
      *identity = source == gateway || source == node_ip ? kIdentityHost : kIdentityWorld;
      return "";
    case Side::Kind::kUplink:
      *identity = kIdentityWorld;
      return cluster_cidr.Contains(source) || service_cidr.Contains(source) ? "to_stack" : "";
    default:
      *identity = packet.identity;
      for (const auto& [range, peer] : peers) {
        // Of an error: who is reported about, which may not be who reports.
        const IpAddress& sender = packet.about.has_value() ? packet.about->destination : source;
        if (!range.Contains(sender)) continue;
        if (!native) return peer == packet.from.ip ? "" : "unknown_peer";
        const auto it = identities.find(sender);
        if (it == identities.end()) return "unknown_identity";
        *identity = it->second;
        return "";
      }
      return "unknown_peer";
  }
}

Side Oracle::SideOf(const OraclePacket& packet) const {
  const bool error = packet.about.has_value();
  const IpAddress& source = error ? packet.about->destination : packet.packet.source;
  const IpAddress& destination = error ? packet.about->source : packet.packet.destination;
  const bool by_uplink =
      packet.from.kind == Side::Kind::kPeer || packet.from.kind == Side::Kind::kUplink;
  if (!native || !by_uplink) return packet.from;
  if (cluster_cidr.Contains(source) && pod_cidr.Contains(destination)) {
    return {Side::Kind::kPeer, {}};
  }
  return {Side::Kind::kUplink, {}};
}

Side Oracle::NodeOf(const IpAddress& pod) const {
  for (const auto& [range, peer] : peers) {
    if (range.Contains(pod)) return {Side::Kind::kPeer, peer};
  }
  return {};
}

std::string Oracle::Vouch(Entry& entry, const Resolved& resolved) const {
  if (!native || entry.to.kind != Side::Kind::kPeer || entry.reply || entry.service_id == 0) {
    return "";
  }
  if (resolved.identity == 0) return "unknown_identity";
  entry.through_service = entry.service_identity == resolved.identity;
  return "";
}

// As it goes out, with the mark of those that may begin a flow through a Service at another node.
Packet Oracle::Leaves(const Packet& packet, const Entry& entry, bool error) const {
  Packet out = WithTuple(packet, entry.out);
  if (native && entry.to.kind == Side::Kind::kPeer && !entry.reply && entry.through_service &&
      !error && (packet.protocol != kTcp || Opens(packet))) {
    out.fragment |= 0x8000;
  }
  return out;
}

Oracle::Resolved Oracle::Resolve(const Side& from, const IpAddress& destination,
                                 bool service) const {
  if (const auto it = pods.find(destination); it != pods.end()) {
    return {"", {Side::Kind::kPod, destination}, it->second};
  }
  if (destination == gateway || destination == node_ip) {
    if (from.kind == Side::Kind::kNode && !service) return {"no_endpoint", {}, 0};
    return {"", {Side::Kind::kNode, {}}, 0};
  }
  if (pod_cidr.Contains(destination) || from.kind == Side::Kind::kPeer) {
    return {"no_endpoint", {}, 0};
  }
  if (cluster_cidr.Contains(destination)) {
    const Side node = NodeOf(destination);
    if (node.kind == Side::Kind::kNone) return {"no_tunnel", {}, 0};
    const auto it = identities.find(destination);
    return {"", node, native && it != identities.end() ? it->second : 0};
  }
  if (service_cidr.Contains(destination)) return {"no_service", {}, 0};
  return {.reason = "to_stack", .outside = true};
}

Oracle::Resolved Oracle::ResolveOutside(const Side& from, const IpAddress& destination,
                                        bool service) const {
  // The node's routes lead here only for addresses of Services.
  if (from.kind == Side::Kind::kNode && !service) return {.reason = "no_service"};
  if (has_uplink && !elsewhere.Contains(destination)) {
    return {.to = {Side::Kind::kUplink, {}}, .outside = true};
  }
  return {.reason = service ? "no_endpoint" : "to_stack"};
}

bool Oracle::Admits(const Side& from, uint32_t identity, uint32_t source,
                    bool through_service) const {
  if (identity == source) return true;
  if (from.kind == Side::Kind::kNode && source == kIdentityHost) return true;
  const auto it = namespaces.find(identity);
  const Isolation isolation = it == namespaces.end() ? Isolation::kDefault : it->second;
  if (isolation == Isolation::kOpen) return true;
  return isolation == Isolation::kDefault && through_service;
}

std::string Oracle::Review(const OraclePacket& packet, const Tuple& key, uint32_t identity) {
  const auto it = table_.find(key);
  if (it == table_.end()) return kAgain;
  Entry& entry = it->second;
  uint64_t judged = generation_;
  if (entry.in != packet.from) return kAgain;
  if (packet.about.has_value()) return "";
  const bool opens = Opens(packet.packet);
  if (opens && Finished(entry)) return kAgain;
  if (Over(entry)) return kAgain;
  if (!entry.reply && entry.service_id != 0) {
    const auto backend = backends.find(entry.backend_id);
    const bool there = backend != backends.end() &&
                       backend->second.service_id == entry.service_id &&
                       backend->second.place.ip == entry.out.destination &&
                       backend->second.place.port == entry.out.destination_port;
    if (!there) return key.protocol == kTcp && !opens ? "backend_gone" : kAgain;
    if (backend->second.state != BackendState::kActive && key.protocol == kTcp && opens &&
        !entry.data) {
      return kAgain;
    }
    if (backend->second.state != BackendState::kActive && key.protocol == kUdp) {
      const auto partner = table_.find(entry.out.Reversed());
      if (partner == table_.end() ||
          After(std::max(entry.last_seen_s, partner->second.last_seen_s),
                entry.packets < 8 ? 0.1 : 1)) {  // no packet of these comes from a socket
        return kAgain;
      }
      judged = entry.generation;
    }
  }
  const Resolved resolved = Resolve(packet.from, entry.out.destination, entry.service_id != 0);
  if (resolved.outside || entry.to.kind == Side::Kind::kUplink) {
    entry.generation = judged;
    return entry.reply ? JudgeAnswered(key, entry) : "";
  }
  if (!resolved.reason.empty()) return resolved.reason;
  if (resolved.to != entry.to) return kAgain;
  if (const std::string wrong = Vouch(entry, resolved); !wrong.empty()) return wrong;
  entry.generation = judged;
  if (entry.reply) return JudgeAnswered(key, entry);
  entry.identity = identity;
  if (resolved.to.kind != Side::Kind::kPod) return "";
  bool through_service = entry.through_service;
  if (packet.from.kind == Side::Kind::kPeer && opens &&
      (!packet.through_service || (!native && packet.service_identity != resolved.identity))) {
    through_service = false;
  }
  return Admits(packet.from, resolved.identity, identity, through_service) ? "" : "isolation";
}

// An answer goes where its flow could begin today.
std::string Oracle::JudgeAnswered(const Tuple& key, const Entry& answer) const {
  const auto asked = table_.find(answer.out.Reversed());
  const auto server = pods.find(key.source);
  if (asked == table_.end() || server == pods.end() || answer.out.destination == key.source) {
    return "";
  }
  return Admits(asked->second.in, server->second, asked->second.identity, answer.through_service)
             ? ""
             : "isolation";
}

// The backends that a new flow may get; nullopt: nobody's frontend.
std::optional<Oracle::Selected> Oracle::Select(const OraclePacket& packet, const Tuple& key) const {
  if (packet.from.kind == Side::Kind::kPeer) return std::nullopt;
  if (key.protocol != kTcp && key.protocol != kUdp) return std::nullopt;
  auto it = frontends.find({key.destination, key.destination_port, key.protocol});
  if (it == frontends.end() && (key.destination == gateway || key.destination == node_ip)) {
    it = frontends.find({IpAddress::V4(0), key.destination_port, key.protocol});
  }
  const bool outside = packet.from.kind == Side::Kind::kUplink;
  if (it == frontends.end() || (outside && !it->second.external)) return std::nullopt;
  Selected out;
  const Frontend& frontend = it->second;
  const uint32_t service_id = frontend.service_id;
  out.frontend = &frontend;
  if (frontend.source_ranges && std::none_of(ranges.begin(), ranges.end(), [&](const auto& range) {
        return range.first == service_id && range.second.Contains(key.source);
      })) {
    out.reason = "source_range";
    return out;
  }
  int scope = frontend.scope;
  if (frontend.external && !outside) {
    const auto inside = sets.find({service_id, 0});
    if (inside != sets.end() && !inside->second.slots.empty()) scope = 0;
  }
  const auto set = sets.find({service_id, scope});
  if (set == sets.end() || set->second.slots.empty()) {
    out.reason = "no_backend";
    return out;
  }

  std::set<uint32_t> chosen(set->second.slots.begin(), set->second.slots.end());
  if (set->second.maglev) {
    const uint32_t hash = MaglevHash(key, it->first.vip, frontend.affinity_s != 0);
    const std::vector<uint32_t>& table = set->second.table;
    chosen = {table[mesh_hash_index(hash, static_cast<uint32_t>(table.size()))]};
  }
  const auto affinity = affinity_.find({service_id, key.source});
  if (frontend.affinity_s == 0 || affinity == affinity_.end() ||
      After(affinity->second.last_seen_s, frontend.affinity_s)) {
    out.backend_ids = chosen;
    return out;
  }
  for (const uint32_t id : affinity->second.backend_ids) {
    const auto backend = backends.find(id);
    if (backend != backends.end() && backend->second.service_id == service_id &&
        backend->second.state == BackendState::kActive &&
        (backend->second.scopes & (1 << scope)) != 0) {
      out.backend_ids.insert(id);
    } else {
      out.backend_ids.insert(chosen.begin(), chosen.end());
    }
  }
  return out;
}

void Oracle::Enter(const Tuple& key, const Entry& forward, double now_s) {
  Entry entry = forward;
  entry.last_seen_s = now_s;
  entry.generation = generation_;
  Entry reply = entry;
  reply.reply = true;
  reply.out = key.Reversed();
  reply.in = forward.to;
  reply.to = forward.in;
  if (native && reply.in.kind == Side::Kind::kPeer) reply.in.ip = IpAddress();
  if (native && reply.to.kind == Side::Kind::kPeer) reply.to = NodeOf(key.source);
  const Tuple reply_key = forward.out.Reversed();
  Delete(reply_key);
  table_[reply_key] = reply;
  table_[key] = entry;
}

std::vector<Expectation> Oracle::Begin(const OraclePacket& packet, const Tuple& key,
                                       uint32_t identity) {
  const auto refused = [](std::string reason) {
    return Expectation{.reason = std::move(reason), .learn = [](const Packet&) {}};
  };
  const bool from_uplink = packet.from.kind == Side::Kind::kUplink;
  if (packet.about.has_value() || (key.protocol == kIcmp && key.source_port == 0)) {
    return {refused(from_uplink ? "to_stack" : "no_flow")};
  }
  const bool begins = key.protocol != kTcp || Opens(packet.packet);
  if (!begins && !from_uplink) return {refused("no_flow")};
  const std::optional<Selected> selected = Select(packet, key);
  if (selected.has_value() && !selected->reason.empty()) return {refused(selected->reason)};
  if (from_uplink && !selected.has_value()) return {refused("to_stack")};

  std::vector<Expectation> out;
  std::set<uint32_t> backend_ids = {0};
  if (selected.has_value()) backend_ids = selected->backend_ids;
  for (const uint32_t backend_id : backend_ids) {
    Entry entry{.out = key, .in = packet.from, .identity = identity};
    entry.through_service = packet.through_service;
    uint32_t service_identity = packet.service_identity;
    if (selected.has_value()) {
      const Backend& backend = backends.at(backend_id);
      entry.out.destination = backend.place.ip;
      entry.out.destination_port = backend.place.port;
      entry.service_id = selected->frontend->service_id;
      entry.backend_id = backend_id;
      entry.through_service = true;
      service_identity = selected->frontend->identity;
      entry.service_identity = service_identity;
      if (entry.out.destination == entry.out.source) entry.out.source = kHairpin;
    }
    if (packet.from.kind == Side::Kind::kNode && identity == kIdentityHost) {
      entry.out.source = gateway;
    }
    // Every backend that is refused for the same reason looks the same from here.
    const auto remember = [this, client = key.source, service_id = entry.service_id,
                           affinity_s = selected.has_value() ? selected->frontend->affinity_s : 0,
                           now_s = now_s_](const std::set<uint32_t>& ids) {
      if (affinity_s != 0) affinity_[{service_id, client}] = {ids, now_s};
    };
    const auto refuse = [&](const std::string& reason) {
      Expectation expectation = refused(reason);
      expectation.learn = [remember, backend_ids](const Packet&) { remember(backend_ids); };
      out.push_back(std::move(expectation));
    };

    if (!begins) {
      refuse("no_flow");
      continue;
    }
    Resolved resolved = Resolve(packet.from, entry.out.destination, selected.has_value());
    if (resolved.outside) {
      resolved = ResolveOutside(packet.from, entry.out.destination, selected.has_value());
    }
    if (!resolved.reason.empty()) {
      refuse(resolved.reason);
      continue;
    }
    entry.to = resolved.to;
    if (resolved.to.kind == Side::Kind::kPod) {
      const bool from_peer = packet.from.kind == Side::Kind::kPeer;
      if (service_identity != resolved.identity && (service_identity != 0 || from_peer) &&
          !(native && from_peer)) {
        entry.through_service = false;
      }
      if (!Admits(packet.from, resolved.identity, identity, entry.through_service)) {
        refuse("isolation");
        continue;
      }
    }

    if (const std::string wrong = Vouch(entry, resolved); !wrong.empty()) {
      refuse(wrong);
      continue;
    }

    const bool to_node = entry.to.kind == Side::Kind::kNode &&
                         (from_uplink || packet.from.kind == Side::Kind::kNode);
    const bool by_uplink = entry.to.kind == Side::Kind::kUplink;
    const bool masqueraded =
        by_uplink || (from_uplink && (to_node || entry.to.kind == Side::Kind::kPeer));
    if (masqueraded || to_node) {
      entry.out.source = to_node ? kHairpin : by_uplink ? node_ip : gateway;
    }
    Expectation expectation{
        .reason = "forwarded", .to = entry.to, .packet = Leaves(packet.packet, entry, false)};
    const auto other = table_.find(entry.out.Reversed());
    if (masqueraded) {
      expectation.first_port = key.protocol == kIcmp ? 1 : 10000;
      expectation.last_port = key.protocol == kIcmp ? 65535 : 29999;
      expectation.may_have =
          SharedPorts(key.source, from_uplink, by_uplink, expectation.first_port);
    } else if (other != table_.end() && other->second.out.Reversed() != key &&
               key.protocol != kIcmp && !Finished(other->second)) {
      expectation.first_port = 32768;
      expectation.last_port = 60999;
    }
    expectation.learn = [this, key, entry, remember, backend_id, now_s = now_s_,
                         flags = packet.packet.tcp_flags](const Packet& sent) {
      Entry done = entry;
      done.out.source_port = key.protocol == kIcmp ? sent.icmp_id : sent.source_port;
      remember({backend_id});
      Enter(key, done, now_s);
      Entry& entered = table_.at(key);
      entered.packets = 1;
      if (key.protocol != kTcp) return;
      if ((flags & kFin) != 0) {
        entered.fin = true;
      } else if ((flags & kRst) != 0) {
        entered.rst = true;
      }
    };
    out.push_back(std::move(expectation));
  }
  return out;
}

// The node of the sender tells another identity than when the flow was judged.
bool Oracle::TellsAnother(const OraclePacket& packet, const Entry& entry) const {
  return !native && packet.from.kind == Side::Kind::kPeer && !entry.reply && entry.identity != 0 &&
         entry.identity != packet.identity;
}

std::vector<Expectation> Oracle::Forward(const OraclePacket& packet, const Tuple& key) {
  const auto it = table_.find(key);
  const bool known = it != table_.end() && it->second.generation == generation_ &&
                     it->second.in == packet.from && !Opens(packet.packet) &&
                     !TellsAnother(packet, it->second);
  if (!known) {
    uint32_t identity = 0;
    const std::string wrong = CheckSource(packet, &identity);
    if (!wrong.empty()) return {{.reason = wrong, .learn = [](const Packet&) {}}};
    const std::string verdict = Review(packet, key, identity);
    if (!verdict.empty()) Delete(key);
    if (verdict == kAgain) return Begin(packet, key, identity);
    if (!verdict.empty()) return {{.reason = verdict, .learn = [](const Packet&) {}}};
  }
  const Entry& entry = it->second;
  Expectation out{.reason = "forwarded",
                  .to = entry.to,
                  .packet = Leaves(packet.packet, entry, packet.about.has_value())};
  // Nothing is decided any more, and nothing of the flow changes.
  out.early = known && entry.in.kind == Side::Kind::kUplink && entry.to.kind == Side::Kind::kPeer &&
              !packet.about.has_value() &&
              (key.protocol == kUdp ||
               (key.protocol == kTcp && (packet.packet.tcp_flags & (kSyn | kFin | kRst)) == 0));
  if (packet.about.has_value()) {
    out.packet = packet.packet;
    out.packet.destination = entry.out.destination;
    if (packet.packet.source == key.source) out.packet.source = entry.out.source;
  }
  out.learn = [this, key, now_s = now_s_, error = packet.about.has_value(),
               flags = packet.packet.tcp_flags](const Packet&) {
    Entry& met = table_.at(key);
    met.last_seen_s = now_s;
    ++met.packets;
    if (key.protocol != kTcp || error) return;
    if ((flags & kFin) != 0) {
      met.fin = true;
    } else if ((flags & kRst) != 0) {
      met.rst = true;
    } else if ((flags & kSyn) == 0) {
      met.rst = false;  // it was not taken
    }
    if ((flags & kSyn) == 0) met.data = true;
  };
  return {out};
}

std::vector<Expectation> Oracle::Expect(const OraclePacket& packet, double now_s) {
  now_s_ = now_s;
  undecided_ = false;
  const std::map<Tuple, Entry> before = table_;
  std::vector<Expectation> out =
      Forward(packet, packet.about.has_value() ? TupleOf(*packet.about).Reversed()
                                               : TupleOf(packet.packet));
  if (!undecided_) return out;
  table_ = before;
  return {};
}

std::optional<std::pair<Side, Tuple>> Oracle::Pick(uint64_t random) const {
  if (table_.empty()) return std::nullopt;
  auto it = table_.begin();
  std::advance(it, random % table_.size());
  return std::pair(it->second.in, it->first);
}

std::optional<std::pair<Side, Tuple>> Oracle::PickPassing(uint64_t random) const {
  std::vector<Tuple> passing;
  for (const auto& [key, entry] : table_) {
    if (entry.in.kind == Side::Kind::kUplink && entry.to.kind == Side::Kind::kPeer) {
      passing.push_back(key);
    }
  }
  if (passing.empty()) return std::nullopt;
  const Tuple& key = passing[random % passing.size()];
  return std::pair(table_.at(key).in, key);
}

const Tuple* Oracle::Leaving(const Tuple& tuple) const {
  const auto it = table_.find(tuple);
  return it == table_.end() ? nullptr : &it->second.out;
}

}  // namespace mesh::dataplane::testing
