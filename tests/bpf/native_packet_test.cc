// SPDX-License-Identifier: Apache-2.0
// Goal: with native routing packets between nodes go as they are, and everybody is judged as he is
// with a tunnel, which would have told who sends and what he dialled. Method: packets through the
// real programs by BPF_PROG_TEST_RUN; node2 is the test.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "tests/bpf/select_world.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::At;
using mesh::testing::DecodeQuoted;
using mesh::testing::Echo;
using mesh::testing::EchoReply;
using mesh::testing::Encode;
using mesh::testing::EncodeFragments;
using mesh::testing::kAck;
using mesh::testing::kRst;
using mesh::testing::kSyn;
using mesh::testing::Packet;
using mesh::testing::Place;
using mesh::testing::Tcp;
using mesh::testing::Udp;
using mesh::testing::Unreachable;

constexpr uint32_t kService = 7;
constexpr uint16_t kMark = 0x8000;
const Place kClient = At("10.244.1.10:40000"), kNear = At("10.244.1.11:8080"),
            kWeb = At("10.96.0.10:80"), kFar = At("10.244.2.10:8080"),
            kFarClient = At("10.244.2.11:40000"), kFarClerk = At("10.244.2.12:40000"),
            kUser = At("198.51.100.1:50000"), kNodePort = At("192.0.2.1:30080");

Packet Marked(Packet packet) {
  packet.fragment |= kMark;
  return packet;
}

MATCHER_P(Sends, packet, "") {
  *result_listener << arg;
  return arg.verdict == kRedirect && arg.reason == "forwarded" && arg.packet == packet;
}
MATCHER_P(DroppedFor, reason, "") {
  *result_listener << arg;
  return arg.verdict == kDrop && arg.reason == reason;
}
MATCHER_P(AnsweredFor, reason, "") {
  *result_listener << arg;
  return arg.verdict == kRedirect && arg.reason == reason;
}
MATCHER(IsTheNodes, "") {
  *result_listener << arg;
  return arg.verdict == kPass && arg.reason.empty();
}

class NativeTest : public SelectWorld {
 protected:
  void SetUp() override {
    has_uplink_ = true;
    routing_ = Routing::kNative;
    SelectWorld::SetUp();
  }
  // shop/web, TCP and UDP.
  void Serve(const std::vector<std::string>& places, uint32_t identity = kShop) {
    for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
      PutService({.place = "10.96.0.10:80",
                  .service_id = kService,
                  .identity = identity,
                  .protocol = protocol},
                 places);
    }
  }
  void ServeOutside(const std::vector<std::string>& places, uint32_t flags = 0) {
    for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
      PutService({.place = "0.0.0.0:30080",
                  .service_id = kService,
                  .scope = MESH_SCOPE_EXTERNAL,
                  .flags = MESH_SERVICE_EXTERNAL | flags,
                  .protocol = protocol},
                 places);
    }
  }
};

TEST_F(NativeTest, PacketsLeaveAsTheyAreAndOneHopFurther) {
  for (const Packet& packet : {Tcp(kClient, kFar, kSyn), Tcp(kClient, kFar, kAck, "odd"),
                               Udp(kClient, kFar), Echo("10.244.1.10", "10.244.2.10", 7)}) {
    const Outcome out = FromPod(client_, packet);
    ASSERT_THAT(out, Sends(packet));
    EXPECT_EQ(out.packet->ttl, 63);
  }
  const mesh_flow_value flow = Flow(Tcp(kClient, kFar, kSyn));
  EXPECT_EQ(flow.target, MESH_TARGET_NODE);
  EXPECT_THAT(FromPeerNative(Tcp(kFar, kClient, kSyn | kAck)),
              Sends(Tcp(kFar, kClient, kSyn | kAck)));
  const Outcome answer = FromPeerNative(EchoReply("10.244.2.10", "10.244.1.10", 7));
  EXPECT_THAT(answer, Sends(EchoReply("10.244.2.10", "10.244.1.10", 7)));
  EXPECT_EQ(answer.packet->ttl, 64) << "both nodes are one router";
}

TEST_F(NativeTest, AnUnknownNodeIsNoWay) {
  EXPECT_THAT(FromPod(client_, Udp(kClient, At("10.244.9.9:80"))), DroppedFor("no_tunnel"));
}

