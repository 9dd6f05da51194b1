// SPDX-License-Identifier: Apache-2.0
// Goal: XDP sends established flows from outside to other nodes as the tc program would, and leaves
// everything else to it as it came. Method: packets through the real programs by
// BPF_PROG_TEST_RUN; the tc program opens the flows.
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "dataplane/bpf/prog_run.h"
#include "dataplane/net/netlink.h"
#include "tests/bpf/checksum_packet.h"
#include "tests/bpf/frontend_world.h"
#include "tests/support/packet/family.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::At;
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

constexpr int kXdpPass = 2, kXdpTx = 3;
constexpr uint16_t kMark = 0x8000;
constexpr uint8_t kPush = 0x08;
constexpr size_t kEthernet = 14, kIp = kIpv6 ? 40 : 20;

class XdpTest : public FrontendWorld {
 protected:
  // A flow of `user` by the tc program. Returns where its packets say they come from afterwards.
  Place Open(const Packet& first) {
    const Outcome out = FromUplink(first);
    EXPECT_EQ(out.verdict, kRedirect) << out;
    if (!out.packet.has_value()) return {};
    return {out.packet->source, out.packet->source_port};
  }
  // What leaves by XDP: the packet in the tunnel.
  std::optional<Packet> Inner(const Packet& packet, uint32_t vni) {
    const Outcome out = FromXdp(packet);
    EXPECT_EQ(out.verdict, kXdpTx) << out;
    EXPECT_EQ(out.reason, "forwarded_xdp");
    if (!out.tunnel.has_value()) {
      ADD_FAILURE() << "outer headers: " << out;
      return std::nullopt;
    }
    EXPECT_EQ(out.tunnel->peer.ToString(), "192.0.2.2");
    EXPECT_EQ(out.tunnel->vni, vni);
    inner_ = out.frame;
    return out.packet;
  }
  // What leaves by XDP as it is, to the other node.
  std::optional<Packet> Bare(const Packet& packet) {
    const Outcome out = FromXdp(packet);
    EXPECT_EQ(out.verdict, kXdpTx) << out;
    EXPECT_EQ(out.reason, "forwarded_xdp");
    EXPECT_FALSE(out.tunnel.has_value());
    EXPECT_EQ(out.frame.substr(0, 12), std::string(kPeerMac.begin(), kPeerMac.end()) +
                                           std::string(kUplinkMac.begin(), kUplinkMac.end()));
    return out.packet;
  }
  void ExpectLeftToTc(const std::string& frame) {
    const Outcome out = FromXdp(frame);
    EXPECT_EQ(out.verdict, kXdpPass) << out;
    EXPECT_EQ(out.frame, frame);
    EXPECT_EQ(out.reason, "");
  }
  void ExpectLeftToTc(const Packet& packet) { ExpectLeftToTc(Encode(packet)); }

  std::string inner_;
};

class XdpNativeTest : public XdpTest {
 protected:
  void SetUp() override {
    routing_ = Routing::kNative;
    XdpTest::SetUp();
    Identify("10.244.2.10", kShop);
  }
};

Packet Of(Protocol protocol, const Place& from, const Place& to, uint8_t flags,
          const std::string& payload = "odd") {
  return protocol == Protocol::kTcp ? Tcp(from, to, flags, payload) : Udp(from, to, payload);
}

TEST_F(XdpTest, ForwardsEstablishedFlowsWithANewSource) {
  constexpr uint32_t vni = MESH_IDENTITY_WORLD | MESH_VNI_SERVICE;
  for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
    Serve({"10.244.2.10:8080"}, 0, MESH_ALGORITHM_RANDOM, protocol);
    const Place self = Open(Of(protocol, kUser, kNodePort, kSyn));
    EXPECT_EQ(Inner(Of(protocol, kUser, kNodePort, kAck), vni), Of(protocol, self, kFar, kAck));
    EXPECT_EQ(Flow(Of(protocol, kUser, kNodePort, kAck)).packets, 2u);
    // All values of one word, so that carries and both zeros occur.
    for (int value = 0; value < 65536; value += 1021) {
      const std::string payload = {static_cast<char>(value >> 8), static_cast<char>(value)};
      ASSERT_EQ(Inner(Of(protocol, kUser, kNodePort, kAck, payload), vni),
                Of(protocol, self, kFar, kAck, payload));
    }
  }
}

