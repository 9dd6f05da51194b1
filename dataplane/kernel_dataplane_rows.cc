// SPDX-License-Identifier: Apache-2.0
// What the maps hold, as rows with names.
#include <algorithm>
#include <functional>

#include "common/status.h"
#include "dataplane/kernel_dataplane_impl.h"
#include "dataplane/service_rows.h"
#include "dataplane/tables/metrics_table.h"
#include "dataplane/tables/service_encode.h"
#include "fmt/format.h"

namespace mesh::dataplane {

std::vector<ServiceProblem> KernelDataplane::Impl::ServiceProblems() const {
  std::vector<ServiceProblem> out;
  planner_.ForEachServiceProblem([&](const Service& service, const std::string& text) {
    out.push_back({service.ns, service.name, text});
  });
  return out;
}

bool KernelDataplane::Impl::Serves(const Frontend& frontend) const {
  if (frontend.port == 0) return false;
  if (FamilyOf(frontend.vip) == Family::kV4)
    return maps_.v4.service.Lookup(Encode<V4>(frontend)).ok();
  return maps_.v6.has_value() && maps_.v6->service.Lookup(Encode<V6>(frontend)).ok();
}

absl::StatusOr<std::vector<ServiceRow>> KernelDataplane::Impl::Services() const {
  ASSIGN_OR_RETURN(const Observed observed, services_.Load());
  return ServiceRows(observed, planner_);
}

absl::StatusOr<std::vector<BackendRow>> KernelDataplane::Impl::Backends() const {
  ASSIGN_OR_RETURN(const Observed observed, services_.Load());
  return BackendRows(observed, planner_);
}

absl::StatusOr<std::vector<ConntrackRow>> KernelDataplane::Impl::Conntrack() const {
  ASSIGN_OR_RETURN(std::vector<ConntrackRow> out, flows_.Rows(NowNs()));
  if (!flows6_.has_value()) return out;
  std::map<IpAddress, IpPrefix> ranges;
  {
    absl::MutexLock lock(&peers_mutex_);
    for (const auto& [name, peer] : peers_) {
      if (peer.pod_cidr6 != IpPrefix()) ranges[peer.ip] = peer.pod_cidr6;
    }
  }
  const auto range_of = [&](const IpAddress& node) -> std::optional<IpPrefix> {
    const auto it = ranges.find(node);
    return it == ranges.end() ? std::nullopt : std::optional(it->second);
  };
  ASSIGN_OR_RETURN(const std::vector<ConntrackRow> rows6, flows6_->Rows(NowNs(), range_of));
  out.insert(out.end(), rows6.begin(), rows6.end());
  return out;
}

absl::StatusOr<std::vector<Peer>> KernelDataplane::Impl::Tunnels() const {
  ASSIGN_OR_RETURN(const Observed observed, services_.Load());
  std::vector<Peer> out;
  // Both ranges of a node make one row.
  const auto row_of = [&](const IpAddress& node) -> Peer& {
    for (Peer& peer : out) {
      if (peer.ip == node) return peer;
    }
    Peer& peer = out.emplace_back();
    peer.ip = node;
    return peer;
  };
  for (const auto& [pod_cidr, node] : observed.peers) {
    Peer& peer = row_of(node.ip);
    if (FamilyOf(pod_cidr) == Family::kV4) {
      peer.pod_cidr = pod_cidr;
    } else {
      peer.pod_cidr6 = pod_cidr;
      peer.ip6 = node.ip6;
    }
    for (const auto& [name, named] : peers_) {
      if (named.pod_cidr == pod_cidr || named.pod_cidr6 == pod_cidr) peer.name = name;
    }
  }
  return out;
}

absl::StatusOr<std::map<IpAddress, uint32_t>> KernelDataplane::Impl::Identities() const {
  std::map<IpAddress, uint32_t> out;
  ASSIGN_OR_RETURN(const auto rows, maps_.v4.identity.Dump());
  for (const auto& [key, value] : rows) out[V4::Decode(key.ip)] = value.identity;
  if (!maps_.v6.has_value()) return out;
  ASSIGN_OR_RETURN(const auto rows6, maps_.v6->identity.Dump());
  for (const auto& [key, value] : rows6) out[V6::Decode(key.ip)] = value.identity;
  return out;
}

absl::StatusOr<std::vector<MetricRow>> KernelDataplane::Impl::Metrics() const {
  std::vector<MetricRow> out;
  for (uint32_t index = 0; index < MESH_METRICS_MAX_ENTRIES; ++index) {
    ASSIGN_OR_RETURN(const std::vector<mesh_metrics_value> per_cpu, maps_.metrics.Lookup(index));
    MetricRow row = DecodeMetric(index, per_cpu);
    // That nothing goes by XDP is told too, where it should.
    const bool expected = index / 2 == MESH_REASON_FORWARDED ||
                          (config_.xdp && index == MESH_METRICS_INDEX(MESH_REASON_FORWARDED_XDP,
                                                                      MESH_DIRECTION_INGRESS));
    if (row.packets > 0 || expected) out.push_back(std::move(row));
  }
  return out;
}

absl::StatusOr<MapUsage> KernelDataplane::Impl::Usage(Table table) const {
  const auto usage = [](const auto& map) -> absl::StatusOr<MapUsage> {
    ASSIGN_OR_RETURN(const auto rows, map.Dump());
    return MapUsage{static_cast<uint32_t>(rows.size()), map.max_entries()};
  };
  switch (table) {
    case Table::kService:
      return usage(maps_.v4.service);
    case Table::kBackend:
      return usage(maps_.v4.backend);
    case Table::kConntrack:
      return usage(maps_.v4.flow);
    case Table::kEndpoint:
      return usage(maps_.v4.endpoint);
    case Table::kTunnel:
      return usage(maps_.v4.tunnel);
    default:
      break;
  }
  if (!maps_.v6.has_value()) return absl::NotFoundError("this node has no ranges of IPv6");
  switch (table) {
    case Table::kService6:
      return usage(maps_.v6->service);
    case Table::kBackend6:
      return usage(maps_.v6->backend);
    case Table::kConntrack6:
      return usage(maps_.v6->flow);
    case Table::kEndpoint6:
      return usage(maps_.v6->endpoint);
    case Table::kTunnel6:
      return usage(maps_.v6->tunnel);
    default:
      break;
  }
  return absl::InvalidArgumentError("no such table");
}

// A full connection table takes a tenth of a second to pass, and the collector does so anyway.
absl::StatusOr<std::vector<MapRow>> KernelDataplane::Impl::LoadedMaps() const {
  std::map<std::string, uint32_t> counted = {{MESH_FLOW_MAP_NAME, collector_.Rows()}};
  if (collector6_.has_value()) counted[MESH_FLOW6_MAP_NAME] = collector6_->Rows();
  return inspector_.LoadedMaps(counted);
}

std::vector<ServiceFlows> KernelDataplane::Impl::FlowsOfServices() const {
  std::map<uint32_t, uint32_t> by_port = collector_.ServiceFlows();
  if (collector6_.has_value()) {
    for (const auto& [id, flows] : collector6_->ServiceFlows()) by_port[id] += flows;
  }
  std::map<std::pair<std::string, std::string>, uint32_t> by_name;
  for (const auto& [id, flows] : by_port) {
    size_t port = 0;
    // One that has been removed has flows still.
    if (const Service* service = planner_.Find(id, &port))
      by_name[{service->ns, service->name}] += flows;
  }
  std::vector<ServiceFlows> out;
  for (const auto& [name, flows] : by_name) out.push_back({name.first, name.second, flows});
  std::ranges::stable_sort(out, std::greater<>(), &ServiceFlows::flows);
  return out;
}

absl::StatusOr<std::vector<ServiceTraffic>> KernelDataplane::Impl::TrafficOfServices() const {
  std::map<std::pair<std::string, std::string>, ServiceTraffic> by_name;
  RETURN_IF_ERROR(maps_.traffic.ForEach([&](const auto& key, const auto& per_cpu) {
    size_t port = 0;
    const Service* service = planner_.Find(key.service_id, &port);
    if (service == nullptr) return;  // CollectGarbage() removes it
    AddTraffic(per_cpu, &by_name[{service->ns, service->name}]);
  }));
  std::vector<ServiceTraffic> out;
  for (auto& [name, traffic] : by_name) {
    std::tie(traffic.ns, traffic.service) = name;
    out.push_back(std::move(traffic));
  }
  std::ranges::stable_sort(out, std::greater<>(), &ServiceTraffic::connections);
  return out;
}

// Counts of Services that are gone.
absl::StatusOr<std::vector<PolicyDrops>> KernelDataplane::Impl::DropsOfPolicies() const {
  const std::map<uint32_t, uint32_t> sets = pods_.policies().Numbers();
  std::vector<PolicyDrops> out;
  RETURN_IF_ERROR(maps_.policy_drops.ForEach([&](const auto& key, const auto& per_cpu) {
    const auto set = sets.find(key.set);
    if (set == sets.end()) return;  // ForgetDrops() removes it
    out.push_back({.row = key.set, .set = set->second});
    for (const mesh_policy_drops_value& value : per_cpu) out.back().packets += value.packets;
  }));
  return out;
}

// Of sets that are gone.
absl::StatusOr<FlowUsage> KernelDataplane::Impl::FlowOwners() const {
  ASSIGN_OR_RETURN(FlowUsage out, collector_.Usage());
  if (collector6_.has_value()) {
    ASSIGN_OR_RETURN(const FlowUsage out6, collector6_->Usage());
    out.flows6 = out6.flows;
    out.capacity6 = out6.capacity;
    out.owners.insert(out.owners.end(), out6.owners.begin(), out6.owners.end());
    std::ranges::stable_sort(out.owners, std::greater<>(), &FlowOwner::flows);
  }
  ASSIGN_OR_RETURN(const std::vector<Endpoint> endpoints, pods_.Endpoints());
  for (const Endpoint& endpoint : endpoints) {
    for (FlowOwner& owner : out.owners) {
      if (owner.ip == IpAddress()) continue;
      if (owner.ip != endpoint.ip && owner.ip != endpoint.ip6) continue;
      owner.ns = endpoint.ns;
      owner.pod = endpoint.pod;
    }
  }
  return out;
}

}  // namespace mesh::dataplane
