// SPDX-License-Identifier: Apache-2.0
// The world of live_edge.h under traffic of every kind that a node forwards: numbered datagrams at
// a fixed rate, TCP connections that stay and new ones, between pods of one node and of two, from a
// node's process, from outside through node one (to its own pod, to the other node's with the
// source translated and with direct return) and through node two, and of a pod to the outside. On
// nodes with IPv6 all of it in both families at once.
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/net/tc.h"
#include "dataplane/net/tcx.h"
#include "mesh/shared/base.h"
#include "tests/bpf/live_edge.h"
#include "tests/bpf/stream.h"

namespace mesh::dataplane::testing {

using mesh::testing::Connections;
using mesh::testing::Crowd;
using mesh::testing::DatagramStream;
using mesh::testing::Echo;

class TakeOverWorld : public Edge {
 protected:
  static constexpr uint16_t kOutsidePort = 9000, kAskedPort = 8080;

  void SetUp() override {
    Edge::SetUp();
    if (HasFatalFailure()) return;
    // Of millions of packets the streams tell themselves what was lost; nothing is captured.
    wire_.reset();
    // As an agent leaves it that goes before it has settled the pod.
    settle_ = false;
    ASSERT_STATUS(Attach(client_, one_, "10.244.1.11", "client"));
    for (const Family family : Families()) {
      Publish("near", family, Reached::kNear, near_);
      Publish("far", family, Reached::kFar, far_);
      Publish("direct", family, Reached::kDirect, far_).direct_return = true;
    }
    Apply();
  }

  std::vector<Family> Families() const {
    if (way_.family == Family::kV4) return {Family::kV4};
    return {Family::kV4, Family::kV6};
  }
  static IpAddress AddressOf(const Pod& pod, Family family) {
    return family == Family::kV4 ? pod.request.ip : pod.request.ip6;
  }

  // Runs `change` in the middle of the traffic; every datagram must be answered and no connection
  // reset.
  void UnderTraffic(int datagrams_per_second, const std::function<void()>& change) {
    if (!older_returns_) {
      for (const Netns* netns : {&*client_.netns, &*outside_}) FewPorts(*netns);
    }
    std::vector<std::unique_ptr<Echo>> echoes;
    std::vector<std::unique_ptr<Flows>> traffic;
    for (const Family family : Families()) {
      const IpAddress any = AnyAddress(family);
      for (const Pod* pod : {&near_, &far_}) {
        echoes.push_back(std::make_unique<Echo>(*pod->netns, kAskedPort, any));
      }
      echoes.push_back(std::make_unique<Echo>(*outside_, kOutsidePort, any));
      for (const Road& road : Roads(family)) {
        traffic.push_back(std::make_unique<Flows>(road, datagrams_per_second));
      }
    }
    AwaitTraffic(traffic);

    change();

    if (one_.dataplane != nullptr) AwaitTraffic(traffic);
    uint64_t datagrams = 0, exchanges = 0, connections = 0, sent_again = 0;
    for (const std::unique_ptr<Flows>& flows : traffic) {
      if (flows->datagrams != nullptr) {
        const DatagramStream::Result result = flows->datagrams->Stop();
        EXPECT_EQ(result.lost, 0u) << flows->road.name << ": of " << result.sent << ", the first "
                                   << ::testing::PrintToString(result.first_lost);
        datagrams += result.sent;
      }
      const Connections::Result result = flows->connections->Stop();
      const size_t forgiven = older_returns_ ? 1 + result.connections / 1000 : 0;
      EXPECT_LE(result.problems.size(), forgiven)
          << flows->road.name << ": " << ::testing::PrintToString(result.problems);
      EXPECT_GT(result.connections, 0u) << flows->road.name;
      exchanges += result.exchanges;
      connections += result.connections;
      sent_again += result.sent_again;
    }
    for (Node* opened : {&one_, &two_}) {
      if (opened->dataplane == nullptr) continue;
      // Not no_flow: the last segments of a connection that is over and collected.
      for (const char* reason : {"no_service", "no_backend", "backend_gone", "kernel",
                                 "no_endpoint", "no_tunnel", "unknown_peer", "source_address"}) {
        EXPECT_EQ(Drops(*opened, reason), 0u) << opened->name << " " << reason;
      }
    }
    std::cerr << datagrams << " datagrams, " << exchanges << " exchanges, " << connections
              << " connections, " << sent_again << " segments sent again\n";
  }

