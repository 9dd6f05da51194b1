// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/namespace_controller.h"

#include "api/schema/kinds.h"
#include "controlplane/controllers/objects.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

class Step {
 public:
  Step(const ClusterState& state, const v1::Namespace& ns, absl::Time now)
      : state_(state), ns_(ns), name_(ns.metadata().name()), now_(now) {}

  ReconcileResult Run() {
    // Owners before what they own, so that nothing is made anew.
    DeleteOthers(/*owners=*/true);
    DeleteAll(state_.deployments);
    DeleteAll(state_.replica_sets);
    DeleteAll(state_.services);
    DeletePods();
    DeleteAll(state_.endpoint_slices);
    // Pods that stop may still read their ConfigMaps.
    if (remaining_ == 0) DeleteOthers(/*owners=*/false);
    // The last: nothing is open while pods are there.
    if (remaining_ == 0) DeleteAll(state_.network_policies);
    if (remaining_ == 0) DeleteAll(state_.events);
    if (remaining_ == 0) {
      LetGo();
      return std::move(result_);
    }
    if (ns_.status().phase() != "Terminating" && !Full()) {
      v1::Namespace updated = ns_;
      updated.mutable_status()->set_phase("Terminating");
      result_.writes.push_back({Write::Type::kUpdateStatus, Wrap(updated), {}});
    }
    if (Full()) result_.requeue_at = now_;
    return std::move(result_);
  }

 private:
  bool Full() const { return static_cast<int>(result_.writes.size()) >= kMaxWritesPerStep; }

  template <typename T>
  void DeleteAll(const ObjectMap<T>& objects) {
    for (const auto& [key, object] : InNamespace(objects, name_)) {
      ++remaining_;
      if (!IsTerminating(object->metadata()) && !Full())
        result_.writes.push_back({Write::Type::kDelete, Wrap(*object), {}});
    }
  }

  // Objects of the kinds that are kept whole: those that make pods, or all that is left.
  void DeleteOthers(bool owners) {
    for (const auto& [kind, objects] : state_.others) {
      for (const auto& [key, object] : InNamespace(objects, name_)) {
        if (owners && schema::PodTemplateOf(*object).pod == nullptr) continue;
        ++remaining_;
        if (!IsTerminating(MetaOf(*object)) && !Full())
          result_.writes.push_back({Write::Type::kDelete, *object, {}});
      }
    }
  }

  void DeletePods() {
    for (const auto& [key, pod] : InNamespace(state_.pods, name_)) {
      ++remaining_;
      if (Full()) continue;
      if (!IsTerminating(pod->metadata())) {
        result_.writes.push_back({Write::Type::kDelete, Wrap(*pod), {}});
        continue;
      }
      const bool heard = IsNodeHeard(state_, pod->spec().node_name());
      const absl::Time limit = ToTime(pod->metadata().deletion_timestamp()) +
                               (heard ? kStuckPodMargin : kSilentNodeMargin);
      if (limit <= now_)
        result_.writes.push_back({Write::Type::kRemove, Wrap(*pod), {}});
      else
        Earlier(&result_.requeue_at, limit);
    }
  }

  void LetGo() {
    // Somebody else's finalizers are his to remove.
    if (!ns_.metadata().finalizers().empty()) return;
    result_.writes.push_back({Write::Type::kRemove, Wrap(ns_), {}});
  }

  const ClusterState& state_;
  const v1::Namespace& ns_;
  const std::string name_;
  const absl::Time now_;
  int remaining_ = 0;
  ReconcileResult result_;
};

}  // namespace

std::vector<ObjectKey> NamespaceController::Affected(const ClusterState& state,
                                                     const Change& change) const {
  std::vector<ObjectKey> keys;
  auto terminating = [&](const std::string& name) {
    const v1::Namespace* ns = FindObject(state.namespaces, {"", name});
    return ns != nullptr && IsTerminating(ns->metadata());
  };
  ForEachSide(change, [&](const v1::Resource& side) {
    if (side.has_namespace_()) keys.push_back(KeyOf(side));
    const std::string& ns = MetaOf(side).namespace_();
    if (!ns.empty() && terminating(ns)) keys.push_back({"", ns});
  });
  const NodeFlip flip = NodeFlipOf(change.before.get(), change.after.get());
  if (flip.flipped) {
    for (const auto& [key, ns] : state.namespaces)
      if (IsTerminating(ns->metadata())) keys.push_back(key);
  }
  return keys;
}

ReconcileResult NamespaceController::Reconcile(const ClusterState& state, const ObjectKey& key,
                                               absl::Time now) const {
  const v1::Namespace* ns = FindObject(state.namespaces, key);
  if (ns == nullptr || !IsTerminating(ns->metadata())) return {};
  return Step(state, *ns, now).Run();
}

}  // namespace mesh::controlplane
