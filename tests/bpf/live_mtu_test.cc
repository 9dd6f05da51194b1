// SPDX-License-Identifier: Apache-2.0
// Goal: the MTU of the nodes' uplinks may change, down and up, under a connection of full segments
// between pods of two nodes, and under datagrams that nobody may cut. Method: the world of live.h;
// the MTU of both uplinks is set as an administrator does, and each node is told. Needs root.
#include <gtest/gtest.h>

#include "dataplane/net/pod_link.h"
#include "dataplane/tables/endpoint_table.h"
#include "tests/bpf/live.h"

namespace mesh::dataplane::testing {
namespace {

constexpr size_t kBytes = 400'000;

class LiveMtu : public LiveWays {
 protected:
  static absl::StatusOr<int> MtuOf(const Netns& netns, const std::string& interface) {
    ASSIGN_OR_RETURN(Netlink netlink, Netlink::OpenIn(netns.fd()));
    ASSIGN_OR_RETURN(const LinkInfo link, netlink.Link(interface));
    return static_cast<int>(link.mtu);
  }

  absl::Status Follow(Node& node, int mtu) {
    std::vector<PodInterface> pods;
    for (const Pod* pod : {&client_, &near_, &clerk_, &far_}) {
      if (pod->node == &node)
        pods.push_back({pod->request.container_id, "eth0", pod->request.netns});
    }
    return InNetns(node.netns->fd(), [&] { return node.dataplane->SetUplinkMtu(mtu, pods); });
  }

  // The uplinks, and then what the nodes have.
  void Change(int mtu) {
    for (Node* node : {&one_, &two_}) {
      absl::StatusOr<Netlink> netlink = Netlink::OpenIn(node->netns->fd());
      ASSERT_TRUE(netlink.ok()) << netlink.status();
      ASSERT_STATUS(netlink->SetMtu(netlink->Link("uplink")->ifindex, mtu));
    }
    for (Node* node : {&one_, &two_}) ASSERT_STATUS(Follow(*node, mtu));
    Apply();
  }

  // Of pods whose nodes' uplinks have `mtu`.
  int PodMtu(int mtu) const { return way_.routing == Routing::kNative ? mtu : mtu - 50; }

  static void ExpectStream(Socket& from, Socket& to) {
    const std::string bytes(kBytes, 's');
    ASSERT_STATUS(from.Send(bytes));
    size_t received = 0;
    while (received < bytes.size()) {
      const absl::StatusOr<std::string> part = to.Receive(absl::Seconds(20));
      ASSERT_TRUE(part.ok()) << part.status() << " after " << received;
      ASSERT_FALSE(part->empty());
      received += part->size();
    }
  }

  // One of the longest packets there and back, which nobody may cut.
  void ExpectLongest(Socket& receiver, int pod_mtu) {
    Socket asking = *Udp(*client_.netns);
    ASSERT_STATUS(asking.ForbidFragments());
    ASSERT_STATUS(asking.Connect(far_.ip, 8080));
    const size_t room = static_cast<size_t>(pod_mtu) - (way_.family == Family::kV6 ? 48 : 28);
    ASSERT_STATUS(asking.Send(std::string(room, 'd')));
    const absl::StatusOr<std::string> arrived = receiver.Answer(std::string(room, 'a'));
    ASSERT_TRUE(arrived.ok()) << arrived.status() << " of " << pod_mtu;
    EXPECT_EQ(arrived->size(), room);
    const absl::StatusOr<std::string> answer = asking.Receive();
    ASSERT_TRUE(answer.ok()) << answer.status() << " of " << pod_mtu;
    EXPECT_EQ(answer->size(), room);
    EXPECT_FALSE(asking.Send(std::string(room + 1, 'd')).ok()) << "the interface takes no more";
  }
};

TEST_P(LiveMtu, ChangesUnderAConnectionAndDatagrams) {
  Apply();
  Socket listener = Listener(far_), receiver = Receiver(far_);
  Socket client = *Tcp(*client_.netns);
  ASSERT_STATUS(client.Connect(far_.ip, 8080));
  absl::StatusOr<Socket> server = listener.Accept();
  ASSERT_TRUE(server.ok()) << server.status();
  ExpectStream(client, *server);
  ExpectLongest(receiver, PodMtu(1500));

  for (const int mtu : {1400, 1340, 1500}) {
    SCOPED_TRACE(mtu);
    Change(mtu);

    for (const auto& [pod, node] : {std::pair(&client_, &one_), {&far_, &two_}}) {
      EXPECT_EQ(MtuOf(*pod->netns, "eth0").value_or(0), PodMtu(mtu));
      EXPECT_EQ(
          MtuOf(*node->netns, HostInterfaceName(pod->request.container_id, "eth0")).value_or(0),
          PodMtu(mtu));
      EXPECT_EQ(MtuOf(*node->netns, "mesh_vxlan").value_or(0), mtu - 50);
      EXPECT_EQ(MtuOf(*node->netns, "mesh_host").value_or(0), PodMtu(mtu));
    }
    ExpectStream(client, *server);
    ExpectStream(*server, client);
    ExpectLongest(receiver, PodMtu(mtu));
  }
}

TEST_P(LiveMtu, ThatIsTooSmallIsRefusedAndChangesNothing) {
  const int too_small = way_.family == Family::kV6 ? 1329 : 117;

  const absl::Status refused = Follow(one_, too_small);

  EXPECT_TRUE(absl::IsInvalidArgument(refused)) << refused;
  EXPECT_EQ(MtuOf(*client_.netns, "eth0").value_or(0), PodMtu(1500));
  EXPECT_EQ(MtuOf(*one_.netns, "mesh_vxlan").value_or(0), 1450);
}

TEST_P(LiveMtu, APodThatIsGoneKeepsTheOthersFromNothing) {
  client_.request.netns = "/run/netns/mesh-test-none";

  EXPECT_FALSE(Follow(one_, 1400).ok());
  EXPECT_EQ(MtuOf(*near_.netns, "eth0").value_or(0), PodMtu(1400));
  EXPECT_EQ(MtuOf(*one_.netns, "mesh_vxlan").value_or(0), 1350);
}

INSTANTIATE_TEST_SUITE_P(, LiveMtu, ::testing::ValuesIn(AllWays()), NameOf);

}  // namespace
}  // namespace mesh::dataplane::testing
