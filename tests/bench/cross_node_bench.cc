// SPDX-License-Identifier: Apache-2.0
// A ClusterIP whose backend is on another node, in both families and with both routings, each
// against the least that such a way can cost. No pods, no Services, no isolation there:
//
//   vxlan    two hosts joined by a link of the same kind, a VXLAN device made by hand on each, the
//            client's and the server's sockets right on it
//   routed   a namespace behind each of two such hosts, which forward by the kernel's routes
//
//   client pod ═ node 1 ─── veth ─── node 2 ═ server pod
//   [client    host 1] ─── veth ─── [host 2    server]            vxlan
//   [client] ═ host 1  ─── veth ───  host 2 ═ [server]            routed
//
// Everything runs on one core; see contest.h for how the figures come about.
#include <cstdio>
#include <string>
#include <vector>

#include "common/status.h"
#include "fmt/format.h"
#include "tests/bench/contest.h"
#include "tests/bench/node.h"
#include "tests/bench/topology.h"
#include "tests/support/network/network.h"
#include "tests/support/packet/family.h"

namespace mesh::bench {
namespace {

using dataplane::Family;
using dataplane::Routing;

constexpr char kVip[] = "10.96.3.7", kServer[] = "10.244.2.2";

struct Kind {
  Family family = Family::kV4;
  Routing routing = Routing::kVxlan;
  std::string suffix, reference;

