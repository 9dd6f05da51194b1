// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/garbage_controllers.h"

#include <algorithm>

#include "controlplane/controllers/objects.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

template <typename T>
bool Lives(const ObjectMap<T>& objects, const ObjectKey& key, const std::string& uid) {
  const T* object = FindObject(objects, key);
  return object != nullptr && object->metadata().uid() == uid;
}

bool OwnerExists(const ClusterState& state, const std::string& ns, const v1::OwnerReference& ref) {
  const ObjectKey key{ns, ref.name()};
  if (ref.kind() == "Deployment") return Lives(state.deployments, key, ref.uid());
  if (ref.kind() == "ReplicaSet") return Lives(state.replica_sets, key, ref.uid());
  if (ref.kind() == "Service") return Lives(state.services, key, ref.uid());
  if (ref.kind() == "Pod") return Lives(state.pods, key, ref.uid());
  if (ref.kind() == "Node") return Lives(state.nodes, {"", ref.name()}, ref.uid());
  if (ref.kind() == "Namespace") return Lives(state.namespaces, {"", ref.name()}, ref.uid());
  return true;
}

bool IsOrphaned(const ClusterState& state, const v1::ObjectMeta& meta) {
  if (meta.owner_references().empty() || IsTerminating(meta)) return false;
  return std::none_of(
      meta.owner_references().begin(), meta.owner_references().end(),
      [&](const v1::OwnerReference& ref) { return OwnerExists(state, meta.namespace_(), ref); });
}

std::string OwnerName(std::string_view kind, const std::string& name, const std::string& uid) {
  return fmt::format("{}/{}/{}", kind, name, uid);
}

std::string_view OwnerKind(const v1::Resource& resource) {
  if (resource.has_deployment()) return "Deployment";
  if (resource.has_replica_set()) return "ReplicaSet";
  if (resource.has_service()) return "Service";
  if (resource.has_pod()) return "Pod";
  return "";
}

const v1::ObjectMeta& MetaIn(const v1::Resource& object) { return MetaOf(object); }
template <typename T>
const v1::ObjectMeta& MetaIn(const T& object) {
  return object.metadata();
}
v1::Resource ResourceOf(const v1::Resource& object) { return object; }
template <typename T>
v1::Resource ResourceOf(const T& object) {
  return Wrap(object);
}

template <typename T>
void DeleteOwned(const ClusterState& state, const ObjectMap<T>& objects, const ObjectKey& key,
                 absl::Time now, ReconcileResult* result) {
  for (const auto& [object_key, object] : InNamespace(objects, key.ns)) {
    const v1::ObjectMeta& meta = MetaIn(*object);
    const bool names_it =
        std::any_of(meta.owner_references().begin(), meta.owner_references().end(),
                    [&](const v1::OwnerReference& ref) {
                      return key.name == OwnerName(ref.kind(), ref.name(), ref.uid());
                    });
    if (!names_it || !IsOrphaned(state, meta)) continue;
    if (static_cast<int>(result->writes.size()) >= kMaxWritesPerStep) {
      result->requeue_at = now;
      return;
    }
    result->writes.push_back({Write::Type::kDelete, ResourceOf(*object), {}});
  }
}

}  // namespace

std::vector<ObjectKey> GarbageController::Affected(const ClusterState& state,
                                                   const Change& change) const {
  std::vector<ObjectKey> keys;
  // An owner went, or another object took its name.
  if (change.before != nullptr) {
    const v1::ObjectMeta& meta = MetaOf(*change.before);
    const bool gone = change.after == nullptr || MetaOf(*change.after).uid() != meta.uid();
    const std::string_view kind = OwnerKind(*change.before);
    if (gone && !kind.empty())
      keys.push_back({meta.namespace_(), OwnerName(kind, meta.name(), meta.uid())});
  }
  // A dependent came, or was changed, after its owner went.
  if (change.after != nullptr) {
    const v1::ObjectMeta& meta = MetaOf(*change.after);
    if (IsOrphaned(state, meta))
      for (const v1::OwnerReference& ref : meta.owner_references())
        keys.push_back({meta.namespace_(), OwnerName(ref.kind(), ref.name(), ref.uid())});
  }
  return keys;
}

ReconcileResult GarbageController::Reconcile(const ClusterState& state, const ObjectKey& key,
                                             absl::Time now) const {
  ReconcileResult result;
  DeleteOwned(state, state.replica_sets, key, now, &result);
  DeleteOwned(state, state.pods, key, now, &result);
  DeleteOwned(state, state.endpoint_slices, key, now, &result);
  DeleteOwned(state, state.services, key, now, &result);
  DeleteOwned(state, state.deployments, key, now, &result);
  // Of ephemeral volumes.
  const auto claims = state.others.find(v1::KIND_PERSISTENT_VOLUME_CLAIM);
  if (claims != state.others.end()) DeleteOwned(state, claims->second, key, now, &result);
  return result;
}

std::vector<ObjectKey> PodGarbageController::Affected(const ClusterState& state,
                                                      const Change& change) const {
  std::vector<ObjectKey> keys;
  if (change.after != nullptr && change.after->has_pod()) keys.push_back(KeyOf(*change.after));
  if (change.before != nullptr && change.after == nullptr && change.before->has_node()) {
    const std::string& node = change.before->node().metadata().name();
    for (const auto& [key, pod] : state.pods)
      if (pod->spec().node_name() == node) keys.push_back(key);
  }
  return keys;
}

ReconcileResult PodGarbageController::Reconcile(const ClusterState& state, const ObjectKey& key,
                                                absl::Time) const {
  ReconcileResult result;
  const v1::Pod* pod = FindObject(state.pods, key);
  if (pod == nullptr) return result;
  const bool lost = IsBound(*pod) && !state.nodes.contains({"", pod->spec().node_name()});
  const bool never_ran = !IsBound(*pod) && IsTerminating(pod->metadata());
  if (lost || never_ran) result.writes.push_back({Write::Type::kRemove, Wrap(*pod), {}});
  return result;
}

}  // namespace mesh::controlplane
