// SPDX-License-Identifier: Apache-2.0
// Goal: who sends a packet that goes nowhere is told so, at once and rightly, and a packet that
// goes on is changed by what a router may change and nothing else. Method: packets through the real
// programs by BPF_PROG_TEST_RUN (world.h); every answer is decoded with its checksums verified.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "dataplane/tables/encode.h"
#include "tests/bpf/world.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::At;
using mesh::testing::Echo;
using mesh::testing::Encode;
using mesh::testing::EncodeFragments;
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
            kWeb = At("10.96.0.10:80"), kFar = At("10.244.2.10:8080"),
            kGateway = At("10.244.1.1:50000"), kUplink = At("192.0.2.1:50000");

// Of IPv6 only senders cut packets: nothing says so.
constexpr uint16_t kDontFragment = kIpv6 ? 0 : 0x4000;

MATCHER_P(Sends, packet, "") {
  *result_listener << arg;
  return arg.verdict == kRedirect && arg.reason == "forwarded" && arg.packet == packet;
}
MATCHER_P(SilentlyDroppedFor, reason, "") {
  *result_listener << arg;
  return arg.verdict == kDrop && arg.reason == reason;
}
// With a reset, back to `about`'s sender from where it was to go.
MATCHER_P2(ResetFor, reason, about, "") {
  *result_listener << arg;
  if (arg.verdict != kRedirect || arg.reason != reason || !arg.packet.has_value()) return false;
  Packet expected =
      Tcp({about.destination, about.destination_port}, {about.source, about.source_port}, kRst);
  expected.fragment = kDontFragment;
  if ((about.tcp_flags & kAck) != 0) {
    expected.tcp_sequence = about.tcp_acknowledged;
  } else {
    expected.tcp_flags |= kAck;
    expected.tcp_acknowledged = about.tcp_sequence + static_cast<uint32_t>(about.payload.size()) +
                                ((about.tcp_flags & kSyn) != 0 ? 1 : 0) +
                                ((about.tcp_flags & kFin) != 0 ? 1 : 0);
  }
  return arg.packet == expected;
}
// With an ICMP error of `from`, which quotes the first bytes of `about`.
MATCHER_P5(ToldFor, reason, about, from, type, code, "") {
  *result_listener << arg;
  if (arg.verdict != kRedirect || arg.reason != reason || !arg.packet.has_value()) return false;
  const size_t header = 20 + about.options.size();
  return arg.packet->protocol == 1 && arg.packet->icmp_type == type &&
         arg.packet->icmp_code == code && arg.packet->source == from &&
         arg.packet->destination == about.source &&
         // Of IPv6 more is quoted.
         (kIpv6 ? arg.packet->payload.substr(0, header + 8) : arg.packet->payload) ==
             Encode(about).substr(14, header + 8);
}

using Refusal = World;
using Road = World;
using Fragments = World;
using Errors = World;
using Fairness = World;

TEST_F(Refusal, ResetsAConnectionToNobody) {
  Serve({});
  Packet syn = Tcp(kClient, kWeb, kSyn);
  syn.tcp_sequence = 0xfffffffe;
  EXPECT_THAT(FromPod(client_, syn), ResetFor("no_backend", syn));
  Packet other = Tcp(kClient, At("10.96.0.10:81"), kSyn, "early data");
  EXPECT_THAT(FromPod(client_, other), ResetFor("no_service", other));
  EXPECT_EQ(Flows(), 0u);
}

TEST_F(Refusal, ResetsAConnectionThatIsNotKnown) {
  for (const uint8_t flags : {kAck, kFin, static_cast<uint8_t>(kAck | kFin),
                              static_cast<uint8_t>(kSyn | kAck), uint8_t{0}}) {
    Packet lost = Tcp(kClient, kNear, flags, "data");
    lost.tcp_sequence = 1000;
    lost.tcp_acknowledged = (flags & kAck) != 0 ? 77 : 0;
    EXPECT_THAT(FromPod(client_, lost), ResetFor("no_flow", lost));
  }
}

