// SPDX-License-Identifier: Apache-2.0
// Goal: each packet gets the right verdict, addresses and checksums. Method: packets through the
// real programs by BPF_PROG_TEST_RUN, over the world of world.h; every output's checksums are
// recomputed.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "mesh/shared/flow_state.h"
#include "tests/bpf/world.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::At;
using mesh::testing::DecodeQuoted;
using mesh::testing::Echo;
using mesh::testing::EchoReply;
using mesh::testing::kAck;
using mesh::testing::kFin;
using mesh::testing::kRst;
using mesh::testing::kSyn;
using mesh::testing::Packet;
using mesh::testing::Tcp;
using mesh::testing::Udp;
using mesh::testing::Unreachable;

const mesh::testing::Place kClient = At("10.244.1.10:40000"), kNear = At("10.244.1.11:8080"),
                           kWeb = At("10.96.0.10:80"), kFar = At("10.244.2.10:8080"),
                           kClerk = At("10.244.1.12:40000"), kGateway = At("10.244.1.1:50000");

MATCHER_P(Sends, packet, "") {
  *result_listener << arg;
  return arg.verdict == kRedirect && arg.reason == "forwarded" && arg.packet == packet;
}
MATCHER_P(DroppedFor, reason, "") {
  *result_listener << arg;
  return arg.verdict == kDrop && arg.reason == reason;
}

// Dropped, and the sender is told: lib/refuse.h; what it is told is in honesty_test.cc.
MATCHER_P(RefusedFor, reason, "") {
  *result_listener << arg;
  return arg.verdict == kRedirect && arg.reason == reason;
}

using FromPodTest = World;
using NodeTest = World;
using OverlayTest = World;
using FlowTest = World;

TEST_F(FromPodTest, TranslatesToTheBackendAndBack) {
  Serve({"10.244.1.11:8080"});

  EXPECT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, kNear, kSyn)));
  EXPECT_THAT(FromPod(near_, Tcp(kNear, kClient, kSyn | kAck)),
              Sends(Tcp(kWeb, kClient, kSyn | kAck)));
  EXPECT_THAT(FromPod(client_, Tcp(kClient, kWeb, kAck, "odd")),
              Sends(Tcp(kClient, kNear, kAck, "odd")));
  EXPECT_THAT(FromPod(near_, Tcp(kNear, kClient, kAck, "answer")),
              Sends(Tcp(kWeb, kClient, kAck, "answer")));
}

TEST_F(FromPodTest, AddressesTheFrameToThePod) {
  Serve({"10.244.1.11:8080"});

  const Outcome out = FromPod(client_, Tcp(kClient, kWeb, kSyn));

  EXPECT_EQ(out.frame.substr(0, 6), std::string(near_.mac.begin(), near_.mac.end()));
  EXPECT_EQ(Flow(Tcp(kClient, kWeb, kSyn)).out_ifindex, static_cast<uint32_t>(near_.ifindex));
}

TEST_F(FromPodTest, TranslatesDatagramsAndLeavesAMissingChecksumMissing) {
  Serve({"10.244.1.11:8080"});
  Packet question = Udp(kClient, kWeb), expected = Udp(kClient, kNear);
  question.udp_checksum = expected.udp_checksum = false;

  EXPECT_THAT(FromPod(client_, question), Sends(expected));
  EXPECT_THAT(FromPod(near_, Udp(kNear, kClient)), Sends(Udp(kWeb, kClient)));
}

TEST_F(FromPodTest, KeepsChecksumsRightForEveryPayload) {
  Serve({"10.244.1.11:8080"});
  ASSERT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, kNear, kSyn)));
  // All values of one word, so that carries and both zeros occur.
  for (int value = 0; value < 65536; value += 251) {
    const std::string payload = {static_cast<char>(value >> 8), static_cast<char>(value)};
    ASSERT_THAT(FromPod(client_, Tcp(kClient, kWeb, kAck, payload)),
                Sends(Tcp(kClient, kNear, kAck, payload)));
    ASSERT_THAT(FromPod(client_, Udp(kClient, kWeb, payload)), Sends(Udp(kClient, kNear, payload)));
  }
}

