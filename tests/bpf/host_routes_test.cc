// SPDX-License-Identifier: Apache-2.0
// Goal: what processes of a node dial goes to the programs where Services serve, and nowhere else.
// Method: the kernel's own answers in a network namespace of this process. Needs root.
#include "dataplane/net/host_routes.h"

#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/net/netlink.h"
#include "dataplane/net/node_links.h"
#include "fmt/format.h"

namespace mesh::dataplane {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAreArray;

IpAddress Ip(const char* text) { return *IpAddress::Parse(text); }

// mesh_host, and `outside`, by which the rest of the world is reached.
class HostRoutesTest : public ::testing::TestWithParam<Family> {
 protected:
  void SetUp() override {
    ASSERT_EQ(unshare(CLONE_NEWNET), 0) << "needs root: " << std::strerror(errno);
    netlink_.emplace(*Netlink::Open());
    host_ = AddLink("mesh_host", "mesh_net", 1);
    outside_ = AddLink("outside", "far", 3);
    const bool v4 = GetParam() == Family::kV4;
    ASSERT_TRUE(netlink_->AddAddress(host_, Ip(v4 ? "10.244.1.1" : "fd00:10:244:1::1")).ok());
    const auto added = netlink_->AddRoute(
        {*IpPrefix::Parse(v4 ? "203.0.113.0/24" : "2001:db8:2::/64"), outside_, {}, {}});
    ASSERT_TRUE(added.ok()) << added;
    routes_.emplace(*netlink_, host_, Ip("10.244.1.1"), v4 ? IpAddress() : Ip("fd00:10:244:1::1"));
  }

  int AddLink(const std::string& one, const std::string& two, uint8_t mac) {
    EXPECT_TRUE(netlink_
                    ->AddVeth({one, {2, 0, 0, 0, 0, mac}, -1},
                              {two, {2, 0, 0, 0, 0, static_cast<uint8_t>(mac + 1)}, -1}, 1500)
                    .ok());
    const int ifindex = netlink_->Link(one)->ifindex;
    EXPECT_TRUE(netlink_->SetUp(netlink_->Link(two)->ifindex).ok());
    EXPECT_TRUE(netlink_->SetUp(ifindex).ok());
    return ifindex;
  }
  // Number `last` of those that lie outside.
  static IpAddress Far(int last) {
    const bool v4 = GetParam() == Family::kV4;
    return Ip(fmt::format("{}{}", v4 ? "203.0.113." : "2001:db8:2::", last).c_str());
  }
  // By which interface a client's socket reaches it; 0: not at all.
  int Way(const IpAddress& to, uint8_t protocol, uint16_t port, uint16_t from = 40000) {
    const auto route =
        netlink_->RouteTo(to, Rule{.protocol = protocol, .port = port, .sources = {from, from}});
    return route.ok() ? route->ifindex : 0;
  }
  // The same of one that is bound to mesh_host.
  int BoundWay(const IpAddress& to) {
    const auto route = netlink_->RouteTo(to, Rule{.output = "mesh_host"});
    return route.ok() && route->gateway == NextHop(GetParam()) ? route->ifindex : 0;
  }
  // Of ours.
  size_t Rules() {
    const auto rules = netlink_->Rules(GetParam());
    EXPECT_TRUE(rules.ok()) << rules.status();
    return static_cast<size_t>(
        std::ranges::count_if(*rules, [](const Rule& rule) { return rule.priority == 100; }));
  }