TEST_F(Refusal, ResetsAConnectionWhoseBackendIsGone) {
  Serve({"10.244.1.11:8080"});
  ASSERT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, kNear, kSyn)));
  Serve({"10.244.2.10:8080"});
  Packet data = Tcp(kClient, kWeb, kAck, "more");
  data.tcp_acknowledged = 4711;
  EXPECT_THAT(FromPod(client_, data), ResetFor("backend_gone", data));
}

TEST_F(Refusal, NeverAnswersAReset) {
  Serve({});
  for (int flags = 0; flags < 256; ++flags) {
    const Packet packet = Tcp(kClient, kWeb, static_cast<uint8_t>(flags));
    const bool opens = (flags & (kSyn | kAck)) == kSyn;
    const char* reason = opens ? "no_backend" : "no_flow";
    if ((flags & kRst) != 0) {
      EXPECT_THAT(FromPod(client_, packet), SilentlyDroppedFor(reason)) << flags;
    } else {
      EXPECT_THAT(FromPod(client_, packet), ResetFor(reason, packet)) << flags;
    }
  }
}

TEST_F(Refusal, TellsSendersOfDatagrams) {
  Serve({});
  const Packet question = Udp(kClient, kWeb), empty = Udp(kClient, kWeb, "");
  EXPECT_THAT(FromPod(client_, question), ToldFor("no_backend", question, kWeb.ip, 3, 3));
  EXPECT_THAT(FromPod(client_, empty), ToldFor("no_backend", empty, kWeb.ip, 3, 3));
  const Packet ping = Echo("10.244.1.10", "10.96.0.10", 7);
  EXPECT_THAT(FromPod(client_, ping), ToldFor("no_service", ping, kWeb.ip, 3, 3));
}

TEST_F(Refusal, TellsProcessesOfTheNodeToo) {
  Serve({});
  const Packet syn = Tcp(kUplink, kWeb, kSyn), question = Udp(kGateway, kWeb);
  EXPECT_THAT(FromNode(syn), ResetFor("no_backend", syn));
  EXPECT_THAT(FromNode(question), ToldFor("no_backend", question, kWeb.ip, 3, 3));
}

TEST_F(Refusal, GoesBackThroughTheTunnel) {
  const Packet lost = Tcp(kFar, kNear, kAck);
  EXPECT_THAT(FromPeer(kShop, lost), ResetFor("no_flow", lost));
}

TEST_F(Refusal, TellsOfProtocolsAndOptionsThatAreNotCarried) {
  Serve({"10.244.1.11:8080"});
  Packet sctp = Udp(kClient, kWeb, "chunk chunk");
  sctp.protocol = 132;
  EXPECT_THAT(FromPod(client_, sctp), ToldFor("sctp", sctp, kWeb.ip, 3, 2));
  Packet gre = Udp(kClient, kNear, "12345678");
  gre.protocol = 47;
  EXPECT_THAT(FromPod(client_, gre), ToldFor("unsupported", gre, kNear.ip, 3, 2));
  for (size_t words = 1; words <= 10; ++words) {
    Packet options = Udp(kClient, kNear);
    options.options = std::string(words * 4, '\1');
    EXPECT_THAT(FromPod(client_, options), ToldFor("unsupported", options, kNear.ip, 12, 0));
  }
}

TEST_F(Refusal, IsSilentWhereAnAnswerWouldTellTooMuchOrReachNobody) {
  EXPECT_THAT(FromPod(clerk_, Tcp(At("10.244.1.12:40000"), kNear, kSyn)),
              SilentlyDroppedFor("isolation"));
  // About an error; to a group; of a fragment that is not the first.
  EXPECT_THAT(FromPod(near_, Unreachable("10.244.1.11", "10.244.1.10", Udp(kClient, kNear))),
              SilentlyDroppedFor("no_flow"));
  Packet group = Udp(kClient, At("224.0.0.251:5353"));
  group.protocol = 132;
  // Such addresses of IPv6 are of one link, whatever the protocol.
  const char* reason = kIpv6 ? "unsupported" : "sctp";
  EXPECT_THAT(FromPod(client_, group), SilentlyDroppedFor(reason));
  for (const char* nobody : {"0.0.0.0:1", "127.0.0.1:1", "224.0.0.1:1", "255.255.255.255:1"}) {
    Packet from_nobody = Udp(At(nobody), kWeb);
    from_nobody.protocol = 132;
    EXPECT_THAT(FromPod(client_, from_nobody), SilentlyDroppedFor(reason)) << nobody;
  }
}

