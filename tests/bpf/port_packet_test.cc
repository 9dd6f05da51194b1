// SPDX-License-Identifier: Apache-2.0
// Goal: of the source ports that many senders share at one address of the node, towards one
// destination, nobody takes those that the others need, and who gets none is told. Method: packets
// through the real programs by BPF_PROG_TEST_RUN; flows of all ports of a sender are copies of one.
// bpf_live_edge_test opens them all.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "dataplane/kernel_flow_events.h"
#include "dataplane/tables/encode.h"
#include "mesh/shared/drop_reason.h"
#include "mesh/shared/flow_state.h"
#include "mesh/shared/source_port.h"
#include "tests/bpf/frontend_world.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::At;
using mesh::testing::Echo;
using mesh::testing::kAck;
using mesh::testing::kRst;
using mesh::testing::kSyn;
using mesh::testing::Packet;
using mesh::testing::Place;
using mesh::testing::Tcp;
using mesh::testing::Udp;
using ::testing::SizeIs;

using Numbers = std::set<uint16_t>;
using Send = std::function<Outcome(const Packet&)>;
enum class Holder { kInside, kClient, kAllClients };

constexpr int kSome = 200;
const Place kServer = At("198.51.100.1:443");

// The ports that a sender may have; of ICMP its ids.
Numbers PortsOf(const std::string& sender, Holder kind = Holder::kInside, bool icmp = false) {
  std::array<uint32_t, 4> words{};
  const std::array<uint8_t, 16> bytes = Own(*IpAddress::Parse(sender)).bytes();
  for (size_t i = 0; i < bytes.size(); ++i) words[i / 4] = words[i / 4] << 8 | bytes[i];
  uint32_t holder = MESH_PORT_HOLDER_OUTSIDE;
  if (kind != Holder::kAllClients) {
    holder =
        kIpv6 ? mesh_hash_add(mesh_hash_add(0, words[0]), words[1]) : mesh_hash_add(0, words[3]);
    if (kIpv6 && kind == Holder::kInside)
      holder = mesh_hash_add(mesh_hash_add(holder, words[2]), words[3]);
  }
  const uint32_t shift = kind == Holder::kClient ? MESH_PORT_SHIFT_OUTSIDE : MESH_PORT_SHIFT_INSIDE;
  const uint32_t first = icmp ? 1 : MESH_MASQUERADE_PORT_FIRST;
  const uint32_t count = icmp ? 65535 : MESH_MASQUERADE_PORT_COUNT;
  Numbers out;
  for (uint32_t group = 0; group < count >> shift; ++group)
    out.insert(mesh_source_port(holder, first, count, shift, group));
  return out;
}

bool Among(const Numbers& all, const Numbers& some) {
  return std::includes(all.begin(), all.end(), some.begin(), some.end());
}

class Ports : public FrontendWorld {
 protected:
  Send By(const Pod& pod) {
    return [this, &pod](const Packet& packet) { return FromPod(pod, packet); };
  }
  Send FromOutside() {
    return [this](const Packet& packet) { return FromUplink(packet); };
  }
  static Packet Dial(const std::string& from, uint16_t port, const Place& to) {
    return Tcp({*IpAddress::Parse(from), port}, to, kSyn);
  }

  // The ports of some new flows, none of which may be refused.
  static Numbers Begin(const Send& send, const std::string& from, const Place& to) {
    Numbers out;
    for (uint16_t i = 0; i < kSome; ++i) {
      const Outcome result = send(Dial(from, static_cast<uint16_t>(60000 + i), to));
      EXPECT_EQ(result.reason, "forwarded") << result;
      if (!result.packet.has_value()) break;
      EXPECT_TRUE(out.insert(result.packet->source_port).second) << "one flow's: " << result;
    }
    return out;
  }

  // Begins a flow with `packet`, and lives on with one like it at every of these ports.
  void Take(const Send& send, const Packet& packet, const Numbers& ports) {
    std::set<std::string> before;
    const auto bytes = [](const F::FlowKey& key) {
      return std::string(reinterpret_cast<const char*>(&key), sizeof(key));
    };
    const auto rows_before = *flows_->Dump();
    for (const auto& [key, value] : rows_before) before.insert(bytes(key));
    ASSERT_EQ(send(packet).reason, "forwarded");
    size_t rows = 0;
    const auto rows_after = *flows_->Dump();
    for (auto [key, value] : rows_after) {
      if (before.contains(bytes(key))) continue;
      ++rows;
      uint16_t client_port = 1024;
      const bool reply = (value.flags & MESH_FLOW_REPLY) != 0;
      for (const uint16_t port : ports) {
        (reply ? key.dport : key.sport) = EncodePort(reply ? port : client_port);
        (reply ? value.dport : value.sport) = EncodePort(reply ? client_port : port);
        ASSERT_TRUE(flows_->Upsert(key, value).ok());
        ++client_port;
      }
    }
    ASSERT_EQ(rows, 2u);
  }