  std::optional<Netlink> netlink_;
  std::optional<KernelHostRoutes> routes_;
  int host_ = 0, outside_ = 0;
};

TEST_P(HostRoutesTest, AUdpPortIsServedAndTheRestOfItsAddressIsWhoseItIs) {
  const std::vector<Frontend> ports = {
      {Far(7), 80, Protocol::kUdp}, {Far(7), 53, Protocol::kUdp}, {Far(8), 443, Protocol::kUdp}};
  ASSERT_EQ(Way(Far(7), IPPROTO_UDP, 80), outside_);
  const absl::Status added = routes_->AddPorts(ports);
  ASSERT_TRUE(added.ok()) << added;

  EXPECT_THAT(*routes_->ListPorts(), UnorderedElementsAreArray(ports));
  EXPECT_EQ(Way(Far(7), IPPROTO_UDP, 80), host_);
  EXPECT_EQ(Way(Far(7), IPPROTO_UDP, 53), host_);
  EXPECT_EQ(Way(Far(8), IPPROTO_UDP, 443), host_);
  EXPECT_EQ(Way(Far(7), IPPROTO_TCP, 80), outside_);
  EXPECT_EQ(Way(Far(7), IPPROTO_UDP, 443), outside_);
  EXPECT_EQ(Way(Far(7), 0, 0), outside_) << "who asks for no port";
  EXPECT_EQ(Way(Far(9), IPPROTO_UDP, 80), outside_);
  EXPECT_EQ(Way(Far(7), IPPROTO_UDP, 53, 7100), outside_) << "a server that answers";

  ASSERT_TRUE(routes_->AddPorts(ports).ok());
  EXPECT_EQ(routes_->ListPorts()->size(), 3u) << "once each";
  EXPECT_EQ(Rules(), 3u);
  ASSERT_TRUE(routes_->RemovePorts({ports[0], ports[2]}).ok());
  EXPECT_TRUE(routes_->RemovePorts({ports[0]}).ok()) << "gone already";
  EXPECT_THAT(*routes_->ListPorts(), ElementsAre(ports[1]));
  EXPECT_EQ(Way(Far(7), IPPROTO_UDP, 80), outside_);
  EXPECT_EQ(Way(Far(7), IPPROTO_UDP, 53), host_);
  EXPECT_EQ(Rules(), 1u);
}

TEST_P(HostRoutesTest, AddressesOfOnePortShareARule) {
  std::vector<Frontend> many;
  for (int i = 1; i < 100; ++i) many.push_back({Far(i), 80, Protocol::kUdp});
  ASSERT_TRUE(routes_->AddPorts(many).ok());

  EXPECT_EQ(Rules(), 1u);
  EXPECT_EQ(Way(Far(99), IPPROTO_UDP, 80), host_);
  EXPECT_EQ(Way(Far(100), IPPROTO_UDP, 80), outside_);
  ASSERT_TRUE(routes_->RemovePorts({many.begin(), many.end() - 1}).ok());
  EXPECT_EQ(Way(Far(98), IPPROTO_UDP, 80), outside_);
  EXPECT_EQ(Way(Far(99), IPPROTO_UDP, 80), host_);
  ASSERT_TRUE(routes_->RemovePorts({many.back()}).ok());
  EXPECT_EQ(Rules(), 0u);
}

// Connections are bound by the programs at sockets (live_own_test.cc).
TEST_P(HostRoutesTest, WhatIsBoundGoesThereAlsoWhenNothingIsServedAnyMore) {
  const Frontend at = {Far(7), 80, Protocol::kTcp};
  EXPECT_EQ(BoundWay(Far(7)), 0);
  ASSERT_TRUE(routes_->AddPorts({at}).ok());
  ASSERT_TRUE(routes_->AddPorts({at, {Far(8), 81, Protocol::kTcp}}).ok());

  EXPECT_EQ(Rules(), 1u);
  EXPECT_EQ(BoundWay(Far(7)), host_);
  EXPECT_EQ(Way(Far(7), IPPROTO_TCP, 80), outside_) << "a connection that stood before";
  ASSERT_TRUE(routes_->RemovePorts({at}).ok());
  EXPECT_EQ(BoundWay(Far(7)), host_);
}

TEST_P(HostRoutesTest, ANodesOwnAddressStaysItsOwn) {
  ASSERT_TRUE(netlink_->AddAddress(outside_, Far(7)).ok());
  ASSERT_TRUE(netlink_->TakeAddress(outside_, Far(7)).ok());

  ASSERT_TRUE(routes_->AddPorts({{Far(7), 80, Protocol::kUdp}}).ok());

  const int way = Way(Far(7), IPPROTO_UDP, 80);
  EXPECT_NE(way, host_);
  EXPECT_NE(way, 0);
}

TEST_P(HostRoutesTest, WholeAddressesAreBesideThem) {
  ASSERT_TRUE(routes_->Add({Far(5)}).ok());
  ASSERT_TRUE(routes_->AddPorts({{Far(7), 80, Protocol::kUdp}, {Far(7), 80, Protocol::kTcp}}).ok());

  EXPECT_THAT(*routes_->List(), ElementsAre(Far(5)));
  EXPECT_EQ(Way(Far(5), IPPROTO_TCP, 81), host_);
  ASSERT_TRUE(routes_->Remove({Far(5)}).ok());
  EXPECT_EQ(Way(Far(5), IPPROTO_TCP, 81), outside_);
  EXPECT_EQ(routes_->ListPorts()->size(), 1u);
}

TEST_P(HostRoutesTest, NoRuleOutlivesTheNode) {
  std::vector<Frontend> many = {{Far(7), 999, Protocol::kTcp}};
  for (uint16_t port = 1000; port < 1200; ++port) many.push_back({Far(7), port, Protocol::kUdp});
  ASSERT_TRUE(routes_->AddPorts(many).ok());
  ASSERT_EQ(Rules(), many.size());

  ASSERT_TRUE(KernelHostRoutes::RemoveRules(*netlink_).ok());

  EXPECT_EQ(Rules(), 0u);
  EXPECT_EQ(Way(Far(7), IPPROTO_UDP, 1000), outside_);
}

INSTANTIATE_TEST_SUITE_P(Families, HostRoutesTest, ::testing::ValuesIn(kFamilies),
                         [](const auto& family) {
                           return std::string(family.param == Family::kV4 ? "V4" : "V6");
                         });

}  // namespace
}  // namespace mesh::dataplane
