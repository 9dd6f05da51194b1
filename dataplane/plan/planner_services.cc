// SPDX-License-Identifier: Apache-2.0
// What a plan owes to Services.
#include <algorithm>
#include <utility>

#include "dataplane/maglev/maglev.h"
#include "dataplane/plan/planner_impl.h"
#include "fmt/format.h"
#include "mesh/shared/base.h"

namespace mesh::dataplane {

// With the Services that want one of the same frontends: who has it may change for them.
std::set<std::string> Planner::Impl::WithRivals(std::set<std::string> keys) const {
  std::vector<std::string> open(keys.begin(), keys.end());
  const auto add_rivals = [&](const Frontend& wanted) {
    for (const Frontend& frontend : Alike(wanted)) {
      const auto it = claims_.find(frontend);
      if (it == claims_.end()) continue;
      for (const Claimant& claimant : it->second) {
        if (keys.insert(claimant.key).second) open.push_back(claimant.key);
      }
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
  std::set<std::string> open = changed;
  // There may be room for them now.
  for (const auto& [key, rows] : left_out_) {
    if (changed.empty() || !room_.FitsWithout(changed, rows)) continue;
    if (desired_->complete || desired_->services.contains(key)) open.insert(key);
  }
  const std::set<std::string> keys = WithRivals(std::move(open));
  for (const std::string& key : keys) Release(key);
  // Whoever is served keeps its room.
  std::vector<const std::pair<const std::string, Service>*> others;
  for (const std::string& key : keys) {
    const auto it = desired_->services.find(key);
    if (it == desired_->services.end()) continue;
    if (Stands(key, it->second)) {
      Register(key, it->second);
    } else {
      others.push_back(&*it);
    }
  }
  for (const auto* other : others) Register(other->first, other->second);
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
      claims->second.erase({claim.kind, key, i});
      if (claims->second.empty()) claims_.erase(claims);
    }
    if (port.service_id == 0) continue;
    owners_.erase(port.service_id);
    released_ids_.insert(port.service_id);
    const ServicePort& was = it->second.service.ports[i];
    released_names_.emplace(PortName(key, was.protocol, was.name), port.service_id);
    for (const Backend& backend : was.backends) {
      if (backend.may_outlive)
        released_outliving_[port.service_id].emplace(backend.ip, backend.port);
    }
  }
  for (const auto& place : it->second.outside) {
    const auto claims = outside_.find(place);
    claims->second.erase(key);
    if (claims->second.empty()) outside_.erase(claims);
    touched_outside_.insert(place);
  }
  troubled_.erase(key);
  left_out_.erase(key);
  room_.GiveBack(key);
  records_.erase(it);
}

// Whether the maps have something of it.
bool Planner::Impl::Stands(const std::string& key, const Service& service) const {
  std::vector<std::string> problems;
  for (const ServicePort& port : service.ports) {
    for (const Claim& claim : ClaimsOf(key, service, port, &problems)) {
      if (observed_->frontends.contains(claim.frontend)) return true;
    }
  }
  return false;
}

bool Planner::Impl::TakeRoom(const std::string& key, const Service& service,
                             ServiceRecord* record) {
  const RowCounts rows = RowsOf(key, service);
  std::optional<std::string> problem = room_.Take(key, rows);
  if (!problem.has_value()) return true;
  record->problems.push_back(*std::move(problem));
  left_out_.emplace(key, rows);
  return false;
}

void Planner::Impl::Register(const std::string& key, const Service& service) {
  ServiceRecord& record = records_[key];
  record.service = service;
  record.ports.resize(service.ports.size());
  if (service.family == Family::kV6 && !node_.has_ipv6()) {
    record.problems.push_back(fmt::format("service {}: is of IPv6, and {}", key, kNoIpv6));
    return;
  }
  if (!TakeRoom(key, service, &record)) return;
  for (size_t i = 0; i < service.ports.size(); ++i) {
    PortRecord& port = record.ports[i];
    port.claims = ClaimsOf(key, service, service.ports[i], &record.problems);
    std::erase_if(port.claims, [&](const Claim& claim) {
      if (!IsOwn(claim.frontend)) return false;
      record.problems.push_back(
          fmt::format("service {} port {}: {} is not served here: this node's own processes "
                      "listen there",
                      key, service.ports[i].port, Describe(claim.frontend)));
      return true;
    });
    for (const Claim& claim : port.claims) claims_[claim.frontend].insert({claim.kind, key, i});
  }
  const auto add = [&](const OutsidePlace& place) {
    if (!IsOf(service.family, place.range.base())) return;  // told with the claims
    outside_[place].insert(key);
    record.outside.push_back(place);
    touched_outside_.insert(place);
  };
  for (const IpAddress& ip : service.load_balancer_ips) {
    if (service.announced) add({Outside::kAnnounced, IpPrefix::Of(ip)});
    add({Outside::kRoute, IpPrefix::Of(ip)});
  }
  // Somebody has it: what no Service serves there is his.
  for (const IpAddress& ip : service.external_ips) {
    for (const ServicePort& port : service.ports)
      add({Outside::kPortRoute, IpPrefix::Of(ip), port.port, port.protocol});
  }
}

// Where the node itself is dialled: by the control plane and its agent, and by tunnels.
bool Planner::Impl::IsOwn(const Frontend& frontend) const {
  const bool own = frontend.protocol == Protocol::kTcp
                       ? node_.own_ports.contains(frontend.port)
                       : frontend.port == MESH_VXLAN_PORT && node_.routing == Routing::kVxlan;
  return own &&
         (frontend.vip == AnyAddress(FamilyOf(frontend.vip)) || node_.IsOwnAddress(frontend.vip));
}

// The node port or host port that is dialled there as well. The programs look for it when the
// address has no frontend of its own: who claims one must not take it away.
std::optional<Frontend> Planner::Impl::AtAnyAddress(const Frontend& frontend) const {
  if (!node_.IsOwnAddress(frontend.vip)) return std::nullopt;
  return Frontend{AnyAddress(FamilyOf(frontend.vip)), frontend.port, frontend.protocol};
}

// Frontends of which one is served, or none.
std::vector<Frontend> Planner::Impl::Alike(const Frontend& frontend) const {
  std::vector<Frontend> out = {frontend};
  const Family family = FamilyOf(frontend.vip);
  if (const auto any = AtAnyAddress(frontend)) out.push_back(*any);
  const IpAddress& own = family == Family::kV4 ? node_.node_ip : node_.node_ip6;
  if (frontend.vip == AnyAddress(family) && own != frontend.vip)
    out.push_back({own, frontend.port, frontend.protocol});
  return out;
}

// Whether whoever claims it first has a row for it.
bool Planner::Impl::IsServed(const Frontend& frontend) const {
  const auto it = claims_.find(frontend);
  if (it == claims_.end()) return false;
  const bool written = it->second.begin()->kind == FrontendKind::kExternalIp;
  if (written && (taken_.contains(frontend) || IsOfAnotherNode(frontend.vip))) return false;
  const std::optional<Frontend> any = AtAnyAddress(frontend);
  return !any.has_value() || !claims_.contains(*any);
}

bool Planner::Impl::Owns(const std::string& key, size_t port, const Frontend& frontend) const {
  const Claimant& first = *claims_.at(frontend).begin();
  return first.key == key && first.port == port && IsServed(frontend);
}

// Why a port does not get what it claims; empty: it is reached there all the same, or another node
// tells.
std::string Planner::Impl::WhyNot(const std::string& key, size_t port, const Claim& claim) const {
  const auto say = [&](const std::string& why) {
    return fmt::format("service {} port {}: {} {}", key, records_.at(key).service.ports[port].port,
                       Describe(claim.frontend), why);
  };
  const bool written = claim.kind == FrontendKind::kExternalIp;
  if (written && IsOfAnotherNode(claim.frontend.vip)) return "";
  const auto taken = taken_.find(claim.frontend);
  if (written && taken != taken_.end()) {
    return say(fmt::format("is not served here: {}", taken->second));
  }
  const std::optional<Frontend> any = AtAnyAddress(claim.frontend);
  const bool yields = any.has_value() && claims_.contains(*any);
  const Claimant& first = *claims_.at(yields ? *any : claim.frontend).begin();
  if (first.key == key && first.port == port) return "";
  const Service& holder = records_.at(first.key).service;
  const uint16_t number = holder.ports[first.port].port;
  if (first.kind == FrontendKind::kHostPort) {
    return say(fmt::format("belongs to host port {} of {}", number, first.key));
  }
  return say(fmt::format("belongs to service {} port {}{}", first.key, number,
                         yields ? fmt::format(", as its {}", Describe(*any)) : ""));
}

// Those that claim what processes of the node have got or given back.
void Planner::Impl::AddTaken(std::set<std::string>* keys) {
  const auto add = [&](const auto& some, const auto& others) {
    for (const auto& [frontend, who] : some) {
      const auto other = others.find(frontend);
      const auto claims = claims_.find(frontend);
      if (claims == claims_.end() || (other != others.end() && other->second == who)) continue;
      for (const Claimant& claimant : claims->second) keys->insert(claimant.key);
    }
  };
  add(taken_, desired_->taken);
  add(desired_->taken, taken_);
  taken_ = desired_->taken;
}

// Those with an address that has become a node's, or is none any more.
void Planner::Impl::AddAtNodes(const std::set<IpPrefix>& before,
                               std::set<std::string>* keys) const {
  const auto add = [&](const std::set<IpPrefix>& some, const std::set<IpPrefix>& others) {
    for (const IpPrefix& node : some) {
      if (others.contains(node)) continue;
      for (auto it = outside_.lower_bound({Outside::kPortRoute, node});
           it != outside_.end() && it->first.range == node; ++it) {
        keys->insert(it->second.begin(), it->second.end());
      }
    }
  };
  add(before, nodes_);
  add(nodes_, before);
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
      std::string why = WhyNot(key, index, claim);
      if (!why.empty()) record.problems.push_back(std::move(why));
      continue;
    }
    own.push_back(&claim);
    scopes[static_cast<size_t>(claim.scope())] = true;
    if (claim.kind == FrontendKind::kLoadBalancer) ranged = !service.source_ranges.empty();
  }
  if (id == 0) return;
  // No frontend of it names that set; who dials from inside gets it all the same.
  const auto serves_inside = [](const Backend& backend) {
    return (backend.scopes & kScopeInternal) != 0;
  };
  if (service.outside && std::ranges::any_of(port.backends, serves_inside))
    scopes[static_cast<size_t>(Scope::kInternal)] = true;

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
  std::vector<const Backend*> in_order;
  for (const auto& [address, backend] : backends) in_order.push_back(backend);
  const std::vector<uint8_t> served = ServedScopes(in_order);
  for (size_t i = 0; i < in_order.size(); ++i) {
    const Backend* const backend = in_order[i];
    const std::pair address(backend->ip, backend->port);
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
      if (!scopes[s] || (served[i] & (1 << s)) == 0) continue;
      weights[s].emplace_back(backend_id, backend->weight);
      entry.scopes |= static_cast<uint8_t>(1 << s);
      if (AlgorithmOf(service, scope) == Algorithm::kLeastLoaded) entry.counted = true;
    }
    if (!is_new && observed_->backends.at(backend_id) == entry) continue;
    if (!is_new) returned_.insert(backend_id);
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
    // Datagrams may go there already, to the node or to outside.
    if (it == observed_->frontends.end() && claim->frontend.protocol == Protocol::kUdp)
      plan_.judge_flows_again = true;
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
    // One that is served is this port's or is written over.
    if (!IsServed(frontend)) phases_.remove_frontends.push_back(RemoveFrontend{frontend});
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
    if (backends.contains(id)) continue;
    if (!MayOutlive(service_id, id)) {
      phases_.remove_backends.push_back(RemoveBackend{id});
      continue;
    }
    BackendEntry left = observed_->backends.at(id);
    if (left.state == BackendState::kLeft) continue;
    left.state = BackendState::kLeft;
    left.scopes = 0;
    left.counted = false;
    ++leaving_[FamilyOf(left.ip) == Family::kV6];
    phases_.leave_backends.push_back(PutBackend{id, left});
  }
}

