// SPDX-License-Identifier: Apache-2.0
// A ClusterIP on one node: TCP request/response and connect/request/response against the limit (a
// point-to-point veth between the two namespaces, with nothing on it), a plain bridge, and a routed
// node with kube-proxy-shaped iptables and nftables rules.
//
// All five stand at once; rounds go through them in turn, so that noise hits them alike. The median
// over the rounds counts. Client and server share one core.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/status.h"
#include "common/unique_fd.h"
#include "dataplane/kernel_dataplane.h"
#include "fmt/format.h"
#include "tests/bench/figures.h"
#include "tests/bench/kube_proxy_rules.h"
#include "tests/bench/load.h"
#include "tests/bench/topology.h"

namespace mesh::bench {
namespace {

constexpr uint16_t kPort = 8080;
constexpr char kVip[] = "10.96.3.7";

struct Options {
  int services = 1000;
  int rounds = 5;
  double seconds = 1;
  int cpu = 1;
};

// A way between a client and a server namespace.
struct Way {
  std::string name, client_netns, server_netns, address;
  uint16_t port = kPort;
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
  return Way{mode, client, server, kVip, 80};
}

IpAddress Address(const std::string& text) { return *IpAddress::Parse(text); }

// Runs `act` inside a namespace and comes back.
template <typename Act>
auto Inside(const std::string& netns, Act act) -> decltype(act()) {
  UniqueFd home(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  UniqueFd there(open(Namespaces::PathOf(netns).c_str(), O_RDONLY | O_CLOEXEC));
  if (setns(there.get(), CLONE_NEWNET) != 0) return ErrnoStatus(errno, "setns " + netns);
  auto result = act();
  if (setns(home.get(), CLONE_NEWNET) != 0) return ErrnoStatus(errno, "setns back");
  return result;
}

dataplane::DesiredState ManyServices(int services, const std::string& backend) {
  dataplane::DesiredState desired;
  desired.revision = 1;
  desired.complete = true;
  desired.namespaces[256] = {.name = "bench"};
  for (int i = 0; i < services; ++i) {
    const bool real = i + 1 == services;
    dataplane::Service service;
    service.ns = "bench";
    service.name = real ? "echo" : fmt::format("other-{}", i);
    service.cluster_ip = real ? Address(kVip) : IpAddress::V4(0x0a610000u + i);
    service.identity = 256;
    service.ports = {{.name = "http",
                      .protocol = dataplane::Protocol::kTcp,
                      .port = 80,
                      .backends = {{.ip = real ? Address(backend) : IpAddress::V4(0x0ac80000u + i),
                                    .port = kPort,
                                    .node = "n1",
                                    .pod = "p"}}}};
    desired.services[service.ns + "/" + service.name] = service;
  }
  return desired;
}

absl::StatusOr<Way> Mesh(Namespaces& spaces, const std::string& bpf_root, int services,
                         std::unique_ptr<dataplane::Dataplane>& keep) {
  ASSIGN_OR_RETURN(const std::string client, spaces.Add("mesh-c"));
  ASSIGN_OR_RETURN(const std::string server, spaces.Add("mesh-s"));
  ASSIGN_OR_RETURN(const std::string node, spaces.Add("mesh-n"));
  RETURN_IF_ERROR(Run({"ip", "-n", node, "address", "add", "10.89.0.11/32", "dev", "lo"}));
  dataplane::NodeConfig config;
  config.node_name = "n1";
  config.node_ip = Address("10.89.0.11");
  config.pod_cidr = *IpPrefix::Parse("10.244.0.0/24");
  config.cluster_cidr = *IpPrefix::Parse("10.244.0.0/16");
  // Wide enough for the address of every service of ManyServices().
  config.service_cidr = *IpPrefix::Parse("10.96.0.0/12");
  config.gateway = Address("10.244.0.1");
  absl::Status made = Inside(node, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(keep, dataplane::KernelDataplane::Open(config, {.bpf_root = bpf_root}));
    RETURN_IF_ERROR(keep->Apply(ManyServices(services, "10.244.0.3")));
    for (const auto& [netns, ip] : {std::pair{client, "10.244.0.2"}, {server, "10.244.0.3"}}) {
      ASSIGN_OR_RETURN(auto endpoint, keep->Attach({.netns = Namespaces::PathOf(netns),
                                                    .ifname = "eth0",
                                                    .ip = Address(ip),
                                                    .identity = 256,
                                                    .ns = "bench",
                                                    .pod = netns,
                                                    .container_id = netns}));
    }
    return absl::OkStatus();
  });
  RETURN_IF_ERROR(made);
  return Way{"mesh", client, server, kVip, 80};
}

struct Samples {
  std::vector<double> rr_p50, rr_p99, crr_rate;
};

absl::Status Measure(const Options& options) {
  // Pins live in a bpffs of a mount namespace of our own, and go with it.
  if (unshare(CLONE_NEWNS) != 0) return ErrnoStatus(errno, "unshare");
  mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  char bpf_root[] = "/tmp/mesh-bench-bpf-XXXXXX";
  if (mkdtemp(bpf_root) == nullptr) return ErrnoStatus(errno, "mkdtemp");
  if (mount("bpffs", bpf_root, "bpf", 0, nullptr) != 0) return ErrnoStatus(errno, "mount bpffs");
  struct Unmount {
    const char* path;
    ~Unmount() {
      umount2(path, MNT_DETACH);
      rmdir(path);
    }
  } unmount{bpf_root};

  Namespaces spaces;
  std::unique_ptr<dataplane::Dataplane> keep;
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
  {
    ASSIGN_OR_RETURN(Way way, Mesh(spaces, bpf_root, options.services, keep));
    ways.push_back(way);
  }
  std::vector<EchoServer> servers;
  for (const Way& way : ways) {
    ASSIGN_OR_RETURN(EchoServer server,
                     EchoServer::Start(Namespaces::PathOf(way.server_netns), kPort, options.cpu));
    servers.push_back(std::move(server));
  }

  std::map<std::string, Samples> samples;
  for (int round = 0; round < options.rounds; ++round) {
    for (const Way& way : ways) {
      const std::string client = Namespaces::PathOf(way.client_netns);
      ASSIGN_OR_RETURN(const LoadResult rr,
                       RunLoad(client, way.address, way.port, LoadKind::kRequestResponse,
                               options.seconds, options.cpu));
      ASSIGN_OR_RETURN(const LoadResult crr,
                       RunLoad(client, way.address, way.port, LoadKind::kConnectRequestResponse,
                               options.seconds, options.cpu));
      if (rr.errors + crr.errors > 0)
        return absl::DataLossError(
            fmt::format("{}: {} requests failed", way.name, rr.errors + crr.errors));
      samples[way.name].rr_p50.push_back(rr.p50_us);
      samples[way.name].rr_p99.push_back(rr.p99_us);
      samples[way.name].crr_rate.push_back(crr.operations_per_second);
      std::printf("round %d  %-9s TCP_RR p50 %6.2f us  p99 %6.2f us   TCP_CRR %8.0f /s\n",
                  round + 1, way.name.c_str(), rr.p50_us, rr.p99_us, crr.operations_per_second);
      std::fflush(stdout);
    }
  }
  const Samples& limit = samples["veth"];
  for (const Way& way : ways) {
    const Samples& own = samples[way.name];
    const std::string prefix = way.name == "mesh" ? "clusterip" : way.name;
    Figure p50{.name = prefix + "_tcp_rr_p50", .value = Median(own.rr_p50), .unit = "us"};
    Figure rate{.name = prefix + "_tcp_crr", .value = Median(own.crr_rate), .unit = "1/s"};
    if (way.name != "veth") {
      p50.reference = rate.reference = "veth";
      p50.ratio = p50.value / Median(limit.rr_p50);
      rate.ratio = rate.value / Median(limit.crr_rate);
    }
    std::printf("%s\n%s\n", ToJson(p50).c_str(), ToJson(rate).c_str());
  }
  for (const char* peer : {"nftables", "iptables"}) {
    const Samples& own = samples["mesh"];
    const Samples& other = samples[peer];
    std::printf("%s\n%s\n",
                ToJson({.name = "clusterip_tcp_rr_p50",
                        .value = Median(own.rr_p50),
                        .unit = "us",
                        .reference = peer,
                        .ratio = Median(own.rr_p50) / Median(other.rr_p50)})
                    .c_str(),
                ToJson({.name = "clusterip_tcp_crr",
                        .value = Median(own.crr_rate),
                        .unit = "1/s",
                        .reference = peer,
                        .ratio = Median(own.crr_rate) / Median(other.crr_rate)})
                    .c_str());
  }
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
         options->rounds >= 1 && options->rounds <= 100 && options->seconds <= 60;
}

}  // namespace
}  // namespace mesh::bench

int main(int argc, char** argv) {
  mesh::bench::Options options;
  options.cpu = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)) - 1;
  if (!mesh::bench::ParseOptions(argc, argv, &options)) {
    std::fprintf(stderr,
                 "usage: service_rr_bench [--services 1..20000] [--rounds 1..100] [--seconds S] "
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