TEST_F(FromPodTest, SendsToTheOtherNodeWithTheIdentityAndTheServiceBit) {
  Serve({"10.244.2.10:8080"});

  EXPECT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, kFar, kSyn)));
  EXPECT_THAT(FromPod(client_, Udp(kClient, kFar)), Sends(Udp(kClient, kFar)));

  const F::FlowValue through = Flow(Tcp(kClient, kWeb, kSyn));
  EXPECT_EQ(through.target, MESH_TARGET_TUNNEL);
  EXPECT_EQ(through.out_peer, htonl(0xc0000202));
  EXPECT_EQ(through.vni, kShop | MESH_VNI_SERVICE);
  EXPECT_EQ(Flow(Udp(kClient, kFar)).vni, kShop);
}

TEST_F(FromPodTest, HairpinsThroughAnAddressThePodDoesNotHave) {
  Serve({"10.244.1.10:8080"});
  const auto loop = At("169.254.64.1:40000"), self = At("10.244.1.10:8080");

  EXPECT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(loop, self, kSyn)));
  EXPECT_THAT(FromPod(client_, Tcp(self, loop, kSyn | kAck)),
              Sends(Tcp(kWeb, kClient, kSyn | kAck)));
  EXPECT_THAT(FromPod(client_, Udp(kClient, kWeb)), Sends(Udp(loop, self)));
  EXPECT_THAT(FromPod(client_, Udp(self, loop)), Sends(Udp(kWeb, kClient)));
}

TEST_F(FromPodTest, DropsASourceAddressThatIsNotThePods) {
  EXPECT_THAT(FromPod(client_, Tcp(kNear, kClerk, kSyn)), DroppedFor("source_address"));
  EXPECT_THAT(FromPod(client_, Tcp(At("8.8.8.8:53"), kNear, kSyn)), DroppedFor("source_address"));
}

TEST_F(FromPodTest, DropsPacketsThatPretendToBeOfAnotherPodsFlow) {
  ASSERT_THAT(FromPod(client_, Tcp(kClient, kNear, kSyn)), Sends(Tcp(kClient, kNear, kSyn)));
  EXPECT_THAT(FromPod(clerk_, Tcp(kClient, kNear, kAck)), DroppedFor("source_address"));
}

TEST_F(FromPodTest, SaysWhyNobodyAnswers) {
  Serve({});
  EXPECT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), RefusedFor("no_backend"));
  EXPECT_THAT(FromPod(client_, Tcp(kClient, At("10.96.0.10:81"), kSyn)), RefusedFor("no_service"));
  EXPECT_THAT(FromPod(client_, Tcp(kClient, At("10.244.1.77:80"), kSyn)),
              DroppedFor("no_endpoint"));
  EXPECT_THAT(FromPod(client_, Tcp(kClient, At("10.244.9.1:80"), kSyn)), DroppedFor("no_tunnel"));
  EXPECT_THAT(FromPod(client_, Tcp(kClient, kNear, kAck)), RefusedFor("no_flow"));
}

TEST_F(FromPodTest, LeavesTheOutsideToTheNode) {
  const Outcome out = FromPod(client_, Udp(kClient, At("198.51.100.1:53")));
  EXPECT_EQ(out.verdict, kPass);
  EXPECT_EQ(out.reason, "to_stack");
}

TEST_F(FromPodTest, DropsWhatItCannotCarry) {
  Packet fragment = Udp(kClient, kNear);
  fragment.fragment = 100;
  EXPECT_THAT(FromPod(client_, fragment), DroppedFor("fragment"));
  Packet sctp = Udp(kClient, kNear);
  sctp.protocol = 132;
  EXPECT_THAT(FromPod(client_, sctp), RefusedFor("sctp"));
}

TEST_F(FromPodTest, IsolatesOtherNamespacesExceptThroughTheService) {
  Serve({"10.244.1.11:8080"});
  EXPECT_THAT(FromPod(clerk_, Tcp(kClerk, kNear, kSyn)), DroppedFor("isolation"));
  EXPECT_THAT(FromPod(clerk_, Tcp(kClerk, kWeb, kSyn)), Sends(Tcp(kClerk, kNear, kSyn)));
  EXPECT_THAT(FromPod(near_, Tcp(kNear, kClerk, kSyn | kAck)),
              Sends(Tcp(kWeb, kClerk, kSyn | kAck)));
}

TEST_F(FromPodTest, DoesNotLetAServicePassOpenTheDirectWay) {
  Serve({"10.244.1.11:8080"});
  ASSERT_THAT(FromPod(clerk_, Tcp(kClerk, kWeb, kSyn)), Sends(Tcp(kClerk, kNear, kSyn)));
  EXPECT_THAT(FromPod(clerk_, Tcp(kClerk, kNear, kSyn)), DroppedFor("isolation"));
  EXPECT_THAT(FromPod(clerk_, Tcp(kClerk, kNear, kAck)), RefusedFor("no_flow"));
}

