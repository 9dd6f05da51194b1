// SPDX-License-Identifier: Apache-2.0
// Goal: packets between the cluster and the outside get the right verdict, addresses and checksums,
// and the node's own are left alone. Method: packets through the real programs by
// BPF_PROG_TEST_RUN, over the world of world.h.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "mesh/shared/outside_map.h"
#include "tests/bpf/checksum_packet.h"
#include "tests/bpf/world.h"

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

const Place kClient = At("10.244.1.10:40000"), kServer = At("198.51.100.1:443"),
            kNode = At("192.0.2.1:22");

MATCHER(IsTheNodes, "") {
  *result_listener << arg;
  return arg.verdict == kPass && arg.reason.empty();
}

class EdgeTest : public World {
 protected:
  void SetUp() override {
    has_uplink_ = true;
    Load(0);
  }

  // Sends and follows what comes out.
  Packet Out(const Packet& packet) {
    const Outcome out = FromPod(client_, packet);
    EXPECT_EQ(out.verdict, kRedirect) << out;
    EXPECT_EQ(out.reason, "forwarded");
    EXPECT_TRUE(out.packet.has_value()) << out;
    return out.packet.value_or(Packet{});
  }
  Packet In(const Packet& packet) {
    const Outcome out = FromUplink(packet);
    EXPECT_EQ(out.verdict, kRedirect) << out;
    EXPECT_EQ(out.reason, "forwarded");
    EXPECT_TRUE(out.packet.has_value()) << out;
    return out.packet.value_or(Packet{});
  }
  static Place From(const Packet& packet) { return {packet.source, packet.source_port}; }
  static Place To(const Packet& packet) { return {packet.destination, packet.destination_port}; }

  void Put(const char* map, const void* key) {
    const uint32_t one = 1;
    ASSERT_EQ(bpf_map_update_elem(programs_->map(map), key, &one, BPF_ANY), 0);
  }
};

std::string Text(const Place& place) {
  return place.ip.ToString() + ":" + std::to_string(place.port);
}

TEST_F(EdgeTest, MasqueradesPodsAndBringsTheAnswersBack) {
  for (const bool tcp : {true, false}) {
    const auto packet = [&](const Place& from, const Place& to, uint8_t flags) {
      return tcp ? Tcp(from, to, flags, flags == kSyn ? "" : "odd") : Udp(from, to, "odd");
    };
    const Packet out = Out(packet(kClient, kServer, kSyn));
    EXPECT_EQ(out.source.ToString(), "192.0.2.1");
    EXPECT_GE(out.source_port, MESH_MASQUERADE_PORT_FIRST);
    EXPECT_LT(out.source_port, MESH_MASQUERADE_PORT_FIRST + MESH_MASQUERADE_PORT_COUNT);
    EXPECT_EQ(Text(To(out)), "198.51.100.1:443");

    const Packet back = In(packet(kServer, From(out), kSyn | kAck));
    EXPECT_EQ(Text(From(back)), "198.51.100.1:443");
    EXPECT_EQ(Text(To(back)), "10.244.1.10:40000");
    EXPECT_EQ(Text(From(Out(packet(kClient, kServer, kAck)))), Text(From(out)));
  }
  EXPECT_EQ(Flow(Tcp(kClient, kServer, kSyn)).target, MESH_TARGET_UPLINK);
}

// RFC 768: all zeros would say that a datagram has no checksum.
TEST_F(EdgeTest, NeverWritesAZeroChecksumIntoADatagram) {
  const Place self = From(Out(Udp(kClient, kServer, "odd")));
  const Packet sent = WithChecksum(Udp(self, kServer), kOnes);
  EXPECT_TRUE(Out(Udp(kClient, kServer, sent.payload)).udp_checksum);
  const Packet heard = WithChecksum(Udp(kServer, kClient), kOnes);
  EXPECT_TRUE(In(Udp(kServer, self, heard.payload)).udp_checksum);
}