TEST_F(Road, TakesOneOffTheTimeToLivePerNode) {
  Serve({"10.244.1.11:8080"});
  Packet syn = Tcp(kClient, kWeb, kSyn);
  for (const int ttl : {255, 64, 2}) {
    syn.ttl = static_cast<uint8_t>(ttl);
    const Outcome out = FromPod(client_, syn);
    ASSERT_THAT(out, Sends(Tcp(kClient, kNear, kSyn)));
    EXPECT_EQ(out.packet->ttl, ttl - 1);
  }
  Packet answer = Tcp(kNear, kClient, kSyn | kAck);
  EXPECT_EQ(FromPod(near_, answer).packet->ttl, 63);
  // The other end of the tunnel has taken it; the node's own packets pass no router here.
  Packet far = Tcp(kFar, kNear, kSyn), node = Udp(kGateway, kNear);
  far.ttl = node.ttl = 1;
  EXPECT_EQ(FromPeer(kShop, far).packet->ttl, 1);
  EXPECT_EQ(FromNode(node).packet->ttl, 1);
  Packet resolver = Udp(kClient, At("10.244.1.1:53"));
  resolver.ttl = 1;
  EXPECT_EQ(FromPod(client_, resolver).packet->ttl, 1);
}

TEST_F(Road, TellsWhenTheTimeToLiveIsOver) {
  Serve({"10.244.1.11:8080"});
  for (const uint8_t ttl : {uint8_t{0}, uint8_t{1}}) {
    Packet probe = Udp(kClient, kWeb, std::string(32, 'p'));
    probe.ttl = ttl;
    EXPECT_THAT(FromPod(client_, probe), ToldFor("ttl", probe, kGateway.ip, 11, 0));
  }
  Packet ping = Echo("10.244.1.10", "10.244.2.10", 9);
  ping.ttl = 1;
  EXPECT_THAT(FromPod(client_, ping), ToldFor("ttl", ping, kGateway.ip, 11, 0));
}

TEST_F(Road, TellsWhatFitsThroughTheTunnel) {
  Serve({"10.244.2.10:8080"});
  // 1450 bytes: the uplink's 1500 without the tunnel's headers.
  Packet question = Udp(kClient, kWeb, std::string(1450 - (kIpv6 ? 48 : 28), 'x'));
  question.fragment = kDontFragment;
  Packet expected = Udp(kClient, kFar, question.payload);
  expected.fragment = kDontFragment;
  EXPECT_THAT(FromPod(client_, question), Sends(expected));

  question.payload += "x";
  const Outcome out = FromPod(client_, question);
  EXPECT_THAT(out, ToldFor("too_big", question, kGateway.ip, 3, 4));
  // The next hop's MTU, in the last two bytes of the ICMP header.
  EXPECT_EQ(out.frame.substr(14 + 20 + 6, 2), std::string("\x05\xaa", 2));
  if (kIpv6) return;
  // It may be cut: the tunnel does.
  question.fragment = expected.fragment = 0;
  expected.payload = question.payload;
  EXPECT_THAT(FromPod(client_, question), Sends(expected));
}

// The bytes from the IP header on.
std::string Datagram(const std::string& frame) { return frame.substr(14); }

