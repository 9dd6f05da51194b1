// SPDX-License-Identifier: Apache-2.0
// A ClusterIP whose backend is on another node, against the least that an overlay can cost: two
// hosts joined by a link of the same kind, a VXLAN device made by hand on each, the client's and
// the server's sockets right on it. No pods, no Services, no isolation.
//
//   client pod ═ node 1 ─── veth ─── node 2 ═ server pod        [client host 1] ─── veth ─── [host
//   2]
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

namespace mesh::bench {
namespace {

constexpr char kVip[] = "10.96.3.7", kServer[] = "10.244.2.2";

absl::StatusOr<Way> ByHand(Namespaces& spaces) {
  std::vector<std::string> hosts;
  for (int i = 1; i <= 2; ++i) {
    ASSIGN_OR_RETURN(const std::string host, spaces.Add(fmt::format("hand-{}", i)));
    hosts.push_back(host);
  }
  RETURN_IF_ERROR(AddVeth({hosts[0], "up0", "192.0.2.1/24"}, {hosts[1], "up0", "192.0.2.2/24"}));
  for (int i = 1; i <= 2; ++i) {
    const std::string& host = hosts[i - 1];
    RETURN_IF_ERROR(Run({"ip", "-n", host, "link", "add", "vx0", "type", "vxlan", "id", "7",
                         "dstport", "4789", "local", fmt::format("192.0.2.{}", i), "remote",
                         fmt::format("192.0.2.{}", 3 - i), "dev", "up0"}));
    RETURN_IF_ERROR(
        Run({"ip", "-n", host, "address", "add", fmt::format("10.1.0.{}/24", i), "dev", "vx0"}));
    RETURN_IF_ERROR(Run({"ip", "-n", host, "link", "set", "vx0", "up"}));
  }
  return Way{"hand_vxlan", hosts[0], hosts[1], "10.1.0.2"};
}

absl::StatusOr<Way> Mesh(Namespaces& spaces, std::vector<BenchNode>& nodes, bool uplink) {
  ASSIGN_OR_RETURN(const std::string bpf_root, mesh::testing::PrivateBpffs());
  std::vector<std::string> hosts, pods;
  for (int i = 1; i <= 2; ++i) {
    ASSIGN_OR_RETURN(const std::string host, spaces.Add(fmt::format("mesh-{}", i)));
    ASSIGN_OR_RETURN(const std::string pod, spaces.Add(fmt::format("mesh-{}-pod", i)));
    hosts.push_back(host);
    pods.push_back(pod);
  }
  RETURN_IF_ERROR(AddVeth({hosts[0], "up0", "192.0.2.1/24"}, {hosts[1], "up0", "192.0.2.2/24"}));
  for (int i = 1; i <= 2; ++i) {
    dataplane::NodeConfig config = NodeNumber(i);
    if (uplink) config.uplink = "up0";
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
    desired.peers["other"] = PeerNumber(3 - i);
    ASSIGN_OR_RETURN(BenchNode node, StartNode(hosts[i - 1], fmt::format("{}/node{}", bpf_root, i),
                                               config, desired));
    RETURN_IF_ERROR(AddPod(node, pods[i - 1], fmt::format("10.244.{}.2", i)).status());
    nodes.push_back(std::move(node));
  }
  return Way{"cross_node", pods[0], pods[1], kVip, 80};
}

struct Options {
  ContestOptions contest;
  bool uplink = true;
};

absl::Status Measure(const Options& options) {
  Namespaces spaces;
  std::vector<BenchNode> nodes;
  std::vector<Way> ways;
  {
    ASSIGN_OR_RETURN(Way way, ByHand(spaces));
    ways.push_back(way);
  }
  {
    ASSIGN_OR_RETURN(Way way, Mesh(spaces, nodes, options.uplink));
    ways.push_back(way);
  }
  ASSIGN_OR_RETURN(Contest contest, Contest::Run(ways, options.contest));
  for (const Way& way : ways) contest.Report(way.name, "hand_vxlan");
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