  // Whether the programs of all pods of the node stand where they should in the end: in tcx, if the
  // kernel has it, and nowhere else.
  void ExpectSettled(const Node& node) const {
    const absl::StatusOr<std::vector<Endpoint>> endpoints = node.dataplane->Endpoints();
    ASSERT_STATUS(endpoints.status());
    for (const Endpoint& endpoint : *endpoints) {
      const absl::Status looked = InNetns(node.netns->fd(), [&]() -> absl::Status {
        ASSIGN_OR_RETURN(const std::vector<TcxProgram> programs, TcxPrograms(endpoint.ifindex));
        EXPECT_EQ(programs.size(), Families().size()) << endpoint.pod;
        ASSIGN_OR_RETURN(Netlink netlink, Netlink::Open());
        ASSIGN_OR_RETURN(const bool filtered, netlink.HasFilters(endpoint.ifindex));
        EXPECT_FALSE(filtered) << endpoint.pod;
        return absl::OkStatus();
      });
      EXPECT_TRUE(looked.ok() || absl::IsUnimplemented(looked)) << looked;
    }
  }

  // Opens the node in a process of its own that is killed before a step of Open() for which `here`
  // says so. False when Open() ended before.
  bool OpenAndDie(Node& node, KernelDataplane::Options options,
                  const std::function<bool(std::string_view step)>& here) {
    const pid_t child = fork();
    if (child == 0) {
      options.on_step = [&](std::string_view step) {
        if (here(step)) kill(getpid(), SIGKILL);
      };
      _exit(OpenNode(node, options).ok() ? 0 : 1);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    return WIFSIGNALED(status);
  }
  bool OpenAndDie(Node& node, KernelDataplane::Options options, int number) {
    int steps = 0;
    return OpenAndDie(node, std::move(options),
                      [&](std::string_view) { return steps++ == number; });
  }

  // Of maps.
  static std::vector<std::string> Folders(const Node& node) {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(node.bpf_root + "/mesh")) {
      // Beside the maps: what the node's sockets have.
      if (entry.path().filename() != "sockets") out.push_back(entry.path().filename());
    }
    return out;
  }

  static uint64_t Drops(Node& node, const std::string& reason) {
    uint64_t packets = 0;
    const auto metrics = node.dataplane->Metrics();
    for (const MetricRow& row : *metrics) {
      if (row.reason == reason) packets += row.packets;
    }
    return packets;
  }

  Pod client_;
  // An older build comes back to its table while a newer one is half-way: then clients have all
  // their ports, and one connection in a thousand may be reset (docs/upgrade.md, "Limits").
  bool older_returns_ = false;

 private:
  // So that connections come again from where others have closed, and to the Service from the same
  // place as to its pod.
  static void FewPorts(const Netns& netns) {
    ASSERT_STATUS(InNetns(netns.fd(), [] {
      std::ofstream range("/proc/sys/net/ipv4/ip_local_port_range");
      return (range << "40000 40499" << std::flush) ? absl::OkStatus()
                                                    : absl::InternalError("no range of ports");
    }));
  }

  // Frontends: the last byte of their ClusterIP, and the NodePort above 30000.
  enum class Reached : uint8_t { kNear = 10, kFar = 11, kDirect = 12 };