// RFC 768: all zeros would say that there is no checksum.
TEST_F(XdpTest, NeverWritesAZeroChecksumIntoADatagram) {
  Serve({"10.244.2.10:8080"}, 0, MESH_ALGORITHM_RANDOM, Protocol::kUdp);
  const Place self = Open(Udp(kUser, kNodePort, "odd"));
  const Packet sent = WithChecksum(Udp(self, kFar), kOnes);
  EXPECT_EQ(Inner(Udp(kUser, kNodePort, sent.payload), MESH_IDENTITY_WORLD | MESH_VNI_SERVICE),
            sent);
  EXPECT_EQ(inner_.substr(14 + 20 + 6, 2), Encode(sent).substr(14 + 20 + 6, 2));
  const Packet met = WithChecksum(Udp(kUser, kNodePort), kOnes);
  EXPECT_EQ(Inner(met, MESH_IDENTITY_WORLD | MESH_VNI_SERVICE), Udp(self, kFar, met.payload));
}

TEST_F(XdpTest, ForwardsForDirectReturnUntranslated) {
  Serve({"10.244.2.10:8080"}, MESH_SERVICE_DIRECT_RETURN);
  Open(Tcp(kUser, kBalancer, kSyn));
  const Packet packet = Tcp(kUser, kBalancer, kAck, "odd");
  EXPECT_EQ(Inner(packet, MESH_IDENTITY_WORLD_DIRECT | MESH_VNI_SERVICE), packet);
  // The last 4 bytes of the backend's address, and its port.
  const F::Address backend = Row(kFar.ip);
  const auto* bytes = reinterpret_cast<const char*>(&backend) + sizeof(backend) - 4;
  EXPECT_EQ(inner_.substr(0, 6), std::string(bytes, 4) + "\x1f\x90");
  EXPECT_EQ(inner_.substr(6, 6), std::string("\x02\x00\x00\x00\x01\x00", 6));
}

TEST_F(XdpTest, IsOneRouterOnTheWay) {
  Serve({"10.244.2.10:8080"});
  Open(Tcp(kUser, kNodePort, kSyn));
  Packet packet = Tcp(kUser, kNodePort, kAck, "odd");
  packet.ttl = 2;
  const Outcome out = FromXdp(packet);
  ASSERT_TRUE(out.packet.has_value()) << out;
  EXPECT_EQ(out.packet->ttl, 1);
  packet.ttl = 1;
  ExpectLeftToTc(packet);
}

TEST_F(XdpTest, AsksForCongestionOutsideAsInside) {
  Serve({"10.244.2.10:8080"}, MESH_SERVICE_DIRECT_RETURN);
  Open(Tcp(kUser, kBalancer, kSyn));
  std::string frame = FrameToIpv6(Encode(Tcp(kUser, kBalancer, kAck, "odd")));
  if (!kIpv6) frame = Encode(Tcp(kUser, kBalancer, kAck, "odd"));
  for (const uint8_t tos : {0, 1, 2, 3, 0xb8 | 2}) {
    if (kIpv6) {
      frame[kEthernet] = static_cast<char>(0x60 | tos >> 4);
      frame[kEthernet + 1] = static_cast<char>(tos << 4);
    } else {
      // The header's sum is of no matter here.
      frame[kEthernet + 1] = static_cast<char>(tos);
    }
    const Outcome out = FromXdp(frame);
    EXPECT_EQ(out.verdict, kXdpTx) << out;
    ASSERT_TRUE(out.tunnel.has_value());
    EXPECT_EQ(out.tunnel->ecn, tos & 3);
  }
}

TEST_F(XdpTest, LeavesEverythingElseToTc) {
  Serve({"10.244.2.10:8080"}, MESH_SERVICE_DIRECT_RETURN);
  // No flow yet.
  ExpectLeftToTc(Tcp(kUser, kBalancer, kSyn));
  ExpectLeftToTc(Tcp(kUser, kBalancer, kAck, "odd"));
  Open(Tcp(kUser, kBalancer, kSyn));
  // What changes the flow's state.
  for (const uint8_t flags : {kSyn, kFin, kRst}) {
    ExpectLeftToTc(Tcp(kUser, kBalancer, flags));
    ExpectLeftToTc(Tcp(kUser, kBalancer, flags | kAck));
  }
  // What is answered: too long for the tunnel.
  ExpectLeftToTc(Tcp(kUser, kBalancer, kAck, std::string(1451 - kIp - 20, 'x')));
  // Options or extension headers, fragments.
  Packet options = Tcp(kUser, kBalancer, kAck, "odd");
  options.options = std::string("\x01\x01\x01\x00", 4);
  ExpectLeftToTc(options);
  for (const std::string& fragment :
       EncodeFragments(Tcp(kUser, kBalancer, kAck, std::string(100, 'x')), 64)) {
    ExpectLeftToTc(fragment);
  }
  // Other protocols between the same addresses.
  Packet sctp = Udp(kUser, kBalancer, "chunk chunk");
  sctp.protocol = 132;
  ExpectLeftToTc(sctp);
  ExpectLeftToTc(mesh::testing::Echo("198.51.100.1", "192.0.2.50", 7));
  // The node's own.
  ExpectLeftToTc(Tcp(kUser, At("192.0.2.1:22"), kAck, "odd"));
  // What was decided before something changed.
  JudgeAgain();
  ExpectLeftToTc(Tcp(kUser, kBalancer, kAck, "odd"));
}

