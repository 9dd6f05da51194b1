// SPDX-License-Identifier: Apache-2.0
// Goal: clients outside reach Services at NodePorts and announced addresses, by their own node or
// by another, with either way back. Method: packets through the real programs by
// BPF_PROG_TEST_RUN, over Services written row by row.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "mesh/shared/flow_state.h"
#include "mesh/shared/outside_map.h"
#include "tests/bpf/frontend_world.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::At;
using mesh::testing::Decode;
using mesh::testing::DecodeQuoted;
using mesh::testing::Encode;
using mesh::testing::kAck;
using mesh::testing::kFin;
using mesh::testing::kSyn;
using mesh::testing::Packet;
using mesh::testing::Place;
using mesh::testing::Tcp;
using mesh::testing::Udp;
using mesh::testing::Unreachable;

using FrontendTest = FrontendWorld;

MATCHER_P(Sends, packet, "") {
  *result_listener << arg;
  return arg.verdict == kRedirect && arg.reason == "forwarded" && arg.packet == packet;
}
MATCHER(IsTheNodes, "") {
  *result_listener << arg;
  return arg.verdict == kPass && arg.reason.empty();
}
MATCHER_P(RefusedFor, reason, "") {
  *result_listener << arg;
  return arg.verdict != kPass && arg.reason == reason;
}

std::string Text(const Place& place) {
  return place.ip.ToString() + ":" + std::to_string(place.port);
}

TEST_F(FrontendTest, ALocalBackendSeesTheClientAndAnswersAsTheFrontend) {
  Serve({"10.244.1.11:8080"});
  for (const Place& frontend : {kNodePort, kBalancer}) {
    EXPECT_THAT(FromUplink(Tcp(kUser, frontend, kSyn)), Sends(Tcp(kUser, kNear, kSyn)));
    EXPECT_THAT(FromPod(near_, Tcp(kNear, kUser, kSyn | kAck)),
                Sends(Tcp(frontend, kUser, kSyn | kAck)));
    EXPECT_THAT(FromUplink(Tcp(kUser, frontend, kAck, "odd")),
                Sends(Tcp(kUser, kNear, kAck, "odd")));
    EXPECT_THAT(FromPod(near_, Tcp(kNear, kUser, kAck, "odd")),
                Sends(Tcp(frontend, kUser, kAck, "odd")));
    EXPECT_EQ(Flow(Tcp(kNear, kUser, kAck)).target, MESH_TARGET_UPLINK);
    // So that the next round's tuple is free.
    EXPECT_THAT(FromUplink(Tcp(kUser, frontend, mesh::testing::kRst)),
                Sends(Tcp(kUser, kNear, mesh::testing::kRst)));
  }
}

TEST_F(FrontendTest, ARemoteBackendIsSentTheNodesAddress) {
  Serve({"10.244.2.10:8080"});
  const Outcome out = FromUplink(Tcp(kUser, kNodePort, kSyn));
  ASSERT_TRUE(out.packet.has_value()) << out;
  const Place self{out.packet->source, out.packet->source_port};
  EXPECT_EQ(self.ip.ToString(), "10.244.1.1");
  EXPECT_GE(self.port, MESH_MASQUERADE_PORT_FIRST);
  EXPECT_EQ(*out.packet, Tcp(self, kFar, kSyn));
  const F::FlowValue flow = Flow(Tcp(kUser, kNodePort, kSyn));
  EXPECT_EQ(flow.target, MESH_TARGET_TUNNEL);
  EXPECT_EQ(flow.vni, MESH_IDENTITY_WORLD | MESH_VNI_SERVICE);

  EXPECT_THAT(FromPeer(kShop, Tcp(kFar, self, kSyn | kAck)),
              Sends(Tcp(kNodePort, kUser, kSyn | kAck)));
  EXPECT_THAT(FromUplink(Tcp(kUser, kNodePort, kAck, "odd")), Sends(Tcp(self, kFar, kAck, "odd")));
  // An error of the backend reaches the client in its own terms.
  const Outcome error =
      FromPeer(kShop, Unreachable("10.244.2.10", "10.244.1.1", Tcp(self, kFar, kAck, "odd")));
  ASSERT_TRUE(error.packet.has_value()) << error;
  EXPECT_EQ(error.packet->destination.ToString(), "198.51.100.1");
  const absl::StatusOr<Packet> quoted = DecodeQuoted(*error.packet);
  ASSERT_TRUE(quoted.ok()) << quoted.status();
  EXPECT_EQ(Text({quoted->destination, quoted->destination_port}), "192.0.2.1:30080");
}

