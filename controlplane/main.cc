// SPDX-License-Identifier: Apache-2.0
// meshd: the API, the store, the scheduler and the controllers of a cluster.
//
//   gRPC threads --post--> loop --transactions--> commit thread --> SQLite
//        ^                  ^ |                                       |
//        |                  | +-- controllers, scheduler, admission   |
//        +-- watch cache ---+<-------------- changes -----------------+
//
// Threads: main (waits for a signal), loop (all state), commit (blocks on the disk), store
// (delivers changes, ends leases), gRPC's own (translate only). controlplane/README.md has the
// table.
#include <malloc.h>
#include <signal.h>

#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/synchronization/notification.h"
#include "common/cluster_ranges.h"
#include "common/heap.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/random.h"
#include "common/real_loop.h"
#include "common/socket_address.h"
#include "common/status.h"
#include "common/version.h"
#include "controlplane/controllers/node_life_controller.h"
#include "controlplane/figures.h"
#include "controlplane/rpc/access_service.h"
#include "controlplane/rpc/api.h"
#include "controlplane/rpc/control_service.h"
#include "controlplane/rpc/node_channels.h"
#include "controlplane/rpc/node_sessions.h"
#include "controlplane/rpc/node_sync_service.h"
#include "controlplane/rpc/server.h"
#include "controlplane/runtime/runtime.h"
#include "controlplane/state/cluster_record.h"
#include "controlplane/state/watch_cache.h"
#include "controlplane/state/writer.h"
#include "controlplane/store/commit_queue.h"
#include "controlplane/store/sqlite_store.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

// For calls that are being answered when meshd is to end; those that would not end by themselves
// (logs and flows that are followed) are cut then.
constexpr absl::Duration kPatience = absl::Milliseconds(150);

struct Options {
  std::string data_dir = "/var/lib/mesh/meshd";
  std::vector<std::string> listen;
  std::string unix_socket = "/run/mesh/meshd.sock";
  std::string cluster_cidr = "10.244.0.0/16";
  std::string service_cidr = "10.96.0.0/16";
  std::string cluster_domain = "cluster.local";
  std::string node_port_range = "30000-32767";
  std::vector<std::string> load_balancer_pools;
  std::vector<std::string> non_masquerade_cidrs;
  std::string return_path = "snat";
  std::string evict_after = absl::FormatDuration(NodeLifeOptions().evict_after);
  std::string routing;  // empty: as it was
  std::string metrics_listen = "127.0.0.1:9640";
  std::string log_level = "info";
};

void Declare(CLI::App& app, Options& options) {
  app.set_version_flag("--version", std::string(kVersion));
  app.add_option("--data-dir", options.data_dir, "Folder of the database")->capture_default_str();
  app.add_option(
      "--listen", options.listen,
      "Address for agents and clients, host:port; may be repeated (none: the unix socket "
      "only)");
  app.add_option("--unix-socket", options.unix_socket, "Socket for clients on this machine")
      ->capture_default_str();
  app.add_option("--cluster-cidr", options.cluster_cidr,
                 "Pod addresses, a /24 for each node; with IPv6 IPV4-RANGE,IPV6-RANGE, a /64 for "
                 "each node")
      ->capture_default_str();
  app.add_option("--service-cidr", options.service_cidr,
                 "Addresses of Services; with IPv6 IPV4-RANGE,IPV6-RANGE")
      ->capture_default_str();
  app.add_option("--cluster-domain", options.cluster_domain, "DNS suffix of the cluster")
      ->capture_default_str();
  app.add_option("--node-port-range", options.node_port_range,
                 "Ports of Services of type NodePort and LoadBalancer, FIRST-LAST")
      ->capture_default_str();
  app.add_option("--load-balancer-pool", options.load_balancer_pools,
                 "Addresses on the nodes' link for Services of type LoadBalancer, a range or "
                 "FIRST-LAST, several with commas; may be repeated");
  app.add_option("--non-masquerade-cidrs", options.non_masquerade_cidrs,
                 "Destinations outside of the cluster that see the pods' own addresses; may be "
                 "repeated");
  app.add_option("--return-path", options.return_path,
                 "How answers to clients outside go back where a Service says nothing: through the "
                 "node that received the request, or directly from the backend's")
      ->check(CLI::IsMember({"snat", "direct"}))
      ->capture_default_str();
  app.add_option("--evict-after", options.evict_after,
                 "How long an agent may be away before the pods of its node are replaced on other "
                 "nodes, 3s to 24h; pods without a controller stay")
      ->capture_default_str();
  app.add_option("--routing", options.routing,
                 "How packets travel between nodes: in a tunnel (vxlan), or as they are (native: "
                 "all nodes are on one link). Chosen at the first start; vxlan when not given")
      ->check(CLI::IsMember({kRoutingVxlan, kRoutingNative}));
  app.add_option("--metrics-listen", options.metrics_listen,
                 "Address for Prometheus, host:port, at /metrics, without encryption; or off")
      ->capture_default_str();
  app.add_option("--log-level", options.log_level, "What is logged to standard error")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}))
      ->capture_default_str();
}

