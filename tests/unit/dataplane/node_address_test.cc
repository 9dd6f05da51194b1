// SPDX-License-Identifier: Apache-2.0
// Goal: at an address of a node the cluster's own frontends come before externalIPs, whoever was
// first, and external addresses get what they give back; what another node has is that node's.
// Method: a planner that is told only what changes, in both families.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "dataplane/plan/plan.h"
#include "tests/unit/dataplane/plan_world.h"

namespace mesh::dataplane {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kThief[] = "evil/thief";

class NodeAddressTest : public ::testing::TestWithParam<Family> {
 protected:
  NodeAddressTest() { desired_.complete = true; }

  bool v6() const { return GetParam() == Family::kV6; }
  IpAddress Own() const { return v6() ? node_.node_ip6 : node_.node_ip; }
  IpAddress Any() const { return AnyAddress(GetParam()); }
  Frontend At(const IpAddress& ip, uint16_t port, Protocol protocol = Protocol::kTcp) const {
    return {ip, port, protocol};
  }

  Service In(Service service) const { return v6() ? InIpv6(std::move(service)) : service; }
  Service Thief(const IpAddress& ip, uint16_t port, Protocol protocol = Protocol::kTcp) const {
    Service out = In({"evil",
                      "thief",
                      Ip("10.96.0.66"),
                      300,
                      {{"", protocol, port, {dataplane::At("10.244.1.66")}}}});
    out.external_ips = {ip};
    return out;
  }
  Service WithNodePort(uint16_t port) const {
    Service out = In(Web({dataplane::At("10.244.1.10")}));
    out.ports[0].node_port = port;
    return out;
  }
  Service HostPort(uint16_t port) const {
    return In({"shop",
               "pod/one",
               IpAddress(),
               0,
               {{"", Protocol::kTcp, port, {dataplane::At("10.244.1.10")}, port}}});
  }

  // Problems of the Services, after the change of these.
  std::vector<std::string> Change(std::vector<std::string> keys) {
    desired_.changed_services = std::move(keys);
    desired_.changed_pod_identities.emplace();
    for (const Action& action : planner_.Compute(desired_, observed_).actions) {
      Perform(action, observed_);
      ExpectSound(observed_);
    }
    std::vector<std::string> out;
    planner_.ForEachServiceProblem(
        [&](const Service&, const std::string& problem) { out.push_back(problem); });
    return out;
  }
  std::vector<std::string> Put(const std::string& key, Service service) {
    desired_.services[key] = std::move(service);
    return Change({key});
  }
  std::vector<std::string> Remove(const std::string& key) {
    desired_.services.erase(key);
    return Change({key});
  }
  bool Serves(const IpAddress& ip, uint16_t port, Protocol protocol = Protocol::kTcp) const {
    return observed_.frontends.contains(At(ip, port, protocol));
  }

