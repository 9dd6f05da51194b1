// SPDX-License-Identifier: Apache-2.0
// Goal: the packet path carries real connections. Method: two nodes, each a network namespace with
// the real KernelDataplane, joined by a veth pair as their uplink; pods are namespaces attached to
// them; ordinary sockets talk. Needs root.
//
//   shop/client (10.244.1.10) --+                       +-- shop/far (10.244.2.10)
//   shop/near   (10.244.1.11) --+ one ==== uplink ==== two
//   bank/clerk  (10.244.1.12) --+
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/stat.h>

#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/time/clock.h"
#include "dataplane/kernel_dataplane.h"
#include "dataplane/net/netlink.h"
#include "dataplane/net/netns.h"
#include "fmt/format.h"
#include "tests/support/network/network.h"

namespace mesh::dataplane {
namespace {

using mesh::testing::Netns;
using mesh::testing::PrivateBpffs;
using mesh::testing::Socket;

constexpr uint32_t kShop = 256, kBank = 257;
constexpr absl::Duration kDropped = absl::Milliseconds(300);

IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }
IpPrefix Range(const std::string& text) { return *IpPrefix::Parse(text); }

#define ASSERT_STATUS(expr)                                      \
  do {                                                           \
    const absl::Status status_ = (expr);                         \
    ASSERT_TRUE(status_.ok()) << std::string(status_.message()); \
  } while (false)

struct Node {
  std::string name;
  NodeConfig config;
  std::optional<Netns> netns;
  std::unique_ptr<KernelDataplane> dataplane;
  std::string bpf_root;
};

struct Pod {
  IpAddress ip;
  std::optional<Netns> netns;
  Node* node = nullptr;
  AttachRequest request;
};

class Live : public ::testing::Test {
 protected:
  void SetUp() override {
    const absl::StatusOr<std::string> root = PrivateBpffs();
    ASSERT_TRUE(root.ok()) << root.status();
    static int test = 0;
    ++test;
    int number = 0;
    for (Node* node : {&one_, &two_}) {
      ++number;
      node->name = fmt::format("node{}", number);
      node->config = {.node_name = node->name,
                      .node_ip = Ip(fmt::format("192.0.2.{}", number)),
                      .pod_cidr = Range(fmt::format("10.244.{}.0/24", number)),
                      .cluster_cidr = Range("10.244.0.0/16"),
                      .service_cidr = Range("10.96.0.0/16"),
                      .gateway = Ip(fmt::format("10.244.{}.1", number)),
                      .uplink_mtu = 1500};
      absl::StatusOr<Netns> netns = Netns::Make();
      ASSERT_TRUE(netns.ok()) << netns.status();
      node->netns = *std::move(netns);
      node->bpf_root = fmt::format("{}/t{}n{}", *root, test, number);
      ASSERT_EQ(mkdir(node->bpf_root.c_str(), 0700), 0);
    }
    ASSERT_STATUS(Join());
    for (Node* node : {&one_, &two_}) ASSERT_STATUS(OpenNode(*node));
    ASSERT_STATUS(Attach(client_, one_, "10.244.1.10", kShop, "client"));
    ASSERT_STATUS(Attach(near_, one_, "10.244.1.11", kShop, "near"));
    ASSERT_STATUS(Attach(clerk_, one_, "10.244.1.12", kBank, "clerk"));
    ASSERT_STATUS(Attach(far_, two_, "10.244.2.10", kShop, "far"));
    desired_.complete = true;
    desired_.revision = 1;
    desired_.namespaces = {{kShop, {"shop"}}, {kBank, {"bank"}}};
  }

  void TearDown() override {
    if (HasFailure()) {
      for (Node* node : {&one_, &two_}) {
        if (node->dataplane == nullptr) continue;
        const auto metrics = node->dataplane->Metrics();
        for (const MetricRow& row : *metrics) {
          std::cerr << node->name << " " << row.direction << " " << row.reason << " " << row.packets
                    << " packets\n";
        }
      }
    }
    for (Node* node : {&one_, &two_}) {
      if (node->dataplane == nullptr) continue;
      InNetns(node->netns->fd(), [&] {
        node->dataplane.reset();
        return KernelDataplane::Remove({node->bpf_root});
      }).IgnoreError();
    }
  }

