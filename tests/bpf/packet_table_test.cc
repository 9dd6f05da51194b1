// SPDX-License-Identifier: Apache-2.0
// Goal: no bytes make a program do something else than its table says: cut at every byte, with
// every set of TCP flags, with wrong checksums, and one packet for every reason there is. Method:
// frames through the real programs by BPF_PROG_TEST_RUN; world.cc checks that each is counted once.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <time.h>

#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "dataplane/tables/flow_collector.h"
#include "tests/bpf/world.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::At;
using mesh::testing::Echo;
using mesh::testing::Encode;
using mesh::testing::EncodeFragments;
using mesh::testing::FrameToIpv6;
using mesh::testing::kAck;
using mesh::testing::kFin;
using mesh::testing::kRst;
using mesh::testing::kSyn;
using mesh::testing::Packet;
using mesh::testing::Place;
using mesh::testing::Tcp;
using mesh::testing::Udp;
using mesh::testing::Unreachable;

const Place kClient = At("10.244.1.10:40000"), kNear = At("10.244.1.11:8080"),
            kClerk = At("10.244.1.12:40000"), kWeb = At("10.96.0.10:80"),
            kFar = At("10.244.2.10:8080");
constexpr size_t kEth = 14, kIp = 20;

using Table = World;

absl::Duration CpuTime() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return absl::DurationFromTimespec(now);
}

// From the end of the IP header on: the kernel runs programs on nothing shorter.
TEST_F(Table, CutAtEveryByte) {
  // The header, and what stands before the fourth layer of a fragment.
  constexpr size_t kHeader = kIpv6 ? 40 : 20, kPiece = kIpv6 ? 8 : 0;
  Serve({"10.244.1.11:8080"});
  Packet fragmented = Udp(kClient, kNear, std::string(40, 'f'));
  fragmented.id = 900;
  Packet options = Udp(kClient, kNear);
  options.options = std::string(8, '\1');
  struct Row {
    const char* name;
    std::string frame;
    size_t needed;  // fewer bytes are invalid
  };
  const Row rows[] = {
      {"TCP", Encode(Tcp(kClient, kWeb, kSyn, "data")), kEth + kHeader + 20},
      {"UDP", Encode(Udp(kClient, kWeb, "data")), kEth + kHeader + 8},
      {"ping", Encode(Echo("10.244.1.10", "10.244.1.11", 7)), kEth + kHeader + 8},
      {"error", Encode(Unreachable("10.244.1.10", "10.244.1.11", Udp(kNear, kClient))),
       kEth + kHeader + 8 + kHeader + 8},
      {"first fragment", EncodeFragments(fragmented, 24)[0], kEth + kHeader + kPiece + 8},
      {"later fragment", EncodeFragments(fragmented, 24)[1], kEth + kHeader + kPiece},
      {"options", Encode(options), kEth + kHeader + 8},
  };
  for (const Row& row : rows) {
    const std::string frame = kIpv6 ? FrameToIpv6(row.frame) : row.frame;
    for (size_t length = kEth + kHeader; length <= frame.size(); ++length) {
      const Outcome out = FromPod(client_, frame.substr(0, length));
      if (length < row.needed) {
        EXPECT_EQ(out.reason, "invalid") << row.name << " cut to " << length;
        EXPECT_EQ(out.verdict, kDrop) << row.name << " cut to " << length;
      } else {
        EXPECT_NE(out.reason, "invalid") << row.name << " cut to " << length;
      }
    }
  }
}

TEST_F(Table, EverySetOfTcpFlagsOnAFlow) {
  Serve({"10.244.1.11:8080"});
  ASSERT_EQ(FromPod(client_, Tcp(kClient, kWeb, kSyn)).reason, "forwarded");
  ASSERT_EQ(FromPod(near_, Tcp(kNear, kClient, kSyn | kAck)).reason, "forwarded");
  for (int flags = 0; flags < 256; ++flags) {
    const auto set = static_cast<uint8_t>(flags);
    const Outcome out = FromPod(client_, Tcp(kClient, kWeb, set));
    EXPECT_EQ(out.reason, "forwarded") << flags;
    EXPECT_EQ(out.packet, Tcp(kClient, kNear, set)) << flags;
  }
  EXPECT_EQ(Flows(), 1u);
}