TEST_F(NativeTest, WhatMayBeginAFlowThroughAServiceSaysSo) {
  Serve({"10.244.2.10:8080"});

  EXPECT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Marked(Tcp(kClient, kFar, kSyn))));
  EXPECT_THAT(FromPeerNative(Tcp(kFar, kClient, kSyn | kAck)),
              Sends(Tcp(kWeb, kClient, kSyn | kAck)));
  EXPECT_THAT(FromPod(client_, Tcp(kClient, kWeb, kAck, "odd")),
              Sends(Tcp(kClient, kFar, kAck, "odd")))
      << "a receiver merges segments only where they have no mark";
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(FromPod(client_, Udp(kClient, kWeb)), Sends(Marked(Udp(kClient, kFar))));
  }
  EXPECT_THAT(FromPod(clerk_, Tcp(At("10.244.1.12:40000"), kWeb, kSyn)),
              Sends(Marked(Tcp(At("10.244.1.12:40000"), kFar, kSyn))))
      << "the destination's node knows whom its namespace admits";
}

TEST_F(NativeTest, AServiceOfAnotherNamespaceOpensNoWay) {
  // Hand-written endpoints.
  Serve({"10.244.2.12:8080"});
  const Place clerk = At("10.244.2.12:8080");

  EXPECT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, clerk, kSyn)));
  EXPECT_THAT(FromPod(client_, Udp(kClient, kWeb)), Sends(Udp(kClient, clerk)));

  // The address goes to a pod of the Service's own: its flows are judged again.
  Identify("10.244.2.12", kShop);
  EXPECT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Marked(Tcp(kClient, clerk, kSyn))));
  EXPECT_THAT(FromPod(client_, Udp(kClient, kWeb)), Sends(Marked(Udp(kClient, clerk))));
}

TEST_F(NativeTest, ATraceTellsOfTheFlowThatTakesThePlaceOfOneThatIsOver) {
  Serve({"10.244.2.12:8080"});
  const Place clerk = At("10.244.2.12:8080");
  EXPECT_THAT(FromPod(client_, Udp(kClient, kWeb)), Sends(Udp(kClient, clerk)));

  Identify("10.244.2.12", kShop);
  Age(1000);
  Ask(true);
  EXPECT_THAT(FromPod(client_, Udp(kClient, kWeb)), Sends(Marked(Udp(kClient, clerk))));
  Ask(false);
  EXPECT_THAT(FromPod(client_, Udp(kClient, kWeb)), Sends(Marked(Udp(kClient, clerk))));
}

TEST_F(NativeTest, NoFlowThroughAServiceBeginsBeforeItsBackendIsKnown) {
  Serve({"10.244.2.10:8080"});
  Identify("10.244.2.10", 0);

  EXPECT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), DroppedFor("unknown_identity"));
  EXPECT_EQ(Flows(), 0u);
  EXPECT_THAT(FromPod(client_, Tcp(kClient, kFar, kSyn)), Sends(Tcp(kClient, kFar, kSyn)))
      << "whether it admits the client is for its node to say";

  Identify("10.244.2.10", kShop);
  EXPECT_THAT(FromPod(near_, Tcp(At("10.244.1.11:40000"), kWeb, kSyn)),
              Sends(Marked(Tcp(At("10.244.1.11:40000"), kFar, kSyn))));
}

TEST_F(NativeTest, APodCannotSayItItself) {
  EXPECT_THAT(FromPod(clerk_, Marked(Tcp(At("10.244.1.12:1"), kFar, kSyn))),
              Sends(Tcp(At("10.244.1.12:1"), kFar, kSyn)));
  EXPECT_THAT(FromPod(clerk_, Marked(Udp(At("10.244.1.12:1"), kFar))),
              Sends(Udp(At("10.244.1.12:1"), kFar)));
}

TEST_F(NativeTest, TheReceiverJudgesByWhatItKnowsOfTheSender) {
  EXPECT_THAT(FromPeerNative(Tcp(kFarClient, kNear, kSyn)), Sends(Tcp(kFarClient, kNear, kSyn)));
  EXPECT_THAT(FromPeerNative(Tcp(kFarClerk, kNear, kSyn)), DroppedFor("isolation"));
  EXPECT_THAT(FromPeerNative(Udp(kFarClerk, kNear)), DroppedFor("isolation"));

  // Through a Service, and the mark ends here.
  EXPECT_THAT(FromPeerNative(Tcp(kFarClerk, kNear, kSyn), true),
              Sends(Tcp(kFarClerk, kNear, kSyn)));
  EXPECT_THAT(FromPeerNative(Udp(kFarClerk, kNear), true), Sends(Udp(kFarClerk, kNear)));

  Isolate(kShop, Isolation::kClosed);
  EXPECT_THAT(FromPeerNative(Tcp(kFarClerk, kNear, kSyn), true), DroppedFor("isolation"));
  Isolate(kShop, Isolation::kOpen);
  EXPECT_THAT(FromPeerNative(Tcp(kFarClerk, kNear, kSyn)), Sends(Tcp(kFarClerk, kNear, kSyn)));
  Isolate(kShop, Isolation::kDefault);
}