TEST_F(Fragments, FollowTheirFirstInBothDirections) {
  Serve({"10.244.1.11:8080"});
  const std::string payload(40, 'f');
  Packet question = Udp(kClient, kWeb, payload), asked = Udp(kClient, kNear, payload);
  Packet answer = Udp(kNear, kClient, payload), answered = Udp(kWeb, kClient, payload);
  question.id = asked.id = answer.id = answered.id = 77;
  asked.ttl = answered.ttl = 63;
  const auto in = EncodeFragments(question, 16), expected = EncodeFragments(asked, 16);
  ASSERT_EQ(in.size(), 3u);
  for (size_t i = 0; i < in.size(); ++i) {
    const Outcome out = FromPod(client_, in[i]);
    EXPECT_EQ(out.verdict, kRedirect) << out;
    EXPECT_EQ(out.reason, "forwarded");
    EXPECT_EQ(Datagram(out.frame), Datagram(expected[i])) << i;
  }
  const auto back = EncodeFragments(answer, 40), expected_back = EncodeFragments(answered, 40);
  ASSERT_EQ(back.size(), 2u);
  for (size_t i = 0; i < back.size(); ++i) {
    const Outcome out = FromPod(near_, back[i]);
    EXPECT_EQ(out.verdict, kRedirect) << out;
    EXPECT_EQ(Datagram(out.frame), Datagram(expected_back[i])) << i;
  }
}

TEST_F(Fragments, OfPingsAndOfOtherNodesToo) {
  Packet ping = Echo("10.244.1.10", "10.244.1.11", 9);
  ping.payload = std::string(25, 'p');
  ping.id = 5;
  // The last one has fewer bytes than a header.
  for (const std::string& frame : EncodeFragments(ping, 32)) {
    EXPECT_EQ(FromPod(client_, frame).verdict, kRedirect);
  }
  Packet far = Udp(kFar, kNear, std::string(40, 'f'));
  far.id = 6;
  for (const std::string& frame : EncodeFragments(far, 24)) {
    const Outcome out = FromPeer(kShop, frame);
    EXPECT_EQ(out.verdict, kRedirect) << out;
    EXPECT_EQ(Datagram(out.frame), Datagram(frame));
  }
}

TEST_F(Fragments, BeforeTheirFirstAreDroppedAndNobodyIsTold) {
  Serve({"10.244.1.11:8080"});
  Packet question = Udp(kClient, kWeb, std::string(40, 'f'));
  question.id = 78;
  const auto frames = EncodeFragments(question, 16);
  EXPECT_THAT(FromPod(client_, frames[1]), SilentlyDroppedFor("fragment"));
  // The first of another datagram does not lead it.
  question.id = 79;
  ASSERT_EQ(FromPod(client_, EncodeFragments(question, 16)[0]).verdict, kRedirect);
  EXPECT_THAT(FromPod(client_, frames[2]), SilentlyDroppedFor("fragment"));
  // Nor does that of another pod.
  ASSERT_EQ(FromPod(client_, frames[0]).verdict, kRedirect);
  EXPECT_THAT(FromPod(near_, frames[1]), SilentlyDroppedFor("fragment"));
}

TEST_F(Errors, QuoteWhatTheirReceiverHasSentWithItsChecksums) {
  Serve({"10.244.1.11:8080"});
  const Packet sent = Udp(kClient, kWeb, "some data"), seen = Udp(kClient, kNear, "some data");
  ASSERT_THAT(FromPod(client_, sent), Sends(seen));
  const Outcome out = FromPod(near_, Unreachable("10.244.1.11", "10.244.1.10", seen));
  // Decoded: the checksum of the report is right.
  ASSERT_TRUE(out.packet.has_value()) << out;
  EXPECT_EQ(out.packet->payload, Encode(sent).substr(14, 28));

  // Of TCP the checksum is quoted only by those who quote more.
  const Packet data = Tcp(kClient, kWeb, kSyn, "ab"), moved = Tcp(kClient, kNear, kSyn, "ab");
  ASSERT_THAT(FromPod(client_, data), Sends(moved));
  for (const size_t quoted : {size_t{8}, size_t{16}, size_t{18}, size_t{20}, size_t{22}}) {
    Packet report = Unreachable("10.244.1.11", "10.244.1.10", moved);
    report.payload = Encode(moved).substr(14, 20 + quoted);
    const Outcome told = FromPod(near_, report);
    ASSERT_TRUE(told.packet.has_value()) << quoted << told;
    EXPECT_EQ(told.packet->payload, Encode(data).substr(14, 20 + quoted)) << quoted;
  }
}

