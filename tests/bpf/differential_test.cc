// SPDX-License-Identifier: Apache-2.0
// Goal: the programs do what the oracle says, for Services and packets nobody thought of. Method:
// random worlds, each with random packets and random changes in between, through the programs
// (BPF_PROG_TEST_RUN) and through oracle.h. Each is traced before it is sent, which must tell the
// same and change nothing. A failure prints the seed, the packet, and what was
// right; MESH_DIFFERENTIAL_SEED repeats it.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "common/random.h"
#include "tests/bpf/oracle.h"
#include "tests/bpf/select_world.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::At;
using mesh::testing::DecodeQuoted;
using mesh::testing::Echo;
using mesh::testing::EchoReply;
using mesh::testing::Encode;
using mesh::testing::kAck;
using mesh::testing::kFin;
using mesh::testing::kRst;
using mesh::testing::kSyn;
using mesh::testing::Packet;
using mesh::testing::Place;
using mesh::testing::Tcp;
using mesh::testing::Udp;
using mesh::testing::Unreachable;

constexpr int kWorlds = 10, kPackets = 400;
// A machine that stood still for so long has spoiled the oracle's sense of time.
constexpr double kStall = 0.3;

IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }

double Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

uint64_t Seed() {
  if (const char* text = std::getenv("MESH_DIFFERENTIAL_SEED")) return std::stoull(text);
  return Random::FromEntropy().Next();
}

class DifferentialTest : public SelectWorld {
 protected:
  // Many worlds, many packets.
  void Compare();

 private:
  struct ServiceState {
    uint32_t id = 0;
    uint32_t identity = kShop;
    uint32_t affinity_s = 0;
    uint32_t algorithm = MESH_ALGORITHM_RANDOM;
    Protocol protocol = Protocol::kTcp;
    std::vector<uint32_t> backend_ids;
  };

  void NewWorld(uint64_t seed);
  // One packet; false when the failure has been told.
  bool Step();

  size_t Below(size_t bound) { return random_.Below(bound); }
  bool Chance(int percent) { return Below(100) < static_cast<size_t>(percent); }
  template <typename T>
  T OneOf(std::vector<T> choices) {
    return choices[Below(choices.size())];
  }

  void AddFrontend(const ServiceState& service, const std::string& place, bool external);
  void AddBackend(ServiceState& service);
  void WriteBackend(uint32_t id);
  void WriteIdentity(const std::string& ip, uint32_t identity);
  void WriteSet(const ServiceState& service, int scope);
  void WriteSets(const ServiceState& service);
  void Change();

  OraclePacket Make();
  Packet MakePacket(const Place& from, const Place& to, uint8_t protocol);
  Outcome Send(const OraclePacket& packet);
  // What comes by the uplink meets the program of XDP first.
  Outcome SendByUplink(const Packet& packet);
  std::string Mismatch(const Expectation& expected, const OraclePacket& packet,
                       const Outcome& outcome);

  bool TraceTells(const OraclePacket& packet, const std::vector<Expectation>& right);

  int asked_ = 0;
  bool early_ = false;                // the last packet was carried by XDP
  bool stalled_ = false;              // for so long that the oracle's clock is wrong
  std::map<std::string, int> fates_;  // how many packets had each
  Random random_{0};
  Oracle oracle_;
  std::vector<ServiceState> services_;
  uint32_t next_backend_ = 1;
};