TEST_F(NativeTest, AFlowThatWasAdmittedThroughAServiceOpensNoDirectWay) {
  ASSERT_THAT(FromPeerNative(Tcp(kFarClerk, kNear, kSyn), true),
              Sends(Tcp(kFarClerk, kNear, kSyn)));
  EXPECT_THAT(FromPeerNative(Tcp(kFarClerk, kNear, kAck, "odd")),
              Sends(Tcp(kFarClerk, kNear, kAck, "odd")));

  EXPECT_THAT(FromPeerNative(Tcp(kFarClerk, kNear, kSyn)), DroppedFor("isolation"));
}

TEST_F(NativeTest, DropsWhoIsNotKnown) {
  EXPECT_THAT(FromPeerNative(Tcp(At("10.244.2.77:1"), kNear, kSyn)),
              DroppedFor("unknown_identity"));
  EXPECT_THAT(FromPeerNative(Tcp(At("10.244.9.9:1"), kNear, kSyn)), DroppedFor("unknown_peer"));
  EXPECT_THAT(FromPeerNative(Tcp(kClient, kNear, kSyn)), DroppedFor("unknown_peer"))
      << "this node's own pod, from outside";
  EXPECT_EQ(Flows(), 0u);
}

TEST_F(NativeTest, LeavesWhatIsForNobodyOfThePodsToTheNode) {
  EXPECT_THAT(FromPeerNative(Tcp(kFar, At("192.0.2.1:22"), kSyn)), IsTheNodes());
  EXPECT_THAT(FromPeerNative(Tcp(kFar, At("10.244.3.1:22"), kSyn)), IsTheNodes());
  EXPECT_THAT(FromPeerNative(Tcp(kFar, kWeb, kSyn)), IsTheNodes());
  EXPECT_THAT(FromPeerNative(Tcp(kUser, kNear, kSyn)), IsTheNodes());
}

TEST_F(NativeTest, RefusesPacketsForNobodyAtOnce) {
  EXPECT_THAT(FromPeerNative(Tcp(kFar, At("10.244.1.77:1"), kSyn)), DroppedFor("no_endpoint"));

  const Outcome reset = FromPeerNative(Tcp(kFar, kNear, kAck, "odd"));
  EXPECT_THAT(reset, AnsweredFor("no_flow"));
  ASSERT_TRUE(reset.packet.has_value());
  EXPECT_EQ(reset.packet->tcp_flags & kRst, kRst);
  EXPECT_EQ(reset.packet->destination, kFar.ip);
}

TEST_F(NativeTest, ProcessesOfNodesReachPodsOfOthers) {
  const Place here = At("10.244.1.1:40000"), there = At("10.244.2.1:40000");
  EXPECT_THAT(FromNode(Tcp(At("192.0.2.1:40000"), kFar, kSyn)), Sends(Tcp(here, kFar, kSyn)));
  EXPECT_THAT(FromPeerNative(Tcp(kFar, here, kSyn | kAck)),
              Sends(Tcp(kFar, At("192.0.2.1:40000"), kSyn | kAck)));

  // Those of others are another namespace.
  EXPECT_THAT(FromPeerNative(Tcp(there, kNear, kSyn)), DroppedFor("isolation"));
  EXPECT_THAT(FromPeerNative(Tcp(there, kNear, kSyn), true), Sends(Tcp(there, kNear, kSyn)));
  EXPECT_THAT(FromPod(near_, Tcp(kNear, there, kSyn | kAck)),
              Sends(Tcp(kNear, there, kSyn | kAck)));
}

TEST_F(NativeTest, ANodePortsClientIsSentOnWithTheNodesAddress) {
  ServeOutside({"10.244.2.10:8080"});
  for (const bool tcp : {true, false}) {
    const auto packet = [&](const Place& from, const Place& to, uint8_t flags) {
      return tcp ? Tcp(from, to, flags, "odd") : Udp(from, to, "odd");
    };
    const Outcome out = FromUplink(packet(kUser, kNodePort, kSyn));
    ASSERT_TRUE(out.packet.has_value()) << out;
    const Place self{out.packet->source, out.packet->source_port};
    EXPECT_EQ(self.ip.ToString(), "10.244.1.1");
    EXPECT_EQ(*out.packet, Marked(packet(self, kFar, kSyn)));
    EXPECT_EQ(out.packet->ttl, 63);
    EXPECT_FALSE(out.tunnel.has_value());

    const Outcome answer = FromPeerNative(packet(kFar, self, kSyn | kAck));
    EXPECT_THAT(answer, Sends(packet(kNodePort, kUser, kSyn | kAck)));
    EXPECT_EQ(answer.packet->ttl, 64) << "counted where it came from its pod";
    EXPECT_EQ(Flow(packet(kUser, kNodePort, 0)).target, MESH_TARGET_NODE);
  }
}