  // As resets from both sides would.
  void CloseAll() {
    const auto rows = *flows_->Dump();
    for (auto [key, value] : rows) {
      value.tcp_rst = 1;
      ASSERT_TRUE(flows_->Upsert(key, value).ok());
    }
  }

  // As if each flow had had `packets` answers.
  void Answer(uint64_t packets) {
    const auto rows = *flows_->Dump();
    for (auto [key, value] : rows) {
      if ((value.flags & MESH_FLOW_REPLY) == 0) continue;
      value.packets = packets;
      ASSERT_TRUE(flows_->Upsert(key, value).ok());
    }
  }

  static void ExpectReset(const Send& send, const Packet& packet) {
    const Outcome out = send(packet);
    EXPECT_EQ(out.reason, "no_port");
    EXPECT_EQ(out.verdict, kRedirect);
    ASSERT_TRUE(out.packet.has_value()) << out;
    EXPECT_EQ(out.packet->tcp_flags, kRst | kAck);
    EXPECT_EQ(out.packet->source, packet.destination);
    EXPECT_EQ(out.packet->destination_port, packet.source_port);
  }
};

TEST_F(Ports, APodThatHasAllItMayHaveLeavesTheOthersTheirs) {
  const Numbers mine = PortsOf("10.244.1.10");
  ASSERT_THAT(mine, SizeIs(5000));
  EXPECT_TRUE(Among(mine, Begin(By(client_), "10.244.1.10", kServer)));

  Take(By(client_), Dial("10.244.1.10", 50000, kServer), mine);
  ExpectReset(By(client_), Dial("10.244.1.10", 50001, kServer));
  Begin(By(near_), "10.244.1.11", kServer);

  // Another port, another address: another destination.
  Begin(By(client_), "10.244.1.10", At("198.51.100.1:444"));
  Begin(By(client_), "10.244.1.10", At("198.51.100.2:443"));
  // Flows that stand go on, and those that close give their ports away.
  const Packet standing = Tcp(At("10.244.1.10:1030"), kServer, kAck, "odd");
  EXPECT_EQ(FromPod(client_, standing).reason, "forwarded");
  CloseAll();
  EXPECT_EQ(FromPod(client_, Dial("10.244.1.10", 50001, kServer)).reason, "forwarded");
}

TEST_F(Ports, DatagramsAndEchoesAreRefusedWithAnError) {
  const auto expect_told = [&](const Packet& packet) {
    const Outcome out = FromPod(client_, packet);
    EXPECT_EQ(out.reason, "no_port");
    ASSERT_TRUE(out.packet.has_value()) << out;
    EXPECT_EQ(out.packet->icmp_type, 3);
    EXPECT_EQ(out.packet->icmp_code, 3);
    EXPECT_EQ(out.packet->destination, packet.source);
  };
  Take(By(client_), Udp(At("10.244.1.10:50000"), kServer), PortsOf("10.244.1.10"));
  expect_told(Udp(At("10.244.1.10:50001"), kServer));
  // TCP has its own.
  Begin(By(client_), "10.244.1.10", kServer);

  Take(By(client_), Echo("10.244.1.10", "198.51.100.1", 7),
       PortsOf("10.244.1.10", Holder::kInside, /*icmp=*/true));
  expect_told(Echo("10.244.1.10", "198.51.100.1", 8));
  EXPECT_EQ(FromPod(near_, Echo("10.244.1.11", "198.51.100.1", 8)).reason, "forwarded");
}

// A resolver that asks its server from a new socket each time.
TEST_F(Ports, AQuestionThatHasItsAnswerGivesItsPortToTheNextOfItsPod) {
  const auto ask = [&](const Pod& pod, const std::string& from, uint16_t port) {
    return FromPod(pod, Udp({*IpAddress::Parse(from), port}, kServer));
  };
  const Numbers mine = PortsOf("10.244.1.10");
  Take(By(client_), Udp(At("10.244.1.10:50000"), kServer), mine);
  EXPECT_EQ(ask(client_, "10.244.1.10", 50001).reason, "no_port") << "nobody was answered";

  Answer(1);
  EXPECT_EQ(ask(client_, "10.244.1.10", 50001).reason, "no_port") << "a moment ago";
  Age(1.5);
  const size_t flows = Flows();
  const Outcome next = ask(client_, "10.244.1.10", 50001);
  EXPECT_EQ(next.reason, "forwarded");
  EXPECT_TRUE(mine.contains(next.packet->source_port));
  EXPECT_EQ(Flows(), flows) << "one for another";
  // A conversation keeps its port.
  Answer(3);
  Age(20);
  EXPECT_EQ(ask(client_, "10.244.1.10", 50002).reason, "no_port");
}

