// SPDX-License-Identifier: Apache-2.0
// Two nodes, each a network namespace with the real KernelDataplane, joined by a veth pair as their
// uplink; pods are namespaces attached to them; ordinary sockets talk. Needs root.
//
//   shop/client (10.244.1.10) --+                       +-- shop/far (10.244.2.10)
//   shop/near   (10.244.1.11) --+ one ==== uplink ==== two
//   bank/clerk  (10.244.1.12) --+
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/stat.h>

#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/time/clock.h"
#include "common/socket_address.h"
#include "common/status.h"
#include "dataplane/kernel_dataplane.h"
#include "dataplane/net/netlink.h"
#include "dataplane/net/netns.h"
#include "fmt/format.h"
#include "tests/support/network/capture.h"
#include "tests/support/network/network.h"

namespace mesh::dataplane::testing {

using mesh::testing::Capture;
using mesh::testing::Netns;
using mesh::testing::PrivateBpffs;
using mesh::testing::Socket;

inline constexpr uint32_t kShop = 256, kBank = 257;
inline constexpr absl::Duration kDropped = absl::Milliseconds(300);

inline IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }
inline IpPrefix Range(const std::string& text) { return *IpPrefix::Parse(text); }

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

// What went over the wire during a test. scripts/test installs tshark and asks for it; elsewhere a
// test without it judges the rest.
inline void ExpectCleanWire(std::unique_ptr<Capture> wire) {
  if (wire == nullptr) return;
  const absl::Status judged = wire->Judge();
  static const bool required = std::getenv("MESH_REQUIRE_TSHARK") != nullptr;
  if (absl::IsUnavailable(judged) && !required) {
    static const bool told = (std::cerr << judged.message() << "\n", true);
    static_cast<void>(told);
    return;
  }
  EXPECT_TRUE(judged.ok()) << std::string(judged.message());
}

// How packets of a test travel.
struct Way {
  Family family = Family::kV4;
  Routing routing = Routing::kVxlan;
};
inline std::string NameOf(const ::testing::TestParamInfo<Way>& info) {
  return std::string(info.param.family == Family::kV4 ? "Ipv4" : "Ipv6") +
         (info.param.routing == Routing::kNative ? "Native" : "Vxlan");
}
inline std::vector<Way> AllWays() {
  return {{Family::kV4, Routing::kVxlan},
          {Family::kV6, Routing::kNative},
          {Family::kV6, Routing::kVxlan},
          {Family::kV4, Routing::kNative}};
}
// Each family and each routing once; their every combination with MESH_EVERY_WAY=1.
inline bool IsEveryWayWanted() { return getenv("MESH_EVERY_WAY") != nullptr; }
inline auto EveryWay() {
  std::vector<Way> ways = AllWays();
  if (!IsEveryWayWanted()) ways.resize(2);
  return ::testing::ValuesIn(ways);
}

// The address of a socket before its port.
inline auto From(const IpAddress& ip) {
  const std::string text = FormatHostPort(ip, 0);
  return ::testing::StartsWith(text.substr(0, text.size() - 1));
}

