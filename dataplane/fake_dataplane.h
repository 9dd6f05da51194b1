// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/dataplane.h"

namespace mesh::dataplane {

// A dataplane in memory, for simulation and tests of what stands above it. Rows are what the kernel
// would show; ids are handed out in order of first sight.
class FakeDataplane : public Dataplane {
 public:
  explicit FakeDataplane(NodeConfig config) : config_(std::move(config)) {}

  // Called with the name of a method ("Apply", "Attach", "Detach", "SetUplinkMtu", "Check",
  // "LoadedMaps", "CollectGarbage") before it acts; a status that is not OK becomes its answer.
  std::function<absl::Status(const std::string& method)> fault;
  // Answers.
  std::set<std::string> unwritten_namespaces;
  std::vector<ServiceProblem> service_problems;
  RefusedPolicies refused_policies;
  std::vector<PolicyClassRow> policies;
  std::vector<PolicyDrops> policy_drops;
  FlowUsage flow_usage;
  std::vector<ProgramRow> programs;
  std::vector<MapRow> maps;
  std::map<std::string, std::vector<MapEntryText>> map_rows;

  // What OpenEvents() hands out; null: it tells no flows.
  std::function<std::unique_ptr<FlowEvents>()> flow_events;

  // What the last Attach asked for.
  const AttachRequest& attached() const { return attached_; }
  // What the maps would follow: see DesiredState::changed_services.
  const DesiredState& desired() const { return desired_; }
  int applies() const { return applies_; }
  // Of the last SetUplinkMtu().
  const std::vector<PodInterface>& followed() const { return followed_; }

  absl::Status Apply(const DesiredState& desired) override;
  std::set<std::string> UnwrittenNamespaces() const override { return unwritten_namespaces; }
  std::vector<ServiceProblem> ServiceProblems() const override { return service_problems; }
  RefusedPolicies PolicyProblems() const override { return refused_policies; }
  absl::StatusOr<Endpoint> Attach(const AttachRequest& request) override;
  absl::Status Detach(const std::string& container_id, const std::string& ifname) override;
  absl::Status SetUplinkMtu(int uplink_mtu, const std::vector<PodInterface>& pods) override;
  int uplink_mtu() const override { return config_.uplink_mtu; }
  absl::Status Check(const AttachRequest& request) override;
  absl::StatusOr<std::vector<Endpoint>> Endpoints() const override;
  absl::StatusOr<std::vector<ServiceRow>> Services() const override;
  absl::StatusOr<std::vector<BackendRow>> Backends() const override;
  absl::StatusOr<std::vector<ConntrackRow>> Conntrack() const override;
  absl::StatusOr<std::vector<Peer>> Tunnels() const override;
  absl::StatusOr<std::vector<PolicyClassRow>> Policies() const override { return policies; }
  absl::StatusOr<std::vector<PolicyDrops>> DropsOfPolicies() const override { return policy_drops; }
  Routing routing() const override { return config_.routing; }
  absl::StatusOr<std::map<IpAddress, uint32_t>> Identities() const override;
  absl::StatusOr<std::vector<ProgramRow>> LoadedPrograms() const override { return programs; }
  absl::StatusOr<UniqueFd> CountRuns() const override { return UniqueFd(); }
  absl::StatusOr<std::vector<MapRow>> LoadedMaps() const override {
    const absl::Status status = Fault("LoadedMaps");
    return status.ok() ? absl::StatusOr<std::vector<MapRow>>(maps) : status;
  }
  absl::StatusOr<MapRows> RowsOf(const std::string& map, uint32_t limit) const override;
  absl::StatusOr<std::vector<MetricRow>> Metrics() const override;
  absl::StatusOr<MapUsage> Usage(Table table) const override;
  absl::StatusOr<FlowUsage> FlowOwners() const override { return flow_usage; }
  absl::StatusOr<std::unique_ptr<FlowEvents>> OpenEvents() override {
    return flow_events ? flow_events() : Dataplane::OpenEvents();
  }
  absl::StatusOr<int> CollectGarbage() override;

 private:
  absl::Status Fault(const char* method) const;

  NodeConfig config_;
  AttachRequest attached_;
  std::vector<PodInterface> followed_;
  DesiredState desired_;
  bool applied_ = false;
  int applies_ = 0;
  int next_ifindex_ = 100;
  std::map<std::pair<std::string, std::string>, Endpoint> endpoints_;  // by (container, ifname)
  std::map<std::pair<std::string, std::string>, std::string> netns_;
};

}  // namespace mesh::dataplane
