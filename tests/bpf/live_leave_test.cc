// SPDX-License-Identifier: Apache-2.0
// Goal: an established connection keeps its backend for its life, whatever becomes of the Service,
// and what is kept for it is given back. Method: the worlds of live.h and live_edge.h. Needs root.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/bpf/live.h"
#include "tests/bpf/live_edge.h"

namespace mesh::dataplane::testing {
namespace {

// As of an EndpointSlice written by hand: what is listed no more may live.
void ByHand(DesiredState& desired) {
  for (ServicePort& port : desired.services["shop/web"].ports) {
    for (Backend& backend : port.backends) backend.may_outlive = true;
  }
}

void ExpectEcho(Socket& client, Socket& server, const std::string& text) {
  ASSERT_STATUS(client.Send(text));
  EXPECT_EQ(server.Receive().value_or("nothing"), text);
  ASSERT_STATUS(server.Send(text));
  EXPECT_EQ(client.Receive().value_or("nothing"), text);
}

// Both ends of a connection.
struct Connection {
  Socket client, server;
};
Connection Dial(const Netns& from, const IpAddress& ip, uint16_t port, Socket& listener) {
  absl::StatusOr<Socket> client = Socket::Tcp(from, FamilyOf(ip));
  EXPECT_TRUE(client->Connect(ip, port).ok());
  absl::StatusOr<Socket> server = listener.Accept();
  EXPECT_TRUE(server.ok()) << server.status();
  Connection out{*std::move(client), *std::move(server)};
  ExpectEcho(out.client, out.server, "established");
  return out;
}

std::vector<std::string> States(const Node& node) {
  std::vector<std::string> out;
  const auto rows = node.dataplane->Backends();
  for (const BackendRow& row : *rows) {
    if (row.protocol == Protocol::kTcp)
      out.push_back(row.backend.state == BackendState::kLeft ? "left" : "listed");
  }
  return out;
}

// The collector's calls, as the agent makes them, until no backend is kept any more.
void ExpectGivenBack(Node& node) {
  const absl::Time deadline = absl::Now() + absl::Seconds(40);
  while (absl::Now() < deadline) {
    ASSERT_STATUS(
        InNetns(node.netns->fd(), [&] { return node.dataplane->CollectGarbage().status(); }));
    if (States(node).empty()) return;
    absl::SleepFor(absl::Milliseconds(100));
  }
  ADD_FAILURE() << node.name << " keeps " << States(node).size() << " backends";
}

TEST_P(LiveWays, AConnectionStaysWithABackendThatIsListedNoMore) {
  for (const Pod* pod : {&near_, &far_}) {
    for (const Netns* from : {&*client_.netns, &*one_.netns}) {
      SCOPED_TRACE(fmt::format("{} to {}", from == &*one_.netns ? "node" : "pod",
                               pod == &near_ ? "this node" : "another node"));
      const Pod& other = pod == &near_ ? far_ : near_;
      Serve({pod->ip});
      ByHand(desired_);
      Apply();
      Socket listener = Listener(*pod), next = Listener(other);
      Connection kept = Dial(*from, vip_, 80, listener);

      Serve({other.ip});
      ByHand(desired_);
      Apply();

      ExpectEcho(kept.client, kept.server, "listed no more");
      for (int i = 0; i < 4; ++i) Dial(*from, vip_, 80, next);

      // No agent, and another one: what it finds in the maps it keeps.
      ASSERT_STATUS(OpenNode(one_));
      Apply();
      ExpectEcho(kept.client, kept.server, "another agent");

      desired_.services.clear();
      Apply();
      ExpectEcho(kept.client, kept.server, "no Service");
      Socket late = *Tcp(*from);
      EXPECT_FALSE(late.Connect(vip_, 80).ok());
    }
  }
  EXPECT_THAT(States(one_), ::testing::SizeIs(::testing::Ge(2U)));
  ExpectGivenBack(one_);
  ExpectGivenBack(two_);
  EXPECT_TRUE(one_.dataplane->Backends()->empty());
}

TEST_P(LiveWays, DatagramsOfOneSocketMoveWhenTheirBackendIsListedNoMore) {
  Serve({near_.ip});
  ByHand(desired_);
  Apply();
  Socket near = Receiver(near_), far = Receiver(far_), client = *Udp(*client_.netns);
  ASSERT_STATUS(client.Connect(vip_, 80));
  const auto ask = [&](Socket& server) {
    ASSERT_STATUS(client.Send("question"));
    EXPECT_EQ(server.Answer("answer").value_or("nothing"), "question");
    EXPECT_EQ(client.Receive().value_or("nothing"), "answer");
  };
  for (int i = 0; i < 20; ++i) ask(near);

  Serve({far_.ip});
  ByHand(desired_);
  Apply();

  for (int i = 0; i < 20; ++i) ask(far);
}

// Its own node misses it and says so, also for a Service that nobody knows any more.
TEST_P(LiveWays, AConnectionToAPodThatIsGoneEndsAtOnceAlsoWithoutItsService) {
  for (Pod* pod : {&near_, &far_}) {
    SCOPED_TRACE(pod == &near_ ? "this node" : "another node");
    Serve({pod->ip});
    Socket listener = Listener(*pod);
    Connection kept = Dial(*client_.netns, vip_, 80, listener);
    desired_.services.clear();
    Apply();
    ExpectEcho(kept.client, kept.server, "no Service");

    const std::string name = pod == &near_ ? "container-near" : "container-far";
    ASSERT_STATUS(InNetns(pod->node->netns->fd(),
                          [&] { return pod->node->dataplane->Detach(name, "eth0"); }));

    // The reset may be there before the call that provokes it returns.
    absl::Status ended = kept.client.Send("is anybody there");
    if (ended.ok()) ended = kept.client.Receive().status();
    EXPECT_FALSE(ended.ok());
    EXPECT_FALSE(absl::IsDeadlineExceeded(ended)) << ended;
  }
}

INSTANTIATE_TEST_SUITE_P(, LiveWays, EveryWay(), NameOf);

// By every frontend outside, with both return paths.
TEST_P(EdgeWays, AConnectionFromOutsideStaysWithABackendThatIsListedNoMore) {
  Socket near = Listener(*near_.netns, any_, 8080), far = Listener(*far_.netns, any_, 8080);
  for (const bool direct : {false, true}) {
    const std::pair<IpAddress, uint16_t> targets[] = {
        {NodeIp(one_), kNodePort}, {NodeIp(two_), kNodePort}, {balancer_, 80}};
    const auto serve = [&](const IpAddress& ip) {
      Serve({ip}).direct_return = direct;
      ByHand(desired_);
      Apply();
    };
    for (const auto& [ip, port] : targets) {
      for (const bool to_near : {true, false}) {
        SCOPED_TRACE(fmt::format("{} {} {}", direct ? "direct" : "snat", FormatHostPort(ip, port),
                                 to_near ? "near" : "far"));
        serve(to_near ? near_.ip : far_.ip);
        Connection kept = Dial(*outside_, ip, port, to_near ? near : far);

        serve(to_near ? far_.ip : near_.ip);
        ExpectEcho(kept.client, kept.server, "listed no more");
        Dial(*outside_, ip, port, to_near ? far : near);

        desired_.services.clear();
        Apply();
        ExpectEcho(kept.client, kept.server, "no Service");
        Socket late = *Socket::Tcp(*outside_, way_.family);
        EXPECT_FALSE(late.Connect(ip, port, absl::Seconds(1)).ok());
      }
    }
    if (direct) continue;  // that the server has closed is not seen here: 300 s
    ExpectGivenBack(one_);
    ExpectGivenBack(two_);
  }
}

INSTANTIATE_TEST_SUITE_P(, EdgeWays, EveryWay(), NameOf);

}  // namespace
}  // namespace mesh::dataplane::testing