void DifferentialTest::NewWorld(uint64_t seed) {
  random_ = Random(seed);
  Clear();
  oracle_ = Oracle();
  oracle_.has_uplink = has_uplink_;
  oracle_.native = routing_ == Routing::kNative;
  oracle_.elsewhere = *IpPrefix::Parse("203.0.113.0/24");
  services_.clear();
  oracle_.node_ip = Ip("192.0.2.1");
  oracle_.gateway = Ip("10.244.1.1");
  oracle_.pod_cidr = *IpPrefix::Parse("10.244.1.0/24");
  oracle_.cluster_cidr = *IpPrefix::Parse("10.244.0.0/16");
  oracle_.service_cidr = *IpPrefix::Parse("10.96.0.0/16");
  for (const Pod& pod : {client_, near_, clerk_}) oracle_.pods[Ip(pod.ip)] = pod.identity;
  oracle_.peers[*IpPrefix::Parse("10.244.2.0/24")] = Ip("192.0.2.2");
  if (oracle_.native) {
    // Of IPv4 the planner knows it; the address that stands for it is not the first of its range.
    if (kIpv6) Identify("10.244.2.1", kIdentityHost);
    oracle_.identities[Ip("10.244.2.1")] = kIdentityHost;
    for (const char* ip : {"10.244.2.10", "10.244.2.11", "10.244.2.12"}) {
      WriteIdentity(ip, OneOf<uint32_t>({kShop, kBank, 0}));
    }
  }
  for (const uint32_t identity : {kShop, kBank}) {
    Isolate(identity, Isolation::kDefault);
    oracle_.namespaces[identity] = Isolation::kDefault;
  }

  for (uint32_t id = 1; id <= 4; ++id) {
    ServiceState& service = services_.emplace_back();
    service.id = id;
    service.identity = OneOf<uint32_t>({kShop, kBank});
    service.affinity_s = Chance(50) ? 20 : 0;
    service.algorithm = static_cast<uint32_t>(Below(3));
    service.protocol = Chance(50) ? Protocol::kTcp : Protocol::kUdp;
    const std::string number = std::to_string(id);
    AddFrontend(service, "10.96.0." + number + ":80", false);
    if (Chance(50)) AddFrontend(service, "203.0.113." + number + ":80", true);
    if (Chance(50)) AddFrontend(service, "0.0.0.0:3008" + number, true);
    const size_t count = Below(5);
    for (size_t i = 0; i < count; ++i) AddBackend(service);
    WriteSets(service);
  }
  JudgeAgain();
  oracle_.JudgeAgain();
}

void DifferentialTest::AddFrontend(const ServiceState& service, const std::string& place,
                                   bool external) {
  const bool source_ranges = external && Chance(30);
  Oracle::Frontend row{service.id,         external ? MESH_SCOPE_EXTERNAL : MESH_SCOPE_INTERNAL,
                       external,           source_ranges,
                       service.affinity_s, service.identity};
  oracle_.frontends[{At(place).ip, At(place).port, static_cast<uint8_t>(service.protocol)}] = row;
  Put(FrontendRow{.place = place,
                  .service_id = service.id,
                  .scope = row.scope,
                  .flags = (external ? MESH_SERVICE_EXTERNAL : 0u) |
                           (source_ranges ? MESH_SERVICE_SOURCE_RANGES : 0u),
                  .affinity_s = service.affinity_s,
                  .identity = service.identity,
                  .protocol = service.protocol});
  if (!source_ranges) return;
  const std::string range = OneOf<std::string>({"10.244.1.10/31", "10.244.1.12/32", "10.0.0.0/8"});
  PutRange(service.id, range);
  oracle_.ranges.insert({service.id, *IpPrefix::Parse(range)});
}

void DifferentialTest::AddBackend(ServiceState& service) {
  const Place place = At(OneOf<std::string>(
      {"10.244.1.10:8080", "10.244.1.11:8080", "10.244.1.11:8081", "10.244.1.12:8080",
       "10.244.2.10:8080", "10.244.2.11:8080", "10.244.2.12:8080", "10.244.1.77:8080",
       "10.244.9.9:8080", "192.0.2.1:22", "10.244.1.1:53"}));
  for (const uint32_t id : service.backend_ids) {
    const Place& other = oracle_.backends.at(id).place;
    if (other.ip == place.ip && other.port == place.port) return;
  }
  const uint32_t id = next_backend_++;
  service.backend_ids.push_back(id);
  oracle_.backends[id] = {service.id, place, BackendState::kActive,
                          OneOf<uint8_t>({kScopeBoth, kScopeBoth, kScopeInternal, kScopeExternal})};
  WriteBackend(id);
}

void DifferentialTest::WriteBackend(uint32_t id) {
  const Oracle::Backend& backend = oracle_.backends.at(id);
  Put(BackendRow{.id = id,
                 .service_id = backend.service_id,
                 .place = backend.place.ip.ToString() + ":" + std::to_string(backend.place.port),
                 .state = backend.state,
                 .scopes = backend.scopes});
}

void DifferentialTest::WriteIdentity(const std::string& ip, uint32_t identity) {
  Identify(ip, identity);
  oracle_.identities[Ip(ip)] = identity;
  if (identity == 0) oracle_.identities.erase(Ip(ip));
}