  // An address that is written down for IPv4.
  std::string Of(const std::string& address) const {
    return family == Family::kV4 ? address
                                 : mesh::testing::ToIpv6(*IpAddress::Parse(address)).ToString();
  }
  // The same with the length of a network that has its last 8 bits for hosts.
  std::string OfLink(const std::string& address) const {
    return Of(address) + (family == Family::kV4 ? "/24" : "/120");
  }
};

std::vector<Kind> Kinds() {
  return {{Family::kV4, Routing::kVxlan, "", "hand_vxlan"},
          {Family::kV6, Routing::kVxlan, "_ipv6", "hand_vxlan_ipv6"},
          {Family::kV4, Routing::kNative, "_native", "hand_routed"},
          {Family::kV6, Routing::kNative, "_native_ipv6", "hand_routed_ipv6"}};
}

absl::Status AddAddress(const std::string& netns, const std::string& address,
                        const std::string& link) {
  std::vector<std::string> command = {"ip", "-n", netns, "address", "add", address, "dev", link};
  if (address.find(':') != std::string::npos) command.push_back("nodad");
  return Run(command);
}

// Two namespaces on one link, `up0` of each, with the addresses of two nodes.
absl::StatusOr<std::vector<std::string>> TwoHosts(Namespaces& spaces, const std::string& name,
                                                  bool ipv6) {
  std::vector<std::string> hosts;
  for (int i = 1; i <= 2; ++i) {
    ASSIGN_OR_RETURN(const std::string host, spaces.Add(fmt::format("{}-{}", name, i)));
    hosts.push_back(host);
  }
  RETURN_IF_ERROR(AddVeth({hosts[0], "up0", "192.0.2.1/24"}, {hosts[1], "up0", "192.0.2.2/24"}));
  const Kind six{.family = Family::kV6};
  for (int i = 1; ipv6 && i <= 2; ++i)
    RETURN_IF_ERROR(AddAddress(hosts[i - 1], six.OfLink(fmt::format("192.0.2.{}", i)), "up0"));
  return hosts;
}

absl::StatusOr<Way> VxlanByHand(Namespaces& spaces, const Kind& kind) {
  ASSIGN_OR_RETURN(const std::vector<std::string> hosts,
                   TwoHosts(spaces, "vxlan" + kind.suffix, false));
  for (int i = 1; i <= 2; ++i) {
    const std::string& host = hosts[i - 1];
    RETURN_IF_ERROR(Run({"ip", "-n", host, "link", "add", "vx0", "type", "vxlan", "id", "7",
                         "dstport", "4789", "local", fmt::format("192.0.2.{}", i), "remote",
                         fmt::format("192.0.2.{}", 3 - i), "dev", "up0"}));
    RETURN_IF_ERROR(AddAddress(host, kind.OfLink(fmt::format("10.1.0.{}", i)), "vx0"));
    RETURN_IF_ERROR(Run({"ip", "-n", host, "link", "set", "vx0", "up"}));
  }
  return Way{kind.reference, hosts[0], hosts[1], kind.Of("10.1.0.2")};
}

absl::StatusOr<Way> RoutedByHand(Namespaces& spaces, const Kind& kind) {
  ASSIGN_OR_RETURN(const std::vector<std::string> hosts,
                   TwoHosts(spaces, "routed" + kind.suffix, kind.family == Family::kV6));
  std::vector<std::string> ends;
  for (int i = 1; i <= 2; ++i) {
    const std::string& host = hosts[i - 1];
    ASSIGN_OR_RETURN(const std::string end,
                     spaces.Add(fmt::format("routed{}-end-{}", kind.suffix, i)));
    ends.push_back(end);
    RETURN_IF_ERROR(AddVeth({end, "eth0", ""}, {host, "end", ""}));
    RETURN_IF_ERROR(AddAddress(end, kind.OfLink(fmt::format("10.1.{}.2", i)), "eth0"));
    RETURN_IF_ERROR(AddAddress(host, kind.OfLink(fmt::format("10.1.{}.1", i)), "end"));
    RETURN_IF_ERROR(Run(
        {"ip", "-n", end, "route", "add", "default", "via", kind.Of(fmt::format("10.1.{}.1", i))}));
    RETURN_IF_ERROR(
        Run({"ip", "-n", host, "route", "add", kind.OfLink(fmt::format("10.1.{}.0", 3 - i)), "via",
             kind.Of(fmt::format("192.0.2.{}", 3 - i))}));
    RETURN_IF_ERROR(RunIn(
        host, {"sh", "-c",
               kind.family == Family::kV4 ? "echo 1 > /proc/sys/net/ipv4/ip_forward"
                                          : "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding"}));
  }
  return Way{kind.reference, ends[0], ends[1], kind.Of("10.1.2.2")};
}

absl::StatusOr<Way> Mesh(Namespaces& spaces, const std::string& bpf_root,
                         std::vector<BenchNode>& nodes, const Kind& kind, bool uplink) {
  const std::string name = "cross_node" + kind.suffix;
  const bool ipv6 = kind.family == Family::kV6, native = kind.routing == Routing::kNative;
  ASSIGN_OR_RETURN(const std::vector<std::string> hosts, TwoHosts(spaces, name, ipv6));
  std::vector<std::string> pods;
  for (int i = 1; i <= 2; ++i) {
    ASSIGN_OR_RETURN(const std::string pod, spaces.Add(fmt::format("{}-pod-{}", name, i)));
    pods.push_back(pod);
    dataplane::NodeConfig config = NodeNumber(i);
    config.routing = kind.routing;
    if (uplink || native) config.uplink = "up0";
    if (ipv6) AddIpv6(&config);
    dataplane::DesiredState desired =
        Services(0, 0,
                 {{.name = "echo",
                   .vip = kVip,
                   .backends = {kServer},
                   .ports = {{.port = 80, .backend_port = Contest::kPort},
                             {.port = 81, .backend_port = Contest::kPort + 1},
                             {.port = 80,
                              .backend_port = Contest::kPort,
                              .protocol = dataplane::Protocol::kUdp}}}});
    dataplane::Peer peer = PeerNumber(3 - i);
    if (ipv6) {
      AddIpv6(&peer);
      for (auto& [key, service] : desired.services) MakeIpv6(&service);
    }
    desired.peers["other"] = peer;
    if (native) {
      const std::string other = kind.Of(fmt::format("10.244.{}.2", 3 - i));
      desired.pod_identities[*IpAddress::Parse(other)] = kBenchIdentity;
    }
    ASSIGN_OR_RETURN(
        BenchNode node,
        StartNode(hosts[i - 1], fmt::format("{}/{}-{}", bpf_root, name, i), config, desired));
    const std::string ip = fmt::format("10.244.{}.2", i);
    RETURN_IF_ERROR(AddPod(node, pods[i - 1], ip, ipv6 ? kind.Of(ip) : "").status());
    nodes.push_back(std::move(node));
  }
  return Way{name, pods[0], pods[1], kind.Of(kVip), 80};
}

struct Options {
  ContestOptions contest;
  bool uplink = true;
};

absl::Status Measure(const Options& options) {
  Namespaces spaces;
  std::vector<BenchNode> nodes;
  std::vector<Way> ways;
  ASSIGN_OR_RETURN(const std::string bpf_root, mesh::testing::PrivateBpffs());
  for (const Kind& kind : Kinds()) {
    ASSIGN_OR_RETURN(Way least, kind.routing == Routing::kVxlan ? VxlanByHand(spaces, kind)
                                                                : RoutedByHand(spaces, kind));
    ways.push_back(least);
    ASSIGN_OR_RETURN(Way way, Mesh(spaces, bpf_root, nodes, kind, options.uplink));
    ways.push_back(way);
  }
  ASSIGN_OR_RETURN(Contest contest, Contest::Run(ways, options.contest));
  for (const Kind& kind : Kinds()) {
    contest.Report(kind.reference, kind.reference);
    contest.Report("cross_node" + kind.suffix, kind.reference);
  }
  return absl::OkStatus();
}

bool ParseOptions(int argc, char** argv, Options* options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i], value = argv[i + 1];
    if (ParseContestOption(name, value, &options->contest)) continue;
    if (name != "--uplink" || (value != "on" && value != "off")) return false;
    options->uplink = value == "on";
  }
  return argc % 2 == 1;
}

}  // namespace
}  // namespace mesh::bench

int main(int argc, char** argv) {
  mesh::bench::Options options;
  if (!mesh::bench::ParseOptions(argc, argv, &options)) {
    std::fprintf(stderr,
                 "usage: cross_node_bench [--rounds 1..1000] [--seconds S] [--cpu N] "
                 "[--uplink on|off] [--only WAY,...] [--loads LOAD,...]\n");
    return 2;
  }
  const absl::Status status = mesh::bench::Measure(options);
  if (!status.ok()) {
    std::fprintf(stderr, "cross_node: error: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
