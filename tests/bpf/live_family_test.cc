// SPDX-License-Identifier: Apache-2.0
// Goal: a node that is opened with IPv6 and was not before, or the other way round, serves the pods
// that it has in what both have, without a packet lost, and leaves nothing behind of what it does
// not have any more. Method: the two nodes of live.h are opened over their own pins under traffic
// of IPv4. Needs root.
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/net/node_links.h"
#include "dataplane/net/tc.h"
#include "mesh/shared/endpoint_map.h"
#include "tests/bpf/live.h"
#include "tests/bpf/stream.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::Connections;
using mesh::testing::DatagramStream;
using mesh::testing::Echo;

// Of the traffic; what else is said goes to 8080.
constexpr uint16_t kPort = 9090;
constexpr int kPerSecond = 500;

class SecondFamily : public LiveWays {
 protected:
  void SetUp() override {
    LiveWays::SetUp();
    if (HasFatalFailure()) return;
    // The streams tell themselves what was lost.
    wire_.reset();
    Service& service = desired_.services["shop/first"];
    service = {"shop", "first", vip4_, kShop, {}};
    for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
      service.ports.push_back(
          {"", protocol, 80, {{far_.request.ip, kPort, BackendState::kActive, "", ""}}});
    }
    Serve({far_.ip});
  }

  void Reopen() {
    for (Node* node : {&one_, &two_}) {
      node->dataplane.reset();
      ASSERT_STATUS(OpenNode(*node));
    }
    Apply();
  }

  void LoseIpv6() {
    for (Node* node : {&one_, &two_}) {
      node->config.node_ip6 = node->config.gateway6 = {};
      node->config.pod_cidr6 = node->config.cluster_cidr6 = node->config.service_cidr6 = {};
    }
    lost_service_ = desired_.services.extract("shop/web");
    std::erase_if(identities_, [](const auto& pod) { return !pod.first.is_v4(); });
    Reopen();
  }
  void GainIpv6() {
    for (Node* node : {&one_, &two_}) AddIpv6(node->config, node == &one_ ? 1 : 2);
    desired_.services.insert(std::move(lost_service_));
    for (const Pod* pod : {&client_, &near_, &clerk_, &far_}) {
      identities_[pod->request.ip6] = {pod->node, pod->request.identity};
    }
    Reopen();
  }

  // Of IPv4, to `backend` and through the Service to far_: every datagram must be answered and no
  // connection reset.
  void UnderTraffic(const Pod& client, const Pod& backend, const std::function<void()>& change) {
    const Echo near(*backend.netns, kPort), far(*far_.netns, kPort);
    struct Road {
      const Netns& from;
      IpAddress to;
      uint16_t port;
    };
    const Road roads[] = {{*client.netns, vip4_, 80},
                          {*client.netns, backend.request.ip, kPort},
                          {*one_.netns, vip4_, 80}};
    std::vector<std::unique_ptr<DatagramStream>> datagrams;
    std::vector<std::unique_ptr<Connections>> connections;
    for (const Road& road : roads) {
      datagrams.push_back(
          std::make_unique<DatagramStream>(road.from, road.to, road.port, kPerSecond));
      connections.push_back(std::make_unique<Connections>(road.from, road.to, road.port));
    }
    const auto await = [&] {
      const absl::Time deadline = absl::Now() + absl::Seconds(60);
      for (size_t i = 0; i < std::size(roads); ++i) {
        const uint64_t answered = datagrams[i]->answered(), said = connections[i]->exchanges();
        while (datagrams[i]->answered() < answered + 100 ||
               connections[i]->exchanges() < said + 3) {
          ASSERT_LT(absl::Now(), deadline) << "road " << i << " stands still";
          sched_yield();
        }
      }
    };
    await();

    change();

    await();
    for (size_t i = 0; i < std::size(roads); ++i) {
      const DatagramStream::Result sent = datagrams[i]->Stop();
      EXPECT_EQ(sent.lost, 0u) << "road " << i << ": of " << sent.sent << ", the first "
                               << ::testing::PrintToString(sent.first_lost);
      EXPECT_THAT(connections[i]->Stop().problems, ::testing::IsEmpty()) << "road " << i;
    }
  }

  // What of IPv6 the node has: programs, maps, addresses and routes.
  static std::vector<std::string> Ipv6Of(const Node& node) {
    std::vector<std::string> out;
    const auto look = [&]() -> absl::Status {
      ASSIGN_OR_RETURN(Netlink netlink, Netlink::Open());
      ASSIGN_OR_RETURN(const std::vector<LinkInfo> links, netlink.Links());
      ASSIGN_OR_RETURN(const LinkInfo host, netlink.Link(kHostName));
      ASSIGN_OR_RETURN(const LinkInfo net, netlink.Link(kNetName));
      for (const LinkInfo& link : links) {
        if (IngressProgramId(link.ifindex, kPriority6).ok()) out.push_back("program " + link.name);
      }
      ASSIGN_OR_RETURN(const std::vector<AddressInfo> addresses, netlink.Addresses(Family::kV6));
      for (const AddressInfo& address : addresses) {
        if (address.ifindex != host.ifindex && address.ifindex != net.ifindex) continue;
        out.push_back("address " + address.prefix.ToString());
      }
      ASSIGN_OR_RETURN(const std::vector<RouteInfo> routes, netlink.Routes(Family::kV6));
      for (const RouteInfo& route : routes) {
        if (route.ifindex == host.ifindex || route.ifindex == net.ifindex) {
          out.push_back("route " + route.destination.ToString());
        }
      }
      return absl::OkStatus();
    };
    EXPECT_TRUE(InNetns(node.netns->fd(), look).ok());
    for (const auto& pin : std::filesystem::recursive_directory_iterator(node.bpf_root)) {
      const std::string name = pin.path().filename();
      // Which address a pod has stays known. Sockets of IPv6 that dial IPv4 are its (46).
      if (name == MESH_ENDPOINT6_MAP_NAME || name.ends_with("46")) continue;
      if (name.ends_with('6') && pin.is_regular_file()) out.push_back("pin " + name);
    }
    return out;
  }

  const IpAddress vip4_ = Ip("10.96.0.20");
  decltype(DesiredState::services)::node_type lost_service_;
};

