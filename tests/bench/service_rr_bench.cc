// SPDX-License-Identifier: Apache-2.0
// A ClusterIP on one node: TCP request/response and connect/request/response, UDP request/response
// and a single TCP stream, against the limit (a point-to-point veth between the two namespaces,
// with nothing on it), a plain bridge, and a routed node with kube-proxy-shaped iptables and
// nftables rules; and the same ClusterIP among many Services.
//
// All stand at once; rounds go through them in turn, so that noise hits them alike. The median over
// the rounds counts; a ratio is the median of the rounds' ratios. Client and server share one core.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "common/status.h"
#include "fmt/format.h"
#include "tests/bench/figures.h"
#include "tests/bench/kube_proxy_rules.h"
#include "tests/bench/load.h"
#include "tests/bench/node.h"
#include "tests/bench/topology.h"
#include "tests/support/network/network.h"

namespace mesh::bench {
namespace {

constexpr uint16_t kPort = 8080;
constexpr char kVip[] = "10.96.3.7";
constexpr char kOne[] = "clusterip", kMany[] = "full";

struct Options {
  int services = 1000;                // that the rules of kube-proxy hold
  int many = 10'000, endpoints = 10;  // of the second ClusterIP
  int rounds = 5;
  double seconds = 1;
  int cpu = 1;
};

// A way between a client and a server namespace.
struct Way {
  std::string name, client_netns, server_netns, address;
  uint16_t port = kPort;
  bool tcp_only = false;
};

absl::StatusOr<Way> PointToPoint(Namespaces& spaces) {
  ASSIGN_OR_RETURN(const std::string client, spaces.Add("p2p-c"));
  ASSIGN_OR_RETURN(const std::string server, spaces.Add("p2p-s"));
  RETURN_IF_ERROR(AddVeth({client, "eth0", "10.1.0.1/24"}, {server, "eth0", "10.1.0.2/24"}));
  return Way{"veth", client, server, "10.1.0.2"};
}

absl::StatusOr<Way> PlainBridge(Namespaces& spaces) {
  ASSIGN_OR_RETURN(const std::string client, spaces.Add("br-c"));
  ASSIGN_OR_RETURN(const std::string server, spaces.Add("br-s"));
  ASSIGN_OR_RETURN(const std::string node, spaces.Add("br-n"));
  RETURN_IF_ERROR(Run({"ip", "-n", node, "link", "add", "br0", "type", "bridge"}));
  RETURN_IF_ERROR(Run({"ip", "-n", node, "link", "set", "br0", "up"}));
  RETURN_IF_ERROR(AddVeth({client, "eth0", "10.1.0.1/24"}, {node, "c", ""}));
  RETURN_IF_ERROR(AddVeth({server, "eth0", "10.1.0.2/24"}, {node, "s", ""}));
  for (const char* link : {"c", "s"})
    RETURN_IF_ERROR(Run({"ip", "-n", node, "link", "set", link, "master", "br0"}));
  return Way{"bridge", client, server, "10.1.0.2"};
}

absl::StatusOr<Way> KubeProxy(Namespaces& spaces, const std::string& mode, int services) {
  const std::string prefix = mode.substr(0, 3);
  ASSIGN_OR_RETURN(const std::string client, spaces.Add(prefix + "-c"));
  ASSIGN_OR_RETURN(const std::string server, spaces.Add(prefix + "-s"));
  ASSIGN_OR_RETURN(const std::string node, spaces.Add(prefix + "-n"));
  RETURN_IF_ERROR(AddVeth({client, "eth0", "10.1.1.2/24"}, {node, "c", "10.1.1.1/24"}));
  RETURN_IF_ERROR(AddVeth({server, "eth0", "10.1.2.2/24"}, {node, "s", "10.1.2.1/24"}));
  RETURN_IF_ERROR(Run({"ip", "-n", client, "route", "add", "default", "via", "10.1.1.1"}));
  RETURN_IF_ERROR(Run({"ip", "-n", server, "route", "add", "default", "via", "10.1.2.1"}));
  RETURN_IF_ERROR(RunIn(node, {"sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"}));
  const ProxyRules rules{.services = services,
                         .endpoints = 1,
                         .vip = kVip,
                         .backend = "10.1.2.2",
                         .port = 80,
                         .backend_port = kPort};
  if (mode == "iptables") {
    RETURN_IF_ERROR(RunIn(node, {"iptables-legacy-restore"}, IptablesRules(rules)));
  } else {
    RETURN_IF_ERROR(RunIn(node, {"nft", "-f", "-"}, NftablesRules(rules)));
  }
  return Way{mode, client, server, kVip, 80, true};
}

// `others` Services of `endpoints` backends that nobody dials, and the real one.
absl::StatusOr<Way> Mesh(Namespaces& spaces, const std::string& bpf_root, const std::string& name,
                         int others, int endpoints, BenchNode& node) {
  ASSIGN_OR_RETURN(const std::string client, spaces.Add(name + "-c"));
  ASSIGN_OR_RETURN(const std::string server, spaces.Add(name + "-s"));
  ASSIGN_OR_RETURN(const std::string netns, spaces.Add(name + "-n"));
  const dataplane::NodeConfig config = NodeNumber(1);
  RETURN_IF_ERROR(
      Run({"ip", "-n", netns, "address", "add", config.node_ip.ToString() + "/32", "dev", "lo"}));
  const dataplane::DesiredState desired = Services(
      others, endpoints,
      {{.name = "echo",
        .vip = kVip,
        .backends = {"10.244.1.3"},
        .ports = {{.port = 80, .backend_port = kPort},
                  {.port = 81, .backend_port = kPort + 1},
                  {.port = 80, .backend_port = kPort, .protocol = dataplane::Protocol::kUdp}}}});
  ASSIGN_OR_RETURN(node, StartNode(netns, bpf_root + "/" + name, config, desired));
  RETURN_IF_ERROR(AddPod(node, client, "10.244.1.2").status());
  RETURN_IF_ERROR(AddPod(node, server, "10.244.1.3").status());
  return Way{name, client, server, kVip, 80};
}

struct Samples {
  std::vector<double> tcp_rr, tcp_crr, tcp_crr_p50, udp_rr, stream;
};

absl::StatusOr<std::vector<Way>> MakeWays(Namespaces& spaces, const Options& options,
                                          std::vector<BenchNode>& nodes) {
  // Pins live in a bpffs of a mount namespace of our own, and go with it.
  ASSIGN_OR_RETURN(const std::string bpf_root, mesh::testing::PrivateBpffs());
  std::vector<Way> ways;
  {
    ASSIGN_OR_RETURN(Way way, PointToPoint(spaces));
    ways.push_back(way);
  }
  {
    ASSIGN_OR_RETURN(Way way, PlainBridge(spaces));
    ways.push_back(way);
  }
  for (const char* mode : {"iptables", "nftables"}) {
    ASSIGN_OR_RETURN(Way way, KubeProxy(spaces, mode, options.services));
    ways.push_back(way);
  }
  nodes.resize(2);
  {
    ASSIGN_OR_RETURN(Way way, Mesh(spaces, bpf_root, kOne, 0, 0, nodes[0]));
    ways.push_back(way);
  }
  if (options.many > 0) {
    ASSIGN_OR_RETURN(Way way,
                     Mesh(spaces, bpf_root, kMany, options.many - 1, options.endpoints, nodes[1]));
    ways.push_back(way);
  }
  return ways;
}

absl::Status Sample(const Way& way, const Options& options, Samples& samples) {
  const std::string client = Namespaces::PathOf(way.client_netns);
  const auto run = [&](LoadKind kind) -> absl::StatusOr<LoadResult> {
    const auto port = static_cast<uint16_t>(kind == LoadKind::kStream ? way.port + 1 : way.port);
    ASSIGN_OR_RETURN(const LoadResult result,
                     RunLoad(client, way.address, port, kind, options.seconds, options.cpu));
    if (result.errors > 0)
      return absl::DataLossError(fmt::format("{}: {} requests failed", way.name, result.errors));
    return result;
  };
  ASSIGN_OR_RETURN(const LoadResult rr, run(LoadKind::kRequestResponse));
  ASSIGN_OR_RETURN(const LoadResult crr, run(LoadKind::kConnectRequestResponse));
  samples.tcp_rr.push_back(rr.p50_us);
  samples.tcp_crr.push_back(crr.operations_per_second);
  samples.tcp_crr_p50.push_back(crr.p50_us);
  std::printf("%-10s TCP_RR p50 %6.2f us  p99 %6.2f us  TCP_CRR %6.0f/s p50 %6.2f us",
              way.name.c_str(), rr.p50_us, rr.p99_us, crr.operations_per_second, crr.p50_us);
  // The rules of kube-proxy here are for TCP on one port.
  if (!way.tcp_only) {
    ASSIGN_OR_RETURN(const LoadResult udp, run(LoadKind::kDatagram));
    ASSIGN_OR_RETURN(const LoadResult stream, run(LoadKind::kStream));
    samples.udp_rr.push_back(udp.p50_us);
    samples.stream.push_back(stream.gigabits_per_second);
    std::printf("  UDP_RR p50 %6.2f us  stream %5.1f Gbit/s", udp.p50_us,
                stream.gigabits_per_second);
  }
  std::printf("\n");
  std::fflush(stdout);
  return absl::OkStatus();
}

// The figures of `name`, against those of `reference` when it is another.
void Report(std::map<std::string, Samples>& samples, const std::string& name,
            const std::string& reference) {
  Samples& own = samples[name];
  Samples& other = samples[reference];
  const auto report = [&](const char* what, const char* unit, const std::vector<double>& values,
                          const std::vector<double>& others) {
    if (values.empty() || others.empty()) return;
    Figure figure{.name = name + "_" + what, .value = Median(values), .unit = unit};
    if (name != reference) {
      figure.reference = reference;
      figure.ratio = MedianRatio(values, others);
    }
    std::printf("%s\n", ToJson(figure).c_str());
  };
  report("tcp_rr_p50", "us", own.tcp_rr, other.tcp_rr);
  report("tcp_crr", "1/s", own.tcp_crr, other.tcp_crr);
  report("tcp_crr_p50", "us", own.tcp_crr_p50, other.tcp_crr_p50);
  report("udp_rr_p50", "us", own.udp_rr, other.udp_rr);
  report("tcp_stream", "Gbit/s", own.stream, other.stream);
}

absl::Status Measure(const Options& options) {
  Namespaces spaces;
  std::vector<BenchNode> nodes;
  ASSIGN_OR_RETURN(const std::vector<Way> ways, MakeWays(spaces, options, nodes));
  std::vector<EchoServer> servers;
  for (const Way& way : ways) {
    ASSIGN_OR_RETURN(EchoServer server,
                     EchoServer::Start(Namespaces::PathOf(way.server_netns), kPort, options.cpu));
    servers.push_back(std::move(server));
  }
  std::map<std::string, Samples> samples;
  for (int round = 0; round < options.rounds; ++round) {
    // To and fro: what gets slower or faster during a round hits both ends of the row.
    for (size_t i = 0; i < ways.size(); ++i) {
      const Way& way = ways[round % 2 == 0 ? i : ways.size() - 1 - i];
      RETURN_IF_ERROR(Sample(way, options, samples[way.name]));
    }
  }
  for (const Way& way : ways) Report(samples, way.name, "veth");
  for (const char* peer : {"bridge", "nftables", "iptables"}) Report(samples, kOne, peer);
  if (options.many > 0) Report(samples, kMany, kOne);
  return absl::OkStatus();
}

bool ParseOptions(int argc, char** argv, Options* options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i], value = argv[i + 1];
    char* end = nullptr;
    const double number = std::strtod(value.c_str(), &end);
    if (*end != '\0' || number < 0) return false;
    if (name == "--services") {
      options->services = static_cast<int>(number);
    } else if (name == "--many") {
      options->many = static_cast<int>(number);
    } else if (name == "--endpoints") {
      options->endpoints = static_cast<int>(number);
    } else if (name == "--rounds") {
      options->rounds = static_cast<int>(number);
    } else if (name == "--seconds") {
      options->seconds = number;
    } else if (name == "--cpu") {
      options->cpu = static_cast<int>(number);
    } else {
      return false;
    }
  }
  return argc % 2 == 1 && options->services >= 1 && options->services <= 20'000 &&
         options->many <= 20'000 && options->endpoints <= 100 && options->rounds >= 1 &&
         options->rounds <= 100 && options->seconds <= 60;
}

}  // namespace
}  // namespace mesh::bench

int main(int argc, char** argv) {
  mesh::bench::Options options;
  options.cpu = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)) - 1;
  if (!mesh::bench::ParseOptions(argc, argv, &options)) {
    std::fprintf(stderr,
                 "usage: service_rr_bench [--services 1..20000] [--many 0..20000] [--endpoints "
                 "0..100] [--rounds 1..100] [--seconds S] "
                 "[--cpu N]\n");
    return 2;
  }
  const absl::Status status = mesh::bench::Measure(options);
  if (!status.ok()) {
    std::fprintf(stderr, "service_rr: error: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
