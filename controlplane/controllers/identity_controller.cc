// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/identity_controller.h"

#include <algorithm>

#include "controlplane/controllers/objects.h"
#include "controlplane/policy/pod_traits.h"

namespace mesh::controlplane {
namespace {

bool IsStale(const ClusterState& state, const v1::Pod& pod) {
  if (!IsBound(pod) || pod.status().pod_ip().empty()) return false;
  const auto ns = state.namespaces.find({"", pod.metadata().namespace_()});
  if (ns != state.namespaces.end() && ns->second->status().identity() == pod.status().identity()) {
    return true;
  }
  const std::vector<std::string> blocks = BlocksAround(pod, state.index().blocks);
  return !std::equal(blocks.begin(), blocks.end(), pod.status().identity_blocks().begin(),
                     pod.status().identity_blocks().end());
}

}  // namespace

std::vector<ObjectKey> IdentityController::Affected(const ClusterState& state,
                                                    const Change& change) const {
  std::vector<ObjectKey> keys;
  bool blocks = false;
  ForEachSide(change, [&](const v1::Resource& side) {
    blocks = blocks || (side.has_network_policy() && !BlocksOf(side.network_policy()).empty());
  });
  if (change.after != nullptr && change.after->has_pod() && IsStale(state, change.after->pod())) {
    keys.push_back(KeyOf(*change.after));
  }
  if (!blocks) return keys;
  for (const auto& [key, pod] : state.pods) {
    if (IsStale(state, *pod)) keys.push_back(key);
  }
  return keys;
}

ReconcileResult IdentityController::Reconcile(const ClusterState& state, const ObjectKey& key,
                                              absl::Time) const {
  const v1::Pod* pod = FindObject(state.pods, key);
  if (pod == nullptr || !IsStale(state, *pod)) return {};
  return {.writes = {{Write::Type::kUpdateStatus, Wrap(*pod), {}}}, .events = {}, .requeue_at = {}};
}

}  // namespace mesh::controlplane