  struct Road {
    std::string name;
    const Netns& from;
    IpAddress to;
    uint16_t port;
    bool datagrams = true;
  };
  struct Flows {
    Flows(const Road& of, int datagrams_per_second)
        : road(of), connections(std::make_unique<Connections>(of.from, of.to, of.port)) {
      if (!of.datagrams) return;
      datagrams = std::make_unique<DatagramStream>(of.from, of.to, of.port, datagrams_per_second);
    }
    Road road;
    std::unique_ptr<DatagramStream> datagrams;
    std::unique_ptr<Connections> connections;
  };

  static uint16_t NodePortOf(Reached reached) {
    return static_cast<uint16_t>(30000 + static_cast<int>(reached));
  }
  static IpAddress ClusterIp(Reached reached, Family family) {
    const int last = static_cast<int>(reached);
    return Ip(family == Family::kV4 ? fmt::format("10.96.0.{}", last)
                                    : fmt::format("fd00:10:96::{}", last));
  }

  Service& Publish(const std::string& name, Family family, Reached reached, const Pod& pod) {
    Service& service = desired_.services[fmt::format("shop/{} {}", name, NameOf(family))];
    service.ns = "shop";
    service.name = name;
    service.cluster_ip = ClusterIp(reached, family);
    service.family = family;
    service.identity = kShop;
    for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
      ServicePort port;
      port.protocol = protocol;
      port.port = 80;
      port.node_port = NodePortOf(reached);
      port.backends.push_back(
          {AddressOf(pod, family), kAskedPort, BackendState::kActive, "", "", kScopeBoth, 1});
      service.ports.push_back(std::move(port));
    }
    return service;
  }

  std::vector<Road> Roads(Family family) const {
    const auto node_ip = [&](const Node& node) {
      return family == Family::kV4 ? node.config.node_ip : node.config.node_ip6;
    };
    const IpAddress outside = Ip(family == Family::kV4 ? "192.0.2.100" : "2001:db8::100");
    const Netns &pod = *client_.netns, &beyond = *outside_;
    const std::string of = fmt::format(" ({})", NameOf(family));
    return {
        {"pod to a local pod" + of, pod, ClusterIp(Reached::kNear, family), 80},
        {"pod to a remote pod" + of, pod, ClusterIp(Reached::kFar, family), 80},
        {"pod to a pod's address" + of, pod, AddressOf(far_, family), kAskedPort},
        {"pod to the outside" + of, pod, outside, kOutsidePort},
        {"node to a pod" + of, *one_.netns, ClusterIp(Reached::kFar, family), 80, false},
        {"outside to node one's pod" + of, beyond, node_ip(one_), NodePortOf(Reached::kNear)},
        {"outside through node one" + of, beyond, node_ip(one_), NodePortOf(Reached::kFar)},
        {"outside, direct return" + of, beyond, node_ip(one_), NodePortOf(Reached::kDirect)},
        {"outside through node two" + of, beyond, node_ip(two_), NodePortOf(Reached::kNear)},
    };
  }

  // Until each has got on.
  static void AwaitTraffic(const std::vector<std::unique_ptr<Flows>>& traffic) {
    constexpr uint64_t kDatagrams = 100, kExchanges = 3;
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    std::vector<std::pair<uint64_t, uint64_t>> before;
    for (const std::unique_ptr<Flows>& flows : traffic) {
      before.emplace_back(flows->datagrams == nullptr ? 0 : flows->datagrams->answered(),
                          flows->connections->exchanges());
    }
    for (size_t i = 0; i < traffic.size(); ++i) {
      const Flows& flows = *traffic[i];
      while (flows.connections->exchanges() < before[i].second + kExchanges ||
             (flows.datagrams != nullptr &&
              flows.datagrams->answered() < before[i].first + kDatagrams)) {
        ASSERT_LT(absl::Now(), deadline) << flows.road.name << ": stands still";
        sched_yield();
      }
    }
  }
};

}  // namespace mesh::dataplane::testing