void DifferentialTest::WriteSet(const ServiceState& service, int scope) {
  Oracle::Set set;
  for (const uint32_t id : service.backend_ids) {
    const Oracle::Backend& backend = oracle_.backends.at(id);
    if (backend.state != BackendState::kActive || (backend.scopes & (1 << scope)) == 0) continue;
    for (size_t i = 1 + Below(3); i > 0; --i) set.slots.push_back(id);
  }
  if (service.algorithm == MESH_ALGORITHM_MAGLEV && !set.slots.empty()) {
    set.maglev = true;
    constexpr uint32_t size = 31;
    for (uint32_t i = 0; i < size; ++i) set.table.push_back(set.slots[i % set.slots.size()]);
    PutMaglevSet(service.id, scope, set.slots, size);
  } else {
    PutSet(service.id, scope, set.slots,
           service.algorithm == MESH_ALGORITHM_MAGLEV ? MESH_ALGORITHM_RANDOM : service.algorithm);
  }
  oracle_.sets[{service.id, scope}] = std::move(set);
}

void DifferentialTest::WriteSets(const ServiceState& service) {
  WriteSet(service, MESH_SCOPE_INTERNAL);
  WriteSet(service, MESH_SCOPE_EXTERNAL);
}

// Something happens in the cluster, or time passes.
void DifferentialTest::Change() {
  ServiceState& service = services_[Below(services_.size())];
  switch (Below(oracle_.native ? 8 : 7)) {
    case 7:
      WriteIdentity(OneOf<std::string>({"10.244.2.10", "10.244.2.11", "10.244.2.12"}),
                    OneOf<uint32_t>({kShop, kBank, 0}));
      break;
    case 0:
      AddBackend(service);
      WriteSets(service);
      break;
    case 1:
      if (service.backend_ids.empty()) break;
      {
        Oracle::Backend& backend = oracle_.backends.at(OneOf(service.backend_ids));
        if (Chance(50)) {
          backend.scopes = OneOf<uint8_t>({kScopeBoth, kScopeInternal, kScopeExternal});
        } else {
          backend.state = backend.state != BackendState::kActive ? BackendState::kActive
                          : service.protocol == Protocol::kTcp && Chance(50)
                              ? BackendState::kLeft
                              : BackendState::kDraining;
        }
      }
      for (const uint32_t id : service.backend_ids) WriteBackend(id);
      WriteSets(service);
      break;
    case 2:
      if (service.backend_ids.empty()) break;
      {
        const size_t index = Below(service.backend_ids.size());
        const uint32_t id = service.backend_ids[index];
        service.backend_ids.erase(service.backend_ids.begin() + static_cast<ptrdiff_t>(index));
        WriteSets(service);
        oracle_.backends.erase(id);
        RemoveBackend(id);
      }
      break;
    case 3: {
      const uint32_t identity = OneOf<uint32_t>({kShop, kBank});
      const Isolation isolation = static_cast<Isolation>(Below(3));
      Isolate(identity, isolation);
      oracle_.namespaces[identity] = isolation;
      break;
    }
    case 4:
      service.algorithm = static_cast<uint32_t>(Below(3));
      WriteSets(service);
      break;
    case 5: {
      const int seconds = OneOf<int>({3, 15, 45, 100});
      Age(seconds);
      oracle_.Age(seconds);
      break;
    }
    case 6: {
      const int seconds = OneOf<int>({3, 15});
      AgeAffinity(seconds);
      oracle_.AgeAffinity(seconds);
      break;
    }
  }
  JudgeAgain();
  oracle_.JudgeAgain();
}

Packet DifferentialTest::MakePacket(const Place& from, const Place& to, uint8_t protocol) {
  const std::string payload(Below(24), static_cast<char>(Below(256)));
  if (protocol == 17) {
    Packet out = Udp(from, to, payload);
    out.udp_checksum = Chance(80);
    return out;
  }
  return Tcp(from, to,
             OneOf<uint8_t>({kSyn, kSyn, kSyn | kAck, kAck, kAck, kAck | kFin, kFin, kRst,
                             kRst | kAck, kSyn | kFin, kSyn | kRst, 0, 0xff}),
             payload);
}

