// SPDX-License-Identifier: Apache-2.0
// What must hold in a SimCluster: at every revision, and when it has come to rest.
#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "controlplane/controllers/endpoints_controller.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/controllers/rollout.h"
#include "fmt/format.h"
#include "tests/sim/sim_cluster.h"
#include "tests/sim/sim_parts.h"

namespace mesh::sim {
namespace {

bool IsMeaningful(const cp::Change& change) {
  const v1::Resource& any = change.after != nullptr ? *change.after : *change.before;
  return !any.has_node() && !any.has_event();
}

// 10.244.3.17 and fd00:10:244:3::11.
bool HaveOneNumber(const std::string& ip, const std::string& ip6) {
  const auto a = IpPrefix::Parse("10.244.0.0/16")->IndexOf(*IpAddress::Parse(ip));
  const IpPrefix pods6 = *IpPrefix::Parse("fd00:10:244::/56");
  return a && pods6.Subrange(64, *a >> 8)->At(*a & 0xff) == *IpAddress::Parse(ip6);
}

}  // namespace

void SimCluster::Violate(std::string what) {
  if (violation_.empty())
    violation_ = fmt::format("at revision {}, {}: {}", state().revision,
                             absl::FormatTime(loop_.Now(), absl::UTCTimeZone()), what);
}

void SimCluster::Observe(const cp::ChangeBatch& batch) {
  if (std::any_of(batch.changes.begin(), batch.changes.end(), IsMeaningful)) ++meaningful_commits_;
  for (const cp::Change& change : batch.changes) {
    const v1::Resource& any = change.after != nullptr ? *change.after : *change.before;
    trace_ = (trace_ ^ cp::HashText64(cp::CanonicalBytes(any))) * 1099511628211u;
  }
  CheckPods(batch);
  CheckDeployments();
}

void SimCluster::CheckPods(const cp::ChangeBatch& batch) {
  for (const cp::Change& change : batch.changes) {
    if (change.before == nullptr || change.after == nullptr || !change.after->has_pod()) continue;
    const v1::Pod& before = change.before->pod();
    const v1::Pod& after = change.after->pod();
    if (before.metadata().uid() != after.metadata().uid() || !cp::IsBound(before)) continue;
    if (before.spec().node_name() != after.spec().node_name() ||
        before.status().pod_ip() != after.status().pod_ip())
      Violate(fmt::format("pod {} was bound twice: {} {} then {} {}", after.metadata().name(),
                          before.spec().node_name(), before.status().pod_ip(),
                          after.spec().node_name(), after.status().pod_ip()));
  }
  std::map<std::string, std::string> by_ip;
  for (const auto& [key, pod] : state().pods) {
    const std::string& ip = pod->status().pod_ip();
    if (ip.empty()) continue;
    if (dual_stack_ != (pod->status().pod_ips_size() == 2) ||
        (dual_stack_ &&
         !HaveOneNumber(pod->status().pod_ips(0).ip(), pod->status().pod_ips(1).ip())))
      Violate(
          fmt::format("pod {} has the addresses {}", key.name, pod->status().ShortDebugString()));
    auto [it, fresh] = by_ip.emplace(ip, key.name);
    if (!fresh) Violate(fmt::format("{} is the address of {} and {}", ip, it->second, key.name));
  }
}

void SimCluster::CheckDeployments() {
  for (const auto& [key, deployment] : state().deployments) {
    const cp::Fenceposts posts = cp::FencepostsOf(*deployment);
    const int replicas = cp::ReplicasOf(*deployment);
    int active = 0, available = 0;
    for (const auto& [pod_key, pod] : state().pods) {
      auto app = pod->metadata().labels().find("app");
      if (app == pod->metadata().labels().end() || app->second != key.name) continue;
      if (!cp::IsActive(*pod)) continue;
      ++active;
      if (cp::IsPodConditionReady(*pod)) ++available;
    }
    const bool complete = available == replicas && active == replicas;
    int& limit = pod_limit_[key];
    if (complete) limit = 0;
    limit = std::max(limit, replicas + posts.max_surge);
    if (active > limit)
      Violate(fmt::format("deployment {} has {} pods, at most {} are allowed", key.name, active,
                          limit));
    if (complete) was_complete_.insert(key);
    if (require_availability_ && was_complete_.contains(key) &&
        available < replicas - posts.max_unavailable &&
        deployment->spec().strategy().type() == "RollingUpdate")
      Violate(fmt::format("deployment {} has {} available pods, at least {} are promised", key.name,
                          available, replicas - posts.max_unavailable));
  }
}

std::string SimCluster::Explain() const {
  if (!violation_.empty()) return violation_;
  if (control_ == nullptr) return "the control plane is down";
  if (!control_->runtime->idle()) return "the control loops are busy";
  const cp::ClusterState& s = state();
  for (const auto& [key, d] : s.deployments) {
    const int replicas = cp::ReplicasOf(*d);
    const v1::DeploymentStatus& status = d->status();
    if (status.observed_generation() != d->metadata().generation() ||
        status.replicas() != replicas || status.updated_replicas() != replicas ||
        status.available_replicas() != replicas)
      return fmt::format("deployment {}: {}", key.name, d->ShortDebugString());
  }
  for (const auto& [key, rs] : s.replica_sets) {
    const v1::OwnerReference* owner = cp::ControllerOf(rs->metadata());
    if (owner == nullptr || !s.deployments.contains({key.ns, owner->name()}))
      return fmt::format("replica set {} has no owner", key.name);
  }
  std::map<std::string, std::set<std::string>> ready_ips;
  for (const auto& [key, pod] : s.pods) {
    const v1::OwnerReference* owner = cp::ControllerOf(pod->metadata());
    if (cp::IsTerminating(pod->metadata())) return fmt::format("pod {} is terminating", key.name);
    if (!cp::IsPodReady(s, *pod)) return fmt::format("pod {} is not ready", key.name);
    if (owner == nullptr || !s.replica_sets.contains({key.ns, owner->name()}))
      return fmt::format("pod {} has no owner", key.name);
    for (const v1::PodIP& ip : pod->status().pod_ips())
      ready_ips[pod->metadata().labels().at("app")].insert(ip.ip());
  }
  std::map<std::string, std::set<std::string>> endpoint_ips;
  for (const auto& [key, slice] : s.endpoint_slices) {
    const std::string service = slice->metadata().labels().at(cp::kServiceNameLabel);
    if (!s.services.contains({key.ns, service}))
      return fmt::format("slice {} has no service", key.name);
    for (const v1::Endpoint& endpoint : slice->endpoints()) {
      if (!endpoint.conditions().ready())
        return fmt::format("endpoint {} of {} is not ready", endpoint.addresses(0), service);
      endpoint_ips[service].insert(endpoint.addresses(0));
    }
  }
  for (const auto& [key, service] : s.services)
    if (endpoint_ips[key.name] != ready_ips[key.name])
      return fmt::format("service {} has {} endpoints for {} pods", key.name,
                         endpoint_ips[key.name].size(), ready_ips[key.name].size());
  // Every node's datapath has heard of it.
  for (const auto& agent : agents_) {
    std::map<std::string, uint32_t> others;
    for (const auto& [key, pod] : s.pods) {
      if (dual_stack_ && pod->spec().node_name() != agent->name)
        others[pod->status().pod_ip()] = pod->status().identity();
    }
    if (agent->alive && agent->identities != others)
      return fmt::format("{} knows the identities of {} pods, there are {} on other nodes",
                         agent->name, agent->identities.size(), others.size());
    for (const auto& [key, service] : s.services) {
      std::set<std::string> backends;
      for (const v1::ServicePortState& port : agent->services[key.ToString()].ports())
        for (const v1::BackendState& backend : port.backends()) backends.insert(backend.ip());
      if (agent->alive && backends != ready_ips[key.name])
        return fmt::format("{} has {} backends of service {} for {} pods", agent->name,
                           backends.size(), key.name, ready_ips[key.name].size());
    }
  }
  return "";
}

bool SimCluster::Converged() const { return Explain().empty(); }

}  // namespace mesh::sim