TEST_F(FrontendTest, DirectReturnSendsThePacketAsItIsAndNamesTheBackend) {
  Serve({"10.244.2.10:8080"}, MESH_SERVICE_DIRECT_RETURN);
  for (const Packet& packet : {Tcp(kUser, kBalancer, kSyn), Tcp(kUser, kBalancer, kAck, "odd")}) {
    const Outcome out = FromUplink(packet);
    EXPECT_THAT(out, Sends(packet));
    EXPECT_EQ(out.frame.substr(0, 6), std::string("\x0a\xf4\x02\x0a\x1f\x90", 6));
  }
  const F::FlowValue flow = Flow(Tcp(kUser, kBalancer, kSyn));
  EXPECT_EQ(flow.target, MESH_TARGET_DIRECT);
  EXPECT_EQ(flow.vni, MESH_IDENTITY_WORLD_DIRECT | MESH_VNI_SERVICE);
  EXPECT_EQ(flows_->Dump()->size(), 1u) << "one way, one entry";
}

// The node that answers for the address now has seen its end, this one has not.
TEST_F(FrontendTest, ASynThatMeetsAConnectionToABackendThatTakesNoneBeginsAnew) {
  for (const BackendState state : {BackendState::kDraining, BackendState::kLeft}) {
    Serve({"10.244.2.10:8080"}, MESH_SERVICE_DIRECT_RETURN);
    const Place client =
        At(state == BackendState::kLeft ? "198.51.100.1:50001" : "198.51.100.1:50002");
    const auto backend = [&](uint8_t flags, const std::string& data = "") {
      return FromUplink(Tcp(client, kBalancer, flags, data)).frame.substr(0, 4);
    };
    const std::string one("\x0a\xf4\x02\x0a", 4), two("\x0a\xf4\x02\x0b", 4);
    ASSERT_EQ(backend(kSyn), one);
    ASSERT_EQ(backend(kAck, "odd"), one);

    Put(BackendRow{1, kService, "10.244.2.10:8080", state});
    Put(BackendRow{2, kService, "10.244.2.11:8080"});
    PutSet(kService, MESH_SCOPE_EXTERNAL, {2});
    JudgeAgain();

    EXPECT_EQ(backend(kAck, "more"), one) << "it goes on";
    EXPECT_EQ(backend(kSyn), two);
    EXPECT_EQ(backend(kAck, "odd"), two);
  }
}

TEST_F(FrontendTest, ANodeAsTheClientIsNotAnsweredDirectly) {
  Serve({"10.244.2.10:8080"}, MESH_SERVICE_DIRECT_RETURN);
  const Outcome out = FromUplink(Tcp(At("192.0.2.2:50000"), kNodePort, kSyn));
  ASSERT_TRUE(out.packet.has_value()) << out;
  EXPECT_EQ(out.packet->source.ToString(), "10.244.1.1");
}

TEST_F(FrontendTest, TheBackendsNodeAnswersTheClientItself) {
  EXPECT_THAT(Direct(Tcp(kUser, kBalancer, kSyn), kNear), Sends(Tcp(kUser, kNear, kSyn)));
  EXPECT_THAT(FromPod(near_, Tcp(kNear, kUser, kSyn | kAck)),
              Sends(Tcp(kBalancer, kUser, kSyn | kAck)));
  EXPECT_THAT(Direct(Tcp(kUser, kBalancer, kAck, "odd"), kNear),
              Sends(Tcp(kUser, kNear, kAck, "odd")));
  EXPECT_EQ(Flow(Tcp(kNear, kUser, kAck)).target, MESH_TARGET_UPLINK);
}