TEST_F(FromPodTest, FollowsTheNamespacesIsolation) {
  Serve({"10.244.1.11:8080"});
  Isolate(kShop, Isolation::kOpen);
  EXPECT_THAT(FromPod(clerk_, Tcp(kClerk, kNear, kSyn)), Sends(Tcp(kClerk, kNear, kSyn)));
  Isolate(kShop, Isolation::kClosed);
  // The flow that was admitted is judged again.
  EXPECT_THAT(FromPod(clerk_, Tcp(kClerk, kNear, kAck)), DroppedFor("isolation"));
  EXPECT_THAT(FromPod(clerk_, Tcp(kClerk, kWeb, kSyn)), DroppedFor("isolation"));
  EXPECT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, kNear, kSyn)));
}

TEST_F(FromPodTest, CarriesPingBetweenPods) {
  EXPECT_THAT(FromPod(client_, Echo("10.244.1.10", "10.244.1.11", 7)),
              Sends(Echo("10.244.1.10", "10.244.1.11", 7)));
  EXPECT_THAT(FromPod(near_, EchoReply("10.244.1.11", "10.244.1.10", 7)),
              Sends(EchoReply("10.244.1.11", "10.244.1.10", 7)));
  EXPECT_THAT(FromPod(near_, EchoReply("10.244.1.11", "10.244.1.10", 8)), DroppedFor("no_flow"));
  EXPECT_THAT(FromPod(clerk_, Echo("10.244.1.12", "10.244.1.11", 7)), DroppedFor("isolation"));
}

TEST_F(FromPodTest, BringsAnErrorToTheClientInItsOwnTerms) {
  Serve({"10.244.1.11:8080"});
  ASSERT_THAT(FromPod(client_, Udp(kClient, kWeb)), Sends(Udp(kClient, kNear)));

  const Outcome out =
      FromPod(near_, Unreachable("10.244.1.11", "10.244.1.10", Udp(kClient, kNear)));

  ASSERT_TRUE(out.packet.has_value()) << out;
  EXPECT_EQ(out.verdict, kRedirect);
  EXPECT_EQ(out.packet->source, kWeb.ip);
  EXPECT_EQ(out.packet->destination, kClient.ip);
  const absl::StatusOr<Packet> quoted = DecodeQuoted(*out.packet);
  ASSERT_TRUE(quoted.ok()) << quoted.status();
  EXPECT_EQ(quoted->source, kClient.ip);
  EXPECT_EQ(quoted->destination, kWeb.ip);
  EXPECT_EQ(quoted->source_port, kClient.port);
  EXPECT_EQ(quoted->destination_port, kWeb.port);
}

TEST_F(FromPodTest, DropsAnErrorAboutNothing) {
  EXPECT_THAT(FromPod(near_, Unreachable("10.244.1.11", "10.244.1.10", Udp(kClient, kNear))),
              DroppedFor("no_flow"));
}

TEST_F(FromPodTest, SpreadsNewFlowsOverAllActiveBackends) {
  Serve({"10.244.1.11:8080", "10.244.2.10:8080", "10.244.2.11:8080"}, {"10.244.2.12:8080"});
  std::set<std::string> seen;
  for (uint16_t port = 20000; port < 20100; ++port) {
    const Outcome out = FromPod(client_, Tcp({kClient.ip, port}, kWeb, kSyn));
    ASSERT_TRUE(out.packet.has_value());
    seen.insert(out.packet->destination.ToString());
  }
  EXPECT_THAT(seen, ::testing::ElementsAre("10.244.1.11", "10.244.2.10", "10.244.2.11"));
}

TEST_F(NodeTest, LetsTheNodeReachItsPodsAndServicesWhateverTheNamespace) {
  Serve({"10.244.1.11:8080"});
  Isolate(kShop, Isolation::kClosed);
  EXPECT_THAT(FromNode(Tcp(kGateway, kNear, kSyn)), Sends(Tcp(kGateway, kNear, kSyn)));
  EXPECT_THAT(FromNode(Udp(kGateway, kWeb)), Sends(Udp(kGateway, kNear)));
  EXPECT_THAT(FromPod(near_, Udp(kNear, kGateway)), Sends(Udp(kWeb, kGateway)));
}