  // A veth pair as both nodes' uplink.
  absl::Status Join() {
    absl::StatusOr<Netlink> first = Netlink::OpenIn(one_.netns->fd());
    if (!first.ok()) return first.status();
    absl::StatusOr<Netlink> second = Netlink::OpenIn(two_.netns->fd());
    if (!second.ok()) return second.status();
    const MacAddress mac_one = {2, 0, 0, 0, 0, 1}, mac_two = {2, 0, 0, 0, 0, 2};
    absl::Status status =
        first->AddVeth({"uplink", mac_one, -1}, {"uplink", mac_two, two_.netns->fd()}, 1500);
    if (!status.ok()) return status;
    for (auto [netlink, self, other, mac] : {std::tuple(&*first, &one_, &two_, mac_two),
                                             std::tuple(&*second, &two_, &one_, mac_one)}) {
      absl::StatusOr<LinkInfo> link = netlink->Link("uplink");
      if (!link.ok()) return link.status();
      netlink->Begin();
      netlink->AddAddress(link->ifindex, self->config.node_ip).IgnoreError();
      netlink->SetUp(link->ifindex).IgnoreError();
      netlink->AddRoute({Range(other->config.node_ip.ToString() + "/32"), link->ifindex, {}, {}})
          .IgnoreError();
      netlink->AddNeighbour(link->ifindex, other->config.node_ip, mac).IgnoreError();
      if (status = netlink->Commit(); !status.ok()) return status;
    }
    // Until the kernel's link watcher has run, the first end drops what it should send.
    const absl::Time deadline = absl::Now() + absl::Seconds(5);
    while (!first->Link("uplink")->running || !second->Link("uplink")->running) {
      if (absl::Now() > deadline) return absl::DeadlineExceededError("uplink does not come up");
      sched_yield();
    }
    return absl::OkStatus();
  }

  absl::Status OpenNode(Node& node) {
    return InNetns(node.netns->fd(), [&] {
      absl::StatusOr<std::unique_ptr<KernelDataplane>> opened =
          KernelDataplane::Open(node.config, {node.bpf_root});
      if (opened.ok()) node.dataplane = *std::move(opened);
      return opened.status();
    });
  }

  absl::Status Attach(Pod& pod, Node& node, const std::string& ip, uint32_t identity,
                      const std::string& name) {
    absl::StatusOr<Netns> netns = Netns::Make();
    if (!netns.ok()) return netns.status();
    pod.netns = *std::move(netns);
    pod.ip = Ip(ip);
    pod.node = &node;
    pod.request = {
        pod.netns->path(),  "eth0", pod.ip, identity, identity == kShop ? "shop" : "bank", name,
        "container-" + name};
    return InNetns(node.netns->fd(), [&] { return node.dataplane->Attach(pod.request).status(); });
  }

  // The Service shop/web: 10.96.0.10, TCP and UDP port 80 to 8080 of the given pods.
  void Serve(std::vector<IpAddress> pods) {
    Service& service = desired_.services["shop/web"];
    service = {"shop", "web", vip_, kShop, {}};
    for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
      ServicePort port{"", protocol, 80, {}};
      for (const IpAddress& pod : pods) {
        port.backends.push_back({pod, 8080, BackendState::kActive, "", ""});
      }
      service.ports.push_back(std::move(port));
    }
    Apply();
  }

  void Apply() {
    for (Node* node : {&one_, &two_}) {
      Node* other = node == &one_ ? &two_ : &one_;
      desired_.peers = {
          {other->name, {other->name, other->config.node_ip, other->config.pod_cidr}}};
      ASSERT_STATUS(InNetns(node->netns->fd(), [&] { return node->dataplane->Apply(desired_); }));
    }
  }

  static Socket Listener(const Pod& pod) {
    Socket out = *Socket::Tcp(*pod.netns);
    EXPECT_TRUE(out.Bind(IpAddress::V4(0), 8080).ok());
    EXPECT_TRUE(out.Listen().ok());
    return out;
  }
  static Socket Receiver(const Pod& pod) {
    Socket out = *Socket::Udp(*pod.netns);
    EXPECT_TRUE(out.Bind(IpAddress::V4(0), 8080).ok());
    return out;
  }