OraclePacket DifferentialTest::Make() {
  OraclePacket out;
  out.identity = OneOf<uint32_t>({kShop, kBank, kIdentityHost, 999});
  out.through_service = Chance(40);
  out.service_identity = out.through_service ? OneOf<uint32_t>({kShop, kBank, 0}) : 0;
  // What XDP carries is rare among all packets.
  const bool passing = Chance(25);
  const auto known = passing ? oracle_.PickPassing(random_.Next()) : oracle_.Pick(random_.Next());
  if (known.has_value() && Chance(60)) {
    const auto& [from, tuple] = *known;
    out.from = from;
    if (tuple.protocol == 1) {
      out.packet =
          tuple.source_port != 0
              ? Echo(tuple.source.ToString(), tuple.destination.ToString(), tuple.source_port)
              : EchoReply(tuple.source.ToString(), tuple.destination.ToString(),
                          tuple.destination_port);
      return out;
    }
    if (Chance(10)) {
      // An error about what this side is sent.
      const Tuple about = tuple.Reversed();
      out.about = tuple.protocol == 6
                      ? Tcp({about.source, about.source_port},
                            {about.destination, about.destination_port}, kAck, "01234567")
                      : Udp({about.source, about.source_port},
                            {about.destination, about.destination_port}, "01234567");
      out.packet = Unreachable(tuple.source.ToString(), tuple.destination.ToString(), *out.about);
      return out;
    }
    out.packet = MakePacket({tuple.source, tuple.source_port},
                            {tuple.destination, tuple.destination_port}, tuple.protocol);
    if (passing && Chance(70)) out.packet.tcp_flags = tuple.protocol == 6 ? kAck : 0;
    return out;
  }

  uint8_t protocol = Chance(50) ? 6 : 17;
  const uint16_t port = OneOf<uint16_t>({40000, 40001, 8080});
  const std::string number = std::to_string(1 + Below(5));
  Place to = At(OneOf<std::string>(
      {"10.96.0." + number + ":80", "10.96.0." + number + ":80", "203.0.113." + number + ":80",
       "192.0.2.1:3008" + number, "10.244.1.1:3008" + number, "10.244.1.10:8080",
       "10.244.1.11:8080", "10.244.1.12:8080", "10.244.2.10:8080", "10.244.2.11:8080",
       "10.244.1.1:53", "192.0.2.1:22", "198.51.100.9:443", "10.244.1.77:80", "10.244.9.9:80"}));
  if (Chance(60)) {
    auto it = oracle_.frontends.begin();
    std::advance(it, Below(oracle_.frontends.size()));
    to = {it->first.vip, it->first.port};
    if (to.ip == IpAddress::V4(0)) to.ip = Chance(50) ? oracle_.node_ip : oracle_.gateway;
    protocol = it->first.protocol;
  }
  Place from;
  switch (Below(oracle_.has_uplink ? 6 : 4)) {
    case 4:
    case 5:
      out.from = {Side::Kind::kUplink, {}};
      from = {Ip(OneOf<std::string>({"198.51.100.7", "198.51.100.8", "10.244.1.10"})), port};
      break;
    case 0:
      out.from = {Side::Kind::kNode, {}};
      from = {Chance(70) ? oracle_.gateway : oracle_.node_ip, port};
      break;
    case 1:
      out.from = {Side::Kind::kPeer, Ip(Chance(95) ? "192.0.2.2" : "192.0.2.66")};
      from = {Ip(OneOf<std::string>({"10.244.2.10", "10.244.2.11", "10.244.2.1"})), port};
      break;
    default: {
      const Pod& pod = *OneOf<const Pod*>({&client_, &near_, &clerk_});
      out.from = {Side::Kind::kPod, Ip(pod.ip)};
      from = {Chance(97) ? Ip(pod.ip) : Ip("10.244.1.12"), port};
    }
  }
  if (from.ip == to.ip) return Make();  // never leaves its sender
  if (Chance(8)) {
    out.packet = Echo(from.ip.ToString(), to.ip.ToString(), port);
  } else {
    out.packet = MakePacket(from, to, protocol);
    if (protocol == 6 && Chance(70)) out.packet.tcp_flags = kSyn;
  }
  return out;
}

Outcome DifferentialTest::SendByUplink(const Packet& packet) {
  constexpr int kXdpPass = 2, kXdpTx = 3;
  const std::string frame = Encode(packet);
  if (asking()) return FromUplink(frame);
  Outcome out = FromXdp(frame);
  early_ = out.verdict == kXdpTx;
  if (early_) {
    out.verdict = kRedirect;
    return out;
  }
  EXPECT_EQ(out.verdict, kXdpPass) << packet;
  EXPECT_EQ(out.frame, frame) << packet;
  EXPECT_EQ(out.reason, "") << packet;
  return FromUplink(frame);
}

