// SPDX-License-Identifier: Apache-2.0
// Goal: traffic crosses the edge of the cluster as promised: pods reach the outside with their
// node's address, clients outside reach Services at NodePorts and announced addresses, whichever
// node receives them. Method: the world of live_edge.h. Needs root.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "dataplane/net/netlink.h"
#include "dataplane/net/netns.h"
#include "dataplane/net/tc.h"
#include "tests/bpf/live_edge.h"
#include "tests/bpf/stream.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::Crowd;
using mesh::testing::Echo;

TEST_P(EdgeWays, PodsReachTheOutsideWithTheirNodesAddress) {
  Socket listener = Listener(*outside_, outside_ip_, 9000);
  Socket receiver = Receiver(*outside_, outside_ip_, 9000);

  EXPECT_THAT(Talk(*near_.netns, outside_ip_, 9000, listener), From(NodeIp(one_)));
  EXPECT_THAT(Talk(*far_.netns, outside_ip_, 9000, listener), From(NodeIp(two_)));
  ExpectDatagrams(*near_.netns, outside_ip_, 9000, receiver);
}

// A pod opens what it can towards one address: it is told when it has all that it may have, and the
// others do not notice.
TEST_P(EdgeWays, OnePodCannotTakeTheSourcePortsOfTheOthers) {
  Pod other;
  ASSERT_STATUS(Attach(other, one_, "10.244.1.11", "other"));
  Apply();
  const Echo echo(*outside_, 9000, any_);

  Crowd greedy(*near_.netns, outside_ip_, 9000);
  greedy.Grow(6000);
  ASSERT_THAT(greedy.result().problems, ::testing::SizeIs(1));
  EXPECT_THAT(greedy.result().problems.front(), ::testing::HasSubstr("Connection refused"));
  EXPECT_GT(greedy.result().flows, 3500u);
  EXPECT_LE(greedy.result().flows, 5001u) << "the last one was refused";

  Crowd modest(*other.netns, outside_ip_, 9000);
  modest.Grow(500);
  EXPECT_THAT(modest.result().problems, ::testing::IsEmpty());
}

TEST_P(EdgeWays, PodsReachOtherNodes) {
  Socket listener = Listener(*two_.netns, NodeIp(two_), 9000);

  EXPECT_THAT(Talk(*near_.netns, NodeIp(two_), 9000, listener), From(NodeIp(one_)));
}

TEST_P(EdgeWays, PodsReachEveryAddressOfTheirNode) {
  const IpAddress address = Ip(way_.family == Family::kV4 ? "198.51.100.7" : "2001:db8:1::7");
  Netlink netlink = *Netlink::OpenIn(one_.netns->fd());
  ASSERT_STATUS(netlink.AddAddress(netlink.Link("lo")->ifindex, address));
  Socket listener = Listener(*one_.netns, address, 9000);

  EXPECT_THAT(Talk(*near_.netns, address, 9000, listener), From(near_.ip));
}

TEST_P(EdgeWays, TheNodesOwnTrafficIsUndisturbed) {
  Socket server = Listener(*one_.netns, NodeIp(one_), 22);
  Socket listener = Listener(*outside_, outside_ip_, 9000);
  Socket receiver = Receiver(*one_.netns, NodeIp(one_), 53);

  EXPECT_THAT(Talk(*outside_, NodeIp(one_), 22, server), From(outside_ip_));
  EXPECT_THAT(Talk(*one_.netns, outside_ip_, 9000, listener), From(NodeIp(one_)));
  ExpectDatagrams(*outside_, NodeIp(one_), 53, receiver);
}

TEST_P(EdgeWays, EveryNodeServesTheNodePort) {
  Serve({near_.ip});
  Apply();
  Socket listener = Listener(*near_.netns, any_, 8080);
  Socket receiver = Receiver(*near_.netns, any_, 8080);

  // At the pod's own node it sees the client; by another node it sees that node.
  EXPECT_THAT(Talk(*outside_, NodeIp(one_), kNodePort, listener), From(outside_ip_));
  EXPECT_THAT(Talk(*outside_, NodeIp(two_), kNodePort, listener), From(Gateway(two_)));
  ExpectDatagrams(*outside_, NodeIp(one_), kNodePort, receiver);
  ExpectDatagrams(*outside_, NodeIp(two_), kNodePort, receiver);
}

TEST_P(EdgeWays, WithDirectReturnTheBackendSeesTheClientByEveryNode) {
  Serve({near_.ip}).direct_return = true;
  Apply();
  Socket listener = Listener(*near_.netns, any_, 8080);
  Socket receiver = Receiver(*near_.netns, any_, 8080);

  EXPECT_THAT(Talk(*outside_, NodeIp(one_), kNodePort, listener), From(outside_ip_));
  EXPECT_THAT(Talk(*outside_, NodeIp(two_), kNodePort, listener), From(outside_ip_));
  ExpectDatagrams(*outside_, NodeIp(two_), kNodePort, receiver);
}

TEST_P(EdgeWays, AnAnnouncedAddressIsServedWhereverItsBackendIs) {
  Serve({near_.ip});
  Apply();
  Socket near = Listener(*near_.netns, any_, 8080), far = Listener(*far_.netns, any_, 8080);
  EXPECT_THAT(Talk(*outside_, balancer_, 80, near), From(outside_ip_));

  Serve({far_.ip});
  Apply();
  EXPECT_THAT(Talk(*outside_, balancer_, 80, far), From(Gateway(one_)));

  Serve({far_.ip}).direct_return = true;
  Apply();
  EXPECT_THAT(Talk(*outside_, balancer_, 80, far), From(outside_ip_));
}

TEST_P(EdgeWays, PodsOfOneNodeReachTheNodePortOfAnother) {
  Serve({far_.ip}).direct_return = true;
  Apply();
  Socket listener = Listener(*far_.netns, any_, 8080);

  EXPECT_THAT(Talk(*near_.netns, NodeIp(two_), kNodePort, listener), From(NodeIp(one_)));
  // There and back: the other node sends it to this one's pod.
  Serve({near_.ip}).direct_return = true;
  Apply();
  Socket own = Listener(*near_.netns, any_, 8080);
  EXPECT_THAT(Talk(*near_.netns, NodeIp(two_), kNodePort, own), From(Gateway(two_)));
}

TEST_P(EdgeWays, LeavesTheUplinkAsItWas) {
  const int uplink = Netlink::OpenIn(one_.netns->fd())->Link("uplink")->ifindex;
  ASSERT_STATUS(InNetns(one_.netns->fd(), [&] { return IngressProgramId(uplink).status(); }));

  ASSERT_STATUS(InNetns(one_.netns->fd(), [&] {
    one_.dataplane.reset();
    return KernelDataplane::Remove({one_.bpf_root});
  }));

  for (const uint32_t priority : {kPriority4, kPriority6}) {
    EXPECT_FALSE(InNetns(one_.netns->fd(), [&] {
                   return IngressProgramId(uplink, priority).status();
                 }).ok());
  }
}

TEST_F(Edge, SaysWhichUplinkIsMissing) {
  one_.config.uplink = "eth9";
  const absl::Status status = OpenNode(one_);
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("eth9"));
}

INSTANTIATE_TEST_SUITE_P(, EdgeWays, EveryWay(), NameOf);

}  // namespace
}  // namespace mesh::dataplane::testing