  // A connection from `from` to ip:port that arrives at `listener`, with both directions checked.
  static void ExpectTalk(const Netns& from, const IpAddress& ip, uint16_t port, Socket& listener,
                         std::string* source = nullptr) {
    Socket client = *Socket::Tcp(from);
    ASSERT_STATUS(client.Connect(ip, port));
    absl::StatusOr<Socket> server = listener.Accept();
    ASSERT_TRUE(server.ok()) << server.status();
    // More than one segment, so that segmentation offload takes part.
    const std::string question(40000, 'q');
    ASSERT_STATUS(client.Send(question));
    std::string received;
    while (received.size() < question.size()) {
      const absl::StatusOr<std::string> part = server->Receive();
      ASSERT_TRUE(part.ok()) << part.status();
      ASSERT_FALSE(part->empty());
      received += *part;
    }
    EXPECT_EQ(received, question);
    ASSERT_STATUS(server->Send("answer"));
    const absl::StatusOr<std::string> answer = client.Receive();
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(*answer, "answer");
    if (source != nullptr) *source = server->peer();
  }

  static void ExpectDatagrams(const Netns& from, const IpAddress& ip, uint16_t port,
                              Socket& receiver) {
    Socket client = *Socket::Udp(from);
    ASSERT_STATUS(client.Connect(ip, port));
    ASSERT_STATUS(client.Send("question"));
    const absl::StatusOr<std::string> question = receiver.Answer("answer");
    ASSERT_TRUE(question.ok()) << question.status();
    EXPECT_EQ(*question, "question");
    const absl::StatusOr<std::string> answer = client.Receive();
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(*answer, "answer");
  }

  uint64_t Drops(Node& node, const std::string& reason) {
    uint64_t packets = 0;
    const auto metrics = node.dataplane->Metrics();
    for (const MetricRow& row : *metrics) {
      if (row.reason == reason) packets += row.packets;
    }
    return packets;
  }

  const IpAddress vip_ = Ip("10.96.0.10");
  Node one_, two_;
  Pod client_, near_, clerk_, far_;
  DesiredState desired_;
};

TEST_F(Live, CarriesTcpAndUdpToAPodOfTheSameNodeThroughTheService) {
  Serve({near_.ip});
  Socket listener = Listener(near_), receiver = Receiver(near_);

  ExpectTalk(*client_.netns, vip_, 80, listener);
  ExpectDatagrams(*client_.netns, vip_, 80, receiver);
}

TEST_F(Live, CarriesTcpAndUdpToAPodOfAnotherNodeThroughTheService) {
  Serve({far_.ip});
  Socket listener = Listener(far_), receiver = Receiver(far_);

  ExpectTalk(*client_.netns, vip_, 80, listener);
  ExpectDatagrams(*client_.netns, vip_, 80, receiver);
}

TEST_F(Live, CarriesTcpBetweenPodsDirectly) {
  Serve({});
  Socket near = Listener(near_), far = Listener(far_);

  ExpectTalk(*client_.netns, near_.ip, 8080, near);
  ExpectTalk(*client_.netns, far_.ip, 8080, far);
}

TEST_F(Live, ShowsTheBackendTheClientsOwnAddress) {
  Serve({far_.ip});
  Socket listener = Listener(far_);
  std::string source;

  ExpectTalk(*client_.netns, vip_, 80, listener, &source);

  EXPECT_THAT(source, ::testing::StartsWith("10.244.1.10:"));
}

TEST_F(Live, LetsAPodReachItselfThroughItsService) {
  Serve({near_.ip});
  Socket listener = Listener(near_), receiver = Receiver(near_);

  ExpectTalk(*near_.netns, vip_, 80, listener);
  ExpectDatagrams(*near_.netns, vip_, 80, receiver);
}