TEST_F(EdgeTest, MasqueradesEchoes) {
  const Packet out = Out(Echo("10.244.1.10", "198.51.100.1", 77));
  EXPECT_EQ(out.source.ToString(), "192.0.2.1");

  const Packet back = In(EchoReply("198.51.100.1", "192.0.2.1", out.icmp_id));
  EXPECT_EQ(back.destination.ToString(), "10.244.1.10");
  EXPECT_EQ(back.icmp_id, 77);

  // Another pod with the same id has a flow of its own.
  const Outcome other = FromPod(near_, Echo("10.244.1.11", "198.51.100.1", 77));
  ASSERT_TRUE(other.packet.has_value());
  EXPECT_NE(other.packet->icmp_id, out.icmp_id);
}

TEST_F(EdgeTest, BringsErrorsFromOutsideInThePodsTerms) {
  const Packet question = Udp(kClient, At("198.51.100.1:53"));
  const Packet out = Out(question);
  const Packet back = In(Unreachable("198.51.100.9", "192.0.2.1", out));
  EXPECT_EQ(back.source.ToString(), "198.51.100.9");
  EXPECT_EQ(back.destination.ToString(), "10.244.1.10");
  const absl::StatusOr<Packet> quoted = DecodeQuoted(back);
  ASSERT_TRUE(quoted.ok()) << quoted.status();
  EXPECT_EQ(Text(From(*quoted)), "10.244.1.10:40000");

  const Packet echo = Out(Echo("10.244.1.10", "198.51.100.1", 77));
  const Packet lost = In(Unreachable("198.51.100.9", "192.0.2.1", echo));
  const absl::StatusOr<Packet> quoted_echo = DecodeQuoted(lost);
  ASSERT_TRUE(quoted_echo.ok()) << quoted_echo.status();
  EXPECT_EQ(quoted_echo->source.ToString(), "10.244.1.10");
  EXPECT_EQ(quoted_echo->icmp_id, 77);
}

TEST_F(EdgeTest, FindsAnotherPortWhenOneIsTaken) {
  std::set<uint16_t> ports;
  constexpr int kFlows = 300;
  for (int i = 0; i < kFlows; ++i) {
    ports.insert(Out(Udp({kClient.ip, static_cast<uint16_t>(20000 + i)}, kServer)).source_port);
  }
  EXPECT_EQ(ports.size(), static_cast<size_t>(kFlows));
}

TEST_F(EdgeTest, LeavesConfiguredRangesUntranslated) {
  const IpPrefix range = Own(*IpPrefix::Parse("172.16.0.0/16"));
  const F::NoMasqueradeKey key{static_cast<uint32_t>(range.length()), F::Encode(range.base())};
  ASSERT_TRUE(Maps().no_masquerade.Upsert(key, 1).ok());

  const Packet out = Out(Tcp(kClient, At("172.16.3.4:80"), kSyn));
  EXPECT_EQ(Text(From(out)), "10.244.1.10:40000");
  const Packet back = In(Tcp(At("172.16.3.4:80"), kClient, kSyn | kAck));
  EXPECT_EQ(Text(To(back)), "10.244.1.10:40000");
  EXPECT_TRUE(Maps().no_masquerade.Erase(key).ok());
}

// Another node sends its answers to a pod's address into its own mesh_host.
TEST_F(EdgeTest, TranslatesForOtherNodesAlsoInAConfiguredRange) {
  const IpPrefix range = Own(*IpPrefix::Parse("192.0.2.0/24"));
  const F::NoMasqueradeKey key{static_cast<uint32_t>(range.length()), F::Encode(range.base())};
  ASSERT_TRUE(Maps().no_masquerade.Upsert(key, 1).ok());

  const Packet out = Out(Tcp(kClient, At("192.0.2.2:6440"), kSyn));
  EXPECT_EQ(out.source.ToString(), "192.0.2.1");
  const Packet back = In(Tcp(At("192.0.2.2:6440"), From(out), kSyn | kAck));
  EXPECT_EQ(Text(To(back)), "10.244.1.10:40000");
  EXPECT_TRUE(Maps().no_masquerade.Erase(key).ok());
}

TEST_F(EdgeTest, LeavesWhatIsBehindOtherInterfacesToTheNode) {
  const Outcome out = FromPod(client_, Udp(kClient, At("203.0.113.1:53")));
  EXPECT_EQ(out.verdict, kPass);
  EXPECT_EQ(out.reason, "to_stack");
}

