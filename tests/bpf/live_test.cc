// SPDX-License-Identifier: Apache-2.0
// Goal: the packet path carries real connections. Method: see live.h.
#include <atomic>
#include <thread>

#include "tests/bpf/live.h"

namespace mesh::dataplane::testing {
namespace {

TEST_P(LiveWays, CarriesTcpAndUdpToAPodOfTheSameNodeThroughTheService) {
  Serve({near_.ip});
  Socket listener = Listener(near_), receiver = Receiver(near_);

  ExpectTalk(*client_.netns, vip_, 80, listener);
  ExpectDatagrams(*client_.netns, vip_, 80, receiver);
}

TEST_P(LiveWays, CarriesTcpAndUdpToAPodOfAnotherNodeThroughTheService) {
  Serve({far_.ip});
  Socket listener = Listener(far_), receiver = Receiver(far_);

  ExpectTalk(*client_.netns, vip_, 80, listener);
  ExpectDatagrams(*client_.netns, vip_, 80, receiver);
}

TEST_P(LiveWays, CarriesTcpBetweenPodsDirectly) {
  Serve({});
  Socket near = Listener(near_), far = Listener(far_);

  ExpectTalk(*client_.netns, near_.ip, 8080, near);
  ExpectTalk(*client_.netns, far_.ip, 8080, far);
}

TEST_P(LiveWays, ShowsTheBackendTheClientsOwnAddress) {
  Serve({far_.ip});
  Socket listener = Listener(far_);
  std::string source;

  ExpectTalk(*client_.netns, vip_, 80, listener, &source);

  EXPECT_THAT(source, From(client_.ip));
}

TEST_P(LiveWays, LetsAPodReachItselfThroughItsService) {
  Serve({near_.ip});
  Socket listener = Listener(near_), receiver = Receiver(near_);

  ExpectTalk(*near_.netns, vip_, 80, listener);
  ExpectDatagrams(*near_.netns, vip_, 80, receiver);
}

TEST_P(LiveWays, LetsProcessesOfTheNodeReachServicesAndPods) {
  Serve({near_.ip});
  Socket near = Listener(near_), receiver = Receiver(near_);
  ExpectTalk(*one_.netns, vip_, 80, near);
  ExpectTalk(*one_.netns, near_.ip, 8080, near);
  ExpectDatagrams(*one_.netns, vip_, 80, receiver);

  Serve({far_.ip});
  Socket far = Listener(far_), far_receiver = Receiver(far_);
  ExpectTalk(*one_.netns, vip_, 80, far);
  ExpectDatagrams(*one_.netns, vip_, 80, far_receiver);
}

// A pod in the node's own network, or a hand-written endpoint.
TEST_P(LiveWays, ServesAProcessOfTheNodeToEverybody) {
  for (const IpAddress& own : {NodeIp(one_), Gateway(one_)}) {
    SCOPED_TRACE(own.ToString());
    Serve({own});
    Socket listener = *Tcp(*one_.netns), receiver = *Udp(*one_.netns);
    ASSERT_STATUS(listener.Bind(own, 8080));
    ASSERT_STATUS(listener.Listen());
    ASSERT_STATUS(receiver.Bind(own, 8080));
    std::string source;

    ExpectTalk(*one_.netns, vip_, 80, listener, &source);
    EXPECT_THAT(source, From(Hairpin()));
    ExpectDatagrams(*one_.netns, vip_, 80, receiver);
    ExpectTalk(*client_.netns, vip_, 80, listener, &source);
    EXPECT_THAT(source, From(client_.ip));
    ExpectDatagrams(*client_.netns, vip_, 80, receiver);
  }
  // Nobody at that port: the node's own refusal finds its way back.
  Serve({NodeIp(one_)});
  Socket refused = *Tcp(*one_.netns), unheard = *Udp(*one_.netns);
  EXPECT_THAT(std::string(refused.Connect(vip_, 80).message()), ::testing::HasSubstr("refused"));
  ASSERT_STATUS(unheard.Connect(vip_, 80));
  ASSERT_STATUS(unheard.Send("anybody?"));
  EXPECT_THAT(std::string(unheard.Receive().status().message()), ::testing::HasSubstr("refused"));

  // A connection of the node to itself stays when all flows are judged again.
  Socket listener = *Tcp(*one_.netns);
  ASSERT_STATUS(listener.Bind(NodeIp(one_), 8080));
  ASSERT_STATUS(listener.Listen());
  Socket client = *Tcp(*one_.netns);
  ASSERT_STATUS(client.Connect(vip_, 80));
  absl::StatusOr<Socket> server = listener.Accept();
  ASSERT_TRUE(server.ok()) << server.status();
  desired_.namespaces[kShop].isolation = Isolation::kClosed;
  Apply();
  ASSERT_STATUS(server->Send("from the server"));
  EXPECT_EQ(client.Receive().value_or(""), "from the server");
  ASSERT_STATUS(client.Send("from the client"));
  EXPECT_EQ(server->Receive().value_or(""), "from the client");
}

TEST_P(LiveWays, LetsPodsReachTheirNodeAtItsGatewayAddress) {
  Serve({});
  Socket listener = *Tcp(*one_.netns);
  ASSERT_STATUS(listener.Bind(Gateway(one_), 5353));
  ASSERT_STATUS(listener.Listen());
  Socket receiver = *Udp(*one_.netns);
  ASSERT_STATUS(receiver.Bind(Gateway(one_), 5353));

  ExpectTalk(*client_.netns, Gateway(one_), 5353, listener);
  ExpectDatagrams(*client_.netns, Gateway(one_), 5353, receiver);
}

TEST_P(LiveWays, IsolatesNamespacesExceptThroughTheService) {
  Serve({near_.ip});
  Socket listener = Listener(near_);
  Socket direct = *Tcp(*clerk_.netns);

  EXPECT_FALSE(direct.Connect(near_.ip, 8080, kDropped).ok());
  EXPECT_GT(Drops(one_, "isolation"), 0u);
  ExpectTalk(*clerk_.netns, vip_, 80, listener);
}

TEST_P(LiveWays, IsolatesNamespacesAcrossNodesExceptThroughTheService) {
  Serve({far_.ip});
  Socket listener = Listener(far_);
  Socket direct = *Tcp(*clerk_.netns);

  EXPECT_FALSE(direct.Connect(far_.ip, 8080, kDropped).ok());
  EXPECT_GT(Drops(two_, "isolation"), 0u);
  ExpectTalk(*clerk_.netns, vip_, 80, listener);
}

TEST_P(LiveWays, OpenNamespacesTakeEverybodyAndClosedOnesNobody) {
  Serve({near_.ip});
  Socket listener = Listener(near_);
  desired_.namespaces[kShop].isolation = Isolation::kOpen;
  Apply();
  ExpectTalk(*clerk_.netns, near_.ip, 8080, listener);

  desired_.namespaces[kShop].isolation = Isolation::kClosed;
  Apply();
  Socket through_service = *Tcp(*clerk_.netns);
  EXPECT_FALSE(through_service.Connect(vip_, 80, kDropped).ok());
  ExpectTalk(*client_.netns, vip_, 80, listener);
}

TEST_P(LiveWays, TellsTheSamePortToTheServiceAndToThePodApart) {
  Serve({near_.ip});
  Socket listener = Listener(near_);
  Socket first = *Tcp(*client_.netns);
  ASSERT_STATUS(first.Bind(client_.ip, 41000));
  ASSERT_STATUS(first.Connect(vip_, 80));
  absl::StatusOr<Socket> first_server = listener.Accept();
  ASSERT_TRUE(first_server.ok());

  // While the first lives, the second meets the same backend with the same client port.
  Socket second = *Tcp(*client_.netns);
  ASSERT_STATUS(second.Bind(client_.ip, 41000));
  ASSERT_STATUS(second.Connect(near_.ip, 8080));
  absl::StatusOr<Socket> second_server = listener.Accept();
  ASSERT_TRUE(second_server.ok());

  ASSERT_STATUS(first.Send("one"));
  ASSERT_STATUS(second.Send("two"));
  EXPECT_EQ(first_server->Receive().value_or(""), "one");
  EXPECT_EQ(second_server->Receive().value_or(""), "two");
  ASSERT_STATUS(first_server->Send("answer one"));
  ASSERT_STATUS(second_server->Send("answer two"));
  EXPECT_EQ(first.Receive().value_or(""), "answer one");
  EXPECT_EQ(second.Receive().value_or(""), "answer two");
}

TEST_P(LiveWays, KeepsConnectionsWhenTheAgentRestarts) {
  Serve({far_.ip});
  Socket listener = Listener(far_);
  Socket client = *Tcp(*client_.netns);
  ASSERT_STATUS(client.Connect(vip_, 80));
  absl::StatusOr<Socket> server = listener.Accept();
  ASSERT_TRUE(server.ok());

  for (Node* node : {&one_, &two_}) {
    node->dataplane.reset();
  }
  ASSERT_STATUS(client.Send("no agent"));
  EXPECT_EQ(server->Receive().value_or(""), "no agent");
  for (Node* node : {&one_, &two_}) ASSERT_STATUS(OpenNode(*node));
  ASSERT_STATUS(server->Send("new agent"));
  EXPECT_EQ(client.Receive().value_or(""), "new agent");

  EXPECT_EQ(one_.dataplane->Endpoints()->size(), 3u);
  EXPECT_EQ(one_.dataplane->Services()->size(), 2u);
  ExpectTalk(*client_.netns, vip_, 80, listener);
}

TEST_P(LiveWays, KeepsAFlowOnItsDrainingBackendAndGivesNewOnesToOthers) {
  Serve({near_.ip});
  Socket near = Listener(near_), far = Listener(far_);
  Socket client = *Tcp(*client_.netns);
  ASSERT_STATUS(client.Connect(vip_, 80));
  absl::StatusOr<Socket> server = near.Accept();
  ASSERT_TRUE(server.ok());

  Serve({near_.ip, far_.ip});
  for (ServicePort& port : desired_.services["shop/web"].ports) {
    port.backends[0].state = BackendState::kDraining;
  }
  Apply();

  ASSERT_STATUS(client.Send("still here"));
  EXPECT_EQ(server->Receive().value_or(""), "still here");
  for (int i = 0; i < 8; ++i) ExpectTalk(*client_.netns, vip_, 80, far);
}

// Datagrams have no SYN, and the last client's time is not over yet.
TEST_P(LiveWays, GivesAnotherSocketOnTheSamePortAnotherBackendThanTheDrainingOne) {
  Serve({near_.ip, far_.ip});
  Socket near = Receiver(near_), far = Receiver(far_);
  const auto drain = [&](size_t which) {
    for (ServicePort& port : desired_.services["shop/web"].ports) {
      for (size_t i = 0; i < 2; ++i) {
        port.backends[i].state = i == which ? BackendState::kDraining : BackendState::kActive;
      }
    }
    Apply();
  };
  const auto ask = [&](Socket& client, Socket& server) {
    ASSERT_STATUS(client.Send("question"));
    const absl::StatusOr<std::string> question = server.Answer("answer");
    ASSERT_TRUE(question.ok()) << question.status();
    EXPECT_EQ(client.Receive().value_or(""), "answer");
  };
  for (const Netns* from : {&*client_.netns, &*one_.netns}) {
    SCOPED_TRACE(from == &*one_.netns ? "from the node" : "from a pod");
    drain(1);
    std::optional<Socket> first = *Udp(*from);
    ASSERT_STATUS(first->Connect(vip_, 80));
    const uint16_t port = first->local_port();
    for (int i = 0; i < 20; ++i) ask(*first, near);
    drain(0);
    ask(*first, near);

    first.reset();
    Socket second = *Udp(*from);
    ASSERT_STATUS(second.Bind(AnyAddress(way_.family), port));
    ASSERT_STATUS(second.Connect(vip_, 80));
    ask(second, far);
  }
}

// Also when the flow's entries are those of a client before it.
TEST_P(LiveWays, LeavesASocketThatTalksToItsDrainingBackend) {
  Serve({near_.ip});
  Socket server = Receiver(near_);
  const auto ask = [&](Socket& client) {
    ASSERT_STATUS(client.Send("question"));
    ASSERT_TRUE(server.Answer("answer").ok());
    EXPECT_EQ(client.Receive().value_or(""), "answer");
  };
  std::optional<Socket> first = *Udp(*client_.netns);
  ASSERT_STATUS(first->Connect(vip_, 80));
  const uint16_t port = first->local_port();
  ask(*first);
  first.reset();
  Socket second = *Udp(*client_.netns);
  ASSERT_STATUS(second.Bind(AnyAddress(way_.family), port));
  ASSERT_STATUS(second.Connect(vip_, 80));
  const absl::Time talked = absl::Now() + absl::Milliseconds(1500);
  while (absl::Now() < talked) ask(second);

  Serve({near_.ip, far_.ip});
  for (ServicePort& service_port : desired_.services["shop/web"].ports) {
    service_port.backends[0].state = BackendState::kDraining;
  }
  Apply();

  for (int i = 0; i < 20; ++i) ask(second);
}

// Its client's socket takes it from the Service's address alone.
TEST_P(LiveWays, TranslatesAnAnswerThatComesAfterItsBackendIsGone) {
  for (const Pod* server : {&near_, &far_}) {
    SCOPED_TRACE(server == &near_ ? "on this node" : "on another node");
    Serve({server->ip});
    Socket receiver = Receiver(*server), client = *Udp(*client_.netns);
    ASSERT_STATUS(client.Connect(vip_, 80));
    ASSERT_STATUS(client.Send("question"));
    ASSERT_TRUE(receiver.Receive().ok());

    Serve({server->ip, clerk_.ip});
    Serve({clerk_.ip});
    for (Node* node : {&one_, &two_}) {
      ASSERT_STATUS(
          InNetns(node->netns->fd(), [&] { return node->dataplane->CollectGarbage().status(); }));
    }
    ASSERT_STATUS(receiver.SendTo(client_.ip, client.local_port(), "answer"));

    EXPECT_EQ(client.Receive().value_or(""), "answer");
  }
}

TEST_P(LiveWays, LeavesNothingOfADetachedPodAndOfARemovedService) {
  Serve({near_.ip});
  Socket listener = Listener(near_);
  ExpectTalk(*client_.netns, vip_, 80, listener);
  ASSERT_FALSE(one_.dataplane->Conntrack()->empty());

  ASSERT_STATUS(
      InNetns(one_.netns->fd(), [&] { return one_.dataplane->Detach("container-near", "eth0"); }));
  desired_.services.clear();
  Apply();
  // Twice: a backend is kept until two sweeps have found no flow of it.
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(one_.dataplane->CollectGarbage().ok());

  EXPECT_EQ(one_.dataplane->Endpoints()->size(), 2u);
  EXPECT_TRUE(one_.dataplane->Conntrack()->empty());
  EXPECT_TRUE(one_.dataplane->Services()->empty());
  EXPECT_TRUE(one_.dataplane->Backends()->empty());
  // Again: nothing to do.
  EXPECT_TRUE(InNetns(one_.netns->fd(), [&] {
                return one_.dataplane->Detach("container-near", "eth0");
              }).ok());
}

TEST_P(LiveWays, ChecksWhatAttachHasMade) {
  const auto check = [&] {
    return InNetns(one_.netns->fd(), [&] { return one_.dataplane->Check(near_.request); });
  };
  EXPECT_TRUE(check().ok()) << check();

  absl::StatusOr<Netlink> pod = Netlink::OpenIn(near_.netns->fd());
  ASSERT_TRUE(pod.ok());
  ASSERT_STATUS(pod->DeleteLink(pod->Link("eth0")->ifindex));

  EXPECT_EQ(check().code(), absl::StatusCode::kFailedPrecondition) << check();
}

// As the agent does: on another thread than everything else.
TEST_P(LiveWays, SettlesPodsWhileOthersComeAndGo) {
  std::atomic<bool> stop = false;
  std::thread settler([&] {
    const absl::Status settled = InNetns(one_.netns->fd(), [&]() -> absl::Status {
      while (!stop) RETURN_IF_ERROR(one_.dataplane->Settle().status());
      while (true) {
        ASSIGN_OR_RETURN(const bool more, one_.dataplane->Settle());
        if (!more) return absl::OkStatus();
      }
    });
    EXPECT_TRUE(settled.ok()) << settled;
  });
  settle_ = false;
  for (int i = 0; i < 30; ++i) {
    Pod pod;
    const std::string name = fmt::format("young{}", i);
    const absl::Status attached =
        Attach(pod, one_, fmt::format("10.244.1.{}", 100 + i), kShop, name);
    const absl::Status as_made = InNetns(one_.netns->fd(), [&]() -> absl::Status {
      RETURN_IF_ERROR(attached);
      RETURN_IF_ERROR(one_.dataplane->Check(pod.request));
      if (i % 3 == 0) return absl::OkStatus();
      return one_.dataplane->Detach(pod.request.container_id, pod.request.ifname);
    });
    EXPECT_TRUE(as_made.ok()) << name << ": " << as_made;
  }
  stop = true;
  settler.join();

  EXPECT_EQ(one_.dataplane->Endpoints()->size(), 13u);
  EXPECT_FALSE(*one_.dataplane->Settle());
}

TEST_P(LiveWays, RefusesAnInterfaceNameThatIsTaken) {
  AttachRequest request = near_.request;
  request.container_id = "another";
  request.ip = Ip("10.244.1.99");
  if (request.ip6 != IpAddress()) request.ip6 = SecondAddress(one_.config, request.ip);

  const absl::Status status =
      InNetns(one_.netns->fd(), [&] { return one_.dataplane->Attach(request).status(); });

  EXPECT_TRUE(absl::IsAlreadyExists(status)) << status;
  EXPECT_EQ(one_.dataplane->Endpoints()->size(), 3u);
}

INSTANTIATE_TEST_SUITE_P(, LiveWays, EveryWay(), NameOf);

}  // namespace
}  // namespace mesh::dataplane::testing
