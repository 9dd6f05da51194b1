// SPDX-License-Identifier: Apache-2.0
#include "dataplane/plan/plan.h"

#include <algorithm>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "fmt/format.h"

namespace mesh::dataplane {
namespace {

using BackendKey = std::tuple<uint32_t, IpAddress, uint16_t>;  // service id, address, port

class Planner {
 public:
  Planner(const NodeConfig& node, const DesiredState& desired, const Observed& observed,
          NextIds& next)
      : node_(node), desired_(desired), observed_(observed), next_(next) {}

  Plan Run() {
    for (const auto& [id, entry] : observed_.backends) {
      backend_ids_.emplace(BackendKey(entry.service_id, entry.ip, entry.port), id);
    }
    PlanNamespaces();
    PlanPeers();
    PlanServices();
    Append(put_backends_);
    Append(put_services_);
    if (desired_.complete) PlanRemovals();
    return std::move(plan_);
  }

 private:
  void Problem(std::string text) {
    if (plan_.problem.ok()) plan_.problem = absl::InvalidArgumentError(std::move(text));
  }

  template <typename T>
  void Append(std::vector<T>& actions) {
    for (T& action : actions) plan_.actions.push_back(std::move(action));
  }

  void PlanNamespaces() {
    for (const auto& [identity, policy] : desired_.namespaces) {
      const auto it = observed_.namespaces.find(identity);
      const Isolation now = it == observed_.namespaces.end() ? Isolation::kDefault : it->second;
      if (policy.isolation == now) continue;
      if (policy.isolation == Isolation::kDefault) {
        // A known namespace that is default again: no row.
        plan_.actions.push_back(RemoveNamespace{identity});
      } else {
        plan_.actions.push_back(PutNamespace{identity, policy.isolation});
      }
      plan_.judge_flows_again = true;
    }
  }

  void PlanPeers() {
    for (const auto& [name, peer] : desired_.peers) {
      if (!peer.ip.is_v4() || !peer.pod_cidr.base().is_v4()) {
        Problem(fmt::format("node {}: only IPv4 peers are supported, got {} with {}", name,
                            peer.ip.ToString(), peer.pod_cidr.ToString()));
        continue;
      }
      if (peer.pod_cidr == node_.pod_cidr) {
        Problem(fmt::format("node {}: its pod range {} is this node's own", name,
                            peer.pod_cidr.ToString()));
        continue;
      }
      if (!wanted_peers_.insert(peer.pod_cidr).second) {
        Problem(fmt::format("node {}: another node has its pod range {}", name,
                            peer.pod_cidr.ToString()));
        continue;
      }
      const auto it = observed_.peers.find(peer.pod_cidr);
      if (it != observed_.peers.end() && it->second == peer.ip) continue;
      if (it != observed_.peers.end()) plan_.judge_flows_again = true;
      plan_.actions.push_back(PutPeer{peer.pod_cidr, peer.ip});
    }
  }

  void PlanServices() {
    for (const auto& [key, service] : desired_.services) {
      for (const ServicePort& port : service.ports) PlanPort(key, service, port);
    }
  }

  void PlanPort(const std::string& key, const Service& service, const ServicePort& port) {
    if (!service.cluster_ip.is_v4() || port.port == 0) {
      Problem(fmt::format("service {}: cannot serve {} port {}", key, service.cluster_ip.ToString(),
                          port.port));
      return;
    }
    const Frontend frontend{service.cluster_ip, port.port, port.protocol};
    if (!wanted_services_.insert(frontend).second) {
      Problem(fmt::format("service {}: another service has {} port {}", key,
                          frontend.vip.ToString(), frontend.port));
      return;
    }
    const auto it = observed_.services.find(frontend);
    ServiceEntry entry;
    entry.service_id = it == observed_.services.end() ? next_.service++ : it->second.service_id;
    entry.generation = it == observed_.services.end() ? 0 : it->second.generation;
    entry.identity = service.identity;
    for (const Backend& backend : port.backends) {
      if (!backend.ip.is_v4() || backend.port == 0) {
        Problem(fmt::format("service {}: cannot reach backend {} port {}", key,
                            backend.ip.ToString(), backend.port));
        continue;
      }
      const uint32_t id = PlanBackend(entry.service_id, port.protocol, backend);
      if (backend.state == BackendState::kActive) entry.backend_ids.push_back(id);
    }
    std::sort(entry.backend_ids.begin(), entry.backend_ids.end());
    entry.backend_ids.erase(std::unique(entry.backend_ids.begin(), entry.backend_ids.end()),
                            entry.backend_ids.end());
    if (it != observed_.services.end() && it->second == entry) return;
    put_services_.push_back({frontend, std::move(entry)});
  }

