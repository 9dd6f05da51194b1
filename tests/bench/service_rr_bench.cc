// SPDX-License-Identifier: Apache-2.0
// A ClusterIP on one node: TCP request/response and connect/request/response, UDP request/response
// and a single TCP stream, against the limit (a point-to-point veth between the two namespaces,
// with nothing on it), a plain bridge, and a routed node with kube-proxy-shaped iptables and
// nftables rules; and the same ClusterIP among many Services.
//
// All stand at once; rounds go through them in turn, so that noise hits them alike. The median over
// the rounds counts; a ratio is the median of the rounds' ratios. Client and server share one core.
// With --flows 1 the same ClusterIP once more on a node whose flows are followed, as `meshctl flows
// --follow` does. With --rules 0,100,10000 once more for each number, with so many rules of
// NetworkPolicies on each of the two pods.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "common/status.h"
#include "fmt/format.h"
#include "tests/bench/contest.h"
#include "tests/bench/kube_proxy_rules.h"
#include "tests/bench/node.h"
#include "tests/bench/pair_policies.h"
#include "tests/bench/topology.h"
#include "tests/support/network/network.h"

namespace mesh::bench {
namespace {

constexpr uint16_t kPort = Contest::kPort;
constexpr char kVip[] = "10.96.3.7";
constexpr char kOne[] = "clusterip", kMany[] = "full", kFollowed[] = "followed";

struct Options {
  int services = 1000;                // that the rules of kube-proxy hold
  int many = 10'000, endpoints = 10;  // of the second ClusterIP
  int flows = 0;                      // 1: one that is followed
  std::vector<int> rules;             // of policies on each pod: one ClusterIP each
  ContestOptions contest;
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

std::string NameOfRules(int rules) { return fmt::format("rules_{}", rules); }

// What no rule allows is answered by nobody; where nobody judges, the server's node answers it.
absl::Status CheckDenied(const std::string& client, const std::string& address, bool denied) {
  auto tried = RunIn(
      client, {"timeout", "0.5", "bash", "-c", fmt::format("exec 3<>/dev/tcp/{}/9", address)});
  if (tried.ok()) return absl::FailedPreconditionError("somebody listens at port 9");
  const bool refused = std::string(tried.message()).find("refused") != std::string::npos;
  if (refused == denied)
    return absl::FailedPreconditionError(fmt::format("a port that no rule allows is {}: {}",
                                                     denied ? "not closed" : "closed",
                                                     std::string(tried.message())));
  return absl::OkStatus();
}

// The pair among so many rules. REQUIRES: policies were added to what the node desires.
absl::Status JoinPolicies(Namespaces& spaces, int rules, const std::string& client,
                          const std::string& server, dataplane::DesiredState desired,
                          BenchNode& node) {
  const IpAddress client_ip = *IpAddress::Parse("10.244.1.2"),
                  server_ip = *IpAddress::Parse("10.244.1.3"),
                  bystander_ip = *IpAddress::Parse("10.244.1.4");
  ASSIGN_OR_RETURN(const std::string bystander, spaces.Add(NameOfRules(rules) + "-b"));
  RETURN_IF_ERROR(AddPod(node, client, "10.244.1.2", "", kClientIdentity).status());
  RETURN_IF_ERROR(AddPod(node, server, "10.244.1.3", "", kServerIdentity).status());
  RETURN_IF_ERROR(AddPod(node, bystander, "10.244.1.4", "", kBystanderIdentity).status());
  desired.pods = {{client_ip, kClientIdentity},
                  {server_ip, kServerIdentity},
                  {bystander_ip, kBystanderIdentity}};
  RETURN_IF_ERROR(Inside(node.netns, [&] { return node.dataplane->Apply(desired); }));
  ASSIGN_OR_RETURN(const PairRows rows,
                   CheckPairPolicies(*node.dataplane, rules, client_ip, server_ip, kPort));
  RETURN_IF_ERROR(CheckDenied(client, "10.244.1.3", rules > 0));
  std::printf("%s: %zu rows of peers, %zu of ranges, %zu of ports\n", NameOfRules(rules).c_str(),
              rows.peers, rows.blocks, rows.ports);
  return absl::OkStatus();
}

// `others` Services of `endpoints` backends that nobody dials, and the real one. `rules`: -1, none.
absl::StatusOr<Way> Mesh(Namespaces& spaces, const std::string& bpf_root, const std::string& name,
                         int others, int endpoints, BenchNode& node, int rules = -1) {
  ASSIGN_OR_RETURN(const std::string client, spaces.Add(name + "-c"));
  ASSIGN_OR_RETURN(const std::string server, spaces.Add(name + "-s"));
  ASSIGN_OR_RETURN(const std::string netns, spaces.Add(name + "-n"));
  const dataplane::NodeConfig config = NodeNumber(1);
  RETURN_IF_ERROR(
      Run({"ip", "-n", netns, "address", "add", config.node_ip.ToString() + "/32", "dev", "lo"}));
  dataplane::DesiredState desired = Services(
      others, endpoints,
      {{.name = "echo",
        .vip = kVip,
        .backends = {"10.244.1.3"},
        .ports = {{.port = 80, .backend_port = kPort},
                  {.port = 81, .backend_port = kPort + 1},
                  {.port = 80, .backend_port = kPort, .protocol = dataplane::Protocol::kUdp}}}});
  if (rules >= 0) RETURN_IF_ERROR(AddPairPolicies(rules, kPort, config, &desired));
  ASSIGN_OR_RETURN(node, StartNode(netns, bpf_root + "/" + name, config, desired));
  if (rules >= 0) {
    RETURN_IF_ERROR(JoinPolicies(spaces, rules, client, server, desired, node));
    return Way{name, client, server, kVip, 80};
  }
  RETURN_IF_ERROR(AddPod(node, client, "10.244.1.2").status());
  RETURN_IF_ERROR(AddPod(node, server, "10.244.1.3").status());
  return Way{name, client, server, kVip, 80};
}

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
  nodes.resize(3 + options.rules.size());
  {
    ASSIGN_OR_RETURN(Way way, Mesh(spaces, bpf_root, kOne, 0, 0, nodes[0]));
    ways.push_back(way);
  }
  if (options.many > 0) {
    ASSIGN_OR_RETURN(Way way,
                     Mesh(spaces, bpf_root, kMany, options.many - 1, options.endpoints, nodes[1]));
    ways.push_back(way);
  }
  if (options.flows > 0) {
    ASSIGN_OR_RETURN(Way way, Mesh(spaces, bpf_root, kFollowed, 0, 0, nodes[2]));
    ways.push_back(way);
  }
  for (size_t i = 0; i < options.rules.size(); ++i) {
    const int rules = options.rules[i];
    ASSIGN_OR_RETURN(Way way,
                     Mesh(spaces, bpf_root, NameOfRules(rules), 0, 0, nodes[3 + i], rules));
    ways.push_back(way);
  }
  return ways;
}

// Reads what a node tells of its flows, as an agent does for those that follow.
class Follower {
 public:
  absl::Status Start(dataplane::KernelDataplane& node) {
    ASSIGN_OR_RETURN(events_, node.OpenEvents());
    RETURN_IF_ERROR(events_->Listen(/*drops=*/true, /*flows=*/true));
    thread_ = std::jthread([this](const std::stop_token& stop) {
      while (!stop.stop_requested() &&
             events_->Read(absl::Milliseconds(20), [&](const dataplane::FlowEvent&) { ++read_; })
                 .ok()) {
      }
    });
    return absl::OkStatus();
  }
  ~Follower() {
    if (events_ == nullptr) return;
    thread_.request_stop();
    events_->Wake();
    thread_.join();
    const auto lost = events_->Loss();
    std::printf("followed: %llu events read, %llu lost\n", static_cast<unsigned long long>(read_),
                static_cast<unsigned long long>(lost.ok() ? lost->ring : 0));
  }