TEST_F(NodeTest, GivesPacketsOfTheUplinksAddressTheGatewaysOne) {
  Serve({"10.244.2.10:8080"});
  const auto uplink = At("192.0.2.1:50001"), gateway = At("10.244.1.1:50001");

  EXPECT_THAT(FromNode(Tcp(uplink, kWeb, kSyn)), Sends(Tcp(gateway, kFar, kSyn)));
  EXPECT_EQ(Flow(Tcp(uplink, kWeb, kSyn)).identity, static_cast<uint32_t>(MESH_IDENTITY_HOST));
  EXPECT_THAT(FromPeer(kShop, Tcp(kFar, gateway, kSyn | kAck)),
              Sends(Tcp(kWeb, uplink, kSyn | kAck)));
}

TEST_F(NodeTest, AnswersPodsThatDialledTheNode) {
  const auto resolver = At("10.244.1.1:53");
  EXPECT_THAT(FromPod(client_, Udp(kClient, resolver)), Sends(Udp(kClient, resolver)));
  EXPECT_THAT(FromNode(Udp(resolver, kClient)), Sends(Udp(resolver, kClient)));
  EXPECT_EQ(Flow(Udp(kClient, resolver)).target, MESH_TARGET_HOST);
}

TEST_F(OverlayTest, DeliversAndAnswersToTheNodeThePacketCameFrom) {
  EXPECT_THAT(FromPeer(kShop, Tcp(kFar, kNear, kSyn)), Sends(Tcp(kFar, kNear, kSyn)));
  EXPECT_THAT(FromPod(near_, Tcp(kNear, kFar, kSyn | kAck)), Sends(Tcp(kNear, kFar, kSyn | kAck)));
  EXPECT_EQ(Flow(Tcp(kNear, kFar, kSyn)).out_peer, htonl(0xc0000202));
}

TEST_F(OverlayTest, JudgesByTheIdentityAndTheServiceBitOfTheVni) {
  EXPECT_THAT(FromPeer(kBank, Tcp(kFar, kNear, kSyn)), DroppedFor("isolation"));
  EXPECT_THAT(FromPeer(kBank | MESH_VNI_SERVICE, Tcp(kFar, kNear, kSyn)),
              Sends(Tcp(kFar, kNear, kSyn)));
  // The same ports again, but straight this time.
  EXPECT_THAT(FromPeer(kBank, Tcp(kFar, kNear, kSyn)), DroppedFor("isolation"));
}

TEST_F(OverlayTest, TakesProcessesOfOtherNodesOnlyThroughTheService) {
  const auto other_node = At("10.244.2.1:50000");
  EXPECT_THAT(FromPeer(MESH_IDENTITY_HOST, Tcp(other_node, kNear, kSyn)), DroppedFor("isolation"));
  EXPECT_THAT(FromPeer(MESH_IDENTITY_HOST | MESH_VNI_SERVICE, Tcp(other_node, kNear, kSyn)),
              Sends(Tcp(other_node, kNear, kSyn)));
}

TEST_F(OverlayTest, DropsASenderThatDoesNotOwnTheSourceAddress) {
  EXPECT_THAT(FromPeer(kShop, Tcp(kFar, kNear, kSyn), "192.0.2.66"), DroppedFor("unknown_peer"));
  EXPECT_THAT(FromPeer(kShop, Tcp(kClient, kNear, kSyn)), DroppedFor("unknown_peer"));
  ASSERT_THAT(FromPeer(kShop, Tcp(kFar, kNear, kSyn)), Sends(Tcp(kFar, kNear, kSyn)));
  EXPECT_THAT(FromPeer(kShop, Tcp(kFar, kNear, kAck), "192.0.2.66"), DroppedFor("unknown_peer"));
}

TEST_F(OverlayTest, TakesTheTunnelAtTheNodesOwnAddressOnly) {
  constexpr uint32_t kToAnotherAddress = 1U << 31;
  EXPECT_THAT(FromPeer(kShop | kToAnotherAddress, Tcp(kFar, kNear, kSyn)),
              DroppedFor("unknown_peer"));
  EXPECT_THAT(FromPeer(kShop, Tcp(kFar, kNear, kSyn)), Sends(Tcp(kFar, kNear, kSyn)));
}

TEST_F(OverlayTest, DoesNotForwardToThirdNodes) {
  EXPECT_THAT(FromPeer(kShop, Tcp(kFar, At("10.244.3.3:80"), kSyn)), DroppedFor("no_endpoint"));
  EXPECT_THAT(FromPeer(kShop, Tcp(kFar, kWeb, kSyn)), DroppedFor("no_endpoint"));
}

