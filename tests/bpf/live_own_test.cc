// SPDX-License-Identifier: Apache-2.0
// Goal: processes of a node reach NodePorts at the node's own addresses like everybody else, with
// sockets of either family, and notice nothing of how. Method: the world of live_edge.h. Needs
// root.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "common/socket_address.h"
#include "dataplane/net/netns.h"
#include "tests/bpf/live_edge.h"

namespace mesh::dataplane::testing {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kPatience = absl::Seconds(20);

// How a process of the node dials. IPv4 through a socket of IPv6 is one that has no option
// IPV6_V6ONLY: many servers' and languages' own.
struct Dialling {
  Way way;
  Family socket;
};
std::string NameOfDialling(const ::testing::TestParamInfo<Dialling>& info) {
  const Dialling& it = info.param;
  return NameOf({it.way, 0}) + (it.socket == it.way.family ? "" : "Mapped");
}

class OwnAddresses : public Edge, public ::testing::WithParamInterface<Dialling> {
 protected:
  OwnAddresses() { way_ = GetParam().way; }

  // Of the node one.
  Socket Caller() const { return *Socket::Tcp(*one_.netns, GetParam().socket); }
  Socket Sender() const { return *Socket::Udp(*one_.netns, GetParam().socket); }

  // A connection of the node one that arrives at `listener`; how the server sees the client.
  std::string Call(const IpAddress& ip, Socket& listener) {
    std::string source;
    [&] {
      Socket client = Caller();
      ASSERT_STATUS(client.Connect(ip, kNodePort, kPatience));
      EXPECT_EQ(client.peer(), FormatHostPort(ip, kNodePort));
      absl::StatusOr<Socket> server = listener.Accept(kPatience);
      ASSERT_TRUE(server.ok()) << server.status();
      source = server->peer();
      ASSERT_NO_FATAL_FAILURE(Carry(client, *server, 200'000));
      ASSERT_NO_FATAL_FAILURE(Carry(*server, client, 200'000));
    }();
    return source;
  }

  static void ExpectAnswer(Socket& socket, Socket& receiver, const std::string& dialled) {
    EXPECT_EQ(receiver.Answer("answer", kPatience).value_or(""), "question");
    std::string from;
    EXPECT_EQ(socket.Receive(kPatience, &from).value_or(""), "answer");
    EXPECT_EQ(from, dialled);
  }
};

TEST_P(OwnAddresses, ServeNodePortsToProcessesOfTheNode) {
  Socket near = Listener(*near_.netns, any_, 8080), far = Listener(*far_.netns, any_, 8080);
  for (const auto& [pod, listener] : {std::pair(&near_, &near), std::pair(&far_, &far)}) {
    Serve({pod->ip});
    Apply();
    for (const IpAddress& own : {NodeIp(one_), Gateway(one_)}) {
      EXPECT_THAT(Call(own, *listener), From(Gateway(one_)));
    }
  }

  // Connected or not, the answer is from where the question was sent to.
  Socket receiver = Receiver(*far_.netns, any_, 8080);
  const std::string dialled = FormatHostPort(NodeIp(one_), kNodePort);

  Socket connected = Sender();
  ASSERT_STATUS(connected.Connect(NodeIp(one_), kNodePort));
  EXPECT_EQ(connected.peer(), dialled);
  ASSERT_STATUS(connected.Send("question"));
  ExpectAnswer(connected, receiver, dialled);

  Socket free = Sender();
  ASSERT_STATUS(free.SendTo(NodeIp(one_), kNodePort, "question"));
  ExpectAnswer(free, receiver, dialled);

  // A process of the node behind it; and nobody: told at once, as at any address.
  Serve({NodeIp(one_)});
  Apply();
  Socket own = Listener(*one_.netns, NodeIp(one_), 8080);
  Call(NodeIp(one_), own);
  Serve({});
  Apply();
  Socket refused = Caller();
  EXPECT_THAT(std::string(refused.Connect(NodeIp(one_), kNodePort).message()),
              HasSubstr("refused"));
}

TEST_P(OwnAddresses, AreOtherwiseTheNodesOwn) {
  Serve({near_.ip});
  Apply();
  // Another port; and another namespace, whose node two is, at the address of one.
  Socket server = Listener(*one_.netns, NodeIp(one_), 22);
  EXPECT_THAT(Talk(*one_.netns, NodeIp(one_), 22, server, 200'000), From(NodeIp(one_)));
  Socket near = Listener(*near_.netns, any_, 8080);
  Socket client = *Socket::Tcp(*two_.netns, GetParam().socket);
  ASSERT_STATUS(client.Connect(NodeIp(one_), kNodePort, kPatience));
  EXPECT_EQ(client.peer(), FormatHostPort(NodeIp(one_), kNodePort));
  EXPECT_THAT(client.local(), From(NodeIp(two_)));
  EXPECT_EQ(near.Accept()->peer(), client.local());

  // The agent comes back: the programs are exchanged, and sockets know whom they have dialled.
  Socket before = Sender();
  ASSERT_STATUS(before.Connect(NodeIp(one_), kNodePort));
  ASSERT_STATUS(OpenNode(one_));
  Apply();
  EXPECT_EQ(before.peer(), FormatHostPort(NodeIp(one_), kNodePort));
  EXPECT_THAT(Call(NodeIp(one_), near), From(Gateway(one_)));

  // It goes: dialled is what is written.
  ASSERT_STATUS(InNetns(one_.netns->fd(), [&] {
    one_.dataplane.reset();
    return KernelDataplane::Remove({one_.bpf_root});
  }));
  Socket own = Listener(*one_.netns, NodeIp(one_), kNodePort);
  EXPECT_THAT(Call(NodeIp(one_), own), From(NodeIp(one_)));
}

// How packets travel between nodes makes no difference here.
constexpr Way kIpv4 = {Family::kV4, Routing::kVxlan}, kIpv6 = {Family::kV6, Routing::kVxlan};
INSTANTIATE_TEST_SUITE_P(, OwnAddresses,
                         ::testing::Values(Dialling{kIpv4, Family::kV4},
                                           Dialling{kIpv4, Family::kV6},
                                           Dialling{kIpv6, Family::kV6}),
                         NameOfDialling);

}  // namespace
}  // namespace mesh::dataplane::testing