TEST_F(XdpTest, TheLongestPacketOfTheTunnelIsForwarded) {
  Serve({"10.244.2.10:8080"}, MESH_SERVICE_DIRECT_RETURN);
  Open(Tcp(kUser, kBalancer, kSyn));
  const Packet packet = Tcp(kUser, kBalancer, kAck, std::string(1450 - kIp - 20, 'x'));
  EXPECT_EQ(Inner(packet, MESH_IDENTITY_WORLD_DIRECT | MESH_VNI_SERVICE), packet);
}

// At every byte, of the frame as it is on the wire.
TEST_F(XdpTest, LeavesWhatIsCutShortToTc) {
  for (const bool direct : {false, true}) {
    for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
      Serve({"10.244.2.10:8080"}, direct ? MESH_SERVICE_DIRECT_RETURN : 0, MESH_ALGORITHM_RANDOM,
            protocol);
      const Place user = At(direct ? "198.51.100.2:50000" : "198.51.100.1:50000");
      Open(Of(protocol, user, kNodePort, kSyn));
      const std::string ipv4 = Encode(Of(protocol, user, kNodePort, kAck));
      const std::string whole = kIpv6 ? FrameToIpv6(ipv4) : ipv4;
      for (size_t length = 15; length < whole.size(); ++length) {
        SCOPED_TRACE(length);
        ExpectLeftToTc(whole.substr(0, length));
      }
      EXPECT_EQ(FromXdp(whole).verdict, kXdpTx);
      // What stands behind the packet in its frame is no part of it.
      EXPECT_EQ(FromXdp(whole + std::string(7, '\0')).verdict, kXdpTx);
    }
  }
}

// Lengths that the header tells and the frame does not hold, and the other way round.
TEST_F(XdpTest, LeavesWrongHeadersToTc) {
  Serve({"10.244.2.10:8080"});
  Open(Tcp(kUser, kNodePort, kSyn));
  const std::string ipv4 = Encode(Tcp(kUser, kNodePort, kAck, "odd"));
  const std::string whole = kIpv6 ? FrameToIpv6(ipv4) : ipv4;
  const auto with = [&](size_t at, const std::string& bytes) {
    return std::string(whole).replace(kEthernet + at, bytes.size(), bytes);
  };
  const size_t length_at = kIpv6 ? 4 : 2;
  const auto length = [](size_t value) {
    return std::string{static_cast<char>(value >> 8), static_cast<char>(value)};
  };
  const size_t header = kIpv6 ? 0 : kIp;  // what the length counts before the fourth layer
  ASSERT_EQ(FromXdp(with(length_at, length(header + 23))).verdict, kXdpTx);
  for (const size_t wrong :
       {size_t{0}, header, header + 8, header + 19, header + 24, size_t{1500}, size_t{0xffff}}) {
    SCOPED_TRACE(wrong);
    ExpectLeftToTc(with(length_at, length(wrong)));
  }
  ExpectLeftToTc(with(0, kIpv6 ? "\x45" : "\x60"));  // a version that the frame does not name
  ExpectLeftToTc(with(0, "\x70"));
}