#ifndef MESH_TEST_IPV6  // the nodes talk IPv4 to each other
TEST_F(EdgeTest, NoPodSpeaksInTheTunnelOfAnotherNode) {
  const mesh_node_key node{.ip = htonl(0xc0000202)};
  Put("mesh_node_ip", &node);

  const Outcome out = FromPod(client_, Udp(kClient, At("192.0.2.2:4789"), "headers of a tunnel"));
  EXPECT_EQ(out.verdict, kDrop) << out;
  EXPECT_EQ(out.reason, "unknown_peer");

  Out(Udp(kClient, At("192.0.2.2:4790")));
  Out(Tcp(kClient, At("192.0.2.2:4789"), kSyn));
  Out(Udp(kClient, At("198.51.100.1:4789")));
}
#endif

TEST_F(EdgeTest, LeavesTheNodesOwnTrafficAlone) {
  const Place client = At("198.51.100.1:50000");
  EXPECT_THAT(FromUplink(Tcp(client, kNode, kSyn)), IsTheNodes());
  EXPECT_THAT(FromUplink(Tcp(client, kNode, kAck, "data")), IsTheNodes());
  EXPECT_THAT(FromUplink(Tcp(client, kNode, kRst)), IsTheNodes());
  EXPECT_THAT(FromUplink(Udp(client, At("192.0.2.1:4789"))), IsTheNodes());
  EXPECT_THAT(FromUplink(Echo("198.51.100.1", "192.0.2.1", 9)), IsTheNodes());
  EXPECT_THAT(FromUplink(EchoReply("198.51.100.1", "192.0.2.1", 9)), IsTheNodes());
  EXPECT_THAT(FromUplink(Unreachable("198.51.100.1", "192.0.2.1", Tcp(kNode, client, kAck))),
              IsTheNodes());
  EXPECT_EQ(Flows(), 0u);
}

TEST_F(EdgeTest, LeavesWhatItDoesNotUnderstandToTheNode) {
  Packet sctp = Udp(kServer, kNode);
  sctp.protocol = 132;
  EXPECT_THAT(FromUplink(sctp), IsTheNodes());
  Packet fragment = Udp(kServer, kNode);
  fragment.fragment = 100;
  EXPECT_THAT(FromUplink(fragment), IsTheNodes());
  std::string ipv6(60, '\0');
  ipv6[12] = static_cast<char>(0x86);
  ipv6[13] = static_cast<char>(0xdd);
  EXPECT_THAT(FromUplink(ipv6), IsTheNodes());
  // Cut short at every byte; the kernel runs no program on less than an IP header.
  const std::string whole = Encode(Tcp(kServer, kNode, kSyn));
  for (size_t length = 34; length < whole.size(); ++length) {
    EXPECT_THAT(FromUplink(whole.substr(0, length)), IsTheNodes()) << length << " bytes";
  }
}

TEST_F(EdgeTest, ClusterIpsAndPodsAreNotServedOutside) {
  Serve({"10.244.1.11:8080"});
  const Place client = At("198.51.100.1:50000");
  EXPECT_THAT(FromUplink(Tcp(client, At("10.96.0.10:80"), kSyn)), IsTheNodes());
  EXPECT_THAT(FromUplink(Tcp(client, At("10.244.1.11:8080"), kSyn)), IsTheNodes());
}

TEST_F(EdgeTest, AForeignerWithAPodsAddressEntersNoFlow) {
  ASSERT_EQ(FromPod(client_, Tcp(kClient, At("10.244.1.11:8080"), kSyn)).reason, "forwarded");
  EXPECT_THAT(FromUplink(Tcp(kClient, At("10.244.1.11:8080"), kAck)), IsTheNodes());
  EXPECT_THAT(FromUplink(Tcp(At("10.244.1.11:8080"), kClient, kSyn | kAck)), IsTheNodes());
  // And the flow goes on.
  EXPECT_EQ(FromPod(client_, Tcp(kClient, At("10.244.1.11:8080"), kAck)).reason, "forwarded");
}

}  // namespace
}  // namespace mesh::dataplane::testing