// The IPv6 of the nodes: one has fd00:10:244:1::/64, and a pod the place of its IPv4 address.
inline void AddIpv6(NodeConfig& config, int number) {
  config.node_ip6 = Ip(fmt::format("2001:db8::{}", number));
  config.pod_cidr6 = Range(fmt::format("fd00:10:244:{}::/64", number));
  config.cluster_cidr6 = Range("fd00:10:244::/48");
  config.service_cidr6 = Range("fd00:10:96::/112");
  config.gateway6 = Ip(fmt::format("fd00:10:244:{}::1", number));
}
inline IpAddress SecondAddress(const NodeConfig& config, const IpAddress& ip) {
  return *config.pod_cidr6.At(*config.pod_cidr.IndexOf(ip));
}
inline Peer PeerOf(const Node& node) {
  return {node.name, node.config.node_ip, node.config.pod_cidr, node.config.node_ip6,
          node.config.pod_cidr6};
}

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
                      .uplink_mtu = 1500,
                      .uplink = way_.routing == Routing::kNative ? "uplink" : "",
                      .routing = way_.routing};
      if (way_.family == Family::kV6) AddIpv6(node->config, number);
      absl::StatusOr<Netns> netns = Netns::Make();
      ASSERT_TRUE(netns.ok()) << netns.status();
      node->netns = *std::move(netns);
      node->bpf_root = fmt::format("{}/t{}n{}", *root, test, number);
      ASSERT_EQ(mkdir(node->bpf_root.c_str(), 0700), 0);
    }
    if (way_.family == Family::kV6) vip_ = Ip("fd00:10:96::a");
    ASSERT_STATUS(Join());
    ASSERT_STATUS(Listen());
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
    ExpectCleanWire(std::move(wire_));
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
        return KernelDataplane::Remove({.bpf_root = node->bpf_root});
      }).IgnoreError();
    }
  }

  absl::Status Listen() {
    absl::StatusOr<std::unique_ptr<Capture>> wire = Capture::Make();
    if (!wire.ok()) return wire.status();
    for (Node* node : {&one_, &two_}) {
      if (absl::Status status = (*wire)->Tap(*node->netns, "uplink"); !status.ok()) return status;
    }
    wire_ = *std::move(wire);
    wire_->Begin();
    return absl::OkStatus();
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
      if (way_.family == Family::kV6) {
        netlink->AddAddress(link->ifindex, self->config.node_ip6).IgnoreError();
        netlink->TakeAddress(link->ifindex, self->config.node_ip6).IgnoreError();
        netlink->AddRoute({IpPrefix::Of(other->config.node_ip6), link->ifindex, {}, {}})
            .IgnoreError();
        netlink->AddNeighbour(link->ifindex, other->config.node_ip6, mac).IgnoreError();
      }
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

  absl::Status OpenNode(Node& node) { return OpenNode(node, {.bpf_root = node.bpf_root}); }
  absl::Status OpenNode(Node& node, KernelDataplane::Options options) {
    return InNetns(node.netns->fd(), [&] {
      absl::StatusOr<std::unique_ptr<KernelDataplane>> opened =
          KernelDataplane::Open(node.config, std::move(options));
      if (opened.ok()) node.dataplane = *std::move(opened);
      return opened.status();
    });
  }

  absl::Status Attach(Pod& pod, Node& node, const std::string& ip, uint32_t identity,
                      const std::string& name, uint64_t egress = 0, uint64_t ingress = 0) {
    absl::StatusOr<Netns> netns = Netns::Make();
    if (!netns.ok()) return netns.status();
    pod.netns = *std::move(netns);
    pod.ip = Ip(ip);
    pod.node = &node;
    pod.request = {
        pod.netns->path(),   "eth0", pod.ip, identity, identity == kShop ? "shop" : "bank", name,
        "container-" + name, egress, ingress};
    if (way_.family == Family::kV6) {
      pod.ip = pod.request.ip6 = SecondAddress(node.config, pod.request.ip);
    }
    identities_[pod.request.ip] = identities_[pod.ip] = {&node, identity};
    return InNetns(node.netns->fd(), [&]() -> absl::Status {
      RETURN_IF_ERROR(node.dataplane->Attach(pod.request).status());
      return settle_ ? node.dataplane->Settle().status() : absl::OkStatus();
    });
  }

  const IpAddress& Gateway(const Node& node) const {
    return way_.family == Family::kV4 ? node.config.gateway : node.config.gateway6;
  }
  const IpAddress& NodeIp(const Node& node) const {
    return way_.family == Family::kV4 ? node.config.node_ip : node.config.node_ip6;
  }
  // Who stands for a client that could not be answered at its own address.
  IpAddress Hairpin() const {
    return Ip(way_.family == Family::kV4 ? "169.254.64.1" : "fd6d:6573:6800::1");
  }
  absl::StatusOr<Socket> Tcp(const Netns& netns) const { return Socket::Tcp(netns, way_.family); }
  absl::StatusOr<Socket> Udp(const Netns& netns) const { return Socket::Udp(netns, way_.family); }

  // The Service shop/web: vip_, TCP and UDP port 80 to 8080 of the given pods.
  void Serve(std::vector<IpAddress> pods) {
    Service& service = desired_.services["shop/web"];
    service = {"shop", "web", vip_, kShop, {}};
    service.family = way_.family;
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
      desired_.peers = {{other->name, PeerOf(*other)}};
      desired_.pod_identities.clear();
      for (const auto& [ip, pod] : identities_) {
        if (pod.first == other) desired_.pod_identities[ip] = pod.second;
      }
      ASSERT_STATUS(InNetns(node->netns->fd(), [&] { return node->dataplane->Apply(desired_); }));
    }
  }

  static Socket Listener(const Pod& pod) {
    Socket out = *Socket::Tcp(*pod.netns, FamilyOf(pod.ip));
    EXPECT_TRUE(out.Bind(AnyAddress(FamilyOf(pod.ip)), 8080).ok());
    EXPECT_TRUE(out.Listen().ok());
    return out;
  }
  static Socket Receiver(const Pod& pod) {
    Socket out = *Socket::Udp(*pod.netns, FamilyOf(pod.ip));
    EXPECT_TRUE(out.Bind(AnyAddress(FamilyOf(pod.ip)), 8080).ok());
    return out;
  }

  // A connection from `from` to ip:port that arrives at `listener`, with both directions checked.
  static void ExpectTalk(const Netns& from, const IpAddress& ip, uint16_t port, Socket& listener,
                         std::string* source = nullptr) {
    Socket client = *Socket::Tcp(from, FamilyOf(ip));
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
    Socket client = *Socket::Udp(from, FamilyOf(ip));
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

  Way way_;
  bool settle_ = true;                                          // pods as soon as they are attached
  std::map<IpAddress, std::pair<Node*, uint32_t>> identities_;  // of all pods, with their node
  IpAddress vip_ = Ip("10.96.0.10");
  std::unique_ptr<Capture> wire_;
  Node one_, two_;
  Pod client_, near_, clerk_, far_;
  DesiredState desired_;
};

// The same, once for each way.
class LiveWays : public Live, public ::testing::WithParamInterface<Way> {
 protected:
  LiveWays() { way_ = GetParam(); }
};

}  // namespace mesh::dataplane::testing