TEST_F(XdpNativeTest, SendsWithANewSourceAsItIs) {
  for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
    Serve({"10.244.2.10:8080"}, 0, MESH_ALGORITHM_RANDOM, protocol);
    const Place self = Open(Of(protocol, kUser, kNodePort, kSyn));
    // The tc program opened it; each datagram may open the flow at the other node, no segment does.
    Packet expected = Of(protocol, self, kFar, kAck);
    if (protocol == Protocol::kUdp) expected.fragment |= kMark;
    EXPECT_EQ(Bare(Of(protocol, kUser, kNodePort, kAck)), expected);
    // A client cannot mark its packets.
    Packet marked = Of(protocol, kUser, kNodePort, kAck);
    marked.fragment |= kMark;
    EXPECT_EQ(Bare(marked), expected);
    for (int value = 0; value < 65536; value += 1021) {
      expected.payload = {static_cast<char>(value >> 8), static_cast<char>(value)};
      ASSERT_EQ(Bare(Of(protocol, kUser, kNodePort, kAck, expected.payload)), expected);
    }
    // As long as the link takes.
    const std::string payload(1500 - kIp - (protocol == Protocol::kTcp ? 20 : 8), 'x');
    expected.payload = payload;
    EXPECT_EQ(Bare(Of(protocol, kUser, kNodePort, kAck, payload)), expected);
  }
}

TEST_F(XdpNativeTest, DirectReturnKeepsTheTunnel) {
  Serve({"10.244.2.10:8080"}, MESH_SERVICE_DIRECT_RETURN);
  Open(Tcp(kUser, kBalancer, kSyn));
  const Packet packet = Tcp(kUser, kBalancer, kAck, "odd");
  EXPECT_EQ(Inner(packet, MESH_IDENTITY_WORLD_DIRECT | MESH_VNI_SERVICE), packet);
  ExpectLeftToTc(Tcp(kUser, kBalancer, kAck, std::string(1451 - kIp - 20, 'x')));
}

#ifdef MESH_TEST_IPV6
// Neighbour discovery and all that a link says to itself; a flow's addresses in other packets.
TEST_F(XdpTest, LeavesWhatIsTheLinksToTc) {
  Serve({"10.244.2.10:8080"}, 0, MESH_ALGORITHM_RANDOM, Protocol::kUdp);
  Open(Udp(kUser, kNodePort));
  std::string frame = FrameToIpv6(Encode(Udp(kUser, kNodePort)));
  ASSERT_EQ(FromXdp(frame).verdict, kXdpTx);
  for (const char next : {0, 43, 44, 50, 51, 58, 59, 60, -124}) {
    frame[kEthernet + 6] = next;
    ExpectLeftToTc(frame);
  }
  for (const char* address : {"fe80::1", "ff02::1", "::1", "::"}) {
    std::string of_link = FrameToIpv6(Encode(Udp(kUser, kNodePort)));
    for (const size_t at : {8, 24}) {
      const auto bytes = IpAddress::Parse(address)->bytes();
      of_link.replace(kEthernet + at, bytes.size(), std::string(bytes.begin(), bytes.end()));
      ExpectLeftToTc(of_link);
    }
  }
}

// One program stands at the interface: a flow of IPv4 beside those of IPv6.
TEST_F(XdpTest, ForwardsIpv4AsWell) {
  const int uplink = Netlink::Open()->Link("uplink")->ifindex;
  const Packet packet = Tcp(kUser, kBalancer, kAck, "odd");
  mesh_flow_key key{};
  key.saddr = EncodeIp(packet.source);
  key.daddr = EncodeIp(packet.destination);
  key.sport = EncodePort(packet.source_port);
  key.dport = EncodePort(packet.destination_port);
  key.proto = packet.protocol;
  mesh_flow_value flow{};
  flow.in_ifindex = static_cast<uint32_t>(uplink);
  flow.generation = maps_->state.Lookup(0)->generation;
  flow.target = MESH_TARGET_DIRECT;
  flow.out_peer = EncodeIp(*IpAddress::Parse("192.0.2.2"));
  ASSERT_TRUE(maps_->v4.flow.Upsert(key, flow).ok());

  const auto result =
      ProgRun(programs_->uplink_xdp(), {Encode(packet), uplink, {}, 1, /*xdp=*/true});

  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->verdict, kXdpTx);
  EXPECT_EQ(maps_->v4.flow.Lookup(key)->packets, 1u);
  ASSERT_GT(result->packet.size(), 50u);
  const auto inner = mesh::testing::Decode(result->packet.substr(50));
  ASSERT_TRUE(inner.ok()) << inner.status();
  EXPECT_EQ(*inner, packet);
}
#else
// In a cluster without it.
TEST_F(XdpTest, LeavesIpv6ToTc) { ExpectLeftToTc(FrameToIpv6(Encode(Udp(kUser, kNodePort)))); }
#endif

}  // namespace
}  // namespace mesh::dataplane::testing