TEST_F(FrontendTest, TheFlowGoesOnWhenAnotherNodeReceivesTheAddress) {
  PutNode("192.0.2.3");
  ASSERT_THAT(Direct(Tcp(kUser, kBalancer, kSyn), kNear), Sends(Tcp(kUser, kNear, kSyn)));
  EXPECT_THAT(Direct(Tcp(kUser, kBalancer, kAck, "odd"), kNear, "192.0.2.3"),
              Sends(Tcp(kUser, kNear, kAck, "odd")));
  // And when it is this one, whatever this one would choose.
  Serve({"10.244.2.10:8080"}, MESH_SERVICE_DIRECT_RETURN);
  EXPECT_THAT(FromUplink(Tcp(kUser, kBalancer, kAck, "odd")),
              Sends(Tcp(kUser, kNear, kAck, "odd")));
}

// They have no SYN that would find it.
TEST_F(FrontendTest, DatagramsFindAServiceThatComesToWhereTheyAlreadyGo) {
  const Place client = At("10.244.1.10:40000"), outside = At("198.51.100.1:53");
  const Place node = At("192.0.2.1:8125");
  EXPECT_EQ(FromPod(client_, Udp(client, outside)).packet->destination, outside.ip);
  EXPECT_EQ(FromPod(client_, Udp(client, node)).packet->destination, node.ip);

  PutService({.place = "198.51.100.1:53", .service_id = 9, .protocol = Protocol::kUdp},
             {"10.244.1.11:8080"});
  PutService({.place = "0.0.0.0:8125", .service_id = 9, .protocol = Protocol::kUdp},
             {"10.244.1.11:8080"});
  JudgeAgain();
  EXPECT_THAT(FromPod(client_, Udp(client, outside)), Sends(Udp(client, kNear)));
  EXPECT_EQ(FromPod(client_, Udp(client, node)).packet->destination, kNear.ip);
}

// There the old flow had rested, and its backend drains.
TEST_F(FrontendTest, DatagramsFollowTheBackendThatTheReceivingNodeNames) {
  const Place other = At("10.244.1.10:8080");
  EXPECT_THAT(Direct(Udp(kUser, kBalancer), kNear), Sends(Udp(kUser, kNear)));
  EXPECT_THAT(FromPod(near_, Udp(kNear, kUser)), Sends(Udp(kBalancer, kUser)));

  EXPECT_THAT(Direct(Udp(kUser, kBalancer), other), Sends(Udp(kUser, other)));
  EXPECT_THAT(FromPod(client_, Udp(other, kUser)), Sends(Udp(kBalancer, kUser)));
  EXPECT_EQ(Flows(), 1u);

  EXPECT_THAT(Direct(Tcp(kUser, kBalancer, kSyn), kNear), Sends(Tcp(kUser, kNear, kSyn)));
  EXPECT_THAT(Direct(Tcp(kUser, kBalancer, kAck, "odd"), other),
              Sends(Tcp(kUser, kNear, kAck, "odd")));
}

TEST_F(FrontendTest, OnlyMaglevAndDirectReturnTakeUpAConnectionInItsMiddle) {
  Serve({"10.244.2.10:8080"}, MESH_SERVICE_DIRECT_RETURN);
  EXPECT_THAT(FromUplink(Tcp(kUser, kBalancer, kAck, "odd")), RefusedFor("no_flow"));
  PutMaglevSet(kService, MESH_SCOPE_EXTERNAL, {1}, 7);
  EXPECT_THAT(FromUplink(Tcp(kUser, kBalancer, kAck, "odd")),
              Sends(Tcp(kUser, kBalancer, kAck, "odd")));
}