TEST_F(Ports, NobodyGivesItsPortToAnotherPod) {
  Take(By(client_), Udp(At("10.244.1.10:50000"), kServer), PortsOf("10.244.1.11"));
  Answer(1);
  Age(20);
  EXPECT_EQ(FromPod(near_, Udp(At("10.244.1.11:50001"), kServer)).reason, "no_port");
}

// What the agent makes a warning of (agent/network/port_watch.h).
TEST_F(Ports, TheRefusalIsToldWithThePodAndWhereItsFlowWouldHaveGone) {
  auto events = OpenFlowEvents(*programs_->CopyMaps());
  ASSERT_TRUE(events.ok()) << events.status();
  ASSERT_TRUE((*events)->Listen(/*drops=*/true, /*flows=*/false).ok());
  // A Service whose backend is outside.
  PutService({.place = "10.96.0.10:80", .service_id = 9}, {"198.51.100.1:443"});
  Take(By(client_), Dial("10.244.1.10", 50000, kServer), PortsOf("10.244.1.10"));

  ExpectReset(By(client_), Dial("10.244.1.10", 50001, At("10.96.0.10:80")));

  std::vector<FlowEvent> told;
  (*events)->Wake();
  ASSERT_TRUE(
      (*events)
          ->Read(absl::ZeroDuration(), [&](const FlowEvent& event) { told.push_back(event); })
          .ok());
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_EQ(told[0].kind, FlowEvent::Kind::kRefused);
  EXPECT_EQ(told[0].reason, MESH_REASON_NO_PORT);
  EXPECT_EQ(told[0].source, Own(*IpAddress::Parse("10.244.1.10")));
  EXPECT_EQ(told[0].server, Own(kServer.ip));
  EXPECT_EQ(told[0].server_port, 443);
  EXPECT_EQ(told[0].source_identity, kShop);
  EXPECT_NE(told[0].translated_source, told[0].source);
}

TEST_F(Ports, OneClientOutsideLeavesTheOthersTheirs) {
  Serve({"10.244.2.10:8080"});
  const Numbers mine = PortsOf("198.51.100.1", Holder::kClient);
  ASSERT_THAT(mine, SizeIs(10000));
  EXPECT_TRUE(Among(mine, Begin(FromOutside(), "198.51.100.1", kNodePort)));

  Take(FromOutside(), Dial("198.51.100.1", 50000, kNodePort), mine);
  ExpectReset(FromOutside(), Dial("198.51.100.1", 50001, kNodePort));
  Begin(FromOutside(), "192.88.99.1", kNodePort);
  // Of IPv6 whoever has a /64 is one client.
  EXPECT_EQ(FromUplink(Dial("198.51.100.2", 50001, kNodePort)).reason,
            kIpv6 ? "no_port" : "forwarded");
  // Pods have their own address there.
  Begin(By(client_), "10.244.1.10", kFar);
}

TEST_F(Ports, ClientsOutsideTogetherAreOneMorePodWherePodsGoAsWell) {
  Serve({"192.0.2.2:8080"});
  const Numbers theirs = PortsOf("198.51.100.1", Holder::kAllClients);
  EXPECT_TRUE(Among(theirs, Begin(FromOutside(), "198.51.100.1", kNodePort)));
  EXPECT_TRUE(Among(theirs, Begin(FromOutside(), "192.88.99.1", kNodePort)));

  Take(FromOutside(), Dial("198.51.100.1", 50000, kNodePort), theirs);
  ExpectReset(FromOutside(), Dial("192.88.99.1", 50001, kNodePort));
  Begin(By(client_), "10.244.1.10", At("192.0.2.2:8080"));
}

TEST_F(Ports, ProcessesOfTheNodeKeepTheirPortsApartFromClientsOutside) {
  PutService({.place = "10.96.0.10:80", .service_id = 9}, {"192.0.2.1:22"});

  const Outcome out = FromNode(Tcp(At("192.0.2.1:40000"), At("10.96.0.10:80"), kSyn));
  ASSERT_TRUE(out.packet.has_value()) << out;
  EXPECT_EQ(*out.packet, Tcp(At("169.254.64.1:40000"), At("192.0.2.1:22"), kSyn));
  // The same port to the same server once more, by its gateway's address: another one is drawn.
  const Outcome other = FromNode(Tcp(At("10.244.1.1:40000"), At("10.96.0.10:80"), kSyn));
  ASSERT_TRUE(other.packet.has_value()) << other;
  EXPECT_GE(other.packet->source_port, 32768);
  EXPECT_NE(other.packet->source_port, 40000);
}

}  // namespace
}  // namespace mesh::dataplane::testing
