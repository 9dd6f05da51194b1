// SPDX-License-Identifier: Apache-2.0
// mesh-agent: one per node.
//
// Threads: the agent's loop (this one), "net" (dataplane, CNI, resolver), the checkpoint writer,
// gRPC's own, and the metrics server's.
#include <malloc.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/access_service.h"
#include "agent/agent.h"
#include "agent/cri/grpc_cri_client.h"
#include "agent/metrics.h"
#include "agent/network/listeners.h"
#include "agent/network/network.h"
#include "agent/network/node_address.h"
#include "agent/network/pod_dial.h"
#include "agent/network/prober.h"
#include "agent/node_info.h"
#include "agent/node_service.h"
#include "agent/pods/image_gc.h"
#include "agent/pods/log_rotator.h"
#include "agent/probes/net_probe_client.h"
#include "api/schema/validate.h"
#include "common/heap.h"
#include "common/ip_address.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/real_loop.h"
#include "common/socket_address.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "common/version.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

struct Flags {
  std::string node_name;
  std::string node_ip;
  std::vector<std::string> servers;
  std::string listen;
  std::string containerd_socket = "/run/containerd/containerd.sock";
  std::string run_dir = "/run/mesh";
  std::string state_dir = "/var/lib/mesh/agent";
  std::string volume_dir;
  std::string log_dir = "/var/log/pods";
  LogRotation log_rotation;
  ImageGcOptions image_gc;
  std::string bpf_root = "/sys/fs/bpf";
  std::string cni_bin_dir = "/opt/cni/bin";
  std::string cni_conf_dir = "/etc/cni/net.d";
  std::string cni_binary;
  std::string cgroup_parent;
  std::vector<std::string> labels;
  XdpMode xdp = XdpMode::kAuto;
  std::string metrics_listen = "127.0.0.1:9641";
  std::string log_level = "info";
};

// docs/errors.md
constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

// Of each address of a pod, by `meshctl port-forward`.
constexpr absl::Duration kDialTimeout = absl::Seconds(5);

int Fail(const std::string& message, int code = kExitFailed) {
  std::fprintf(stderr, "mesh-agent: error: %s\n", message.c_str());
  return code;
}

std::string HostName() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

absl::StatusOr<std::map<std::string, std::string>> ParseLabels(
    const std::vector<std::string>& words) {
  std::map<std::string, std::string> out;
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0) {
      return absl::InvalidArgumentError(
          fmt::format("--labels {}: want KEY=VALUE, separated by commas", word));
    }
    out[word.substr(0, equals)] = word.substr(equals + 1);
  }
  return out;
}

absl::Status CheckEndpoints(const Flags& flags) {
  for (const std::string& server : flags.servers) {
    RETURN_IF_ERROR(CheckHostPort("--server", server));
  }
  if (flags.metrics_listen != "off")
    RETURN_IF_ERROR(CheckHostPort("--metrics-listen", flags.metrics_listen));
  if (flags.listen.empty()) return absl::OkStatus();
  return CheckHostPort("--listen", flags.listen, HostPart::kMayBeEmpty);
}

absl::Status MakeFolder(const std::string& path, mode_t mode) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) {
    return absl::FailedPreconditionError(
        fmt::format("create folder {}: {}; run as root or name another", path, error.message()));
  }
  ::chmod(path.c_str(), mode);
  return absl::OkStatus();
}

NodeStatePtr LoadState(const std::string& path, const std::string& node_name) {
  auto loaded = LoadCheckpoint(path);
  if (!loaded.ok()) {
    if (!absl::IsNotFound(loaded.status())) {
      spdlog::warn("starting without a checkpoint: {}", std::string(loaded.status().message()));
    }
    return std::make_shared<NodeState>();
  }
  if (loaded->config.node_name() != node_name) {
    spdlog::warn("the checkpoint {} is of node \"{}\", not \"{}\": starting without it", path,
                 loaded->config.node_name(), node_name);
    return std::make_shared<NodeState>();
  }
  return std::make_shared<NodeState>(*std::move(loaded));
}

// What a start, and a burst of pods, needs for a moment is several times what stays.
constexpr size_t kHeapSlackBytes = 4 << 20;
constexpr absl::Duration kMemoryEvery = absl::Seconds(20);