TEST_F(FlowTest, KeepsItsBackendWhileItDrains) {
  Serve({"10.244.1.11:8080"});
  ASSERT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, kNear, kSyn)));
  Serve({"10.244.2.10:8080"}, {"10.244.1.11:8080"});

  EXPECT_THAT(FromPod(client_, Tcp(kClient, kWeb, kAck)), Sends(Tcp(kClient, kNear, kAck)));
  EXPECT_THAT(FromPod(client_, Tcp({kClient.ip, 40001}, kWeb, kSyn)),
              Sends(Tcp({kClient.ip, 40001}, kFar, kSyn)));
}

// It may be dead, with its node: a client that dials again is not to be held to it.
TEST_F(FlowTest, ThatIsStillDialledLeavesADrainingBackend) {
  Serve({"10.244.1.11:8080"});
  ASSERT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, kNear, kSyn)));
  Serve({"10.244.2.10:8080"}, {"10.244.1.11:8080"});

  EXPECT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, kFar, kSyn)));
  EXPECT_THAT(FromPod(client_, Tcp(kClient, kWeb, kAck)), Sends(Tcp(kClient, kFar, kAck)));
}

// A SYN in the midst of a connection proves nothing: anybody may have sent it.
TEST_F(FlowTest, ThatStandsStaysWithADrainingBackendWhateverSynComes) {
  Serve({"10.244.1.11:8080"});
  ASSERT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, kNear, kSyn)));
  ASSERT_THAT(FromPod(client_, Tcp(kClient, kWeb, kAck)), Sends(Tcp(kClient, kNear, kAck)));
  Serve({"10.244.2.10:8080"}, {"10.244.1.11:8080"});

  EXPECT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, kNear, kSyn)));
}

TEST_F(FlowTest, OfDatagramsLeavesADrainingBackendOnceItHasRested) {
  Serve({"10.244.1.11:8080"});
  for (int i = 0; i < MESH_UDP_FEW; ++i) {
    ASSERT_THAT(FromPod(client_, Udp(kClient, kWeb)), Sends(Udp(kClient, kNear)));
  }
  ASSERT_THAT(FromPod(near_, Udp(kNear, kClient)), Sends(Udp(kWeb, kClient)));
  Serve({"10.244.2.10:8080"}, {"10.244.1.11:8080"});
  ASSERT_THAT(FromPod(client_, Udp(kClient, kWeb)), Sends(Udp(kClient, kNear)));
  Age(2);
  ASSERT_THAT(FromPod(near_, Udp(kNear, kClient)), Sends(Udp(kWeb, kClient)));
  ASSERT_THAT(FromPod(client_, Udp(kClient, kWeb)), Sends(Udp(kClient, kNear)));
  Age(2);

  EXPECT_THAT(FromPod(client_, Udp(kClient, kWeb)), Sends(Udp(kClient, kFar)));
}

// What comes next is another client's question, which nobody can tell here: no socket has sent it.
TEST_F(FlowTest, OfFewDatagramsLeavesADrainingBackendSooner) {
  const auto talker = At(kClient.ip.ToString() + ":40001");
  Serve({"10.244.1.11:8080"});
  ASSERT_THAT(FromPod(client_, Udp(kClient, kWeb)), Sends(Udp(kClient, kNear)));
  ASSERT_THAT(FromPod(near_, Udp(kNear, kClient)), Sends(Udp(kWeb, kClient)));
  for (int i = 0; i < MESH_UDP_FEW; ++i) {
    ASSERT_THAT(FromPod(client_, Udp(talker, kWeb)), Sends(Udp(talker, kNear)));
  }
  Serve({"10.244.2.10:8080"}, {"10.244.1.11:8080"});
  Age(0.3);

  EXPECT_THAT(FromPod(client_, Udp(talker, kWeb)), Sends(Udp(talker, kNear)));
  EXPECT_THAT(FromPod(client_, Udp(kClient, kWeb)), Sends(Udp(kClient, kFar)));
}

TEST_F(FlowTest, OfDatagramsThatRestedStaysWithAnActiveBackend) {
  Serve({"10.244.1.11:8080"});
  ASSERT_THAT(FromPod(client_, Udp(kClient, kWeb)), Sends(Udp(kClient, kNear)));
  Serve({"10.244.1.11:8080", "10.244.2.10:8080"});
  Age(20);

  EXPECT_THAT(FromPod(client_, Udp(kClient, kWeb)), Sends(Udp(kClient, kNear)));
  EXPECT_EQ(Flow(Udp(kClient, kWeb)).packets, 2u);
}