TEST_F(FrontendTest, RefusesDirectPacketsOfWhoIsNoNodeOrPretendsToBeInside) {
  EXPECT_THAT(Direct(Tcp(kUser, kBalancer, kSyn), kNear, "192.0.2.66"), RefusedFor("unknown_peer"));
  EXPECT_THAT(Direct(Tcp(At("10.244.1.10:4000"), kBalancer, kSyn), kNear),
              RefusedFor("unknown_peer"));
  EXPECT_THAT(Direct(Tcp(kUser, kBalancer, kSyn), At("10.244.1.77:8080")),
              RefusedFor("no_endpoint"));
  EXPECT_THAT(Direct(Tcp(kUser, kBalancer, kSyn), At("10.244.1.1:22")), RefusedFor("no_endpoint"));
}

TEST_F(FrontendTest, RefusesAClientWithoutBackendAndLeavesOtherPortsToTheNode) {
  Serve({"10.244.1.11:8080"});
  PutSet(kService, MESH_SCOPE_EXTERNAL, {});
  EXPECT_THAT(FromUplink(Tcp(kUser, kNodePort, kSyn)), RefusedFor("no_backend"));
  EXPECT_THAT(FromUplink(Tcp(kUser, At("192.0.2.1:30081"), kSyn)), IsTheNodes());
  EXPECT_THAT(FromUplink(Tcp(kUser, At("192.0.2.50:81"), kSyn)), IsTheNodes());
}

// No stack has the address: without an answer the client would wait.
TEST_F(FrontendTest, RefusesPortsThatNobodyServesAtAnAnnouncedAddress) {
  Serve({"10.244.1.11:8080"});
  const F::AnnounceKey key{Row(*IpAddress::Parse("192.0.2.50"))};
  ASSERT_TRUE(Maps().announce.Upsert(key, 1).ok());

  EXPECT_THAT(FromUplink(Tcp(kUser, At("192.0.2.50:81"), kSyn)), RefusedFor("no_service"));
  EXPECT_THAT(FromUplink(Udp(kUser, At("192.0.2.50:81"))), RefusedFor("no_service"));
  EXPECT_THAT(FromUplink(Tcp(kUser, At("192.0.2.1:81"), kSyn)), IsTheNodes());

  ASSERT_TRUE(Maps().announce.Erase(key).ok());
}

// The node's routes lead to its own programs, for its processes: a pod's packet would go in a
// circle and get no answer.
TEST_F(FrontendTest, RefusesPortsThatNobodyServesAtAnAddressThatAnotherNodeAnnounces) {
  Serve({"10.244.1.11:8080"});

  EXPECT_THAT(FromPod(client_, Tcp(At("10.244.1.10:40000"), At("192.0.2.60:81"), kSyn)),
              RefusedFor("no_service"));
  EXPECT_THAT(FromPod(client_, Udp(At("10.244.1.10:40000"), At("192.0.2.60:81"))),
              RefusedFor("no_service"));
}

TEST_F(FrontendTest, AOneWayFlowEndsByWhatTheClientSends) {
  Serve({"10.244.2.10:8080"}, MESH_SERVICE_DIRECT_RETURN);
  FromUplink(Tcp(kUser, kBalancer, kSyn));
  FromUplink(Tcp(kUser, kBalancer, kAck, "odd"));
  Age(MESH_TIMEOUT_TCP_HALF_CLOSED_S + 60);
  EXPECT_THAT(FromUplink(Tcp(kUser, kBalancer, kAck, "odd")),
              Sends(Tcp(kUser, kBalancer, kAck, "odd")));
  FromUplink(Tcp(kUser, kBalancer, kAck | kFin));
  // It may still acknowledge what the server sends.
  Age(MESH_TIMEOUT_TCP_CLOSING_S + 60);
  EXPECT_THAT(FromUplink(Tcp(kUser, kBalancer, kAck)), Sends(Tcp(kUser, kBalancer, kAck)));
  // Its port may begin anew at once.
  EXPECT_THAT(FromUplink(Tcp(kUser, kBalancer, kSyn)), Sends(Tcp(kUser, kBalancer, kSyn)));
}