TEST_F(NativeTest, ErrorsFindTheirFlow) {
  Serve({"10.244.2.10:8080"});
  ASSERT_THAT(FromPod(client_, Udp(kClient, kWeb)), Sends(Marked(Udp(kClient, kFar))));

  for (const char* from : {"10.244.2.10", "192.0.2.2"}) {  // the pod, and its node
    const Outcome out = FromPeerNative(Unreachable(from, "10.244.1.10", Udp(kClient, kFar)));
    ASSERT_TRUE(out.packet.has_value()) << out;
    EXPECT_EQ(out.reason, "forwarded");
    EXPECT_EQ(out.packet->destination.ToString(), "10.244.1.10");
    const absl::StatusOr<Packet> quoted = DecodeQuoted(*out.packet);
    ASSERT_TRUE(quoted.ok()) << quoted.status();
    EXPECT_EQ(quoted->destination, kWeb.ip);
    EXPECT_EQ(quoted->destination_port, kWeb.port);
  }
}

TEST_F(NativeTest, FragmentsFollowTheirFirst) {
  Serve({"10.244.2.10:8080"});
  Packet datagram = Udp(kClient, kWeb, std::string(2000, 'f'));
  datagram.id = 77;
  for (const std::string& fragment : EncodeFragments(datagram, 1000)) {
    const Outcome out = FromPod(client_, fragment);
    EXPECT_EQ(out.verdict, kRedirect) << out;
    EXPECT_EQ(static_cast<uint8_t>(out.frame[20]) & 0x80, 0x80) << "each says how it came";
  }
  datagram = Udp(kFarClerk, kNear, std::string(2000, 'f'));
  datagram.id = 78;
  for (std::string fragment : EncodeFragments(datagram, 1000)) {
    // The mark, and what it adds to the header's sum.
    fragment[20] = static_cast<char>(fragment[20] | 0x80);
    uint16_t sum = 0;
    std::memcpy(&sum, &fragment[24], 2);
    sum = ntohs(sum);
    sum = htons(static_cast<uint16_t>(sum >= 0x8000 ? sum - 0x8000 : sum + 0x7fff));
    std::memcpy(&fragment[24], &sum, 2);
    const Outcome out = FromUplink(fragment);
    EXPECT_EQ(out.reason, "forwarded");
    EXPECT_EQ(out.verdict, kRedirect) << out;
    EXPECT_EQ(static_cast<uint8_t>(out.frame[20]) & 0x80, 0) << "and the receiver takes it off";
  }
  datagram.fragment = 7;
  EXPECT_THAT(FromPeerNative(datagram), Sends(datagram)) << "the first has been";
  datagram.id = 79;
  EXPECT_THAT(FromPeerNative(datagram), DroppedFor("fragment"));
}

TEST_F(NativeTest, PacketsMayBeAsLongAsTheLink) {
  Packet longest = Udp(kClient, kFar, std::string(1500 - 28, 'l'));
  longest.fragment = 0x4000;
  EXPECT_THAT(FromPod(client_, longest), Sends(longest));
  Packet longer = Udp(kClient, kFar, std::string(1500 - 27, 'l'));
  longer.fragment = 0x4000;
  EXPECT_THAT(FromPod(client_, longer), AnsweredFor("too_big"));
}

TEST_F(NativeTest, TheTimeToLiveEndsAtTheFirstNode) {
  Packet probe = Udp(kClient, kFar);
  probe.ttl = 1;
  EXPECT_THAT(FromPod(client_, probe), AnsweredFor("ttl"));
  probe = Udp(kFarClient, kNear);
  probe.ttl = 1;
  EXPECT_THAT(FromPeerNative(probe), Sends(probe));
}

TEST_F(NativeTest, EveryByteMayBeMissing) {
  for (const Packet& packet : {Tcp(kFarClient, kNear, kSyn), Udp(kFarClient, kNear),
                               Echo("10.244.2.11", "10.244.1.11", 3)}) {
    const std::string whole = Encode(packet);
    for (size_t length = 34; length < whole.size(); ++length) {
      const Outcome out = FromUplink(whole.substr(0, length));
      EXPECT_TRUE(out.verdict == kPass || out.verdict == kDrop || out.reason == "forwarded")
          << out << " cut to " << length;
    }
  }
}

}  // namespace
}  // namespace mesh::dataplane::testing