TEST_F(FlowTest, EndsWhenItsBackendIsGoneAndDatagramsGoElsewhere) {
  Serve({"10.244.1.11:8080"});
  ASSERT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, kNear, kSyn)));
  ASSERT_THAT(FromPod(client_, Udp(kClient, kWeb)), Sends(Udp(kClient, kNear)));
  Serve({"10.244.2.10:8080"});

  EXPECT_THAT(FromPod(client_, Tcp(kClient, kWeb, kAck)), RefusedFor("backend_gone"));
  EXPECT_THAT(FromPod(client_, Udp(kClient, kWeb)), Sends(Udp(kClient, kFar)));
  EXPECT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, kFar, kSyn)));
}

// As with kube-proxy: its pod lives. Who has only dialled, and who sends datagrams, is refused.
TEST_F(FlowTest, ThatStandsOutlivesItsService) {
  const auto dialling = At(kClient.ip.ToString() + ":40001");
  Serve({"10.244.1.11:8080"});
  ASSERT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, kNear, kSyn)));
  ASSERT_THAT(FromPod(client_, Tcp(kClient, kWeb, kAck)), Sends(Tcp(kClient, kNear, kAck)));
  ASSERT_THAT(FromPod(client_, Tcp(dialling, kWeb, kSyn)), Sends(Tcp(dialling, kNear, kSyn)));
  ASSERT_THAT(FromPod(client_, Udp(kClient, kWeb)), Sends(Udp(kClient, kNear)));
  RemoveService();

  EXPECT_THAT(FromPod(client_, Tcp(kClient, kWeb, kAck)), Sends(Tcp(kClient, kNear, kAck)));
  EXPECT_THAT(FromPod(near_, Tcp(kNear, kClient, kAck)), Sends(Tcp(kWeb, kClient, kAck)));
  EXPECT_THAT(FromPod(client_, Tcp(dialling, kWeb, kSyn)), RefusedFor("no_service"));
  EXPECT_THAT(FromPod(client_, Udp(kClient, kWeb)), RefusedFor("no_service"));
}

TEST_F(FlowTest, OfARepeatedSynKeepsItsBackend) {
  Serve({"10.244.1.11:8080", "10.244.2.10:8080"});
  for (uint16_t port = 20000; port < 20020; ++port) {
    const Packet syn = Tcp({kClient.ip, port}, kWeb, kSyn);
    const Outcome first = FromPod(client_, syn);
    for (int i = 0; i < 4; ++i) ASSERT_EQ(FromPod(client_, syn).packet, first.packet);
  }
}

TEST_F(FlowTest, BeginsAnewWithASynAfterTheOldOneHasClosed) {
  Serve({"10.244.1.11:8080"});
  ASSERT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, kNear, kSyn)));
  FromPod(near_, Tcp(kNear, kClient, kSyn | kAck));
  FromPod(client_, Tcp(kClient, kWeb, kAck | kFin));
  FromPod(near_, Tcp(kNear, kClient, kAck | kFin));
  Serve({"10.244.2.10:8080"}, {"10.244.1.11:8080"});

  EXPECT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, kFar, kSyn)));
  EXPECT_EQ(Flows(), 1u);
}

TEST_F(FlowTest, TakesThePlaceOfOneThatHasClosed) {
  ASSERT_TRUE(owners_->Upsert(F::kAllOwners, {0, 1000}).ok());
  Serve({"10.244.1.11:8080"});
  // At once, and where the closed one has rested.
  for (const int rest : {0, 7}) {
    ASSERT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, kNear, kSyn)));
    FromPod(near_, Tcp(kNear, kClient, kSyn | kAck));
    FromPod(client_, Tcp(kClient, kWeb, kAck | kFin));
    FromPod(near_, Tcp(kNear, kClient, kAck | kFin));
    ASSERT_EQ(FlowTable<F>(*flows_).Rows(0)->at(0).state, "closing");
    Age(rest);

    ASSERT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, kNear, kSyn)));

    // Nothing of the old one is left.
    EXPECT_EQ(FlowTable<F>(*flows_).Rows(0)->at(0).state, "new");
    EXPECT_EQ(Flow(Tcp(kClient, kWeb, kSyn)).packets, 1u);
    EXPECT_EQ(Flow(Tcp(kNear, kClient, kSyn)).packets, 0u);
    EXPECT_THAT(FromPod(near_, Tcp(kNear, kClient, kSyn | kAck)),
                Sends(Tcp(kWeb, kClient, kSyn | kAck)));
    EXPECT_EQ(owners_->Lookup(F::kAllOwners)->flows, 1u);
    FromPod(client_, Tcp(kClient, kWeb, kRst));
  }
}