TEST_F(Live, LetsProcessesOfTheNodeReachServicesAndPods) {
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

TEST_F(Live, LetsPodsReachTheirNodeAtItsGatewayAddress) {
  Serve({});
  Socket listener = *Socket::Tcp(*one_.netns);
  ASSERT_STATUS(listener.Bind(one_.config.gateway, 5353));
  ASSERT_STATUS(listener.Listen());
  Socket receiver = *Socket::Udp(*one_.netns);
  ASSERT_STATUS(receiver.Bind(one_.config.gateway, 5353));

  ExpectTalk(*client_.netns, one_.config.gateway, 5353, listener);
  ExpectDatagrams(*client_.netns, one_.config.gateway, 5353, receiver);
}

TEST_F(Live, IsolatesNamespacesExceptThroughTheService) {
  Serve({near_.ip});
  Socket listener = Listener(near_);
  Socket direct = *Socket::Tcp(*clerk_.netns);

  EXPECT_FALSE(direct.Connect(near_.ip, 8080, kDropped).ok());
  EXPECT_GT(Drops(one_, "isolation"), 0u);
  ExpectTalk(*clerk_.netns, vip_, 80, listener);
}

TEST_F(Live, IsolatesNamespacesAcrossNodesExceptThroughTheService) {
  Serve({far_.ip});
  Socket listener = Listener(far_);
  Socket direct = *Socket::Tcp(*clerk_.netns);

  EXPECT_FALSE(direct.Connect(far_.ip, 8080, kDropped).ok());
  EXPECT_GT(Drops(two_, "isolation"), 0u);
  ExpectTalk(*clerk_.netns, vip_, 80, listener);
}

TEST_F(Live, OpenNamespacesTakeEverybodyAndClosedOnesNobody) {
  Serve({near_.ip});
  Socket listener = Listener(near_);
  desired_.namespaces[kShop].isolation = Isolation::kOpen;
  Apply();
  ExpectTalk(*clerk_.netns, near_.ip, 8080, listener);

  desired_.namespaces[kShop].isolation = Isolation::kClosed;
  Apply();
  Socket through_service = *Socket::Tcp(*clerk_.netns);
  EXPECT_FALSE(through_service.Connect(vip_, 80, kDropped).ok());
  ExpectTalk(*client_.netns, vip_, 80, listener);
}

TEST_F(Live, TellsTheSamePortToTheServiceAndToThePodApart) {
  Serve({near_.ip});
  Socket listener = Listener(near_);
  Socket first = *Socket::Tcp(*client_.netns);
  ASSERT_STATUS(first.Bind(client_.ip, 41000));
  ASSERT_STATUS(first.Connect(vip_, 80));
  absl::StatusOr<Socket> first_server = listener.Accept();
  ASSERT_TRUE(first_server.ok());

  // While the first lives, the second meets the same backend with the same client port.
  Socket second = *Socket::Tcp(*client_.netns);
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

TEST_F(Live, KeepsConnectionsWhenTheAgentRestarts) {
  Serve({far_.ip});
  Socket listener = Listener(far_);
  Socket client = *Socket::Tcp(*client_.netns);
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

TEST_F(Live, KeepsAFlowOnItsDrainingBackendAndGivesNewOnesToOthers) {
  Serve({near_.ip});
  Socket near = Listener(near_), far = Listener(far_);
  Socket client = *Socket::Tcp(*client_.netns);
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

TEST_F(Live, LeavesNothingOfADetachedPodAndOfARemovedService) {
  Serve({near_.ip});
  Socket listener = Listener(near_);
  ExpectTalk(*client_.netns, vip_, 80, listener);
  ASSERT_FALSE(one_.dataplane->Conntrack()->empty());

  ASSERT_STATUS(
      InNetns(one_.netns->fd(), [&] { return one_.dataplane->Detach("container-near", "eth0"); }));
  desired_.services.clear();
  Apply();
  ASSERT_TRUE(one_.dataplane->CollectGarbage().ok());

  EXPECT_EQ(one_.dataplane->Endpoints()->size(), 2u);
  EXPECT_TRUE(one_.dataplane->Conntrack()->empty());
  EXPECT_TRUE(one_.dataplane->Services()->empty());
  EXPECT_TRUE(one_.dataplane->Backends()->empty());
  // Again: nothing to do.
  EXPECT_TRUE(InNetns(one_.netns->fd(), [&] {
                return one_.dataplane->Detach("container-near", "eth0");
              }).ok());
}

TEST_F(Live, ChecksWhatAttachHasMade) {
  const auto check = [&] {
    return InNetns(one_.netns->fd(), [&] { return one_.dataplane->Check(near_.request); });
  };
  EXPECT_TRUE(check().ok()) << check();

  absl::StatusOr<Netlink> pod = Netlink::OpenIn(near_.netns->fd());
  ASSERT_TRUE(pod.ok());
  ASSERT_STATUS(pod->DeleteLink(pod->Link("eth0")->ifindex));

  EXPECT_EQ(check().code(), absl::StatusCode::kFailedPrecondition) << check();
}

TEST_F(Live, RefusesAnInterfaceNameThatIsTaken) {
  AttachRequest request = near_.request;
  request.container_id = "another";
  request.ip = Ip("10.244.1.99");

  const absl::Status status =
      InNetns(one_.netns->fd(), [&] { return one_.dataplane->Attach(request).status(); });

  EXPECT_TRUE(absl::IsAlreadyExists(status)) << status;
  EXPECT_EQ(one_.dataplane->Endpoints()->size(), 3u);
}

}  // namespace
}  // namespace mesh::dataplane
