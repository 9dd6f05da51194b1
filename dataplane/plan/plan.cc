// SPDX-License-Identifier: Apache-2.0
#include "dataplane/plan/plan.h"

#include <algorithm>
#include <utility>

namespace mesh::dataplane {
namespace {

struct Performer {
  Observed& observed;

  void operator()(const PutNamespace& a) { observed.namespaces[a.identity] = a.isolation; }
  void operator()(const PutPeer& a) { observed.peers[a.pod_cidr] = a.node; }
  void operator()(const PutIdentity& a) { observed.identities[a.ip] = a.entry; }
  void operator()(const PutOutside& a) { observed.outside.insert(a.place); }
  void operator()(const PutBackend& a) { observed.PutBackend(a.backend_id, a.entry); }
  void operator()(const PutSourceRange& a) { observed.PutSourceRange(a.service_id, a.range); }
  void operator()(const PutSet& a) {
    SetEntry entry = a.entry;
    ++entry.generation;
    observed.PutSet(a.service_id, a.scope, std::move(entry));
  }
  void operator()(const PutFrontend& a) { observed.Put(a.frontend, a.entry); }
  void operator()(const RemoveFrontend& a) { observed.Remove(a.frontend); }
  void operator()(const RemoveSet& a) { observed.RemoveSet(a.service_id, a.scope); }
  void operator()(const RemoveSourceRange& a) { observed.RemoveSourceRange(a.service_id, a.range); }
  void operator()(const RemoveBackend& a) { observed.RemoveBackend(a.backend_id); }
  void operator()(const RemoveOutside& a) { observed.outside.erase(a.place); }
  void operator()(const RemoveIdentity& a) { observed.identities.erase(a.ip); }
  void operator()(const RemovePeer& a) { observed.peers.erase(a.pod_cidr); }
  void operator()(const RemoveNamespace& a) { observed.namespaces.erase(a.identity); }
};

}  // namespace

Plan ComputePlan(const NodeConfig& node, const DesiredState& desired, const Observed& observed,
                 NextIds& next) {
  Planner planner(node, next);
  Plan plan = planner.Compute(desired, observed);
  next = planner.next();
  return plan;
}

std::vector<Action> GiveBack(const std::set<uint32_t>& unused, const Observed& observed) {
  std::vector<Action> out;
  for (const uint32_t id : unused) {
    const auto it = observed.backends.find(id);
    if (it != observed.backends.end() && it->second.state == BackendState::kLeft)
      out.push_back(RemoveBackend{id});
  }
  return out;
}

void Perform(const Action& action, Observed& observed) { std::visit(Performer{observed}, action); }

}  // namespace mesh::dataplane