TEST_F(FlowTest, OfAnotherBackendLeavesNothingOfTheOneThatHasClosed) {
  ASSERT_TRUE(owners_->Upsert(F::kAllOwners, {0, 1000}).ok());
  Serve({"10.244.1.11:8080"});
  ASSERT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, kNear, kSyn)));
  FromPod(near_, Tcp(kNear, kClient, kAck | kRst));
  Serve({"10.244.2.10:8080"}, {"10.244.1.11:8080"});

  ASSERT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, kFar, kSyn)));

  EXPECT_THAT(FromPod(near_, Tcp(kNear, kClient, kAck)), RefusedFor("no_flow"));
  EXPECT_THAT(FromPeer(kShop, Tcp(kFar, kClient, kSyn | kAck)),
              Sends(Tcp(kWeb, kClient, kSyn | kAck)));
  EXPECT_EQ(Flows(), 1u);
  EXPECT_EQ(owners_->Lookup(F::kAllOwners)->flows, 1u);
}

TEST_F(FlowTest, ThatIsRefusedEndsTheOneThatHasClosed) {
  ASSERT_TRUE(owners_->Upsert(F::kAllOwners, {0, 1000}).ok());
  Serve({"10.244.1.11:8080"});
  ASSERT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, kNear, kSyn)));
  FromPod(client_, Tcp(kClient, kWeb, kRst));
  Serve({}, {"10.244.1.11:8080"});

  EXPECT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), RefusedFor("no_backend"));

  EXPECT_EQ(Flows(), 0u);
  EXPECT_EQ(owners_->Lookup(F::kAllOwners)->flows, 0u);
}

TEST_F(FlowTest, MayBeginTheOtherWayRoundWhereOneHasClosed) {
  ASSERT_TRUE(owners_->Upsert(F::kAllOwners, {0, 1000}).ok());
  const Packet there = Tcp(kClient, kNear, kSyn), back = Tcp(kNear, kClient, kSyn);
  ASSERT_THAT(FromPod(client_, there), Sends(there));
  ASSERT_EQ(Flow(back).flags & MESH_FLOW_REPLY, MESH_FLOW_REPLY);
  FromPod(near_, Tcp(kNear, kClient, kAck | kRst));

  ASSERT_THAT(FromPod(near_, back), Sends(back));

  EXPECT_EQ(Flow(back).flags & MESH_FLOW_REPLY, 0);
  EXPECT_EQ(Flow(there).flags & MESH_FLOW_REPLY, MESH_FLOW_REPLY);
  EXPECT_THAT(FromPod(client_, Tcp(kClient, kNear, kSyn | kAck)),
              Sends(Tcp(kClient, kNear, kSyn | kAck)));
  EXPECT_EQ(F::Decode(Flow(there).owner), Own(kNear.ip));
  EXPECT_EQ(owners_->Lookup(F::kAllOwners)->flows, 1u);
}

TEST_F(FlowTest, TellsTheServiceAndTheDirectWayApartWithOneClientPort) {
  Serve({"10.244.1.11:8080"});
  ASSERT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, kNear, kSyn)));

  const Outcome direct = FromPod(client_, Tcp(kClient, kNear, kSyn));

  ASSERT_TRUE(direct.packet.has_value()) << direct;
  EXPECT_EQ(direct.packet->destination, kNear.ip);
  EXPECT_NE(direct.packet->source_port, kClient.port);
  const mesh::testing::Place moved = {kClient.ip, direct.packet->source_port};
  EXPECT_THAT(FromPod(near_, Tcp(kNear, kClient, kSyn | kAck)),
              Sends(Tcp(kWeb, kClient, kSyn | kAck)));
  EXPECT_THAT(FromPod(near_, Tcp(kNear, moved, kSyn | kAck)),
              Sends(Tcp(kNear, kClient, kSyn | kAck)));
  EXPECT_THAT(FromPod(client_, Tcp(kClient, kNear, kAck)), Sends(Tcp(moved, kNear, kAck)));
}