// A reset only shortens the flow's time: who guesses the ports cannot cut a connection that lives.
TEST_F(Table, AResetDoesNotEndAFlowAtOnce) {
  Serve({"10.244.1.11:8080"});
  ASSERT_EQ(FromPod(client_, Tcp(kClient, kWeb, kSyn)).reason, "forwarded");
  ASSERT_EQ(FromPod(near_, Tcp(kNear, kClient, kRst)).reason, "forwarded");
  EXPECT_EQ(FromPod(client_, Tcp(kClient, kWeb, kAck, "goes on")).reason, "forwarded");
  EXPECT_EQ(FromPod(near_, Tcp(kNear, kClient, kAck, "too")).reason, "forwarded");
}

TEST_F(Table, AWrongChecksumStaysWrong) {
  Serve({"10.244.1.11:8080"});
  ASSERT_EQ(FromPod(client_, Tcp(kClient, kWeb, kSyn)).reason, "forwarded");
  for (const bool tcp : {true, false}) {
    Packet sent = tcp ? Tcp(kClient, kWeb, kAck, "data") : Udp(kClient, kWeb, "data");
    Packet seen = tcp ? Tcp(kClient, kNear, kAck, "data") : Udp(kClient, kNear, "data");
    seen.ttl = 63;
    std::string frame = Encode(sent), expected = Encode(seen);
    frame.back() = expected.back() = 'X';
    const Outcome out = FromPod(client_, frame);
    EXPECT_EQ(out.reason, "forwarded");
    EXPECT_FALSE(out.packet.has_value()) << "the receiver would take it";
    EXPECT_EQ(out.frame.substr(kEth), expected.substr(kEth));

    if (kIpv6) continue;
    std::string header = Encode(sent);
    header[kEth + 10] = static_cast<char>(header[kEth + 10] ^ 0x40);
    EXPECT_FALSE(FromPod(client_, header).packet.has_value());
  }
}

// A row for every reason: a packet here, or the test that has it.
TEST_F(Table, EveryReasonHasItsPacket) {
  const std::map<std::string, std::string> elsewhere = {
      {"source_range", "select_test.cc"},
      {"to_stack", "edge_packet_test.cc"},
      {"answered", "edge_packet_test.cc"},
      {"forwarded_xdp", "xdp_packet_test.cc"},
      {"unknown_identity", "native_packet_test.cc"},
      {"policy_ingress", "policy_packet_test.cc"},
      {"policy_egress", "policy_packet_test.cc"},
      {"no_port", "port_packet_test.cc"},
      {"kernel", "a helper must fail that does not"},
  };
  const auto from_client = [this](const Packet& packet) { return FromPod(client_, packet); };
  std::map<std::string, std::function<Outcome()>> rows;
  rows["forwarded"] = [&] { return from_client(Udp(kClient, kNear)); };
  rows["invalid"] = [&] { return FromPod(client_, Encode(Udp(kClient, kNear)).substr(0, 40)); };
  rows["unsupported"] = [&] {
    Packet gre = Udp(kClient, kNear);
    gre.protocol = 47;
    return from_client(gre);
  };
  rows["fragment"] = [&] {
    Packet later = Udp(kClient, kNear);
    later.fragment = 7;
    later.id = 901;
    return from_client(later);
  };
  rows["source_address"] = [&] { return from_client(Udp(kNear, kFar)); };
  rows["no_service"] = [&] { return from_client(Udp(kClient, At("10.96.0.10:81"))); };
  rows["no_backend"] = [&] {
    Serve({});
    return from_client(Udp(kClient, kWeb));
  };
  rows["backend_gone"] = [&] {
    Serve({"10.244.1.11:8080"});
    EXPECT_EQ(from_client(Tcp(kClient, kWeb, kSyn)).reason, "forwarded");
    Serve({"10.244.2.10:8080"});
    return from_client(Tcp(kClient, kWeb, kAck));
  };
  rows["no_endpoint"] = [&] { return from_client(Udp(kClient, At("10.244.1.77:1"))); };
  rows["no_tunnel"] = [&] { return from_client(Udp(kClient, At("10.244.9.1:1"))); };
  rows["unknown_peer"] = [&] { return FromPeer(kShop, Udp(kFar, kNear), "192.0.2.66"); };
  rows["isolation"] = [&] { return FromPod(clerk_, Udp(kClerk, kNear)); };
  rows["no_flow"] = [&] { return from_client(Tcp(kClient, kNear, kFin | kAck)); };
  rows["quota"] = [&] {
    // It has some already, and nothing is free.
    EXPECT_TRUE(owners_->Upsert(F::kAllOwners, {1, 1}).ok());
    const Outcome out = from_client(Udp(kClient, At("10.244.1.11:2")));
    EXPECT_TRUE(owners_->Erase(F::kAllOwners).ok());
    return out;
  };
  rows["ttl"] = [&] {
    Packet probe = Udp(kClient, kNear);
    probe.ttl = 1;
    return from_client(probe);
  };
  rows["too_big"] = [&] {
    Packet big = Udp(kClient, kFar, std::string(1423, 'b'));
    big.fragment = 0x4000;
    return from_client(big);
  };
  rows["sctp"] = [&] {
    Packet sctp = Udp(kClient, kNear);
    sctp.protocol = 132;
    return from_client(sctp);
  };
  rows["flows_full"] = [&] {
    Load(2);
    EXPECT_EQ(from_client(Udp(kClient, kNear)).reason, "forwarded");
    return from_client(Udp(kClient, kFar));
  };
  for (const char* reason : {
#define MESH_REASON_NAME(upper, lower, number) #lower,
           MESH_REASONS(MESH_REASON_NAME)
#undef MESH_REASON_NAME
       }) {
    if (elsewhere.contains(reason) || std::string(reason) == "flows_full") continue;
    ASSERT_TRUE(rows.contains(reason)) << "no packet for the reason " << reason;
    EXPECT_EQ(rows[reason]().reason, reason);
  }
  // Last, because it puts a small table in the place of the other.
  EXPECT_EQ(rows["flows_full"]().reason, "flows_full");
}

