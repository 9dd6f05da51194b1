// SPDX-License-Identifier: Apache-2.0
// Goal: routers and narrow links between nodes and before clients are met as between any two hosts:
// path MTU discovery goes through tunnel and translation, every router counts once, and what is
// refused is refused aloud. Method: the world of live_edge.h with two routers at the switch, a link
// of MTU 1300 between them and a machine behind; ordinary sockets talk. Needs root.
//
//   switch -- first (192.0.2.254) ==== 1300 ==== second (192.0.2.253) -- switch
//                                                   +-- remote (198.51.100.100)
//
// With IPv6 beside it: 2001:db8::254, 2001:db8::253, 2001:db8:100::100.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>

#include <string>
#include <vector>

#include "dataplane/net/sysctl.h"
#include "tests/bpf/live_edge.h"

namespace mesh::dataplane::testing {
namespace {

using ::testing::HasSubstr;

constexpr int kNarrow = 1300, kTunnelMtu = 1450;
constexpr absl::Duration kPatience = absl::Seconds(20);

// ICMP errors of a family.
struct Errors {
  uint8_t too_big, too_big_code, time_exceeded, protocol, protocol_code;
  uint32_t protocol_info;
};
constexpr Errors kErrors4 = {3, 4, 11, 3, 2, 0};
// A parameter problem, with the place of the header's number.
constexpr Errors kErrors6 = {2, 0, 3, 4, 1, 6};

class Path : public Edge {
 protected:
  void SetUp() override {
    Edge::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_STATUS(MakeRouters());
  }

  bool IsIpv6() const { return way_.family == Family::kV6; }
  std::string Pick(const std::string& of_ipv4, const std::string& of_ipv6) const {
    return IsIpv6() ? of_ipv6 : of_ipv4;
  }
  const Errors& errors() const { return IsIpv6() ? kErrors6 : kErrors4; }
  int PodMtu() const { return way_.routing == Routing::kNative ? 1500 : kTunnelMtu; }
  // The longest datagram in a packet of `mtu` bytes.
  size_t Datagram(int mtu) const { return static_cast<size_t>(mtu) - (IsIpv6() ? 48 : 28); }

  static absl::Status Route(const Netns& netns, const std::string& range, const std::string& by,
                            const std::string& interface) {
    ASSIGN_OR_RETURN(Netlink netlink, Netlink::OpenIn(netns.fd()));
    ASSIGN_OR_RETURN(const LinkInfo link, netlink.Link(interface));
    return netlink.AddRoute({Range(range), link.ifindex, by.empty() ? IpAddress() : Ip(by), {}});
  }

  // The end of a link: its address, and the way to the other end.
  static absl::Status Equip(const Netns& netns, const std::string& interface, const std::string& ip,
                            const std::string& other, bool forwards) {
    ASSIGN_OR_RETURN(Netlink netlink, Netlink::OpenIn(netns.fd()));
    ASSIGN_OR_RETURN(const LinkInfo link, netlink.Link(interface));
    if (!ip.empty()) RETURN_IF_ERROR(netlink.AddAddress(link.ifindex, Ip(ip)));
    RETURN_IF_ERROR(netlink.SetUp(link.ifindex));
    if (forwards) RETURN_IF_ERROR(netlink.SetForwarding(link.ifindex));
    return other.empty() ? absl::OkStatus()
                         : Route(netns, IpPrefix::Of(Ip(other)).ToString(), "", interface);
  }

  static absl::Status WaitForLink(const Netns& netns, const std::string& interface) {
    const absl::Time deadline = absl::Now() + kPatience;
    ASSIGN_OR_RETURN(Netlink netlink, Netlink::OpenIn(netns.fd()));
    while (!netlink.Link(interface)->running) {
      if (absl::Now() > deadline) return absl::DeadlineExceededError(interface + " stays down");
      sched_yield();
    }
    return absl::OkStatus();
  }

