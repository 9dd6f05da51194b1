// SPDX-License-Identifier: Apache-2.0
#include "cli/trace/frame.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/packet/family.h"
#include "tests/support/packet/packet.h"

namespace mesh::cli {
namespace {

using mesh::testing::Decode;
using ::testing::HasSubstr;

IpAddress Ip(const char* text) { return *IpAddress::Parse(text); }

FrameSpec Spec(const char* from, const char* to, uint8_t protocol) {
  return {Ip(from), Ip(to), protocol, 40000, 80, 2};
}

TEST(FrameTest, HasTheRightChecksums) {
  for (const uint8_t protocol : {kTcp, kUdp, kIcmp}) {
    const auto packet = Decode(MakeFrame(Spec("10.244.1.3", "10.96.0.10", protocol)));
    ASSERT_TRUE(packet.ok()) << packet.status();
    EXPECT_EQ(packet->source, Ip("10.244.1.3"));
    EXPECT_EQ(packet->destination, Ip("10.96.0.10"));
    EXPECT_EQ(packet->protocol, protocol);
    if (protocol == kIcmp) continue;
    EXPECT_EQ(packet->source_port, 40000);
    EXPECT_EQ(packet->destination_port, 80);
  }
}

TEST(FrameTest, HasTheRightChecksumsOfIpv6) {
  for (const uint8_t protocol : {kTcp, kUdp, kIcmp}) {
    // The helper reads what stands for addresses of IPv4.
    FrameSpec spec = Spec("10.244.1.3", "10.96.0.10", protocol);
    spec.source = mesh::testing::ToIpv6(spec.source);
    spec.destination = mesh::testing::ToIpv6(spec.destination);
    const auto packet = Decode(mesh::testing::FrameToIpv4(MakeFrame(spec)));
    ASSERT_TRUE(packet.ok()) << packet.status();
    EXPECT_EQ(packet->source, Ip("10.244.1.3"));
  }
}

TEST(FrameTest, IsToldInALine) {
  EXPECT_EQ(FrameText(MakeFrame(Spec("10.244.1.3", "10.96.0.10", kTcp))),
            "TCP 10.244.1.3:40000 -> 10.96.0.10:80 syn");
  EXPECT_EQ(FrameText(MakeFrame(Spec("fd00::1", "fd00::2", kUdp))),
            "UDP [fd00::1]:40000 -> [fd00::2]:80");
  EXPECT_EQ(FrameText(MakeFrame(Spec("fd00::1", "fd00::2", kIcmp))), "ICMP fd00::1 -> fd00::2");
  std::string later = MakeFrame(Spec("10.244.1.3", "10.96.0.10", kUdp));
  later[21] = 3;  // 24 bytes into its packet
  EXPECT_EQ(FrameText(later), "UDP 10.244.1.3 -> 10.96.0.10, a later fragment");
  EXPECT_THAT(FrameText(std::string(14, '\0')), HasSubstr("frame of 14 bytes"));
}

TEST(FrameTest, HeadersThatAreCutAreTold) {
  for (const auto& [frame, header] :
       {std::pair(MakeFrame(Spec("10.244.1.3", "10.96.0.10", kTcp)), size_t{34}),
        std::pair(MakeFrame(Spec("fd00::1", "fd00::2", kTcp)), size_t{54})}) {
    for (size_t size = 0; size <= frame.size(); ++size)
      EXPECT_EQ(WhyCut(frame.substr(0, size)).empty(), size >= header) << size;
  }
  std::string options = MakeFrame(Spec("10.244.1.3", "10.96.0.10", kTcp));
  options[14] = '\x4f';
  EXPECT_EQ(WhyCut(options), "of its IPv4 header of 60 bytes 40 are there");
  EXPECT_EQ(WhyCut("abcd"), "of its Ethernet header of 14 bytes 4 are there");
  const std::string arp = std::string(12, '\0') + "\x08\x06";
  EXPECT_EQ(WhyCut(arp), "nothing is behind its Ethernet header");
  EXPECT_EQ(WhyCut(arp + "x"), "");
}

TEST(FrameTest, TcpFlagsAreNamed) {
  EXPECT_EQ(*ParseTcpFlags("syn"), 2);
  EXPECT_EQ(*ParseTcpFlags("SYN,ack"), 18);
  EXPECT_EQ(*ParseTcpFlags("none"), 0);
  EXPECT_EQ(TcpFlagsText(18), "syn,ack");
  EXPECT_THAT(std::string(ParseTcpFlags("syn,foo").status().message()), HasSubstr("\"foo\""));
  EXPECT_FALSE(ParseTcpFlags("").ok());
}

}  // namespace
}  // namespace mesh::cli