#ifndef MESH_TEST_IPV6  // what asks for IPv6: nd_packet_test.cc

TEST_F(FrontendTest, AnswersArpForAnnouncedAddressesOnly) {
  const mesh_announce_key key{inet_addr("192.0.2.50")};
  const uint32_t one = 1;
  ASSERT_EQ(bpf_map_update_elem(programs_->map(MESH_ANNOUNCE_MAP_NAME), &key, &one, BPF_ANY), 0);
  const std::string asker("\x02\x00\x00\x00\x09\x09", 6), all(6, '\xff');
  const auto question = [&](const std::string& target) {
    return all + asker + std::string("\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01", 10) + asker +
           std::string("\xc0\x00\x02\x64", 4) + std::string(6, '\0') + target;
  };
  const std::string self(kUplinkMac.begin(), kUplinkMac.end());
  const std::string announced("\xc0\x00\x02\x32", 4);

  const Outcome out = FromUplink(question(announced));
  EXPECT_EQ(out.verdict, kRedirect);
  EXPECT_EQ(out.reason, "answered");
  EXPECT_EQ(out.frame.substr(0, 42),
            asker + self + std::string("\x08\x06\x00\x01\x08\x00\x06\x04\x00\x02", 10) + self +
                announced + asker + std::string("\xc0\x00\x02\x64", 4));

  EXPECT_THAT(FromUplink(question(std::string("\xc0\x00\x02\x01", 4))), IsTheNodes());
  for (size_t length = 15; length < 42; ++length) {
    EXPECT_THAT(FromUplink(question(announced).substr(0, length)), IsTheNodes()) << length;
  }
  ASSERT_EQ(bpf_map_delete_elem(programs_->map(MESH_ANNOUNCE_MAP_NAME), &key), 0);
}

#endif

TEST_F(FrontendTest, SaysWhatAnnouncedAddressesDoNotTake) {
  const F::AnnounceKey key{Row(*IpAddress::Parse("192.0.2.50"))};
  ASSERT_TRUE(Maps().announce.Upsert(key, 1).ok());
  const auto expect_told = [&](const Packet& packet, const std::string& reason, uint8_t type,
                               uint8_t code) {
    const Outcome out = FromUplink(packet);
    EXPECT_EQ(out.verdict, kRedirect) << out;
    EXPECT_EQ(out.reason, reason);
    ASSERT_TRUE(out.packet.has_value()) << out;
    EXPECT_EQ(out.packet->icmp_type, type);
    EXPECT_EQ(out.packet->icmp_code, code);
    EXPECT_EQ(out.packet->source, packet.destination);
    EXPECT_EQ(out.packet->destination, packet.source);
    const size_t quoted = 20 + packet.options.size() + 8;
    // Of IPv6 more is quoted.
    EXPECT_EQ(kIpv6 ? out.packet->payload.substr(0, quoted) : out.packet->payload,
              Encode(packet).substr(14, quoted));
  };
  Packet sctp = Udp(kUser, kBalancer, "chunk chunk");
  sctp.protocol = 132;
  expect_told(sctp, "sctp", 3, 2);
  Packet gre = sctp;
  gre.protocol = 47;
  expect_told(gre, "unsupported", 3, 2);
  Packet options = Tcp(kUser, kBalancer, kSyn);
  options.options = std::string("\x01\x01\x01\x00", 4);
  expect_told(options, "unsupported", 12, 0);
  // Later fragments are nobody's to answer.
  sctp.fragment = 0x0010;
  const Outcome later = FromUplink(sctp);
  EXPECT_EQ(later.verdict, kIpv6 ? kPass : kDrop) << later;
  EXPECT_EQ(later.reason, kIpv6 ? "" : "sctp");

  ASSERT_TRUE(Maps().announce.Erase(key).ok());
  sctp.fragment = 0;
  EXPECT_THAT(FromUplink(sctp), IsTheNodes());
  EXPECT_THAT(FromUplink(options), IsTheNodes());
}

}  // namespace
}  // namespace mesh::dataplane::testing
