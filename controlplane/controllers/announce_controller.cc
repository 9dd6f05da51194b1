// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/announce_controller.h"

#include <algorithm>
#include <optional>
#include <set>

#include "controlplane/controllers/objects.h"
#include "controlplane/snapshot/node_snapshot.h"

namespace mesh::controlplane {
namespace {

// It has addresses, or it may have something to take back.
bool IsOurs(const v1::Service& service) {
  return !service.status().load_balancer().ingress().empty() ||
         FindCondition(service.status().conditions(), kAnnouncedCondition) != nullptr;
}

// The condition as it ought to be; false when it was so before.
bool Announce(const std::optional<v1::ServiceState>& built, absl::Time now,
              Conditions* conditions) {
  if (!built || built->load_balancer_ips().empty()) {
    const int before = conditions->size();
    conditions->erase(std::remove_if(conditions->begin(), conditions->end(),
                                     [](const v1::Condition& condition) {
                                       return condition.type() == kAnnouncedCondition;
                                     }),
                      conditions->end());
    return conditions->size() != before;
  }
  if (built->announcing_node().empty()) {
    return SetCondition(conditions, kAnnouncedCondition, "False", "NoNode",
                        "no ready node can take new connections", now);
  }
  return SetCondition(conditions, kAnnouncedCondition, "True", "AnsweredByNode",
                      built->announcing_node(), now);
}

}  // namespace

std::vector<ObjectKey> AnnounceController::Affected(const ClusterState& state,
                                                    const Change& change) const {
  std::set<ObjectKey> keys;
  const auto add = [&](const ObjectKey& key) {
    const v1::Service* service = FindObject(state.services, key);
    if (service != nullptr && IsOurs(*service)) keys.insert(key);
  };
  ForEachSide(change, [&](const v1::Resource& side) {
    if (side.has_service()) add(KeyOf(side));
    if (side.has_endpoint_slice()) {
      const std::string* service = ServiceOf(side.endpoint_slice());
      if (service != nullptr) add({MetaOf(side).namespace_(), *service});
    }
  });
  const auto can = [](const v1::Resource* side) {
    return side != nullptr && side->has_node() && MayAnnounce(side->node());
  };
  if (can(change.before.get()) != can(change.after.get())) {
    for (const auto& [ip, key] : state.index().balancer_ips) keys.insert(key);
  }
  return {keys.begin(), keys.end()};
}

ReconcileResult AnnounceController::Reconcile(const ClusterState& state, const ObjectKey& key,
                                              absl::Time now) const {
  ReconcileResult result;
  const v1::Service* service = FindObject(state.services, key);
  if (service == nullptr || !IsOurs(*service) || IsTerminating(service->metadata())) return result;
  v1::Service next = *service;
  if (Announce(BuildService(state, key), now, next.mutable_status()->mutable_conditions()))
    result.writes.push_back({Write::Type::kUpdateStatus, Wrap(next), {}});
  return result;
}

}  // namespace mesh::controlplane
