// SPDX-License-Identifier: Apache-2.0
// Two nodes with the real KernelDataplane and a machine outside, each a network namespace, at one
// Ethernet switch (a bridge); ordinary sockets talk. Needs root.
//
//   one/near (10.244.1.10) -- one (192.0.2.1) --+
//                                               +-- switch -- outside (192.0.2.100)
//   two/far  (10.244.2.10) -- two (192.0.2.2) --+
#pragma once

#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "dataplane/kernel_dataplane.h"
#include "dataplane/net/netlink.h"
#include "dataplane/net/netns.h"
#include "dataplane/net/sysctl.h"
#include "fmt/format.h"
#include "tests/bpf/live.h"
#include "tests/support/network/network.h"

namespace mesh::dataplane::testing {

inline constexpr uint16_t kNodePort = 30080;
// Several windows and many segments, so that segmentation offload takes part.
inline constexpr size_t kLarge = 3'000'000;

// Asks the bridge driver, in the calling thread's network namespace.
inline absl::Status BridgeCall(unsigned long request, const std::string& bridge, int port) {
  const UniqueFd control(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!control) return ErrnoStatus(errno, "open a socket");
  ifreq argument{};
  std::strncpy(argument.ifr_name, bridge.c_str(), IFNAMSIZ - 1);
  argument.ifr_ifindex = port;
  void* pointer = port == 0 ? static_cast<void*>(argument.ifr_name) : &argument;
  if (ioctl(control.get(), request, pointer) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, "make a bridge");
}

class Edge : public ::testing::Test {
 protected:
  void SetUp() override {
    const absl::StatusOr<std::string> root = PrivateBpffs();
    ASSERT_TRUE(root.ok()) << root.status();
    static int test = 0;
    ++test;
    ASSERT_STATUS(MakeSwitch());
    if (way_.family == Family::kV6) {
      balancer_ = Ip("2001:db8::50");
      outside_ip_ = Ip("2001:db8::100");
      any_ = AnyAddress(Family::kV6);
      vip_ = Ip("fd00:10:96::a");
    }
    ASSERT_STATUS(Plug(outside_, "192.0.2.100", "2001:db8::100"));
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
                      .uplink = "uplink",
                      .routing = way_.routing};
      if (way_.family == Family::kV6) AddIpv6(node->config, number);
      ASSERT_STATUS(
          Plug(node->netns, node->config.node_ip.ToString(), fmt::format("2001:db8::{}", number)));
      node->bpf_root = fmt::format("{}/e{}n{}", *root, test, number);
      ASSERT_EQ(mkdir(node->bpf_root.c_str(), 0700), 0);
    }
    ASSERT_STATUS(WaitForLinks());
    ASSERT_STATUS(Listen());
    for (Node* node : {&one_, &two_}) ASSERT_STATUS(OpenNode(*node));
    ASSERT_STATUS(Attach(near_, one_, "10.244.1.10", "near"));
    ASSERT_STATUS(Attach(far_, two_, "10.244.2.10", "far"));
    desired_.complete = true;
    desired_.revision = 1;
    desired_.namespaces = {{kShop, {"shop"}}};
    Apply();
  }

  void TearDown() override {
    ExpectCleanWire(std::move(wire_));
    for (Node* node : {&one_, &two_}) {
      if (node->dataplane == nullptr) continue;
      if (HasFailure()) {
        const auto metrics = node->dataplane->Metrics();
        for (const MetricRow& row : *metrics) {
          std::cerr << node->name << " " << row.direction << " " << row.reason << " " << row.packets
                    << " packets\n";
        }
      }
      InNetns(node->netns->fd(), [&] {
        node->dataplane.reset();
        return KernelDataplane::Remove({node->bpf_root});
      }).IgnoreError();
    }
  }

  absl::Status Listen() {
    ASSIGN_OR_RETURN(wire_, Capture::Make());
    for (const std::optional<Netns>* machine : {&outside_, &one_.netns, &two_.netns}) {
      RETURN_IF_ERROR(wire_->Tap(**machine, "uplink"));
    }
    wire_->Begin();
    return absl::OkStatus();
  }

  absl::Status MakeSwitch() {
    ASSIGN_OR_RETURN(switch_, Netns::Make());
    RETURN_IF_ERROR(InNetns(switch_->fd(), [] { return BridgeCall(SIOCBRADDBR, "switch", 0); }));
    ASSIGN_OR_RETURN(Netlink netlink, Netlink::OpenIn(switch_->fd()));
    ASSIGN_OR_RETURN(const LinkInfo bridge, netlink.Link("switch"));
    return netlink.SetUp(bridge.ifindex);
  }

  // A machine with one interface at the switch.
  absl::Status Plug(std::optional<Netns>& machine, const std::string& ip,
                    const std::string& ip6 = "") {
    ++ports_;
    ASSIGN_OR_RETURN(machine, Netns::Make());
    // While an address is being checked for a double, nobody is asked for his in its name: a first
    // packet of IPv6 could wait for a second.
    RETURN_IF_ERROR(InNetns(machine->fd(), [] { return SetIpv6("default", "accept_dad", "0"); }));
    ASSIGN_OR_RETURN(Netlink at_switch, Netlink::OpenIn(switch_->fd()));
    const std::string port = fmt::format("port{}", ports_);
    RETURN_IF_ERROR(at_switch.AddVeth({port, {2, 0, 0, 0, 1, ports_}, -1},
                                      {"uplink", {2, 0, 0, 0, 0, ports_}, machine->fd()}, 1500));
    ASSIGN_OR_RETURN(const LinkInfo link, at_switch.Link(port));
    RETURN_IF_ERROR(
        InNetns(switch_->fd(), [&] { return BridgeCall(SIOCBRADDIF, "switch", link.ifindex); }));
    RETURN_IF_ERROR(at_switch.SetUp(link.ifindex));
    ASSIGN_OR_RETURN(Netlink netlink, Netlink::OpenIn(machine->fd()));
    ASSIGN_OR_RETURN(const LinkInfo uplink, netlink.Link("uplink"));
    netlink.Begin();
    netlink.AddAddress(uplink.ifindex, Ip(ip)).IgnoreError();  // queued: Commit() tells
    netlink.SetUp(uplink.ifindex).IgnoreError();
    netlink.AddRoute({Range("192.0.2.0/24"), uplink.ifindex, {}, {}}).IgnoreError();
    if (way_.family == Family::kV6 && !ip6.empty()) {
      netlink.AddAddress(uplink.ifindex, Ip(ip6)).IgnoreError();
      netlink.TakeAddress(uplink.ifindex, Ip(ip6)).IgnoreError();
      netlink.AddRoute({Range("2001:db8::/64"), uplink.ifindex, {}, {}}).IgnoreError();
    }
    return netlink.Commit();
  }

  // Until the kernel's link watcher has run, an end drops what it should send.
  absl::Status WaitForLinks() {
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    for (const std::optional<Netns>* machine : {&outside_, &one_.netns, &two_.netns}) {
      ASSIGN_OR_RETURN(Netlink netlink, Netlink::OpenIn((*machine)->fd()));
      while (!netlink.Link("uplink")->running) {
        if (absl::Now() > deadline) return absl::DeadlineExceededError("uplink does not come up");
        sched_yield();
      }
    }
    ASSIGN_OR_RETURN(Netlink netlink, Netlink::OpenIn(switch_->fd()));
    while (!netlink.Link("switch")->running || !netlink.Link("port1")->running ||
           !netlink.Link("port2")->running || !netlink.Link("port3")->running) {
      if (absl::Now() > deadline) return absl::DeadlineExceededError("switch does not come up");
      sched_yield();
    }
    return absl::OkStatus();
  }

  absl::Status OpenNode(Node& node) { return OpenNode(node, {.bpf_root = node.bpf_root}); }
  absl::Status OpenNode(Node& node, KernelDataplane::Options options) {
    options.xdp_on_veth = xdp_on_veth_;
    return InNetns(node.netns->fd(), [&] {
      absl::StatusOr<std::unique_ptr<KernelDataplane>> opened =
          KernelDataplane::Open(node.config, std::move(options));
      if (opened.ok()) node.dataplane = *std::move(opened);
      return opened.status();
    });
  }

  absl::Status Attach(Pod& pod, Node& node, const std::string& ip, const std::string& name) {
    ASSIGN_OR_RETURN(pod.netns, Netns::Make());
    pod.ip = Ip(ip);
    pod.request = {pod.netns->path(), "eth0", pod.ip, kShop, "shop", name, "container-" + name};
    if (way_.family == Family::kV6) {
      pod.ip = pod.request.ip6 = SecondAddress(node.config, pod.request.ip);
    }
    identities_[pod.request.ip] = identities_[pod.ip] = {&node, kShop};
    return InNetns(node.netns->fd(), [&]() -> absl::Status {
      RETURN_IF_ERROR(node.dataplane->Attach(pod.request).status());
      return settle_ ? node.dataplane->Settle().status() : absl::OkStatus();
    });
  }

  void Apply() {
    for (Node* node : {&one_, &two_}) {
      Node* other = node == &one_ ? &two_ : &one_;
      desired_.peers = {{other->name, PeerOf(*other)}};
      DesiredState desired = desired_;
      for (const auto& [ip, pod] : identities_) {
        if (pod.first == other) desired.pod_identities[ip] = pod.second;
      }
      for (auto& [key, service] : desired.services) service.announced = node == &one_;
      ASSERT_STATUS(InNetns(node->netns->fd(), [&] { return node->dataplane->Apply(desired); }));
    }
  }

  // The Service shop/web: port 80, NodePort 30080, LoadBalancer 192.0.2.50, announced by one.
  Service& Serve(const std::vector<IpAddress>& pods) {
    Service& service = desired_.services["shop/web"];
    service = {};
    service.ns = "shop";
    service.name = "web";
    service.cluster_ip = vip_;
    service.family = way_.family;
    service.identity = kShop;
    service.load_balancer_ips = {balancer_};
    for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
      ServicePort port;
      port.protocol = protocol;
      port.port = 80;
      port.node_port = kNodePort;
      for (const IpAddress& pod : pods) {
        Backend backend;
        backend.ip = pod;
        backend.port = 8080;
        port.backends.push_back(backend);
      }
      service.ports.push_back(std::move(port));
    }
    return service;
  }

  static Socket Listener(const Netns& netns, const IpAddress& ip, uint16_t port) {
    Socket out = *Socket::Tcp(netns, FamilyOf(ip));
    EXPECT_TRUE(out.Bind(ip, port).ok());
    EXPECT_TRUE(out.Listen().ok());
    return out;
  }
  static Socket Receiver(const Netns& netns, const IpAddress& ip, uint16_t port) {
    Socket out = *Socket::Udp(netns, FamilyOf(ip));
    EXPECT_TRUE(out.Bind(ip, port).ok());
    return out;
  }

  static void Carry(Socket& from, Socket& to, size_t size) {
    const std::string data(size, 'x');
    size_t sent = 0, received = 0;
    while (received < size) {
      if (sent < size) {
        const size_t part = std::min<size_t>(60'000, size - sent);
        ASSERT_STATUS(from.Send(data.substr(0, part)));
        sent += part;
      }
      while (received < sent) {
        const absl::StatusOr<std::string> part = to.Receive(absl::Seconds(20));
        ASSERT_TRUE(part.ok()) << part.status();
        ASSERT_FALSE(part->empty());
        received += part->size();
      }
    }
    EXPECT_EQ(received, size);
  }

  // A connection from `from` to ip:port that arrives at `listener`; large both ways. Returns the
  // client's address as the server sees it.
  static std::string Talk(const Netns& from, const IpAddress& ip, uint16_t port, Socket& listener,
                          size_t size = kLarge) {
    std::string source;
    [&] {
      Socket client = *Socket::Tcp(from, FamilyOf(ip));
      ASSERT_STATUS(client.Connect(ip, port, absl::Seconds(20)));
      absl::StatusOr<Socket> server = listener.Accept(absl::Seconds(20));
      ASSERT_TRUE(server.ok()) << server.status();
      source = server->peer();
      ASSERT_NO_FATAL_FAILURE(Carry(client, *server, size));
      ASSERT_NO_FATAL_FAILURE(Carry(*server, client, size));
    }();
    return source;
  }

  static void ExpectDatagrams(const Netns& from, const IpAddress& ip, uint16_t port,
                              Socket& receiver) {
    Socket client = *Socket::Udp(from, FamilyOf(ip));
    ASSERT_STATUS(client.Connect(ip, port));
    ASSERT_STATUS(client.Send("question"));
    const absl::StatusOr<std::string> question = receiver.Answer("answer", absl::Seconds(20));
    ASSERT_TRUE(question.ok()) << question.status();
    EXPECT_EQ(*question, "question");
    const absl::StatusOr<std::string> answer = client.Receive(absl::Seconds(20));
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(*answer, "answer");
  }

  const IpAddress& NodeIp(const Node& node) const {
    return way_.family == Family::kV4 ? node.config.node_ip : node.config.node_ip6;
  }
  const IpAddress& Gateway(const Node& node) const {
    return way_.family == Family::kV4 ? node.config.gateway : node.config.gateway6;
  }

  Way way_;
  bool settle_ = true;  // pods as soon as they are attached
  IpAddress balancer_ = Ip("192.0.2.50"), outside_ip_ = Ip("192.0.2.100"), any_ = IpAddress::V4(0),
            vip_ = Ip("10.96.0.10");
  uint8_t ports_ = 0;
  std::map<IpAddress, std::pair<Node*, uint32_t>> identities_;  // of all pods, with their node
  bool xdp_on_veth_ = false;
  std::optional<Netns> switch_, outside_;
  std::unique_ptr<Capture> wire_;
  Node one_, two_;
  Pod near_, far_;
  DesiredState desired_;
};

// The same, once for each way.
class EdgeWays : public Edge, public ::testing::WithParamInterface<Way> {
 protected:
  EdgeWays() { way_ = GetParam(); }
};

}  // namespace mesh::dataplane::testing