  static NodeConfig Node() {
    NodeConfig out = DualStackNode();
    out.own_ports = {6441};
    return out;
  }
  const NodeConfig node_ = Node();
  Planner planner_{node_};
  DesiredState desired_;
  Observed observed_;
};

INSTANTIATE_TEST_SUITE_P(Families, NodeAddressTest, ::testing::ValuesIn(kFamilies),
                         [](const auto& test) { return std::string(NameOf(test.param)); });

TEST_P(NodeAddressTest, ANodePortComesBeforeAnExternalAddressWhoeverWasFirst) {
  EXPECT_THAT(Put(kThief, Thief(Own(), 30080)), IsEmpty());
  EXPECT_TRUE(Serves(Own(), 30080)) << "externalIPs of nodes are common where nobody has the port";

  EXPECT_THAT(Put("shop/web", WithNodePort(30080)),
              ElementsAre(AllOf(HasSubstr("service evil/thief port 30080: "),
                                HasSubstr(":30080/TCP belongs to service shop/web port 80, as its "
                                          "NodePort 30080/TCP"))));
  EXPECT_FALSE(Serves(Own(), 30080)) << "the programs would look there first";
  EXPECT_TRUE(Serves(Any(), 30080));
  EXPECT_THAT(Change({}), ::testing::SizeIs(1)) << "for as long as it holds";

  EXPECT_THAT(Remove("shop/web"), IsEmpty());
  EXPECT_TRUE(Serves(Own(), 30080)) << "nobody has it any more";
  EXPECT_FALSE(Serves(Any(), 30080));
}

TEST_P(NodeAddressTest, ANodePortThatWasThereStays) {
  Put("shop/web", WithNodePort(30080));

  EXPECT_THAT(Put(kThief, Thief(Own(), 30080)), ElementsAre(HasSubstr("shop/web")));
  EXPECT_FALSE(Serves(Own(), 30080));
  EXPECT_TRUE(Serves(v6() ? InIpv6(Ip("10.96.0.66")) : Ip("10.96.0.66"), 30080));
  EXPECT_THAT(Remove(kThief), IsEmpty());
}

TEST_P(NodeAddressTest, AHostPortOfAPodComesBeforeAnExternalAddress) {
  Put(kThief, Thief(Own(), 8080));

  EXPECT_THAT(Put("shop/pod/one", HostPort(8080)),
              ElementsAre(HasSubstr("belongs to host port 8080 of shop/pod/one")));
  EXPECT_FALSE(Serves(Own(), 8080));
  EXPECT_TRUE(Serves(Any(), 8080));

  EXPECT_THAT(Remove("shop/pod/one"), IsEmpty());
  EXPECT_TRUE(Serves(Own(), 8080));
}

TEST_P(NodeAddressTest, OtherProtocolsAndOtherAddressesAreNoClash) {
  Put("shop/web", WithNodePort(30080));

  EXPECT_THAT(Put(kThief, Thief(Own(), 30080, Protocol::kUdp)), IsEmpty());
  EXPECT_TRUE(Serves(Own(), 30080, Protocol::kUdp));
  const IpAddress outside = v6() ? Ip("2001:db8::99") : Ip("198.51.100.9");
  EXPECT_THAT(Put(kThief, Thief(outside, 30080)), IsEmpty());
  EXPECT_TRUE(Serves(outside, 30080));
}

TEST_P(NodeAddressTest, AServiceMayWriteDownItsOwnNodePort) {
  Service web = WithNodePort(80);
  web.external_ips = {Own()};

  EXPECT_THAT(Put("shop/web", web), IsEmpty());

  EXPECT_TRUE(Serves(Any(), 80));
}

TEST_P(NodeAddressTest, WhatProcessesOfTheNodeHaveIsNoExternalAddress) {
  Service thief = Thief(Own(), 22);
  thief.ports.push_back({"web", Protocol::kTcp, 80, {}});
  Put(kThief, thief);
  ASSERT_TRUE(Serves(Own(), 22));

  desired_.taken = {{At(Own(), 22), "a process of node node1 listens on port 22/TCP"}};
  EXPECT_THAT(Change({}),
              ElementsAre(AllOf(HasSubstr("service evil/thief port 22: "),
                                HasSubstr(":22/TCP is not served here: a process of node node1 "
                                          "listens on port 22/TCP"))));
  EXPECT_FALSE(Serves(Own(), 22));
  EXPECT_TRUE(Serves(Own(), 80)) << "everything else goes on";

  desired_.taken.clear();
  EXPECT_THAT(Change({}), IsEmpty());
  EXPECT_TRUE(Serves(Own(), 22));
}

TEST_P(NodeAddressTest, TheAgentsPortAndTheTunnelsAreNobodys) {
  EXPECT_THAT(Put(kThief, Thief(Own(), 6441)), ElementsAre(HasSubstr("own processes listen")));
  EXPECT_FALSE(Serves(Own(), 6441));
  EXPECT_THAT(Put(kThief, Thief(Own(), 4789, Protocol::kUdp)),
              ElementsAre(HasSubstr("own processes listen")));
  EXPECT_FALSE(Serves(Own(), 4789, Protocol::kUdp));
}

TEST_P(NodeAddressTest, AnotherNodesAddressIsServedByThatNode) {
  const IpAddress other = v6() ? Ip("2001:db8::2") : Ip("192.0.2.2");
  Put(kThief, Thief(other, 22));
  EXPECT_TRUE(Serves(other, 22)) << "no node's";

  desired_.peers["node2"] = {"node2", Ip("192.0.2.2"), Range("10.244.2.0/24"), Ip("2001:db8::2"),
                             Range("fd00:10:244:2::/64")};
  EXPECT_THAT(Change({}), IsEmpty()) << "that node tells what it does not serve";
  EXPECT_FALSE(Serves(other, 22));

  desired_.peers.clear();
  EXPECT_THAT(Change({}), IsEmpty());
  EXPECT_TRUE(Serves(other, 22));
}

}  // namespace
}  // namespace mesh::dataplane