TEST_F(Errors, AboutPingsFindTheAskingAndTheAnsweringSide) {
  const Packet ping = Echo("10.244.1.10", "10.244.1.11", 9);
  const Packet pong = mesh::testing::EchoReply("10.244.1.11", "10.244.1.10", 9);
  ASSERT_THAT(FromPod(client_, ping), Sends(ping));
  ASSERT_THAT(FromPod(near_, pong), Sends(pong));
  const Packet about_ping = Unreachable("10.244.1.11", "10.244.1.10", ping);
  EXPECT_THAT(FromPod(near_, about_ping), Sends(about_ping));
  const Packet about_pong = Unreachable("10.244.1.10", "10.244.1.11", pong);
  EXPECT_THAT(FromPod(client_, about_pong), Sends(about_pong));
}

TEST_F(Errors, AboutLaterFragmentsAreDropped) {
  ASSERT_THAT(FromPod(client_, Udp(kClient, kNear)), Sends(Udp(kClient, kNear)));
  Packet later = Udp(kClient, kNear);
  later.fragment = 2;
  EXPECT_THAT(FromPod(near_, Unreachable("10.244.1.11", "10.244.1.10", later)),
              SilentlyDroppedFor("fragment"));
}

TEST_F(Road, LeadsThroughTheQueueOfAPodThatIsLimited) {
  near_.shaped = true;
  AddPod(near_);
  ASSERT_THAT(FromPod(client_, Udp(kClient, kNear)), Sends(Udp(kClient, kNear)));
  ASSERT_THAT(FromPod(near_, Udp(kNear, kClient)), Sends(Udp(kNear, kClient)));
  EXPECT_EQ(Flow(Udp(kClient, kNear)).target, MESH_TARGET_POD_SHAPED);
  EXPECT_EQ(Flow(Udp(kNear, kClient)).target, MESH_TARGET_POD);
  // Also when the flow is judged again.
  ASSERT_THAT(FromPeer(kShop, Udp(kFar, kNear)), Sends(Udp(kFar, kNear)));
  Isolate(kBank, Isolation::kOpen);
  ASSERT_THAT(FromPeer(kShop, Udp(kFar, kNear)), Sends(Udp(kFar, kNear)));
  EXPECT_EQ(Flow(Udp(kFar, kNear)).target, MESH_TARGET_POD_SHAPED);
  EXPECT_EQ(Flow(Udp(kFar, kNear)).packets, 2u);
  // And as the one that asked.
  ASSERT_THAT(FromPod(near_, Udp(kNear, At("10.244.2.10:53"))),
              Sends(Udp(kNear, At("10.244.2.10:53"))));
  EXPECT_EQ(Flow(Udp(At("10.244.2.10:53"), kNear)).target, MESH_TARGET_POD_SHAPED);
}

F::OwnerKey Owner(const IpAddress& ip) { return {Row(ip)}; }

TEST_F(Fairness, GivesOnePodNoMoreThanItLeavesToTheOthers) {
  constexpr uint32_t kCapacity = 3000;
  Load(2 * kCapacity);
  ASSERT_TRUE(owners_->Upsert(F::kAllOwners, {0, kCapacity}).ok());
  const Packet first = Udp(kClient, kNear);
  ASSERT_THAT(FromPod(client_, first), Sends(first));
  uint32_t had = 1;
  for (uint16_t port = 1; port <= kCapacity; ++port) {
    const Packet packet = Udp({kClient.ip, port}, kNear);
    const Outcome out = FromPod(client_, packet);
    if (out.reason == "quota") {
      EXPECT_EQ(out.verdict, kDrop);
      break;
    }
    ASSERT_THAT(out, Sends(packet));
    ++had;
  }
  EXPECT_EQ(had, kCapacity / 2);
  // Another pod begins many, and none of the first one's has gone.
  for (uint16_t port = 1; port <= 700; ++port) {
    const Packet packet = Udp({At("10.244.1.12:0").ip, port}, At("10.244.2.10:53"));
    ASSERT_THAT(FromPod(clerk_, packet), Sends(packet));
  }
  EXPECT_THAT(FromPod(client_, first), Sends(first));
  EXPECT_EQ(Flow(first).packets, 2u);
  EXPECT_EQ(Flows(), kCapacity / 2 + 700u);
  EXPECT_EQ(owners_->Lookup(Owner(kClient.ip))->flows, kCapacity / 2);
  EXPECT_EQ(owners_->Lookup(F::kAllOwners)->flows, kCapacity / 2 + 700);
}