// What the flags mean together.
struct Ranges {
  ClusterRanges cluster;
  PortRange node_ports;
  LoadBalancerPools pools;
  absl::Duration evict_after;
};

absl::StatusOr<Ranges> Check(const Options& options) {
  Ranges out;
  ASSIGN_OR_RETURN(out.cluster, ParseClusterRanges(options.cluster_cidr, options.service_cidr));
  ASSIGN_OR_RETURN(out.node_ports, ParseNodePortRange(options.node_port_range));
  ASSIGN_OR_RETURN(out.pools, LoadBalancerPools::Parse(options.load_balancer_pools));
  ASSIGN_OR_RETURN(out.evict_after, ParseEvictAfter(options.evict_after));
  for (const bool is_v4 : {true, false}) {
    if (const IpPrefix* range = out.cluster.pods.Of(is_v4)) {
      RETURN_IF_ERROR(out.pools.CheckApart(*range, "--cluster-cidr"));
    }
    if (const IpPrefix* range = out.cluster.services.Of(is_v4)) {
      RETURN_IF_ERROR(out.pools.CheckApart(*range, "--service-cidr"));
    }
  }
  if (!out.cluster.dual_stack() && out.pools.size(false) > 0) {
    return absl::InvalidArgumentError(
        fmt::format("--load-balancer-pool {}: the cluster has no IPv6; give --cluster-cidr and "
                    "--service-cidr a range of IPv6 too",
                    out.pools.ToString(false)));
  }
  RETURN_IF_ERROR(CheckNonMasqueradeRanges(options.non_masquerade_cidrs, out.cluster.dual_stack()));
  RETURN_IF_ERROR(CheckClusterDomain(options.cluster_domain));
  for (const std::string& address : options.listen) {
    RETURN_IF_ERROR(CheckHostPort("--listen", address, HostPart::kMayBeEmpty));
  }
  if (options.metrics_listen != "off")
    RETURN_IF_ERROR(CheckHostPort("--metrics-listen", options.metrics_listen));
  if (options.listen.empty() && options.unix_socket.empty()) {
    return absl::InvalidArgumentError("give --listen or --unix-socket");
  }
  return out;
}

// Runs `task` on the loop and waits for it.
void OnLoop(EventLoop& loop, const Task& task) {
  absl::Notification done;
  loop.Post([&] {
    task();
    done.Notify();
  });
  done.WaitForNotification();
}

// What a large `apply` or a storm of changes needs for a moment is several times what stays.
constexpr size_t kHeapSlackBytes = 12 << 20;
constexpr absl::Duration kMemoryEvery = absl::Seconds(10);

// Null: off, or impossible, which is told: the cluster is served without.
std::unique_ptr<MetricsServer> StartMetrics(const std::string& listen, MetricsCollect collect) {
  if (listen == "off") return nullptr;
  auto started = MetricsServer::Start(listen, std::move(collect));
  if (started.ok()) return *std::move(started);
  spdlog::warn("{}", std::string(started.status().message()));
  return nullptr;
}