TEST_F(FlowTest, GivesItsPortBackWhenItIsReset) {
  Serve({"10.244.1.11:8080"});
  ASSERT_THAT(FromPod(client_, Tcp(kClient, kWeb, kSyn)), Sends(Tcp(kClient, kNear, kSyn)));
  FromPod(client_, Tcp(kClient, kWeb, kRst | kAck));

  EXPECT_THAT(FromPod(client_, Tcp(kClient, kNear, kSyn)), Sends(Tcp(kClient, kNear, kSyn)));
  EXPECT_THAT(FromPod(near_, Tcp(kNear, kClient, kSyn | kAck)),
              Sends(Tcp(kNear, kClient, kSyn | kAck)));
  EXPECT_EQ(Flows(), 1u);
}

TEST_F(FlowTest, OfTheSamePortsInBothDirectionsIsOne) {
  EXPECT_THAT(FromPod(client_, Udp({kClient.ip, 7946}, {kNear.ip, 7946})),
              Sends(Udp({kClient.ip, 7946}, {kNear.ip, 7946})));
  EXPECT_THAT(FromPod(near_, Udp({kNear.ip, 7946}, {kClient.ip, 7946})),
              Sends(Udp({kNear.ip, 7946}, {kClient.ip, 7946})));
  EXPECT_EQ(Flows(), 1u);
}

TEST_F(FlowTest, IsRefusedWhenTheTableIsFullAndTheOthersStay) {
  Load(6);
  for (uint16_t port = 1; port <= 3; ++port) {
    ASSERT_THAT(FromPod(client_, Tcp({kClient.ip, port}, kNear, kSyn)),
                Sends(Tcp({kClient.ip, port}, kNear, kSyn)));
  }

  EXPECT_THAT(FromPod(client_, Tcp(kClient, kNear, kSyn)), DroppedFor("flows_full"));
  EXPECT_EQ(Flows(), 3u);
  EXPECT_THAT(FromPod(client_, Tcp({kClient.ip, 1}, kNear, kAck)),
              Sends(Tcp({kClient.ip, 1}, kNear, kAck)));
}

TEST_F(FlowTest, CountsBothDirectionsAndItsState) {
  FromPod(client_, Tcp(kClient, kNear, kSyn));
  FromPod(near_, Tcp(kNear, kClient, kSyn | kAck));
  EXPECT_EQ(FlowTable<F>(*flows_).Rows(0)->at(0).state, "new");
  FromPod(client_, Tcp(kClient, kNear, kAck));

  const std::vector<ConntrackRow> rows = *FlowTable<F>(*flows_).Rows(0);

  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].state, "established");
  EXPECT_EQ(rows[0].packets, 3u);
  EXPECT_EQ(rows[0].bytes, 3 * (kIpv6 ? 74u : 54u));
  FromPod(client_, Tcp(kClient, kNear, kRst));
  EXPECT_EQ(FlowTable<F>(*flows_).Rows(0)->at(0).state, "closing");
}

// A reset with a sequence number that is none of the connection's is not taken by its receiver.
TEST_F(FlowTest, LivesOnWhenWhoIsSaidToHaveResetItGoesOn) {
  FromPod(client_, Tcp(kClient, kNear, kSyn));
  FromPod(near_, Tcp(kNear, kClient, kSyn | kAck));
  FromPod(client_, Tcp(kClient, kNear, kAck));
  const auto state = [&] { return FlowTable<F>(*flows_).Rows(0)->at(0).state; };
  FromPod(client_, Tcp(kClient, kNear, kRst));
  FromPod(near_, Tcp(kNear, kClient, kAck));
  EXPECT_EQ(state(), "closing") << "it may have been on its way";
  FromPod(client_, Tcp(kClient, kNear, kAck));
  EXPECT_EQ(state(), "established");
  FromPod(near_, Tcp(kNear, kClient, kRst | kAck));
  EXPECT_EQ(state(), "closing");
  FromPod(near_, Tcp(kNear, kClient, kAck, "more"));
  EXPECT_EQ(state(), "established");
  FromPod(near_, Tcp(kNear, kClient, kRst));
  EXPECT_EQ(state(), "closing");
}

TEST_F(FlowTest, OfAPodThatLeftIsNotItsSuccessors) {
  ASSERT_THAT(FromPod(client_, Tcp(kClient, kNear, kSyn)), Sends(Tcp(kClient, kNear, kSyn)));
  // The address is now another pod's, behind another interface.
  Pod successor = clerk_;
  successor.ip = client_.ip;
  AddPod(successor);

  EXPECT_THAT(FromPod(successor, Tcp(kClient, kNear, kAck)), RefusedFor("no_flow"));
  EXPECT_EQ(Flows(), 0u);
}

}  // namespace
}  // namespace mesh::dataplane::testing
