// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "dataplane/maglev/maglev.h"
#include "dataplane/plan/plan.h"
#include "dataplane/plan/port_plan.h"
#include "fmt/format.h"

namespace mesh::dataplane {
namespace {

// Who asks for a frontend.
struct Claimant {
  std::string key;  // of the Service
  size_t port = 0;  // index in it
  FrontendKind kind = FrontendKind::kUnknown;
  friend auto operator<=>(const Claimant&, const Claimant&) = default;
};

struct PortRecord {
  uint32_t service_id = 0;  // 0: has no frontend of its own
  std::vector<Claim> claims;
};

// A Service as it was planned last.
struct ServiceRecord {
  Service service;
  std::vector<PortRecord> ports;
  std::vector<std::pair<Outside, IpPrefix>> outside;
  std::vector<std::string> problems;
};

constexpr char kNoIpv6[] = "this node has no ranges of IPv6";

// What a port is called in its Service, for it to keep its number while its addresses change.
using PortName = std::tuple<std::string, Protocol, std::string>;  // Service key, protocol, name

}  // namespace

class Planner::Impl {
 public:
  Impl(NodeConfig node, NextIds next) : node_(std::move(node)), next_(next) {}

  Plan Compute(const DesiredState& desired, const Observed& observed);
  void Forget();
  const Service* Find(uint32_t service_id, size_t* port) const;
  FrontendKind Kind(const Frontend& frontend) const;
  const NextIds& next() const { return next_; }

 private:
  // Phases of a plan, in the order of execution.
  struct Phases {
    std::vector<Action> put_backends, put_source_ranges, put_sets, put_frontends, put_outside;
    std::vector<Action> remove_outside, remove_frontends, remove_sets, remove_source_ranges,
        remove_backends, remove_identities, remove_peers;
  };

  void PlanNamespaces();
  void PlanPeers();
  void PlanIdentities();
  void PlanIdentity(const IpAddress& ip);
  // Processes of a node send with the first address of its range.
  void AddGateway(const IpPrefix& pod_cidr) {
    const std::optional<IpAddress> gateway = pod_cidr.At(1);
    if (gateway.has_value() && node_.routing == Routing::kNative) gateways_.insert(*gateway);
  }
  bool PlanPeer(const std::string& name, const IpPrefix& pod_cidr, const PeerEntry& node,
                std::set<IpPrefix>* ranges);
  void PlanServices(const std::set<std::string>& keys);
  std::set<std::string> WithRivals(std::set<std::string> keys) const;
  void Release(const std::string& key);
  void Register(const std::string& key, const Service& service);
  void Number(const std::set<std::string>& keys);
  void PlanService(const std::string& key);
  void PlanPort(const std::string& key, ServiceRecord& record, size_t index);
  void PlanSet(uint32_t service_id, Scope scope, Algorithm algorithm,
               const std::vector<std::pair<uint32_t, uint16_t>>& weights);
  void PlanSourceRanges(uint32_t service_id, const std::set<IpPrefix>& wanted);
  void RemoveLeft(uint32_t service_id, const std::set<uint32_t>& backends,
                  const std::array<bool, 2>& scopes);
  void PlanOutside(Outside kind, const std::set<IpPrefix>& wanted);
  bool Owns(const std::string& key, size_t port, const Frontend& frontend) const;
  void Join();

  const NodeConfig node_;
  NextIds next_;

  // Memory.
  bool planned_ = false, planned_complete_ = false;
  std::map<std::string, ServiceRecord> records_;
  std::map<Frontend, std::set<Claimant>> claims_;              // the first has it
  std::map<uint32_t, std::pair<std::string, size_t>> owners_;  // service id -> key, port
  std::map<std::pair<Outside, IpPrefix>, std::set<std::string>> outside_;
  std::set<std::string> troubled_;  // keys of records with problems
  std::map<std::string, Peer> peers_;
  std::optional<std::vector<IpPrefix>> non_masquerade_;
  std::map<uint32_t, NamespacePolicy> namespaces_;
  std::set<IpPrefix> nodes_;      // addresses of all nodes
  std::set<IpAddress> gateways_;  // of the other nodes: what their processes send with
  std::vector<std::string> peer_problems_;