 private:
  std::unique_ptr<dataplane::FlowEvents> events_;
  uint64_t read_ = 0;
  std::jthread thread_;
};

absl::Status Measure(const Options& options) {
  Namespaces spaces;
  std::vector<BenchNode> nodes;
  ASSIGN_OR_RETURN(const std::vector<Way> ways, MakeWays(spaces, options, nodes));
  Follower follower;
  if (options.flows > 0) RETURN_IF_ERROR(follower.Start(*nodes[2].dataplane));
  ASSIGN_OR_RETURN(Contest contest, Contest::Run(ways, options.contest));
  for (const Way& way : ways) contest.Report(way.name, "veth");
  for (const char* peer : {"bridge", "nftables", "iptables"}) contest.Report(kOne, peer);
  if (options.many > 0) contest.Report(kMany, kOne);
  if (options.flows > 0) contest.Report(kFollowed, kOne);
  for (const int rules : options.rules) contest.Report(NameOfRules(rules), kOne);
  return absl::OkStatus();
}

// "0,100,10000": each once.
bool ParseRules(const char* list, std::vector<int>* rules) {
  for (;;) {
    char* end = nullptr;
    const long number = std::strtol(list, &end, 10);
    if (end == list || number < 0 || number > 10'000) return false;
    if (std::find(rules->begin(), rules->end(), number) != rules->end()) return false;
    rules->push_back(static_cast<int>(number));
    if (*end == '\0') return true;
    if (*end != ',') return false;
    list = end + 1;
  }
}

bool ParseOptions(int argc, char** argv, Options* options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--rules") {
      if (!ParseRules(argv[i + 1], &options->rules)) return false;
      continue;
    }
    if (ParseContestOption(name, argv[i + 1], &options->contest)) continue;
    char* end = nullptr;
    const long number = std::strtol(argv[i + 1], &end, 10);
    if (*end != '\0' || number < 0 || number > 20'000) return false;
    if (name == "--services") {
      options->services = static_cast<int>(number);
    } else if (name == "--many") {
      options->many = static_cast<int>(number);
    } else if (name == "--endpoints") {
      options->endpoints = static_cast<int>(number);
    } else if (name == "--flows") {
      options->flows = static_cast<int>(number);
    } else {
      return false;
    }
  }
  return argc % 2 == 1 && options->services >= 1 && options->endpoints <= 100;
}

}  // namespace
}  // namespace mesh::bench

int main(int argc, char** argv) {
  mesh::bench::Options options;
  if (!mesh::bench::ParseOptions(argc, argv, &options)) {
    std::fprintf(stderr,
                 "usage: service_rr_bench [--services 1..20000] [--many 0..20000] [--endpoints "
                 "0..100] [--flows 0..1] [--rules 0..10000,...] [--rounds 1..1000] [--seconds S] "
                 "[--cpu N] [--only WAY,...] [--loads LOAD,...]\n");
    return 2;
  }
  const absl::Status status = mesh::bench::Measure(options);
  if (!status.ok()) {
    std::fprintf(stderr, "service_rr: error: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