Outcome DifferentialTest::Send(const OraclePacket& packet) {
  early_ = false;
  switch (packet.from.kind) {
    case Side::Kind::kPod:
      for (const Pod& pod : {client_, near_, clerk_}) {
        if (Ip(pod.ip) == packet.from.ip) return FromPod(pod, packet.packet);
      }
      break;
    case Side::Kind::kUplink:
      return SendByUplink(packet.packet);
    case Side::Kind::kPeer:
      if (oracle_.native) {
        Packet marked = packet.packet;
        if (packet.through_service) marked.fragment |= 0x8000;
        return SendByUplink(marked);
      }
      return FromPeer(packet.identity | (packet.through_service ? MESH_VNI_SERVICE : 0),
                      packet.packet, packet.from.ip.ToString(), packet.service_identity);
    default:
      return FromNode(packet.packet);
  }
  ADD_FAILURE() << "no pod " << packet.from.ip.ToString();
  return {};
}

// Whether a traced packet would go to that side.
bool LeadsTo(const TraceWay& way, const Side& to) {
  switch (to.kind) {
    case Side::Kind::kPod:
      return way.target == MESH_TARGET_POD || way.target == MESH_TARGET_POD_SHAPED;
    case Side::Kind::kNode:
      return way.target == MESH_TARGET_HOST;
    case Side::Kind::kPeer:
      return (way.target == MESH_TARGET_TUNNEL || way.target == MESH_TARGET_DIRECT ||
              way.target == MESH_TARGET_NODE) &&
             way.peer == to.ip;
    case Side::Kind::kUplink:
      return way.target == MESH_TARGET_UPLINK;
    case Side::Kind::kNone:
      break;
  }
  return false;
}

// Empty: the outcome is the expected one.
std::string DifferentialTest::Mismatch(const Expectation& expected, const OraclePacket& packet,
                                       const Outcome& outcome) {
  if (!outcome.trace.has_value() && expected.early != early_)
    return early_ ? "by XDP" : "not by XDP";
  const bool left = expected.reason == "to_stack";
  // What comes by the uplink and is the node's own is nobody's packet.
  const bool counted = !left || packet.from.kind != Side::Kind::kUplink;
  const std::string counter = early_ ? expected.reason + "_xdp" : expected.reason;
  if (outcome.reason != (counted ? counter : "")) return "reason";
  if (left) return outcome.verdict == kPass ? "" : "verdict";
  if (!outcome.packet.has_value()) return "checksums";
  if (expected.reason != "forwarded") {
    if (outcome.verdict == kDrop) return "";
    // Refused with an answer.
    if (outcome.verdict != kRedirect || outcome.packet->destination != packet.packet.source) {
      return "answer";
    }
    return "";
  }
  if (outcome.verdict != kRedirect) return "verdict";
  Packet sent = *outcome.packet, right = expected.packet;
  if (expected.last_port != 0) {
    const uint16_t port = sent.protocol == 1 ? sent.icmp_id : sent.source_port;
    if (port < expected.first_port || port > expected.last_port) return "source port";
    if (expected.may_have && !expected.may_have(port)) return "source port of another sender";
    (sent.protocol == 1 ? right.icmp_id : right.source_port) = port;
  }
  if (packet.about.has_value()) {
    const absl::StatusOr<Packet> quoted = DecodeQuoted(sent);
    const Tuple* out = oracle_.Leaving(Tuple{packet.about->destination, packet.about->source,
                                             packet.about->destination_port,
                                             packet.about->source_port, packet.about->protocol});
    if (!quoted.ok() || out == nullptr) return "quoted packet";
    if (quoted->source != out->destination || quoted->destination != out->source ||
        quoted->source_port != out->destination_port ||
        quoted->destination_port != out->source_port) {
      return "what is quoted";
    }
    right.payload = sent.payload;
  }
  if (!(sent == right)) return "packet";
  if (outcome.trace.has_value() && !LeadsTo(outcome.trace->way, expected.to)) return "way";
  if (expected.to.kind != Side::Kind::kPod) return "";
  for (const Pod& pod : {client_, near_, clerk_}) {
    if (Ip(pod.ip) == expected.to.ip &&
        outcome.frame.substr(0, 6) != std::string(pod.mac.begin(), pod.mac.end())) {
      return "destination MAC";
    }
  }
  return "";
}