  absl::Status MakeRouters() {
    RETURN_IF_ERROR(Plug(first_, "192.0.2.254", has_first_address_ ? "2001:db8::254" : ""));
    RETURN_IF_ERROR(Plug(second_, "192.0.2.253", "2001:db8::253"));
    ASSIGN_OR_RETURN(remote_, Netns::Make());
    ASSIGN_OR_RETURN(Netlink first, Netlink::OpenIn(first_->fd()));
    RETURN_IF_ERROR(first.AddVeth({"narrow", {2, 0, 0, 0, 2, 1}, -1},
                                  {"narrow", {2, 0, 0, 0, 2, 2}, second_->fd()}, kNarrow));
    ASSIGN_OR_RETURN(Netlink second, Netlink::OpenIn(second_->fd()));
    RETURN_IF_ERROR(second.AddVeth({"rest", {2, 0, 0, 0, 3, 1}, -1},
                                   {"uplink", {2, 0, 0, 0, 3, 2}, remote_->fd()}, 1500));
    RETURN_IF_ERROR(Equip(*first_, "uplink", "", "", true));
    RETURN_IF_ERROR(Equip(*second_, "uplink", "", "", true));
    RETURN_IF_ERROR(Equip(*first_, "narrow", "203.0.113.1", "203.0.113.2", true));
    RETURN_IF_ERROR(Equip(*second_, "narrow", "203.0.113.2", "203.0.113.1", true));
    RETURN_IF_ERROR(Equip(*second_, "rest", "198.51.100.1", "198.51.100.100", true));
    RETURN_IF_ERROR(Equip(*remote_, "uplink", "198.51.100.100", "198.51.100.1", false));
    for (const Netns* machine : {&*one_.netns, &*two_.netns}) {
      RETURN_IF_ERROR(Route(*machine, "198.51.100.0/24", "192.0.2.254", "uplink"));
    }
    RETURN_IF_ERROR(Route(*first_, "198.51.100.0/24", "203.0.113.2", "narrow"));
    RETURN_IF_ERROR(Route(*second_, "192.0.2.1/32", "203.0.113.1", "narrow"));
    RETURN_IF_ERROR(Route(*remote_, "0.0.0.0/0", "198.51.100.1", "uplink"));
    if (IsIpv6()) RETURN_IF_ERROR(MakeRoutersOfIpv6());
    for (const auto& [machine, interface] : {std::pair(&*first_, "uplink"),
                                             {&*first_, "narrow"},
                                             {&*second_, "uplink"},
                                             {&*second_, "narrow"},
                                             {&*second_, "rest"},
                                             {&*remote_, "uplink"}}) {
      RETURN_IF_ERROR(WaitForLink(*machine, interface));
    }
    return absl::OkStatus();
  }

  // Their hops are told by link-local addresses, which all routers have.
  absl::Status MakeRoutersOfIpv6() {
    for (const Netns* router : {&*first_, &*second_}) {
      RETURN_IF_ERROR(InNetns(router->fd(), [] { return SetIpv6("all", "forwarding", "1"); }));
    }
    RETURN_IF_ERROR(Equip(*first_, "uplink", "fe80::254", "", true));
    if (has_first_address_) {
      RETURN_IF_ERROR(Equip(*first_, "narrow", "2001:db8:3::1", "", true));
    }
    RETURN_IF_ERROR(Equip(*first_, "narrow", "fe80::1", "fe80::2", true));
    RETURN_IF_ERROR(Equip(*second_, "narrow", "2001:db8:3::2", "", true));
    RETURN_IF_ERROR(Equip(*second_, "narrow", "fe80::2", "fe80::1", true));
    RETURN_IF_ERROR(Equip(*second_, "rest", "2001:db8:100::1", "2001:db8:100::100", true));
    RETURN_IF_ERROR(Equip(*remote_, "uplink", "2001:db8:100::100", "2001:db8:100::1", false));
    for (const Netns* machine : {&*one_.netns, &*two_.netns}) {
      RETURN_IF_ERROR(Route(*machine, "fe80::254/128", "", "uplink"));
      RETURN_IF_ERROR(Route(*machine, "2001:db8:100::/64", "fe80::254", "uplink"));
    }
    if (!has_first_address_) {
      RETURN_IF_ERROR(Route(*first_, "2001:db8::/64", "", "uplink"));
    }
    RETURN_IF_ERROR(Route(*first_, "2001:db8:100::/64", "fe80::2", "narrow"));
    RETURN_IF_ERROR(Route(*second_, "2001:db8::1/128", "fe80::1", "narrow"));
    return Route(*remote_, "::/0", "2001:db8:100::1", "uplink");
  }