  // Of the plan at work.
  const DesiredState* desired_ = nullptr;
  const Observed* observed_ = nullptr;
  Plan plan_;
  Phases phases_;
  std::map<PortName, uint32_t> released_names_;
  std::set<uint32_t> released_ids_;
  std::set<std::pair<Outside, IpPrefix>> touched_outside_;
};

Plan Planner::Impl::Compute(const DesiredState& desired, const Observed& observed) {
  desired_ = &desired;
  observed_ = &observed;
  plan_ = Plan();
  phases_ = Phases();
  released_names_.clear();
  released_ids_.clear();
  touched_outside_.clear();
  const bool everything = !desired.changed_services.has_value() || !planned_ ||
                          (desired.complete && !planned_complete_);
  if (!planned_ && !observed.services.empty()) {
    next_.service = std::max(next_.service, observed.services.rbegin()->first + 1);
  }
  if (!planned_ && !observed.backends.empty()) {
    next_.backend = std::max(next_.backend, observed.backends.rbegin()->first + 1);
  }
  planned_ = true;
  planned_complete_ = desired.complete;

  if (everything || desired.namespaces != namespaces_) PlanNamespaces();
  const bool peers_changed =
      everything || desired.peers != peers_ || desired.non_masquerade != non_masquerade_;
  if (peers_changed) PlanPeers();
  if (peers_changed || !desired.changed_pod_identities.has_value()) {
    PlanIdentities();
  } else {
    for (const IpAddress& ip : *desired.changed_pod_identities) PlanIdentity(ip);
  }
  std::set<std::string> keys;
  if (!everything) {
    keys.insert(desired.changed_services->begin(), desired.changed_services->end());
  } else {
    for (const auto& [key, service] : desired.services) keys.insert(key);
    for (const auto& [key, record] : records_) keys.insert(key);
  }
  if (!desired.complete) {
    std::erase_if(keys, [&](const std::string& key) { return !desired.services.contains(key); });
  }
  PlanServices(keys);
  if (everything) {
    // What no Service of ours has left behind: an agent before this one knew it.
    for (const auto& [id, entry] : observed.services) {
      if (!owners_.contains(id) && !released_ids_.contains(id)) RemoveLeft(id, {}, {false, false});
    }
    for (const auto& [kind, range] : observed.outside) {
      if (kind == Outside::kAnnounced || kind == Outside::kRoute)
        touched_outside_.insert({kind, range});
    }
  }
  for (const auto& place : touched_outside_) {
    const bool there = observed.outside.contains(place);
    // A node's own address stays its own, whatever Service names it: the tunnel goes there.
    const bool wanted = outside_.contains(place) && !nodes_.contains(place.second);
    if (wanted && !there) phases_.put_outside.push_back(PutOutside{place.first, place.second});
    if (!wanted && there)
      phases_.remove_outside.push_back(RemoveOutside{place.first, place.second});
  }
  Join();
  return std::move(plan_);
}

void Planner::Impl::Join() {
  const auto append = [&](std::vector<Action>& actions) {
    for (Action& action : actions) plan_.actions.push_back(std::move(action));
  };
  for (auto* phase : {&phases_.put_backends, &phases_.put_source_ranges, &phases_.put_sets,
                      &phases_.put_frontends, &phases_.put_outside}) {
    append(*phase);
  }
  if (desired_->complete) {
    for (auto* phase : {&phases_.remove_outside, &phases_.remove_frontends, &phases_.remove_sets,
                        &phases_.remove_source_ranges, &phases_.remove_backends,
                        &phases_.remove_identities, &phases_.remove_peers}) {
      append(*phase);
    }
    if (!phases_.remove_backends.empty() || !phases_.remove_peers.empty()) {
      plan_.judge_flows_again = true;
    }
  }
  size_t count = peer_problems_.size();
  const std::string* first = peer_problems_.empty() ? nullptr : &peer_problems_[0];
  for (const std::string& key : troubled_) {
    const std::vector<std::string>& problems = records_.at(key).problems;
    if (first == nullptr) first = &problems[0];
    count += problems.size();
  }
  if (first == nullptr) return;
  plan_.problem = absl::InvalidArgumentError(
      count == 1 ? *first : fmt::format("{} (and {} more)", *first, count - 1));
}

void Planner::Impl::PlanNamespaces() {
  namespaces_ = desired_->namespaces;
  for (const auto& [identity, policy] : desired_->namespaces) {
    const auto it = observed_->namespaces.find(identity);
    const Isolation now = it == observed_->namespaces.end() ? Isolation::kDefault : it->second;
    if (policy.isolation == now) continue;
    if (policy.isolation == Isolation::kDefault) {
      // A known namespace that is default again: no row.
      plan_.actions.push_back(RemoveNamespace{identity});
    } else {
      plan_.actions.push_back(PutNamespace{identity, policy.isolation});
    }
    plan_.judge_flows_again = true;
  }
  for (const auto& [identity, isolation] : observed_->namespaces) {
    if (desired_->namespaces.contains(identity)) continue;
    phases_.remove_peers.push_back(RemoveNamespace{identity});
  }
}

void Planner::Impl::PlanPeers() {
  peers_ = desired_->peers;
  peer_problems_.clear();
  gateways_.clear();
  std::set<IpPrefix> ranges, nodes;
  for (const auto& [name, peer] : desired_->peers) {
    if (!IsOf(Family::kV4, peer.ip) || FamilyOf(peer.pod_cidr) != Family::kV4) {
      peer_problems_.push_back(
          fmt::format("node {}: the tunnel needs its IPv4 address and pod range, got {} with {}",
                      name, peer.ip.ToString(), peer.pod_cidr.ToString()));
      continue;
    }
    if (!PlanPeer(name, peer.pod_cidr, {peer.ip, IpAddress()}, &ranges)) continue;
    nodes.insert(IpPrefix::Of(peer.ip));
    AddGateway(peer.pod_cidr);
    if (peer.pod_cidr6 == IpPrefix()) continue;
    if (!node_.has_ipv6() || FamilyOf(peer.pod_cidr6) != Family::kV6) {
      peer_problems_.push_back(fmt::format("node {}: its pod range {} is not reached: {}", name,
                                           peer.pod_cidr6.ToString(),
                                           node_.has_ipv6() ? "not of IPv6" : kNoIpv6));
      continue;
    }
    if (!PlanPeer(name, peer.pod_cidr6, {peer.ip, peer.ip6}, &ranges)) continue;
    AddGateway(peer.pod_cidr6);
    if (peer.ip6 != IpAddress()) nodes.insert(IpPrefix::Of(peer.ip6));
  }
  for (const auto& [pod_cidr, node] : observed_->peers) {
    if (!ranges.contains(pod_cidr)) phases_.remove_peers.push_back(RemovePeer{pod_cidr});
  }
  PlanOutside(Outside::kNode, nodes);
  nodes_ = std::move(nodes);
  nodes_.insert(IpPrefix::Of(node_.node_ip));
  if (node_.node_ip6 != IpAddress()) nodes_.insert(IpPrefix::Of(node_.node_ip6));
  for (const auto& [place, keys] : outside_) touched_outside_.insert(place);
  std::set<IpPrefix> no_masquerade;
  non_masquerade_ = desired_->non_masquerade;
  for (const IpPrefix& range : non_masquerade_.value_or(node_.non_masquerade)) {
    if (FamilyOf(range) == Family::kV4 || node_.has_ipv6()) {
      no_masquerade.insert(range);
    } else {
      peer_problems_.push_back(
          fmt::format("range {} without masquerade: {}", range.ToString(), kNoIpv6));
    }
  }
  PlanOutside(Outside::kNoMasquerade, no_masquerade);
}

// Without memory of its own: 150,000 rows are there twice as it is, wanted and written.
void Planner::Impl::PlanIdentities() {
  const bool native = node_.routing == Routing::kNative;
  if (native) {
    for (const auto& [ip, identity] : desired_->pod_identities) PlanIdentity(ip);
    for (const IpAddress& ip : gateways_) PlanIdentity(ip);
  }
  for (const auto& [ip, identity] : observed_->identities) {
    if (native && (gateways_.contains(ip) || desired_->pod_identities.contains(ip))) continue;
    phases_.remove_identities.push_back(RemoveIdentity{ip});
  }
}

void Planner::Impl::PlanIdentity(const IpAddress& ip) {
  if (node_.routing != Routing::kNative) return;
  if (FamilyOf(ip) == Family::kV6 && !node_.has_ipv6()) return;
  const auto seen = observed_->identities.find(ip);
  const bool there = seen != observed_->identities.end();
  uint32_t identity = gateways_.contains(ip) ? kIdentityHost : 0;
  if (const auto it = desired_->pod_identities.find(ip);
      identity == 0 && it != desired_->pod_identities.end()) {
    identity = it->second;
  }
  if (identity == 0) {
    if (there) phases_.remove_identities.push_back(RemoveIdentity{ip});
    return;
  }
  if (there && seen->second == identity) return;
  // The address has another pod: what was judged of the one before is not said of it.
  if (there) plan_.judge_flows_again = true;
  plan_.actions.push_back(PutIdentity{ip, identity});
}

// False when the range is another's.
bool Planner::Impl::PlanPeer(const std::string& name, const IpPrefix& pod_cidr,
                             const PeerEntry& node, std::set<IpPrefix>* ranges) {
  if (pod_cidr == node_.pod_cidr || pod_cidr == node_.pod_cidr6) {
    peer_problems_.push_back(
        fmt::format("node {}: its pod range {} is this node's own", name, pod_cidr.ToString()));
    return false;
  }
  if (!ranges->insert(pod_cidr).second) {
    peer_problems_.push_back(
        fmt::format("node {}: another node has its pod range {}", name, pod_cidr.ToString()));
    return false;
  }
  const auto it = observed_->peers.find(pod_cidr);
  if (it != observed_->peers.end() && it->second == node) return true;
  if (it != observed_->peers.end()) plan_.judge_flows_again = true;
  plan_.actions.push_back(PutPeer{pod_cidr, node});
  return true;
}

void Planner::Impl::PlanOutside(Outside kind, const std::set<IpPrefix>& wanted) {
  for (const IpPrefix& range : wanted) {
    if (!observed_->outside.contains({kind, range})) {
      plan_.actions.push_back(PutOutside{kind, range});
    }
  }
  for (auto it = observed_->outside.lower_bound({kind, IpPrefix()});
       it != observed_->outside.end() && it->first == kind; ++it) {
    if (!wanted.contains(it->second))
      phases_.remove_outside.push_back(RemoveOutside{kind, it->second});
  }
}

// With the Services that want one of the same frontends: who has it may change for them.
std::set<std::string> Planner::Impl::WithRivals(std::set<std::string> keys) const {
  std::vector<std::string> open(keys.begin(), keys.end());
  const auto add_rivals = [&](const Frontend& frontend) {
    const auto it = claims_.find(frontend);
    if (it == claims_.end()) return;
    for (const Claimant& claimant : it->second) {
      if (keys.insert(claimant.key).second) open.push_back(claimant.key);
    }
  };
  while (!open.empty()) {
    const std::string key = std::move(open.back());
    open.pop_back();
    if (const auto it = records_.find(key); it != records_.end()) {
      for (const PortRecord& port : it->second.ports) {
        for (const Claim& claim : port.claims) add_rivals(claim.frontend);
      }
    }
    if (const auto it = desired_->services.find(key); it != desired_->services.end()) {
      std::vector<std::string> problems;
      for (const ServicePort& port : it->second.ports) {
        for (const Claim& claim : ClaimsOf(key, it->second, port, &problems)) {
          add_rivals(claim.frontend);
        }
      }
    }
  }
  return keys;
}

void Planner::Impl::PlanServices(const std::set<std::string>& changed) {
  const std::set<std::string> keys = WithRivals(changed);
  for (const std::string& key : keys) Release(key);
  for (const std::string& key : keys) {
    const auto it = desired_->services.find(key);
    if (it != desired_->services.end()) Register(key, it->second);
  }
  Number(keys);
  for (const std::string& key : keys) {
    if (records_.contains(key)) PlanService(key);
  }
  for (const uint32_t id : released_ids_) {
    if (!owners_.contains(id)) RemoveLeft(id, {}, {false, false});
  }
}

void Planner::Impl::Release(const std::string& key) {
  const auto it = records_.find(key);
  if (it == records_.end()) return;
  for (size_t i = 0; i < it->second.ports.size(); ++i) {
    const PortRecord& port = it->second.ports[i];
    for (const Claim& claim : port.claims) {
      const auto claims = claims_.find(claim.frontend);
      claims->second.erase({key, i, claim.kind});
      if (claims->second.empty()) claims_.erase(claims);
    }
    if (port.service_id == 0) continue;
    owners_.erase(port.service_id);
    released_ids_.insert(port.service_id);
    const ServicePort& was = it->second.service.ports[i];
    released_names_.emplace(PortName(key, was.protocol, was.name), port.service_id);
  }
  for (const auto& place : it->second.outside) {
    const auto claims = outside_.find(place);
    claims->second.erase(key);
    if (claims->second.empty()) outside_.erase(claims);
    touched_outside_.insert(place);
  }
  troubled_.erase(key);
  records_.erase(it);
}

void Planner::Impl::Register(const std::string& key, const Service& service) {
  ServiceRecord& record = records_[key];
  record.service = service;
  record.ports.resize(service.ports.size());
  if (service.family == Family::kV6 && !node_.has_ipv6()) {
    record.problems.push_back(fmt::format("service {}: is of IPv6, and {}", key, kNoIpv6));
    return;
  }
  for (size_t i = 0; i < service.ports.size(); ++i) {
    PortRecord& port = record.ports[i];
    port.claims = ClaimsOf(key, service, service.ports[i], &record.problems);
    for (const Claim& claim : port.claims) claims_[claim.frontend].insert({key, i, claim.kind});
  }
  const auto add = [&](Outside kind, const IpAddress& ip) {
    if (!IsOf(service.family, ip)) return;  // told with the claims
    const std::pair<Outside, IpPrefix> place(kind, IpPrefix::Of(ip));
    outside_[place].insert(key);
    record.outside.push_back(place);
    touched_outside_.insert(place);
  };
  for (const IpAddress& ip : service.load_balancer_ips) {
    if (service.announced) add(Outside::kAnnounced, ip);
    add(Outside::kRoute, ip);
  }
  for (const IpAddress& ip : service.external_ips) add(Outside::kRoute, ip);
}

bool Planner::Impl::Owns(const std::string& key, size_t port, const Frontend& frontend) const {
  const Claimant& first = *claims_.at(frontend).begin();
  return first.key == key && first.port == port;
}

// A port keeps its number while it is called the same or one of its frontends stays: flows and
// affinities name it.
void Planner::Impl::Number(const std::set<std::string>& keys) {
  const auto each_unnumbered = [&](const auto& visit) {
    for (const std::string& key : keys) {
      const auto it = records_.find(key);
      if (it == records_.end()) continue;
      for (size_t i = 0; i < it->second.ports.size(); ++i) {
        PortRecord& port = it->second.ports[i];
        if (port.service_id != 0) continue;
        std::vector<const Frontend*> own;
        for (const Claim& claim : port.claims) {
          if (Owns(key, i, claim.frontend)) own.push_back(&claim.frontend);
        }
        if (own.empty()) continue;
        const uint32_t id = visit(key, it->second.service.ports[i], own);
        if (id != 0 && owners_.try_emplace(id, key, i).second) port.service_id = id;
      }
    }
  };
  each_unnumbered([&](const std::string& key, const ServicePort& port, const auto&) {
    const auto it = released_names_.find(PortName(key, port.protocol, port.name));
    return it == released_names_.end() ? 0 : it->second;
  });
  each_unnumbered([&](const std::string&, const ServicePort&, const auto& own) {
    for (const Frontend* frontend : own) {
      const auto it = observed_->frontends.find(*frontend);
      if (it != observed_->frontends.end() && !owners_.contains(it->second.service_id)) {
        return it->second.service_id;
      }
    }
    return uint32_t{0};
  });
  each_unnumbered(
      [&](const std::string&, const ServicePort&, const auto&) { return next_.service++; });
}

void Planner::Impl::PlanService(const std::string& key) {
  ServiceRecord& record = records_.at(key);
  for (size_t i = 0; i < record.ports.size(); ++i) PlanPort(key, record, i);
  if (!record.problems.empty()) troubled_.insert(key);
}

void Planner::Impl::PlanPort(const std::string& key, ServiceRecord& record, size_t index) {
  const Service& service = record.service;
  const ServicePort& port = service.ports[index];
  const uint32_t id = record.ports[index].service_id;

  std::array<bool, 2> scopes = {false, false};
  bool ranged = false;
  std::vector<const Claim*> own;
  for (const Claim& claim : record.ports[index].claims) {
    if (!Owns(key, index, claim.frontend)) {
      const Claimant& first = *claims_.at(claim.frontend).begin();
      record.problems.push_back(fmt::format("service {} port {}: {} belongs to service {} port {}",
                                            key, port.port, Describe(claim.frontend), first.key,
                                            records_.at(first.key).service.ports[first.port].port));
      continue;
    }
    own.push_back(&claim);
    scopes[static_cast<size_t>(claim.scope())] = true;
    if (claim.kind == FrontendKind::kLoadBalancer) ranged = !service.source_ranges.empty();
  }
  if (id == 0) return;

  const auto seen = observed_->services.find(id);
  std::map<std::pair<IpAddress, uint16_t>, const Backend*> backends;
  for (const Backend& backend : port.backends) {
    if (!IsOf(service.family, backend.ip) || backend.port == 0) {
      record.problems.push_back(fmt::format("service {}: cannot reach backend {} port {} in {}",
                                            key, backend.ip.ToString(), backend.port,
                                            NameOf(service.family)));
      continue;
    }
    backends.emplace(std::pair(backend.ip, backend.port), &backend);
  }
  std::set<uint32_t> wanted;
  std::array<std::vector<std::pair<uint32_t, uint16_t>>, 2> weights;
  for (const auto& [address, backend] : backends) {
    BackendEntry entry;
    entry.service_id = id;
    entry.ip = backend->ip;
    entry.port = backend->port;
    entry.protocol = port.protocol;
    entry.state = backend->state;
    entry.weight = backend->weight;
    entry.scopes = 0;
    uint32_t backend_id = 0;
    if (seen != observed_->services.end()) {
      const auto it = seen->second.backend_ids.find(address);
      if (it != seen->second.backend_ids.end()) backend_id = it->second;
    }
    const bool is_new = backend_id == 0;
    if (is_new) backend_id = next_.backend++;
    wanted.insert(backend_id);
    for (const Scope scope : kScopes) {
      const size_t s = static_cast<size_t>(scope);
      if (!scopes[s] || (backend->scopes & (1 << s)) == 0) continue;
      if (backend->state != BackendState::kActive) continue;
      weights[s].emplace_back(backend_id, backend->weight);
      entry.scopes |= static_cast<uint8_t>(1 << s);
      if (AlgorithmOf(service, scope) == Algorithm::kLeastLoaded) entry.counted = true;
    }
    if (!is_new && observed_->backends.at(backend_id) == entry) continue;
    // Datagrams that have rested leave it.
    if (entry.state == BackendState::kDraining &&
        (is_new || observed_->backends.at(backend_id).state != entry.state)) {
      plan_.judge_flows_again = true;
    }
    phases_.put_backends.push_back(PutBackend{backend_id, entry});
  }
  for (const Scope scope : kScopes) {
    const size_t s = static_cast<size_t>(scope);
    if (scopes[s]) PlanSet(id, scope, AlgorithmOf(service, scope), weights[s]);
  }
  std::set<IpPrefix> ranges;
  for (const IpPrefix& range : service.source_ranges) {
    if (!ranged) break;
    if (FamilyOf(range) == service.family) ranges.insert(range);
    if (FamilyOf(range) == Family::kV4 || node_.has_ipv6()) continue;
    record.problems.push_back(
        fmt::format("service {}: source range {}: {}", key, range.ToString(), kNoIpv6));
  }
  PlanSourceRanges(id, ranges);

  for (const Claim* claim : own) {
    FrontendEntry entry;
    entry.service_id = id;
    entry.scope = claim->scope();
    entry.identity = service.identity;
    entry.affinity_seconds = service.affinity_seconds;
    entry.source_ranges = ranged && claim->kind == FrontendKind::kLoadBalancer;
    entry.direct_return = service.direct_return && claim->scope() == Scope::kExternal;
    const auto it = observed_->frontends.find(claim->frontend);
    if (it != observed_->frontends.end() && it->second == entry) continue;
    phases_.put_frontends.push_back(PutFrontend{claim->frontend, entry});
  }
  RemoveLeft(id, wanted, scopes);
}

void Planner::Impl::PlanSet(uint32_t service_id, Scope scope, Algorithm algorithm,
                            const std::vector<std::pair<uint32_t, uint16_t>>& weights) {
  SetEntry entry;
  entry.algorithm = algorithm;
  if (algorithm == Algorithm::kMaglev) entry.table_size = MaglevTableSize(weights.size());
  entry.slots = SlotsOf(weights);
  const SetEntry* now = observed_->FindSet(service_id, scope);
  if (now != nullptr) entry.generation = now->generation;
  if (now != nullptr && *now == entry) return;
  phases_.put_sets.push_back(PutSet{service_id, scope, std::move(entry)});
}

void Planner::Impl::PlanSourceRanges(uint32_t service_id, const std::set<IpPrefix>& wanted) {
  const auto seen = observed_->services.find(service_id);
  for (const IpPrefix& range : wanted) {
    if (seen == observed_->services.end() || !seen->second.source_ranges.contains(range)) {
      phases_.put_source_ranges.push_back(PutSourceRange{service_id, range});
    }
  }
  if (seen == observed_->services.end()) return;
  for (const IpPrefix& range : seen->second.source_ranges) {
    if (!wanted.contains(range)) {
      phases_.remove_source_ranges.push_back(RemoveSourceRange{service_id, range});
    }
  }
}

// Everything the maps hold under this number beyond what is wanted. Source ranges have been
// planned when the number is still somebody's.
void Planner::Impl::RemoveLeft(uint32_t service_id, const std::set<uint32_t>& backends,
                               const std::array<bool, 2>& scopes) {
  const auto it = observed_->services.find(service_id);
  if (it == observed_->services.end()) return;
  const ServiceEntry& entry = it->second;
  for (const Frontend& frontend : entry.frontends) {
    // A claimed one is this port's or is written over.
    if (!claims_.contains(frontend)) phases_.remove_frontends.push_back(RemoveFrontend{frontend});
  }
  for (const Scope scope : kScopes) {
    const size_t s = static_cast<size_t>(scope);
    if (entry.sets[s].has_value() && !scopes[s]) {
      phases_.remove_sets.push_back(RemoveSet{service_id, scope});
    }
  }
  if (!owners_.contains(service_id)) {
    for (const IpPrefix& range : entry.source_ranges) {
      phases_.remove_source_ranges.push_back(RemoveSourceRange{service_id, range});
    }
  }
  for (const auto& [address, id] : entry.backend_ids) {
    if (!backends.contains(id)) phases_.remove_backends.push_back(RemoveBackend{id});
  }
}

void Planner::Impl::Forget() {
  planned_ = planned_complete_ = false;
  records_.clear();
  claims_.clear();
  owners_.clear();
  outside_.clear();
  troubled_.clear();
  peer_problems_.clear();
}

const Service* Planner::Impl::Find(uint32_t service_id, size_t* port) const {
  const auto it = owners_.find(service_id);
  if (it == owners_.end()) return nullptr;
  *port = it->second.second;
  return &records_.at(it->second.first).service;
}

FrontendKind Planner::Impl::Kind(const Frontend& frontend) const {
  const auto it = claims_.find(frontend);
  return it == claims_.end() ? FrontendKind::kUnknown : it->second.begin()->kind;
}

Planner::Planner(NodeConfig node, NextIds next)
    : impl_(std::make_unique<Impl>(std::move(node), next)) {}
Planner::~Planner() = default;
Plan Planner::Compute(const DesiredState& desired, const Observed& observed) {
  return impl_->Compute(desired, observed);
}
void Planner::Forget() { impl_->Forget(); }
const Service* Planner::Find(uint32_t service_id, size_t* port) const {
  return impl_->Find(service_id, port);
}
FrontendKind Planner::Kind(const Frontend& frontend) const { return impl_->Kind(frontend); }
const NextIds& Planner::next() const { return impl_->next(); }

}  // namespace mesh::dataplane