TEST_P(SecondFamily, IsGivenUpAndComesBack) {
  ASSERT_FALSE(Ipv6Of(one_).empty());
  Socket listener = Listener(far_), stream = *Tcp(*client_.netns);
  ASSERT_STATUS(stream.Connect(vip_, 80));
  absl::StatusOr<Socket> accepted = listener.Accept();
  ASSERT_TRUE(accepted.ok()) << accepted.status();

  UnderTraffic(client_, near_, [&] {
    LoseIpv6();
    for (const Node* node : {&one_, &two_}) EXPECT_THAT(Ipv6Of(*node), ::testing::IsEmpty());
    Socket caller = *Tcp(*client_.netns);
    EXPECT_FALSE(caller.Connect(far_.ip, 8080, kDropped).ok());
    EXPECT_GT(Drops(one_, "unsupported"), 0u);
    EXPECT_EQ(one_.dataplane->Endpoints()->front().ip6, IpAddress());
  });
  UnderTraffic(client_, near_, [&] { GainIpv6(); });

  // The pods have their addresses still.
  EXPECT_EQ(one_.dataplane->Endpoints()->front().ip6, client_.request.ip6);
  ExpectTalk(*client_.netns, vip_, 80, listener);
  ExpectTalk(*client_.netns, far_.ip, 8080, listener);
  ExpectTalk(*one_.netns, vip_, 80, listener);
  // Connections of before are forgotten; who has one is told.
  ASSERT_STATUS(stream.Send("after"));
  EXPECT_FALSE(absl::IsDeadlineExceeded(stream.Receive().status()));
}

TEST_P(SecondFamily, ComesToPodsThatNeverHadIt) {
  LoseIpv6();
  Pod old_client, old_near;
  way_.family = Family::kV4;
  ASSERT_STATUS(Attach(old_client, one_, "10.244.1.20", kShop, "old-client"));
  ASSERT_STATUS(Attach(old_near, one_, "10.244.1.21", kShop, "old-near"));
  way_.family = Family::kV6;
  Apply();

  UnderTraffic(old_client, old_near, [&] { GainIpv6(); });

  Pod young;
  ASSERT_STATUS(Attach(young, two_, "10.244.2.30", kShop, "young"));
  Apply();
  Socket listener = Listener(young);
  ExpectTalk(*client_.netns, young.ip, 8080, listener);
  // What an old pod has no address for goes nowhere, and is no other pod's.
  Socket stranger = *Udp(*old_client.netns);
  EXPECT_FALSE(stranger.Connect(young.ip, 8080).ok());
}

INSTANTIATE_TEST_SUITE_P(Ways, SecondFamily,
                         ::testing::Values(Way{Family::kV6, Routing::kVxlan},
                                           Way{Family::kV6, Routing::kNative}),
                         NameOf);

}  // namespace
}  // namespace mesh::dataplane::testing