// The price of a second on a node whose table is full: 262,144 flows that rest, the worst case,
// because each is looked at twice.
TEST_F(Table, OfFullSizeIsCollectedInBoundedCalls) {
  constexpr uint32_t kFlows = 262'144;
  Load(2 * kFlows);
  std::vector<F::FlowKey> keys;
  std::vector<F::FlowValue> values;
  for (uint32_t i = 0; i < kFlows; ++i) {
    F::FlowKey key{Row(IpAddress::V4(0x0af40000 + i)), Row(IpAddress::V4(0x0a600000)), 1, 2, 6, {}};
    F::FlowValue value{};
    value.saddr = key.saddr;
    value.daddr = key.daddr;
    value.sport = 1;
    value.dport = 2;
    value.tcp_data = 1;
    value.packets = 1;
    value.owner = Row(IpAddress::V4(0x0af40000 + i % 100));
    value.last_seen_ns = 1;
    keys.push_back(key);
    values.push_back(value);
    std::swap(key.saddr, key.daddr);
    std::swap(key.sport, key.dport);
    std::swap(value.saddr, value.daddr);
    std::swap(value.sport, value.dport);
    value.flags = MESH_FLOW_REPLY;
    keys.push_back(key);
    values.push_back(value);
  }
  auto count = static_cast<uint32_t>(keys.size());
  ASSERT_EQ(bpf_map_update_batch(programs_->map(kIpv6 ? MESH_FLOW6_MAP_NAME : MESH_FLOW_MAP_NAME),
                                 keys.data(), values.data(), &count, nullptr),
            0);
  auto loads = *KernelMap<mesh_backend_key, mesh_backend_load_value>::Adopt(
      programs_->map(MESH_BACKEND_LOAD_MAP_NAME));
  FlowCollector<F> collector({*flows_, *owners_, loads});
  ASSERT_TRUE(collector.Begin().ok());
  absl::Duration longest;
  const auto collect = [&](uint64_t now_s) {
    const absl::Duration begun = CpuTime();
    const absl::StatusOr<int> gone =
        collector.Collect(now_s * 1'000'000'000, [](uint32_t) { return true; });
    EXPECT_TRUE(gone.ok()) << gone.status();
    longest = std::max(longest, CpuTime() - begun);
    return gone.value_or(-1);
  };
  int calls = 0;
  while (owners_->Lookup(F::kAllOwners)->flows == 0 && ++calls < 40) EXPECT_EQ(collect(100), 0);
  EXPECT_EQ(owners_->Lookup(F::kAllOwners)->flows, kFlows);
  EXPECT_GE(calls, 8);
  EXPECT_LE(calls, 10);
  std::cerr << "a call of a sweep: up to " << longest << " of one CPU\n";
  longest = absl::ZeroDuration();
  int gone = 0;
  for (int i = 0; i < 10; ++i) gone += collect(9000);
  std::cerr << "a call that removes all it reads: up to " << longest << " of one CPU\n";
  EXPECT_EQ(gone, static_cast<int>(kFlows));
}

}  // namespace
}  // namespace mesh::dataplane::testing