// Asked before it is sent, what becomes of the packet is one of `right`, and no map has changed.
bool DifferentialTest::TraceTells(const OraclePacket& packet,
                                  const std::vector<Expectation>& right) {
  // All maps are much to read.
  const bool look = asked_++ % 8 == 0;
  const auto before = look ? AllRows() : std::map<std::string, std::string>();
  early_ = false;
  const double asked_at = Now();
  Ask(true);
  const Outcome outcome = Send(packet);
  Ask(false);
  if (look) {
    const auto after = AllRows();
    for (const auto& [map, rows] : before) {
      EXPECT_EQ(rows == after.at(map), true) << "a traced packet has changed " << map;
      if (rows != after.at(map)) return false;
    }
  }
  if (Now() - asked_at > kStall) return true;
  std::ostringstream said;
  for (const Expectation& expected : right) {
    const std::string mismatch = Mismatch(expected, packet, outcome);
    if (mismatch.empty()) {
      ++fates_["traced " + expected.reason];
      return true;
    }
    said << "  " << expected << " (differs: " << mismatch << ")\n";
  }
  ADD_FAILURE() << "packet " << packet.packet << "\nfrom side "
                << static_cast<int>(packet.from.kind) << " " << packet.from.ip.ToString()
                << " is traced to " << outcome << "\nright are\n"
                << said.str();
  return false;
}

bool DifferentialTest::Step() {
  if (Chance(8)) Change();
  OraclePacket packet = Make();
  packet.from = oracle_.SideOf(packet);
  if (packet.from.kind != Side::Kind::kPeer) {
    packet.identity = packet.service_identity = 0;
    packet.through_service = false;
  }
  const double before = Now();
  const std::vector<Expectation> right = oracle_.Expect(packet, before);
  if (right.empty()) return true;  // on the edge of some timeout

  if (!TraceTells(packet, right)) return false;
  const Outcome outcome = Send(packet);

  stalled_ = Now() - before > kStall;
  std::ostringstream said;
  for (const Expectation& expected : right) {
    const std::string mismatch = Mismatch(expected, packet, outcome);
    if (mismatch.empty()) {
      ++fates_[expected.reason];
      if (expected.last_port != 0) ++fates_["drawn source port"];
      if (early_) ++fates_["by XDP"];
      if (packet.about.has_value()) ++fates_[expected.reason + " error"];
      expected.learn(*outcome.packet);
      return true;
    }
    said << "  " << expected << " (differs: " << mismatch << ")\n";
  }
  ADD_FAILURE() << "packet " << packet.packet << "\nfrom side "
                << static_cast<int>(packet.from.kind) << " " << packet.from.ip.ToString()
                << " identity " << packet.identity << " through service " << packet.through_service
                << " of " << packet.service_identity << "\nbecame " << outcome << "\nright are\n"
                << said.str();
  return false;
}

void DifferentialTest::Compare() {
  const uint64_t seed = Seed();
  // One run in ten sends nothing by XDP where nodes are on one link: a few more worlds do.
  const auto enough = [&](uint64_t worlds) {
    const bool all = !has_uplink_ || fates_["by XDP"] > 0;
    return worlds >= (all ? kWorlds : 8 * kWorlds);
  };
  for (uint64_t world = 0; !enough(world); ++world) {
    NewWorld(seed + world);
    for (int i = 0; i < kPackets; ++i) {
      SCOPED_TRACE(::testing::Message()
                   << "MESH_DIFFERENTIAL_SEED=" << seed << ", world " << world << ", packet " << i);
      if (!Step() || HasFatalFailure()) FAIL();
      if (stalled_) break;
    }
  }
  if (has_uplink_ && !stalled_) {
    EXPECT_GT(fates_["by XDP"], 0) << "seed " << seed;
  }
  if (!stalled_) {
    EXPECT_GT(fates_["traced forwarded"], 100) << "seed " << seed;
  }
  for (const auto& [fate, packets] : fates_) RecordProperty(fate, packets);
}

TEST_F(DifferentialTest, TheProgramsAndTheOracleSendTheSamePackets) { Compare(); }

TEST_F(DifferentialTest, AlsoAcrossTheEdgeOfTheCluster) {
  has_uplink_ = true;
  SelectWorld::SetUp();

  Compare();
}

TEST_F(DifferentialTest, AlsoWherePacketsBetweenNodesGoAsTheyAre) {
  has_uplink_ = true;
  routing_ = Routing::kNative;
  SelectWorld::SetUp();

  Compare();
}

}  // namespace
}  // namespace mesh::dataplane::testing