int Main(Flags flags) {
  InitLog(flags.log_level);
  // The default of eight arenas per core keeps tens of MB that gRPC's threads once needed.
  mallopt(M_ARENA_MAX, 2);
  if (const std::string why = schema::CheckDnsSubdomain(flags.node_name); !why.empty()) {
    return Fail(fmt::format("--node-name \"{}\": {}", flags.node_name, why), kExitUsage);
  }
  if (absl::Status gc = CheckImageGc(flags.image_gc); !gc.ok())
    return Fail(std::string(gc.message()), kExitUsage);
  auto labels = ParseLabels(flags.labels);
  if (!labels.ok()) return Fail(std::string(labels.status().message()), kExitUsage);
  auto addresses = ParseNodeIp(flags.node_ip);
  if (!addresses.ok()) return Fail(std::string(addresses.status().message()), kExitUsage);
  if (absl::Status ends = CheckEndpoints(flags); !ends.ok()) {
    return Fail(std::string(ends.message()), kExitUsage);
  }
  if (addresses->v6 == IpAddress()) addresses->v6 = FindNodeIp6(addresses->v4);
  const std::string node_ip = addresses->v4.ToString();
  const std::string node_ip6 = addresses->v6 == IpAddress() ? "" : addresses->v6.ToString();
  if (flags.listen.empty()) flags.listen = node_ip + ":6441";
  // It is told to others, and outlives the folder that this was started in.
  std::error_code path_error;
  flags.volume_dir = std::filesystem::absolute(
      flags.volume_dir.empty() ? flags.state_dir + "/volumes" : flags.volume_dir, path_error);
  for (const auto& [path, mode] : {std::pair{flags.run_dir, mode_t{0755}},
                                   {flags.state_dir, mode_t{0700}},
                                   {flags.volume_dir, mode_t{0711}},
                                   {flags.log_dir, mode_t{0755}}}) {
    if (absl::Status made = MakeFolder(path, mode); !made.ok()) {
      return Fail(std::string(made.message()));
    }
  }

  // Before any thread: signals are read by the loop alone.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  RealLoop loop;
  UniqueFd signal_fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  loop.WatchReadable(signal_fd.get(), [&loop] { loop.Stop(); });

  const std::string checkpoint_path = flags.state_dir + "/node-state";
  const NodeStatePtr initial = LoadState(checkpoint_path, flags.node_name);
  CheckpointWriter checkpoint(checkpoint_path);

  NetworkOptions network_options;
  network_options.node_name = flags.node_name;
  network_options.node_ip = node_ip;
  network_options.node_ip6 = node_ip6;
  network_options.run_dir = flags.run_dir;
  network_options.bpf_root = flags.bpf_root;
  network_options.cni_bin_dir = flags.cni_bin_dir;
  network_options.cni_conf_dir = flags.cni_conf_dir;
  network_options.cni_binary = flags.cni_binary;
  network_options.xdp = flags.xdp;
  network_options.own_ports = OwnPorts(flags.listen, flags.servers, *addresses);
  auto network = Network::Start(network_options, initial);
  if (!network.ok()) return Fail(std::string(network.status().message()));

  std::unique_ptr<CriClient> cri = NewGrpcCriClient(flags.containerd_socket);
  auto probe_client = std::make_unique<NetProbeClient>();

  AgentOptions options;
  options.node_name = flags.node_name;
  options.node_ips = {node_ip};
  if (!node_ip6.empty()) options.node_ips.push_back(node_ip6);
  options.address_trouble = [addresses = *addresses](bool dual_stack) {
    return TellMissingAddresses(addresses, dual_stack);
  };
  options.labels = *labels;
  options.containerd_socket = flags.containerd_socket;
  options.sync.servers = flags.servers;
  options.pods.node_ip = node_ip;
  options.pods.node = {.ips = options.node_ips,
                       .cpu_milli = ::sysconf(_SC_NPROCESSORS_ONLN) * 1000,
                       .memory_bytes = MemoryCapacityBytes()};
  options.pods.probe_client = probe_client.get();
  options.pods.config.log_root = flags.log_dir;
  options.pods.config.files_root = flags.state_dir + "/pods";
  options.pods.volume_dir = flags.volume_dir;
  options.pods.config.cgroup_parent = flags.cgroup_parent;
  options.pods.config.memory_capacity_bytes = MemoryCapacityBytes();
  options.pods.config.oom_score_adj_min = OwnOomScoreAdj();

  // The server needs the agent's pods, the agent the server's port: the directory is looked up
  // late.
  std::unique_ptr<Agent> agent;
  NodeServiceHooks hooks;
  hooks.cri = cri.get();
  hooks.directory = [&agent] { return agent->pods().Directory(); };
  hooks.list_dataplane = [&network](const v1::ListDataplaneRequest& request) {
    return (*network)->ListDataplane(request);
  };
  hooks.trace_hop = [&network](const v1::TraceHopRequest& request) {
    return (*network)->TraceHop(request);
  };
  hooks.flows = [&network](const v1::FlowsRequest& request,
                           const std::function<bool(const v1::FlowsChunk&)>& write,
                           const std::function<bool()>& cancelled) {
    return (*network)->Flows(request, write, cancelled);
  };
  hooks.list_listeners = [&network](
                             const std::string& ns,
                             const std::string& pod) -> absl::StatusOr<v1::ListListenersResponse> {
    ASSIGN_OR_RETURN(const std::string netns, (*network)->PodNetns(ns, pod));
    return LoadListeners(netns);
  };
  Prober prober(
      {.netns = [&network](const std::string& ns,
                           const std::string& pod) { return (*network)->PodNetns(ns, pod); },
       .name_server = [&network] { return (*network)->PodNameServer(); }});
  hooks.probe = [&prober](const v1::ProbeRequest& request) { return prober.Run(request); };
  AccessHooks access;
  access.cri = cri.get();
  access.directory = hooks.directory;
  access.dial = [&network](const std::string& ns, const std::string& pod, const PodEntry& entry,
                           uint16_t port) -> absl::StatusOr<UniqueFd> {
    if (entry.host_network) return DialPod("", port, kDialTimeout);
    ASSIGN_OR_RETURN(const std::string netns, (*network)->PodNetns(ns, pod));
    return DialPod(netns, port, kDialTimeout);
  };
  access.import_images = {"ctr",         "--address", flags.containerd_socket,
                          "--namespace", "k8s.io",    "images",
                          "import",      "-"};
  const std::string host = flags.listen.substr(0, flags.listen.rfind(':'));
  options.agent_endpoint = flags.listen;
  if (host == "0.0.0.0" || host.empty()) {
    options.agent_endpoint = node_ip + flags.listen.substr(flags.listen.rfind(':'));
  }
  agent = std::make_unique<Agent>(&loop, network->get(), cri.get(), &checkpoint, std::move(options),
                                  initial);
  auto server =
      NodeServer::Start(flags.listen, std::move(hooks), NewAccessService(std::move(access)));
  if (!server.ok()) return Fail(std::string(server.status().message()));

  std::unique_ptr<MetricsServer> metrics;
  if (flags.metrics_listen != "off") {
    auto started = MetricsServer::Start(flags.metrics_listen, [&network](MetricsWriter& out) {
      WriteFigures((*network)->Figures(), out);
    });
    // The node serves its pods without.
    if (!started.ok()) spdlog::warn("{}", std::string(started.status().message()));
    if (started.ok()) metrics = *std::move(started);
  }

  spdlog::info("mesh-agent {} on node {} ({}{}{}), listening on {}", kVersion, flags.node_name,
               node_ip, node_ip6.empty() ? "" : ", ", node_ip6, flags.listen);
  agent->Start();
  LogRotator log_rotator(
      &loop, cri.get(), [&agent] { return agent->pods().Directory(); }, flags.log_rotation);
  log_rotator.Start();
  ImageCollector image_collector(&loop, cri.get(), flags.image_gc);
  image_collector.Start();
  loop.RunAfter(kMemoryEvery, [&loop] { KeepMemorySmall(&loop, kHeapSlackBytes, kMemoryEvery); });
  loop.Run();

  // Pods go on running. First who calls others, then who is called.
  spdlog::info("stopping; pods and their network stay");
  metrics.reset();
  server->reset();
  cri.reset();
  probe_client.reset();
  agent.reset();
  network->reset();
  return 0;
}