  // From now on the nodes reach one another by the narrow link.
  void NarrowBetweenNodes() {
    ASSERT_STATUS(Route(*one_.netns, "192.0.2.2/32", "192.0.2.254", "uplink"));
    ASSERT_STATUS(Route(*first_, "192.0.2.2/32", "203.0.113.2", "narrow"));
    ASSERT_STATUS(Route(*two_.netns, "192.0.2.1/32", "192.0.2.253", "uplink"));
  }

  // A connection whose both ends send much; the longest that each may send is found on the way.
  static void ExpectStreams(const Netns& from, const IpAddress& ip, uint16_t port,
                            Socket& listener) {
    Talk(from, ip, port, listener, 400'000);
  }

  // `asking` and the pod behind `answering` find out how long their datagrams may be.
  void ExpectDatagramsOf(Socket& asking, Socket& answering, int mtu) const {
    ASSERT_STATUS(answering.ForbidFragments());
    const std::string too_long(Datagram(PodMtu()), 'l'), fits(Datagram(mtu), 'f');
    const absl::Time deadline = absl::Now() + kPatience;
    for (;;) {
      ASSERT_LT(absl::Now(), deadline) << "nobody told that the answer is too long";
      ASSERT_STATUS(asking.Send("how long?"));
      const absl::Status sent = answering.Answer(too_long).status();
      if (sent.ok()) continue;
      ASSERT_THAT(std::string(sent.message()), HasSubstr("Message too long"));
      break;
    }
    ASSERT_STATUS(asking.Send("and now?"));
    ASSERT_STATUS(answering.Answer(fits).status());
    EXPECT_EQ(asking.Receive().value_or(""), fits);
  }

  // Whether the first router has an address of IPv6 that passes routers. Many have none.
  bool has_first_address_ = true;
  std::optional<Netns> first_, second_, remote_;
  IpAddress remote_ip_ = Ip("198.51.100.100");
};

class PathWays : public Path, public ::testing::WithParamInterface<Way> {
 protected:
  PathWays() {
    way_ = GetParam();
    if (IsIpv6()) remote_ip_ = Ip("2001:db8:100::100");
  }
};
INSTANTIATE_TEST_SUITE_P(, PathWays, EveryWay(), NameOf);

// What is longer than the tunnel takes is there only with a tunnel.
class TunnelledPath : public PathWays {};
INSTANTIATE_TEST_SUITE_P(, TunnelledPath,
                         ::testing::Values(Way{Family::kV4, Routing::kVxlan},
                                           Way{Family::kV6, Routing::kVxlan}),
                         NameOf);

TEST_P(TunnelledPath, NodesBehindANarrowLinkCarryWhatTheTunnelPromises) {
  NarrowBetweenNodes();
  Serve({far_.ip});
  Apply();
  Socket listener = Listener(*far_.netns, any_, 8080);
  Socket receiver = Receiver(*far_.netns, any_, 8080);

  ExpectStreams(*near_.netns, vip_, 80, listener);
  Socket client = *Socket::Udp(*near_.netns, way_.family);
  ASSERT_STATUS(client.Connect(vip_, 80));
  ASSERT_STATUS(client.ForbidFragments());
  // As long as a pod's packet may be: the packet between the nodes is cut and put together again.
  const std::string longest(Datagram(kTunnelMtu), 'l');
  ASSERT_STATUS(client.Send(longest));
  EXPECT_EQ(receiver.Answer(longest).value_or(""), longest);
  EXPECT_EQ(client.Receive().value_or(""), longest);
  EXPECT_THAT(std::string(client.Send(longest + "x").message()), HasSubstr("Message too long"));
}

TEST_P(PathWays, ServersBehindANodePortFindThePathToTheirClient) {
  Socket listener = Listener(*far_.netns, any_, 8080);
  Socket receiver = Receiver(*far_.netns, any_, 8080);
  for (const bool direct : {false, true}) {
    Serve({far_.ip}).direct_return = direct;
    Apply();
    // At the pod's own node, and by way of another: with its address, or answered directly.
    for (const Node* node : {&two_, &one_}) {
      SCOPED_TRACE(fmt::format("direct return {}, by {}", direct, node->name));
      ExpectStreams(*remote_, NodeIp(*node), kNodePort, listener);
    }
    SCOPED_TRACE(fmt::format("direct return {}", direct));
    Socket client = *Socket::Udp(*remote_, way_.family);
    ASSERT_STATUS(client.Connect(NodeIp(one_), kNodePort));
    ExpectDatagramsOf(client, receiver, kNarrow);
  }
}

TEST_P(PathWays, ServersLearnThePathAlsoRightAfterAChange) {
  Serve({far_.ip});
  Apply();
  Socket listener = Listener(*far_.netns, any_, 8080);
  Socket client = *Socket::Tcp(*remote_, way_.family);
  ASSERT_STATUS(client.Connect(NodeIp(one_), kNodePort, kPatience));
  absl::StatusOr<Socket> server = listener.Accept(kPatience);
  ASSERT_TRUE(server.ok()) << server.status();

  // All flows are to be judged again, and the first that comes to the pod's node is the error.
  desired_.namespaces[kBank] = {"bank"};
  desired_.namespaces[kShop].isolation = Isolation::kOpen;
  Apply();

  Carry(*server, client, 400'000);
}

TEST_P(PathWays, PodsFindThePathToTheOutside) {
  Socket listener = Listener(*remote_, remote_ip_, 9000);
  Socket receiver = Receiver(*remote_, remote_ip_, 9000);

  ExpectStreams(*near_.netns, remote_ip_, 9000, listener);

  Socket client = *Socket::Udp(*far_.netns, way_.family);
  ASSERT_STATUS(client.WantErrors());
  ASSERT_STATUS(client.Connect(remote_ip_, 9000));
  ASSERT_STATUS(client.ForbidFragments());
  ASSERT_STATUS(client.Send(std::string(1400, 'x')));
  const absl::StatusOr<Socket::IcmpError> error = client.ReceiveError();
  ASSERT_TRUE(error.ok()) << error.status();
  EXPECT_EQ(*error, (Socket::IcmpError{Pick("192.0.2.254", "2001:db8::254"), errors().too_big,
                                       errors().too_big_code, kNarrow}));
  EXPECT_EQ(client.PathMtu().value_or(0), kNarrow);
}

TEST_P(PathWays, ClientsOutsideAreToldWhatTheTunnelTakes) {
  Socket receiver = Receiver(*far_.netns, any_, 8080);
  for (const bool direct : {false, true}) {
    // Without a tunnel nothing is longer than what pods take.
    if (way_.routing == Routing::kNative && !direct) continue;
    SCOPED_TRACE(fmt::format("direct return {}", direct));
    Serve({far_.ip}).direct_return = direct;
    Apply();
    Socket client = *Socket::Udp(*outside_, way_.family);
    ASSERT_STATUS(client.WantErrors());
    ASSERT_STATUS(client.Connect(NodeIp(one_), kNodePort));
    ASSERT_STATUS(client.ForbidFragments());
    // The second time the client knows, unless it is told to forget: two addresses.
    if (direct) ASSERT_STATUS(client.Connect(balancer_, 80));
    ASSERT_STATUS(client.Send(std::string(Datagram(kTunnelMtu + 1), 'x')));
    const absl::StatusOr<Socket::IcmpError> error = client.ReceiveError();
    ASSERT_TRUE(error.ok()) << error.status();
    EXPECT_EQ(*error, (Socket::IcmpError{NodeIp(one_).ToString(), errors().too_big,
                                         errors().too_big_code, kTunnelMtu}));
    const std::string longest(Datagram(kTunnelMtu), 'l');
    ASSERT_STATUS(client.Send(longest));
    EXPECT_EQ(receiver.Answer("all of it").value_or(""), longest);
    EXPECT_EQ(client.Receive().value_or(""), "all of it");
  }
}

TEST_P(TunnelledPath, SegmentsThatAreTooLongAreToldToTheirSender) {
  // A server that promises to take more than the tunnel carries.
  for (const Pod* pod : {&near_, &far_}) {
    Netlink netlink = *Netlink::OpenIn(pod->netns->fd());
    ASSERT_STATUS(netlink.SetMtu(netlink.Link("eth0")->ifindex, 1500));
  }
  Serve({far_.ip});
  Apply();
  Socket listener = Listener(*far_.netns, any_, 8080);
  const auto refused = [&] {
    uint64_t packets = 0;
    const auto metrics = one_.dataplane->Metrics();
    for (const MetricRow& row : *metrics) packets += row.reason == "too_big" ? row.packets : 0;
    return packets;
  };

  Talk(*outside_, NodeIp(one_), kNodePort, listener, 400'000);
  const uint64_t after_first = refused();
  EXPECT_GT(after_first, 0u);
  Talk(*near_.netns, vip_, 80, listener, 400'000);
  EXPECT_GT(refused(), after_first);
}

TEST_P(PathWays, ABackendOutsideTheClusterIsServedLikeAnyOther) {
  // What a hand-written EndpointSlice may name.
  Serve({remote_ip_});
  Apply();
  Socket listener = Listener(*remote_, remote_ip_, 8080);
  Socket receiver = Receiver(*remote_, remote_ip_, 8080);

  for (const Pod* pod : {&near_, &far_}) {
    const IpAddress& node = NodeIp(pod == &near_ ? one_ : two_);
    EXPECT_THAT(Talk(*pod->netns, vip_, 80, listener, 400'000), From(node));
    ExpectDatagrams(*pod->netns, vip_, 80, receiver);
  }
  for (const bool direct : {false, true}) {
    SCOPED_TRACE(fmt::format("direct return {}", direct));
    Serve({remote_ip_}).direct_return = direct;
    Apply();
    // It knows nothing of us: answers must come by the node that has received the question.
    EXPECT_THAT(Talk(*outside_, NodeIp(two_), kNodePort, listener, 400'000), From(NodeIp(two_)));
    ExpectDatagrams(*outside_, NodeIp(two_), kNodePort, receiver);
    EXPECT_THAT(Talk(*outside_, balancer_, 80, listener, 400'000), From(NodeIp(one_)));
  }
}

TEST_P(PathWays, AnAnnouncedAddressRefusesSctpAloud) {
  Serve({far_.ip});
  Apply();
  Socket client = *Socket::Raw(*outside_, IPPROTO_SCTP, way_.family);
  ASSERT_STATUS(client.WantErrors());
  ASSERT_STATUS(client.Connect(balancer_, 0));
  ASSERT_STATUS(client.Send("a chunk of SCTP"));
  const absl::StatusOr<Socket::IcmpError> error = client.ReceiveError();
  ASSERT_TRUE(error.ok()) << error.status();
  EXPECT_EQ(*error, (Socket::IcmpError{balancer_.ToString(), errors().protocol,
                                       errors().protocol_code, errors().protocol_info}));
}

// Who answers to datagrams that may pass 1, 2, 3... routers, until one arrives at `receiver`.
std::vector<std::string> TraceRoute(const Netns& from, const IpAddress& ip, uint16_t port,
                                    Socket& receiver, uint8_t time_exceeded) {
  std::vector<std::string> hops;
  for (int ttl = 1; ttl < 10; ++ttl) {
    Socket probe = *Socket::Udp(from, FamilyOf(ip));
    EXPECT_TRUE(probe.WantErrors().ok());
    EXPECT_TRUE(probe.SetTtl(ttl).ok());
    EXPECT_TRUE(probe.Connect(ip, port).ok());
    EXPECT_TRUE(probe.Send("probe").ok());
    // Either arrives.
    const absl::Time deadline = absl::Now() + kPatience;
    while (absl::Now() < deadline) {
      const absl::StatusOr<Socket::IcmpError> error = probe.ReceiveError(absl::Milliseconds(20));
      if (error.ok()) {
        EXPECT_EQ(error->type, time_exceeded);
        hops.push_back(error->from);
        break;
      }
      if (receiver.Answer("here", absl::Milliseconds(20)).ok()) {
        EXPECT_EQ(probe.Receive().value_or(""), "here");
        return hops;
      }
    }
  }
  ADD_FAILURE() << "no probe arrives";
  return hops;
}

TEST_P(PathWays, EveryRouterCountsOnceAndTheClusterIsOne) {
  using Hops = std::vector<std::string>;
  Socket far = Receiver(*far_.netns, any_, 8080);
  Socket near = Receiver(*near_.netns, any_, 8080);
  Socket remote = Receiver(*remote_, remote_ip_, 9000);
  const auto trace = [&](const Netns& from, const IpAddress& ip, uint16_t port, Socket& receiver) {
    return TraceRoute(from, ip, port, receiver, errors().time_exceeded);
  };
  const std::string gateway = Gateway(one_).ToString(), node = NodeIp(one_).ToString();
  const Hops inwards = {Pick("198.51.100.1", "2001:db8:100::1"),
                        Pick("203.0.113.1", "2001:db8:3::1"), node};

  EXPECT_EQ(trace(*near_.netns, far_.ip, 8080, far), Hops({gateway}));
  EXPECT_EQ(
      trace(*near_.netns, remote_ip_, 9000, remote),
      Hops({gateway, Pick("192.0.2.254", "2001:db8::254"), Pick("203.0.113.2", "2001:db8:3::2")}));
  for (const bool direct : {false, true}) {
    SCOPED_TRACE(fmt::format("direct return {}", direct));
    Serve({far_.ip}).direct_return = direct;
    Apply();
    EXPECT_EQ(trace(*near_.netns, vip_, 80, far), Hops({gateway}));
    EXPECT_EQ(trace(*remote_, NodeIp(one_), kNodePort, far), inwards);
    Serve({near_.ip}).direct_return = direct;
    Apply();
    EXPECT_EQ(trace(*remote_, NodeIp(one_), kNodePort, near), inwards);
  }
}

// Routers of IPv6 need no other address than that of their link.
class LinkLocalRouter : public PathWays {
 protected:
  LinkLocalRouter() { has_first_address_ = false; }
};
INSTANTIATE_TEST_SUITE_P(, LinkLocalRouter,
                         ::testing::Values(Way{Family::kV6, Routing::kVxlan},
                                           Way{Family::kV6, Routing::kNative}),
                         NameOf);

TEST_P(LinkLocalRouter, TellsPodsThePathByTheirNode) {
  Socket listener = Listener(*remote_, remote_ip_, 9000);
  ExpectStreams(*near_.netns, remote_ip_, 9000, listener);

  Socket client = *Socket::Udp(*far_.netns, way_.family);
  ASSERT_STATUS(client.WantErrors());
  ASSERT_STATUS(client.Connect(remote_ip_, 9000));
  ASSERT_STATUS(client.ForbidFragments());
  ASSERT_STATUS(client.Send(std::string(1400, 'x')));
  const absl::StatusOr<Socket::IcmpError> error = client.ReceiveError();
  ASSERT_TRUE(error.ok()) << error.status();
  // Its own address means nothing behind the link.
  EXPECT_EQ(*error, (Socket::IcmpError{NodeIp(two_).ToString(), errors().too_big, 0, kNarrow}));
  EXPECT_EQ(client.PathMtu().value_or(0), kNarrow);
}

TEST_P(LinkLocalRouter, TellsServersThePathToTheirClient) {
  Socket listener = Listener(*far_.netns, any_, 8080);
  Socket receiver = Receiver(*far_.netns, any_, 8080);
  for (const bool direct : {false, true}) {
    Serve({far_.ip}).direct_return = direct;
    Apply();
    for (const Node* node : {&two_, &one_}) {
      SCOPED_TRACE(fmt::format("direct return {}, by {}", direct, node->name));
      ExpectStreams(*remote_, NodeIp(*node), kNodePort, listener);
    }
    Socket client = *Socket::Udp(*remote_, way_.family);
    ASSERT_STATUS(client.Connect(NodeIp(one_), kNodePort));
    ExpectDatagramsOf(client, receiver, kNarrow);
  }
}

}  // namespace
}  // namespace mesh::dataplane::testing