  uint32_t PlanBackend(uint32_t service_id, Protocol protocol, const Backend& backend) {
    const BackendEntry entry{service_id,    backend.ip,     backend.port,  protocol,
                             backend.state, backend.weight, backend.scopes};
    const auto [it, is_new] =
        backend_ids_.try_emplace(BackendKey(service_id, backend.ip, backend.port), next_.backend);
    if (is_new) ++next_.backend;
    wanted_backends_.insert(it->second);
    const auto seen = observed_.backends.find(it->second);
    if (seen == observed_.backends.end() || seen->second != entry) {
      put_backends_.push_back({it->second, entry});
      // Datagrams that have rested leave it.
      if (entry.state == BackendState::kDraining) plan_.judge_flows_again = true;
    }
    return it->second;
  }

  void PlanRemovals() {
    for (const auto& [frontend, entry] : observed_.services) {
      if (!wanted_services_.contains(frontend)) plan_.actions.push_back(RemoveService{frontend});
    }
    for (const auto& [id, entry] : observed_.backends) {
      if (wanted_backends_.contains(id)) continue;
      plan_.actions.push_back(RemoveBackend{id});
      plan_.judge_flows_again = true;
    }
    for (const auto& [pod_cidr, node] : observed_.peers) {
      if (wanted_peers_.contains(pod_cidr)) continue;
      plan_.actions.push_back(RemovePeer{pod_cidr});
      plan_.judge_flows_again = true;
    }
    for (const auto& [identity, isolation] : observed_.namespaces) {
      if (desired_.namespaces.contains(identity)) continue;
      plan_.actions.push_back(RemoveNamespace{identity});
      plan_.judge_flows_again = true;
    }
  }

  const NodeConfig& node_;
  const DesiredState& desired_;
  const Observed& observed_;
  NextIds& next_;
  Plan plan_;
  std::map<BackendKey, uint32_t> backend_ids_;
  std::vector<PutBackend> put_backends_;
  std::vector<PutService> put_services_;
  std::set<Frontend> wanted_services_;
  std::set<uint32_t> wanted_backends_;
  std::set<IpPrefix> wanted_peers_;
};

struct Performer {
  Observed& observed;

  void operator()(const PutNamespace& a) { observed.namespaces[a.identity] = a.isolation; }
  void operator()(const PutPeer& a) { observed.peers[a.pod_cidr] = a.node; }
  void operator()(const PutBackend& a) { observed.backends[a.backend_id] = a.entry; }
  void operator()(const PutService& a) {
    ServiceEntry& entry = observed.services[a.frontend];
    entry = a.entry;
    ++entry.generation;
  }
  void operator()(const RemoveService& a) { observed.services.erase(a.frontend); }
  void operator()(const RemoveBackend& a) { observed.backends.erase(a.backend_id); }
  void operator()(const RemovePeer& a) { observed.peers.erase(a.pod_cidr); }
  void operator()(const RemoveNamespace& a) { observed.namespaces.erase(a.identity); }
};

}  // namespace

Plan ComputePlan(const NodeConfig& node, const DesiredState& desired, const Observed& observed,
                 NextIds& next) {
  return Planner(node, desired, observed, next).Run();
}

void Perform(const Action& action, Observed& observed) { std::visit(Performer{observed}, action); }

}  // namespace mesh::dataplane