// mesh-agent remove-network ...
int RemoveNetwork(int argc, char** argv) {
  std::string bpf_root = Flags().bpf_root, run_dir = Flags().run_dir;
  CLI::App app(
      "mesh-agent remove-network: takes the network of mesh away from this node, whose "
      "agent must be stopped; pods that run are cut off");
  app.add_option("--bpf-root", bpf_root, "BPF file system of the pins")->capture_default_str();
  app.add_option("--run-dir", run_dir, "sockets of the agent")->capture_default_str();
  try {
    app.parse(argc - 1, argv + 1);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  const absl::Status removed = Network::Remove(run_dir, bpf_root);
  return removed.ok() ? 0 : Fail(std::string(removed.message()));
}

}  // namespace
}  // namespace mesh::agent

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "remove-network")
    return mesh::agent::RemoveNetwork(argc, argv);
  mesh::agent::Flags flags;
  flags.node_name = mesh::agent::HostName();
  CLI::App app("mesh-agent: runs the pods of this node and programs its network");
  app.footer("mesh-agent remove-network: takes the network of mesh away from a node");
  app.set_version_flag("--version", mesh::kVersion);
  app.add_option("--node-name", flags.node_name, "name of the Node object")->capture_default_str();
  app.add_option("--node-ip", flags.node_ip,
                 "address of this node, and source of its tunnels; IPV4,IPV6 in a dual-stack "
                 "cluster (default: the IPv6 address of the same interface)")
      ->required();
  app.add_option("--server", flags.servers, "host:port of meshd; repeat for several")->required();
  app.add_option("--listen", flags.listen, "host:port for meshd's calls (default NODE-IP:6441)");
  app.add_option("--containerd-socket", flags.containerd_socket, "containerd's socket")
      ->capture_default_str();
  app.add_option("--run-dir", flags.run_dir, "sockets")->capture_default_str();
  app.add_option("--state-dir", flags.state_dir, "checkpoint of the node's state")
      ->capture_default_str();
  app.add_option("--volume-dir", flags.volume_dir,
                 "persistent volumes, which outlive all else of this (default: STATE-DIR/volumes)");
  app.add_option("--log-dir", flags.log_dir, "logs of containers")->capture_default_str();
  app.add_option("--container-log-max-bytes", flags.log_rotation.max_bytes,
                 "a container's log goes on in a new file beyond this")
      ->check(CLI::Range(int64_t{4096}, std::numeric_limits<int64_t>::max()))
      ->capture_default_str();
  app.add_option("--container-log-max-files", flags.log_rotation.max_files,
                 "files that are kept of a container's log")
      ->check(CLI::Range(2, 1000))
      ->capture_default_str();
  app.add_option("--image-gc-high-threshold", flags.image_gc.high_percent,
                 "percent of the images' file system in use at which images that no container has "
                 "are removed; 100: never")
      ->capture_default_str();
  app.add_option("--image-gc-low-threshold", flags.image_gc.low_percent,
                 "percent in use at which that ends")
      ->capture_default_str();
  app.add_option("--bpf-root", flags.bpf_root, "BPF file system for pins")->capture_default_str();
  app.add_option("--cni-bin-dir", flags.cni_bin_dir, "where to install mesh-cni")
      ->capture_default_str();
  app.add_option("--cni-conf-dir", flags.cni_conf_dir, "where to write the CNI configuration")
      ->capture_default_str();
  app.add_option("--cni-binary", flags.cni_binary, "mesh-cni to install (default: beside this)");
  app.add_option("--cgroup-parent", flags.cgroup_parent,
                 "cgroup for pods (default: the runtime's)");
  app.add_option("--labels", flags.labels, "labels of the node: KEY=VALUE,...")->delimiter(',');
  const std::map<std::string, mesh::agent::XdpMode> xdp_modes = {
      {"auto", mesh::agent::XdpMode::kAuto},
      {"on", mesh::agent::XdpMode::kOn},
      {"off", mesh::agent::XdpMode::kOff}};
  std::string xdp = "auto";
  app.add_option("--xdp", xdp,
                 "forward established flows from outside by XDP on the uplink (auto: where the "
                 "uplink is a device, not a veth or bridge)")
      ->check(CLI::IsMember({"auto", "on", "off"}))
      ->capture_default_str();
  app.add_option("--metrics-listen", flags.metrics_listen,
                 "host:port for Prometheus, at /metrics, without encryption; or off")
      ->capture_default_str();
  app.add_option("--log-level", flags.log_level, "what is logged to standard error")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : mesh::agent::kExitUsage;
  }
  flags.xdp = xdp_modes.at(xdp);
  return mesh::agent::Main(std::move(flags));
}