TEST_F(Fairness, LetsAnOwnerAtItsLimitTakeThePlaceOfItsOwnClosedFlow) {
  constexpr uint16_t kCapacity = 512;
  Load(2 * kCapacity);
  ASSERT_TRUE(owners_->Upsert(F::kAllOwners, {0, kCapacity}).ok());
  for (uint16_t port = 1; port <= kCapacity / 2; ++port) {
    const Packet syn = Tcp({kClient.ip, port}, kNear, kSyn);
    ASSERT_THAT(FromPod(client_, syn), Sends(syn));
  }
  const Packet closed = Tcp({kClient.ip, 1}, kNear, kSyn);
  ASSERT_EQ(FromPod(client_, Tcp({kClient.ip, 1}, kNear, kRst)).reason, "forwarded");

  EXPECT_EQ(FromPod(client_, Tcp({kClient.ip, 5000}, kNear, kSyn)).reason, "quota");
  EXPECT_THAT(FromPod(client_, closed), Sends(closed));

  EXPECT_EQ(owners_->Lookup(Owner(kClient.ip))->flows, kCapacity / 2u);
  EXPECT_EQ(owners_->Lookup(F::kAllOwners)->flows, kCapacity / 2u);
}

TEST_F(Fairness, CountsAFlowToThePodThatBeganItElseToTheOneThatGetsIt) {
  ASSERT_EQ(FromPod(client_, Udp(kClient, kNear)).reason, "forwarded");
  ASSERT_EQ(FromPeer(kShop, Udp(kFar, kNear)).reason, "forwarded");
  ASSERT_EQ(FromNode(Udp(kGateway, kFar)).reason, "forwarded");
  EXPECT_EQ(F::Decode(Flow(Udp(kClient, kNear)).owner), Own(kClient.ip));
  EXPECT_EQ(F::Decode(Flow(Udp(kNear, kClient)).owner), Own(kClient.ip));
  // Who floods a pod of another node spends its own share there too.
  EXPECT_EQ(F::Decode(Flow(Udp(kFar, kNear)).owner), Own(kFar.ip));
  EXPECT_EQ(F::Decode(Flow(Udp(kGateway, kFar)).owner), F::Decode({}));
  EXPECT_EQ(owners_->Lookup(Owner(kClient.ip))->flows, 1u);
  EXPECT_EQ(owners_->Lookup(Owner(kFar.ip))->flows, 1u);
  EXPECT_FALSE(owners_->Lookup(Owner(kNear.ip)).ok());
  EXPECT_EQ(owners_->Lookup({})->flows, 1u);
}

TEST_F(Fairness, TakesAFlowThatIsBegunAnewForOne) {
  const Packet syn = Tcp(kClient, kNear, kSyn), reset = Tcp(kClient, kNear, kRst);
  for (int i = 0; i < 3; ++i) {
    ASSERT_THAT(FromPod(client_, syn), Sends(syn));
    ASSERT_THAT(FromPod(client_, reset), Sends(reset));
  }
  EXPECT_EQ(Flows(), 1u);
  EXPECT_EQ(owners_->Lookup(Owner(kClient.ip))->flows, 1u);
}

}  // namespace
}  // namespace mesh::dataplane::testing
