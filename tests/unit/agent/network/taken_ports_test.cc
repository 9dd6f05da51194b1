// SPDX-License-Identifier: Apache-2.0
// Goal: no Service gets by an external address what a process of the node has there.
#include "agent/network/taken_ports.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::agent {
namespace {

using dataplane::AnyAddress;
using dataplane::Family;
using dataplane::Frontend;
using dataplane::Protocol;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }
Frontend Tcp(const IpAddress& ip, uint16_t port) { return {ip, port, Protocol::kTcp}; }
Frontend Udp(const IpAddress& ip, uint16_t port) { return {ip, port, Protocol::kUdp}; }

dataplane::Service Thief(std::vector<IpAddress> ips, uint16_t port,
                         Protocol protocol = Protocol::kTcp) {
  dataplane::Service out;
  out.ports.push_back({"", protocol, port, {}});
  out.external_ips = std::move(ips);
  return out;
}

class TakenPortsTest : public testing::Test {
 protected:
  const IpAddress own_ = Ip("192.0.2.1"), own6_ = Ip("2001:db8::1"), second_ = Ip("192.0.2.77");
  const IpAddress any_ = AnyAddress(Family::kV4), any6_ = AnyAddress(Family::kV6);
  const std::string ssh_ = "a process of node n1 listens on port 22/TCP";
  TakenPorts taken_{"n1", own_, own6_};
};

TEST_F(TakenPortsTest, AreThoseOfSocketsAtTheAddressOrAtAll) {
  const auto with = [&](const Frontend& socket) {
    taken_.SetListeners({.addresses = {second_}, .sockets = {socket}, .passing = {}});
    return taken_.Compute();
  };
  const dataplane::Service thief = Thief({own_, own6_, second_, Ip("198.51.100.1")}, 22);
  taken_.SetService("evil/thief", &thief);

  EXPECT_THAT(with(Tcp(own_, 22)), ElementsAre(Pair(Tcp(own_, 22), ssh_)));
  EXPECT_THAT(with(Tcp(any_, 22)), testing::UnorderedElementsAre(Pair(Tcp(own_, 22), ssh_),
                                                                 Pair(Tcp(second_, 22), ssh_)))
      << "a second address of the node is its own too; one of elsewhere is not";
  EXPECT_THAT(with(Tcp(any6_, 22)), testing::SizeIs(3)) << "takes both families";
  EXPECT_THAT(with(Tcp(Ip("127.0.0.1"), 22)), IsEmpty());
  EXPECT_THAT(with(Udp(any_, 22)), IsEmpty());
  EXPECT_THAT(with(Tcp(any_, 23)), IsEmpty());
}

TEST_F(TakenPortsTest, FollowServices) {
  taken_.SetListeners({.addresses = {}, .sockets = {Tcp(any_, 22)}, .passing = {}});
  EXPECT_FALSE(taken_.AnyNamed());
  const dataplane::Service thief = Thief({own_}, 22), other = Thief({own_}, 80),
                           none = Thief({}, 22);
  taken_.SetService("evil/thief", &thief);
  EXPECT_TRUE(taken_.AnyNamed());
  EXPECT_THAT(taken_.Compute(), ElementsAre(Pair(Tcp(own_, 22), ssh_)));
  taken_.SetService("evil/thief", &other);
  EXPECT_THAT(taken_.Compute(), IsEmpty());
  taken_.SetService("evil/thief", &none);
  EXPECT_FALSE(taken_.AnyNamed());
  taken_.SetService("evil/thief", &thief);
  taken_.SetService("evil/thief", nullptr);
  EXPECT_FALSE(taken_.AnyNamed());
}

TEST_F(TakenPortsTest, HealthCheckNodePortsAreNamedBeforeTheyAreListenedOn) {
  taken_.SetHealthPort("shop/web", 30090);
  const dataplane::Service thief = Thief({own_, second_}, 30090);
  taken_.SetService("evil/thief", &thief);

  EXPECT_THAT(taken_.Compute(), ElementsAre(Pair(Tcp(own_, 30090),
                                                 "it is the healthCheckNodePort of service "
                                                 "shop/web")));
  taken_.SetHealthPort("shop/web", 0);
  EXPECT_THAT(taken_.Compute(), IsEmpty());
}

TEST_F(TakenPortsTest, AClientsUdpSocketTakesNothing) {
  const dataplane::Service thief = Thief({own_}, 51820, Protocol::kUdp);
  taken_.SetService("evil/thief", &thief);
  const NodeListeners with{.addresses = {}, .sockets = {}, .passing = {Udp(any_, 51820)}};

  taken_.SetListeners(with);
  EXPECT_THAT(taken_.Compute(), IsEmpty());
  taken_.SetListeners(with);
  EXPECT_THAT(taken_.Compute(), testing::SizeIs(1)) << "who stays is a server";
  taken_.SetListeners({});
  EXPECT_THAT(taken_.Compute(), IsEmpty());
  taken_.SetListeners(with);
  EXPECT_THAT(taken_.Compute(), IsEmpty());
}

}  // namespace
}  // namespace mesh::agent
