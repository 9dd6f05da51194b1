// SPDX-License-Identifier: Apache-2.0
// Neighbour discovery of announced addresses (bpf/lib/nd.h): bytes in, bytes out, at the uplink;
// and what pods say on their link. Only in the tests of IPv6.
#include <gtest/gtest.h>

#include <string>

#include "dataplane/bpf/prog_run.h"
#include "tests/bpf/world.h"

namespace mesh::dataplane::testing {
namespace {

std::string Bytes(const std::string& address) {
  const auto bytes = IpAddress::Parse(address)->bytes();
  return {bytes.begin(), bytes.end()};
}

uint32_t Sum(const std::string& bytes, uint32_t sum) {
  for (size_t i = 0; i < bytes.size(); i += 2) {
    sum += static_cast<uint32_t>(static_cast<uint8_t>(bytes[i]) << 8 |
                                 static_cast<uint8_t>(bytes[i + 1]));
  }
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

const std::string kAskerMac("\x02\x00\x00\x00\x09\x09", 6);
const char* const kAsker = "fe80::9";
const char* const kAnnounced = "fd00:6d65::50";

// `message`: type, code and two bytes for the checksum, and all behind them.
std::string Frame(const std::string& to_mac, const std::string& from_mac, const std::string& from,
                  const std::string& to, std::string message, uint8_t hop_limit = 255) {
  const std::string addresses = Bytes(from) + Bytes(to);
  const uint32_t sum =
      ~Sum(message, Sum(addresses, static_cast<uint32_t>(message.size()) + 58)) & 0xffff;
  message[2] = static_cast<char>(sum >> 8);
  message[3] = static_cast<char>(sum);
  std::string header("\x60\0\0\0\0\0\x3a", 7);
  header[5] = static_cast<char>(message.size());
  return to_mac + from_mac + "\x86\xdd" + header + static_cast<char>(hop_limit) + addresses +
         message;
}

std::string Question(const std::string& from, const std::string& target) {
  return Frame(std::string("\x33\x33\xff\0\0\x50", 6), kAskerMac, from, "ff02::1:ff00:50",
               std::string("\x87\0\0\0\0\0\0\0", 8) + Bytes(target) + "\x01\x01" + kAskerMac);
}

class NdTest : public World {
 protected:
  void SetUp() override {
    has_uplink_ = true;
    World::SetUp();
#ifdef MESH_TEST_IPV6
    ASSERT_TRUE(maps_->v6->announce.Upsert({V6::Encode(*IpAddress::Parse(kAnnounced))}, 1).ok());
#endif
  }
  void ExpectTheNodes(const std::string& frame) {
    const Outcome out = FromUplink(frame);
    EXPECT_EQ(out.verdict, kPass);
    EXPECT_EQ(out.reason, "");
  }
};

TEST_F(NdTest, AnswersForAnnouncedAddressesWithAllItsBytes) {
  const std::string self(kUplinkMac.begin(), kUplinkMac.end());
  for (const char* asker : {kAsker, "fd00:6d65::7"}) {
    const Outcome out = FromUplinkRaw(Question(asker, kAnnounced));

    EXPECT_EQ(out.verdict, kRedirect);
    EXPECT_EQ(out.reason, "answered");
    // Solicited, and it holds whatever was known before.
    EXPECT_EQ(out.frame, Frame(kAskerMac, self, kAnnounced, asker,
                               std::string("\x88\0\0\0\x60\0\0\0", 8) + Bytes(kAnnounced) +
                                   "\x02\x01" + self));
  }
}

TEST_F(NdTest, LeavesEverythingElseToTheNode) {
  const std::string question = Question(kAsker, kAnnounced);
  ExpectTheNodes(Question(kAsker, "fd00:6d65::51"));
  // Somebody looks whether he may take the address.
  ExpectTheNodes(Question("::", kAnnounced));
  for (size_t length = 54; length < question.size(); ++length) {
    ExpectTheNodes(question.substr(0, length));
  }
  std::string wrong = question;
  wrong.back() = static_cast<char>(wrong.back() ^ 1);  // the checksum
  ExpectTheNodes(wrong);
  wrong = question;
  wrong[14 + 7] = 64;  // it has passed a router
  ExpectTheNodes(wrong);
}

TEST_F(NdTest, WhatPodsSayOnTheirLinkIsDroppedWithoutAWord) {
  const auto expect_silence = [&](const std::string& frame) {
    const Outcome out = FromPod(client_, frame);
    EXPECT_EQ(out.verdict, kDrop);
    EXPECT_EQ(out.reason, "unsupported");
  };
  expect_silence(Question(kAsker, kAnnounced));
  expect_silence(Question("::", kAnnounced));
  // A router solicitation, and one to the host-side veth's own address.
  expect_silence(Frame(std::string("\x33\x33\0\0\0\x02", 6), kAskerMac, kAsker, "ff02::2",
                       std::string("\x85\0\0\0\0\0\0\0", 8)));
  expect_silence(
      Frame(kAskerMac, kAskerMac, kAsker, "fe80::1", std::string("\x80\0\0\0\0\x01\0\x01", 8), 64));
}

// An ICMP error of a router that has no other address than that of its link, about a packet of the
// node's.
std::string ErrorOfLink(const mesh::testing::Packet& about) {
  mesh::testing::Packet error =
      mesh::testing::Unreachable("192.0.2.254", about.source.ToString(), about);
  error.icmp_code = 4;  // too big
  const std::string six = mesh::testing::FrameToIpv6(mesh::testing::Encode(error));
  std::string message = six.substr(14 + 40);
  message[2] = message[3] = 0;
  const auto to = mesh::testing::ToIpv6(about.source).ToString();
  return Frame(std::string(kUplinkMac.begin(), kUplinkMac.end()), kAskerMac, "fe80::254", to,
               message, 64);
}

TEST_F(NdTest, ErrorsOfLinkLocalRoutersReachWhoHasSentInTheNodesName) {
  const mesh::testing::Place client = mesh::testing::At("10.244.1.10:40000"),
                             server = mesh::testing::At("198.51.100.7:443");
  for (auto sent : {mesh::testing::Tcp(client, server, mesh::testing::kSyn),
                    mesh::testing::Udp(client, server)}) {
    const Outcome out = FromPod(client_, sent);
    ASSERT_TRUE(out.packet.has_value()) << out;
    ASSERT_EQ(out.packet->source.ToString(), "192.0.2.1");

    const Outcome told = FromUplinkRaw(ErrorOfLink(*out.packet));

    EXPECT_EQ(told.verdict, kRedirect);
    EXPECT_EQ(told.reason, "forwarded");
    // Decoded: its checksum is right.
    const auto error = mesh::testing::Decode(mesh::testing::FrameToIpv4(told.frame));
    ASSERT_TRUE(error.ok()) << error.status();
    EXPECT_EQ(error->source.ToString(), "192.0.2.1");
    EXPECT_EQ(error->destination, client.ip);
    sent.ttl = 63;
    EXPECT_EQ(error->payload, mesh::testing::Encode(sent).substr(14, error->payload.size()));
    EXPECT_GE(error->payload.size(), 28u);
  }
  // About nothing that is known, and what is no error: the node's.
  ExpectTheNodes(ErrorOfLink(mesh::testing::Udp(mesh::testing::At("192.0.2.1:5"), server)));
  ExpectTheNodes(Frame(std::string(kUplinkMac.begin(), kUplinkMac.end()), kAskerMac, "fe80::254",
                       mesh::testing::ToIpv6(*IpAddress::Parse("192.0.2.1")).ToString(),
                       std::string("\x80\0\0\0\0\x01\0\x01", 8), 64));
}

// The programs of IPv4 stand before those of IPv6.
TEST_F(NdTest, ProgramsOfIpv4LeaveItsPacketsToThoseOfIpv6) {
  constexpr int kGoOn = -1;
  for (const int program :
       {programs_->from_pod(), programs_->node(), programs_->overlay(), programs_->uplink()}) {
    const absl::StatusOr<ProgRunResult> result =
        ProgRun(program, {Question(kAsker, kAnnounced), client_.ifindex, {}, 1, false});
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->verdict, kGoOn);
  }
}

}  // namespace
}  // namespace mesh::dataplane::testing
