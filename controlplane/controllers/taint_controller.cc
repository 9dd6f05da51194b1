// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/taint_controller.h"

#include <algorithm>

#include "controlplane/controllers/objects.h"
#include "controlplane/controllers/tolerations.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

bool Evicts(const v1::Node& node) {
  return std::any_of(node.spec().taints().begin(), node.spec().taints().end(),
                     [](const v1::Taint& taint) { return taint.effect() == "NoExecute"; });
}

// False: each has one.
bool StampTaints(v1::Node* node, absl::Time now) {
  bool changed = false;
  for (v1::Taint& taint : *node->mutable_spec()->mutable_taints()) {
    if (taint.effect() != "NoExecute" || taint.has_time_added()) continue;
    *taint.mutable_time_added() = ToTimestamp(now);
    changed = true;
  }
  return changed;
}

}  // namespace

std::vector<ObjectKey> TaintController::Affected(const ClusterState& state,
                                                 const Change& change) const {
  if (change.after == nullptr) return {};
  if (change.after->has_node()) {
    return Evicts(change.after->node()) ? std::vector<ObjectKey>{KeyOf(*change.after)}
                                        : std::vector<ObjectKey>();
  }
  if (!change.after->has_pod()) return {};
  // One that is placed there, or was before the taint.
  const ObjectKey key{"", change.after->pod().spec().node_name()};
  const v1::Node* node = key.name.empty() ? nullptr : FindObject(state.nodes, key);
  return node != nullptr && Evicts(*node) ? std::vector<ObjectKey>{key} : std::vector<ObjectKey>();
}

ReconcileResult TaintController::Reconcile(const ClusterState& state, const ObjectKey& key,
                                           absl::Time now) const {
  ReconcileResult result;
  const v1::Node* node = FindObject(state.nodes, key);
  if (node == nullptr || !Evicts(*node)) return result;
  v1::Node stamped = *node;
  if (StampTaints(&stamped, now)) {
    result.writes.push_back({Write::Type::kUpdate, Wrap(stamped), {}});
    return result;
  }
  for (const auto& [pod_key, pod] : state.pods) {
    if (pod->spec().node_name() != key.name || IsTerminating(pod->metadata()) || IsFinished(*pod))
      continue;
    const absl::Time until = StaysUntil(pod->spec(), *node);
    if (now < until) {
      if (until != absl::InfiniteFuture()) Earlier(&result.requeue_at, until);
      continue;
    }
    if (static_cast<int>(result.writes.size()) >= kMaxWritesPerStep) {
      result.requeue_at = now;
      return result;
    }
    result.writes.push_back({Write::Type::kDelete, Wrap(*pod), {}});
    result.events.push_back({ReferenceTo("v1", "Pod", pod->metadata()), "Normal",
                             "TaintManagerEviction",
                             fmt::format("Marking for deletion Pod {}", pod_key.ToString())});
  }
  return result;
}

}  // namespace mesh::controlplane