// Whether a backend that is wanted no more may live: then its TCP flows go on, as with kube-proxy,
// and datagrams choose anew. A pod that is deleted later ends its flows itself, or its node answers
// for it.
bool Planner::Impl::MayOutlive(uint32_t service_id, uint32_t backend_id) {
  const BackendEntry& entry = observed_->backends.at(backend_id);
  if (entry.protocol != Protocol::kTcp) return false;
  if (entry.state == BackendState::kLeft || !owners_.contains(service_id)) return true;
  const auto it = released_outliving_.find(service_id);
  return it != released_outliving_.end() && it->second.contains({entry.ip, entry.port});
}

// Rows of Services come first.
void Planner::Impl::MakeRoomOfLeft() {
  for (const Family family : kFamilies) {
    const bool v6 = family == Family::kV6;
    const uint64_t free = room_.Free(v6 ? Rows::kBackends6 : Rows::kBackends);
    const std::set<uint32_t>& left = observed_->Left(family);
    uint64_t kept = left.size() + leaving_[v6];
    for (auto it = left.begin(); it != left.end() && kept > free; ++it) {
      if (returned_.contains(*it)) continue;
      phases_.remove_backends.push_back(RemoveBackend{*it});
      --kept;
    }
    if (kept <= free) continue;
    std::erase_if(phases_.leave_backends, [&](const Action& action) {
      const auto& [id, entry] = std::get<PutBackend>(action);
      if (kept <= free || FamilyOf(entry.ip) != family) return false;
      phases_.remove_backends.push_back(RemoveBackend{id});
      --kept;
      return true;
    });
  }
}

}  // namespace mesh::dataplane