absl::Status Run(const Options& options) {
  ASSIGN_OR_RETURN(const Ranges ranges, Check(options));
  // The default of eight arenas per core keeps tens of MB that gRPC's threads once needed.
  mallopt(M_ARENA_MAX, 2);
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // in all threads: main takes them below

  // State, from the disk up.
  ASSIGN_OR_RETURN(const std::unique_ptr<SqliteStore> store,
                   SqliteStore::Open({.data_dir = options.data_dir}));
  RealLoop loop;
  WatchCache cache(loop, *store);
  RETURN_IF_ERROR(cache.Start());
  RETURN_IF_ERROR(CheckRangesHold(cache.state(), ranges.cluster));
  ASSIGN_OR_RETURN(const std::string routing,
                   RecordRouting(*store, cache.state(), options.routing));
  CountedCommits commits(loop, NewThreadCommitQueue(loop, *store));
  Random random = Random::FromEntropy();
  const uint64_t seed = random.Next();
  Writer writer(loop, cache, commits, random,
                {.admission = {.service_cidr = options.service_cidr,
                               .cluster_cidr = options.cluster_cidr,
                               .node_port_first = ranges.node_ports.first,
                               .node_port_last = ranges.node_ports.last,
                               .load_balancer_pools = ranges.pools}});

  // Who reads and changes it.
  NodeSessions sessions(
      loop, cache, writer,
      {.cluster_cidr = options.cluster_cidr,
       .service_cidr = options.service_cidr,
       .cluster_domain = options.cluster_domain,
       .node_port_first = static_cast<uint32_t>(ranges.node_ports.first),
       .node_port_last = static_cast<uint32_t>(ranges.node_ports.last),
       .non_masquerade_cidrs = options.non_masquerade_cidrs,
       .return_path =
           options.return_path == "direct" ? v1::ServiceState::DIRECT : v1::ServiceState::SNAT,
       .routing = routing == kRoutingNative ? v1::Welcome::NATIVE : v1::Welcome::VXLAN});
  Api api(cache, writer);
  NodeChannels channels(cache);
  ControlService control(loop, cache, api, channels, ranges.cluster);
  const std::unique_ptr<grpc::Service> access = NewAccessService(channels);
  NodeSyncService node_sync(loop, sessions);
  std::unique_ptr<Runtime> controllers;
  std::unique_ptr<ControlFigures> figures;

  // Up: base objects, controllers, and only then the doors.
  std::thread loop_thread([&loop] { loop.Run(); });
  absl::Notification base_objects;
  OnLoop(loop, [&] {
    writer.EnsureBaseObjects([&] {
      CompleteFamilies(writer, cache.state(), ranges.cluster, [&] { base_objects.Notify(); });
    });
  });
  base_objects.WaitForNotification();
  OnLoop(loop, [&] {
    figures = std::make_unique<ControlFigures>(loop, cache);
    KeepMemorySmall(&loop, kHeapSlackBytes, kMemoryEvery);
    controllers = StartControllers(&loop, &cache, &writer,
                                   {.node_life = {.evict_after = ranges.evict_after},
                                    .seed = seed,
                                    .cluster_range = ranges.cluster.pods,
                                    .load_balancer_pools = ranges.pools});
  });
  absl::StatusOr<std::unique_ptr<RpcServer>> server =
      RpcServer::Start({.listen = options.listen, .unix_socket = options.unix_socket},
                       {&control, &node_sync, access.get()});
  if (server.ok()) {
    spdlog::info("meshd {} serves at revision {} on {} {}", kVersion, cache.revision(),
                 fmt::join(options.listen, " "), options.unix_socket);
    std::unique_ptr<MetricsServer> metrics =
        StartMetrics(options.metrics_listen, [&](MetricsWriter& out) {
          OnLoop(loop, [&] {
            const NodeSessions::Lag lag = sessions.lag();
            const ControlFigures::Others others = {.watches = control.open_watches(),
                                                   .connected_nodes = sessions.connected(),
                                                   .nodes_behind = lag.nodes,
                                                   .revisions_behind_max = lag.revisions_max,
                                                   .controllers = controllers->stats()};
            figures->Write(commits, others, out);
          });
        });
    int signal = 0;
    sigwait(&signals, &signal);
    spdlog::info("signal {}: stopping", signal);
    metrics.reset();

    // Down, the other way round. The loop runs until the last call has ended.
    OnLoop(loop, [&] {
      sessions.CloseAll(absl::UnavailableError("meshd is stopping"));
      control.CloseWatches();
    });
    (*server)->Shutdown(kPatience);
  }
  OnLoop(loop, [&] {
    figures.reset();
    controllers.reset();
  });
  loop.Stop();
  loop_thread.join();
  return server.status();
}

// docs/errors.md
int ExitCode(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return 0;
    case absl::StatusCode::kInvalidArgument:
      return 2;
    case absl::StatusCode::kFailedPrecondition:
      return 3;
    case absl::StatusCode::kDataLoss:
      return 4;
    default:
      return 1;
  }
}

}  // namespace
}  // namespace mesh::controlplane

int main(int argc, char** argv) {
  using namespace mesh::controlplane;
  CLI::App app("meshd: the control plane of a mesh cluster");
  Options options;
  Declare(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  mesh::InitLog(options.log_level);
  const absl::Status status = Run(options);
  if (!status.ok()) std::fprintf(stderr, "meshd: %s\n", std::string(status.message()).c_str());
  return ExitCode(status);
}
