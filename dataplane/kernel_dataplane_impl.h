// SPDX-License-Identifier: Apache-2.0
// Inside the kernel's dataplane: nobody but its own files includes this.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "dataplane/bpf/programs.h"
#include "dataplane/inspector.h"
#include "dataplane/kernel_dataplane.h"
#include "dataplane/kernel_maps.h"
#include "dataplane/net/host_routes.h"
#include "dataplane/net/netlink.h"
#include "dataplane/net/node_links.h"
#include "dataplane/net/node_sockets.h"
#include "dataplane/plan/plan.h"
#include "dataplane/pod_endpoints.h"
#include "dataplane/tables/flow_collector.h"
#include "dataplane/tables/flow_table.h"
#include "dataplane/tables/service_tables.h"
#include "dataplane/trace/kernel_tracer.h"

namespace mesh::dataplane {

class KernelDataplane::Impl {
 public:
  Impl(NodeConfig config, Netlink netlink, const NodeLinks& links,
       std::unique_ptr<Programs> programs, std::unique_ptr<KernelMaps> maps,
       std::string sockets_dir)
      : config_(std::move(config)),
        netlink_(std::move(netlink)),
        programs_(std::move(programs)),
        kept_maps_(std::move(maps)),
        maps_(*kept_maps_),
        routes_(netlink_, links.host.ifindex, config_.gateway, config_.gateway6),
        services_(maps_.ForServices(routes_)),
        pods_(config_, netlink_, *programs_, maps_),
        flows_(maps_.v4.flow),
        collector_({maps_.v4.flow, maps_.v4.owner, maps_.load}),
        inspector_(*programs_, config_.uplink, std::move(sockets_dir)),
        planner_(config_) {
    if (!maps_.v6.has_value()) return;
    flows6_.emplace(maps_.v6->flow);
    collector6_.emplace(FlowCollector<V6>::Tables{maps_.v6->flow, maps_.v6->owner, maps_.load});
  }

  const Programs& programs() const { return *programs_; }
  absl::Status Observe();
  absl::Status Apply(const DesiredState& desired);
  PodEndpoints& pods() { return pods_; }
  // Whether there is a frontend at that very address. Any thread.
  bool Serves(const Frontend& frontend) const;
  absl::StatusOr<std::vector<ServiceRow>> Services() const;
  absl::StatusOr<std::vector<BackendRow>> Backends() const;
  absl::StatusOr<std::vector<ConntrackRow>> Conntrack() const;
  absl::StatusOr<std::vector<Peer>> Tunnels() const;
  Routing routing() const { return config_.routing; }
  absl::StatusOr<std::map<IpAddress, uint32_t>> Identities() const;
  absl::StatusOr<std::vector<MapRow>> LoadedMaps() const;
  const Inspector& inspector() const { return inspector_; }
  absl::StatusOr<std::vector<MetricRow>> Metrics() const;
  absl::StatusOr<MapUsage> Usage(Table table) const;
  absl::StatusOr<FlowUsage> FlowOwners() const;
  std::vector<ServiceFlows> FlowsOfServices() const;
  absl::StatusOr<std::vector<ServiceTraffic>> TrafficOfServices() const;
  absl::StatusOr<std::vector<PolicyDrops>> DropsOfPolicies() const;
  absl::StatusOr<int> CollectGarbage();
  absl::Status BeginCollecting();
  // For what they dial at the node's own addresses; see Shortfall().
  void ServeOwnProcesses(const NodeSockets& sockets);
  std::string Shortfall() const { return shortfall_; }
  const std::set<std::string>& UnwrittenNamespaces() const { return unwritten_namespaces_; }
  std::vector<ServiceProblem> ServiceProblems() const;
  RefusedPolicies PolicyProblems() const { return pods_.policies().refused(); }
  absl::StatusOr<std::vector<PolicyClassRow>> Policies() const { return pods_.policies().Rows(); }
  absl::StatusOr<std::shared_ptr<Tracer>> PacketTracer() {
    if (tracer_ == nullptr) {
      ASSIGN_OR_RETURN(tracer_, NewTracer(*programs_));
    }
    return tracer_;
  }

 private:
  // Calls of CollectGarbage().
  static constexpr uint32_t kForgetEvery = 16;

  // The clock of mesh_flow_value::last_seen_ns.
  static uint64_t NowNs();
  absl::Status JudgeFlowsAgain();
  absl::Status ForgetTraffic();
  absl::Status ForgetDrops();

  NodeConfig config_;
  Netlink netlink_;
  std::unique_ptr<Programs> programs_;
  std::unique_ptr<KernelMaps> kept_maps_;
  KernelMaps& maps_;
  KernelHostRoutes routes_;
  ServiceTables services_;
  PodEndpoints pods_;
  uint32_t collections_ = 0;
  FlowTable<V4> flows_;
  FlowCollector<V4> collector_;
  Inspector inspector_;
  std::optional<FlowTable<V6>> flows6_;
  std::optional<FlowCollector<V6>> collector6_;

  // What the maps hold; unset after a failed write, then read again.
  std::optional<Observed> observed_;
  Planner planner_;
  std::set<std::string> unwritten_namespaces_;
  bool judge_due_ = false;
  std::string shortfall_;
  std::shared_ptr<Tracer> tracer_;  // null: nobody has asked
  // Of the last Apply, for their names. Written by the caller's thread, under the mutex.
  std::map<std::string, Peer> peers_;
  mutable absl::Mutex peers_mutex_;
};

}  // namespace mesh::dataplane
