// SPDX-License-Identifier: Apache-2.0
// Goal: packets to other nodes get the right headers of the tunnel from the program itself, and
// what it cannot put there is left to the kernel's. Method: packets through the real programs by
// BPF_PROG_TEST_RUN, over the world of world.h, which checks the outer headers of each.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/bpf/world.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::At;
using mesh::testing::Encode;
using mesh::testing::kAck;
using mesh::testing::kSyn;
using mesh::testing::Packet;
using mesh::testing::Place;
using mesh::testing::Tcp;
using mesh::testing::Udp;

const Place kClient = At("10.244.1.10:40000"), kWeb = At("10.96.0.10:80"),
            kFar = At("10.244.2.10:8080");
constexpr size_t kTos = 15, kSum = 24;  // of an Ethernet frame with IPv4
constexpr size_t kLongest = 1450 - 20 - 8;

class EncapTest : public World {
 protected:
  void SetUp() override {
    has_uplink_ = true;
    Load(0);
    Serve({"10.244.2.10:8080"});
  }

  // Opens the flow of `packet`, and goes on: the first packet of a second is left to the kernel.
  Outcome InTheTunnel(const std::string& frame) {
    Outcome out = FromPod(client_, frame);
    for (int i = 0; i < 10 && !out.tunnel.has_value(); ++i) out = FromPod(client_, frame);
    EXPECT_TRUE(out.tunnel.has_value()) << out;
    return out;
  }
  Outcome InTheTunnel(const Packet& packet) { return InTheTunnel(Encode(packet)); }
};

TEST_F(EncapTest, NamesTheNodeAndTheIdentity) {
  ASSERT_EQ(FromPod(client_, Tcp(kClient, kWeb, kSyn)).reason, "forwarded");
  const Outcome out = InTheTunnel(Tcp(kClient, kWeb, kAck, "odd"));
  ASSERT_TRUE(out.tunnel.has_value());
  EXPECT_EQ(out.verdict, kRedirect);
  EXPECT_EQ(out.reason, "forwarded");
  EXPECT_EQ(out.tunnel->peer.ToString(), "192.0.2.2");
  EXPECT_EQ(out.tunnel->vni, kShop | MESH_VNI_SERVICE);
  EXPECT_EQ(out.packet, Tcp(kClient, kFar, kAck, "odd"));
  // The Service's namespace, in the inner source address.
  EXPECT_EQ(out.frame.substr(6, 6), std::string("\x02\x00\x00\x00\x01\x00", 6));
}

TEST_F(EncapTest, LeavesAPacketItsOwnAddressesWhenItKnowsNoBetter) {
  const Packet packet = Udp(kClient, At("10.244.2.11:53"));
  const Outcome out = InTheTunnel(packet);
  ASSERT_TRUE(out.tunnel.has_value());
  EXPECT_EQ(out.tunnel->vni, kShop);
  EXPECT_EQ(out.packet, packet);
  EXPECT_EQ(out.frame.substr(0, 14), Encode(packet).substr(0, 14));
}

TEST_F(EncapTest, TheFirstPacketAndThoseToUnknownNeighboursAreLeftToTheKernel) {
  EXPECT_FALSE(FromPod(client_, Udp(kClient, kWeb)).tunnel.has_value());
  const IpPrefix range = Own(*IpPrefix::Parse("10.244.3.0/24"));
  ASSERT_TRUE(Maps()
                  .tunnel
                  .Upsert({static_cast<uint32_t>(range.length()), F::Encode(range.base())},
                          {inet_addr("192.0.2.3")})
                  .ok());
  const Packet packet = Udp(kClient, At("10.244.3.10:53"));
  for (int i = 0; i < 5; ++i) {
    const Outcome out = FromPod(client_, packet);
    EXPECT_EQ(out.verdict, kRedirect);
    EXPECT_FALSE(out.tunnel.has_value()) << out;
    EXPECT_EQ(out.packet, packet);
  }
}

TEST_F(EncapTest, CongestionIsToldOutsideAsInside) {
  for (int tos = 0; tos < 256; ++tos) {
    std::string frame = Encode(Udp(kClient, kWeb));
    frame[kTos] = static_cast<char>(tos);
    uint32_t sum = (static_cast<uint8_t>(frame[kSum]) << 8 | static_cast<uint8_t>(frame[kSum + 1]));
    sum = (~sum & 0xffff) + static_cast<uint32_t>(tos);
    sum = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
    frame[kSum] = static_cast<char>(sum >> 8);
    frame[kSum + 1] = static_cast<char>(sum);
    const Outcome out = InTheTunnel(frame);
    ASSERT_TRUE(out.tunnel.has_value() && out.packet.has_value()) << tos << " " << out;
    EXPECT_EQ(out.tunnel->ecn, tos & 3);
    EXPECT_EQ(out.frame[kTos], static_cast<char>(tos)) << "the pod's own";
  }
}

TEST_F(EncapTest, PacketsOfAFlowTakeOneWayAndFlowsSeveral) {
  std::set<uint16_t> ports;
  for (uint16_t port = 40000; port < 40064; ++port) {
    const Packet packet = Udp({kClient.ip, port}, kWeb);
    const Outcome first = InTheTunnel(packet), second = InTheTunnel(packet);
    ASSERT_TRUE(first.tunnel.has_value() && second.tunnel.has_value());
    EXPECT_EQ(first.tunnel->source_port, second.tunnel->source_port);
    ports.insert(first.tunnel->source_port);
  }
  EXPECT_GT(ports.size(), 48u);
}

TEST_F(EncapTest, PacketsThatARouterMayCutDifferInTheirIds) {
  std::set<uint16_t> ids;
  for (int i = 0; i < 100; ++i) {
    const Outcome out = InTheTunnel(Udp(kClient, kWeb, std::string(1200, 'x')));
    ASSERT_TRUE(out.tunnel.has_value());
    ids.insert(out.tunnel->id);
  }
  EXPECT_EQ(ids.size(), 100u);
}

#ifndef MESH_TEST_IPV6  // of IPv6 only senders cut packets
TEST_F(EncapTest, WhatMustBeCutIsLeftToTheKernel) {
  EXPECT_TRUE(InTheTunnel(Udp(kClient, kWeb, std::string(kLongest, 'x'))).packet.has_value());
  const Packet longer = Udp(kClient, kWeb, std::string(kLongest + 1, 'x'));
  for (int i = 0; i < 5; ++i) {
    const Outcome out = FromPod(client_, longer);
    EXPECT_EQ(out.reason, "forwarded");
    EXPECT_FALSE(out.tunnel.has_value()) << out;
  }
}
#endif

}  // namespace
}  // namespace mesh::dataplane::testing
