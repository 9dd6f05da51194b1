// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/ephemeral_claim_controller.h"

#include <algorithm>
#include <utility>

#include "api/schema/references.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/state/claims.h"

namespace mesh::controlplane {

std::vector<ObjectKey> EphemeralClaimController::Affected(const ClusterState&,
                                                          const Change& change) const {
  if (change.after == nullptr) {
    // One that somebody deletes comes back, as long as the pod is there.
    if (!change.before->has_persistent_volume_claim()) return {};
    const v1::ObjectMeta& meta = change.before->persistent_volume_claim().metadata();
    const v1::OwnerReference* owner = ControllerOf(meta);
    if (owner == nullptr || owner->kind() != "Pod") return {};
    return {{meta.namespace_(), owner->name()}};
  }
  if (!change.after->has_pod()) return {};
  const auto& volumes = change.after->pod().spec().volumes();
  const bool any = std::any_of(volumes.begin(), volumes.end(),
                               [](const v1::Volume& volume) { return volume.has_ephemeral(); });
  if (!any) return {};
  return {KeyOf(*change.after)};
}

ReconcileResult EphemeralClaimController::Reconcile(const ClusterState& state, const ObjectKey& key,
                                                    absl::Time) const {
  const v1::Pod* pod = FindObject(state.pods, key);
  if (pod == nullptr || !IsActive(*pod)) return {};
  ReconcileResult result;
  for (const v1::Volume& volume : pod->spec().volumes()) {
    if (!volume.has_ephemeral()) continue;
    const std::string name = schema::ClaimNameOf(*pod, volume);
    if (FindClaim(state, {key.ns, name}) != nullptr) continue;
    const v1::PersistentVolumeClaimTemplate& wanted = volume.ephemeral().volume_claim_template();
    v1::Resource resource;
    v1::PersistentVolumeClaim& claim = *resource.mutable_persistent_volume_claim();
    claim.mutable_metadata()->set_namespace_(key.ns);
    claim.mutable_metadata()->set_name(name);
    *claim.mutable_metadata()->mutable_labels() = wanted.metadata().labels();
    *claim.mutable_metadata()->mutable_annotations() = wanted.metadata().annotations();
    *claim.mutable_metadata()->add_owner_references() = ControllerRef("v1", "Pod", pod->metadata());
    *claim.mutable_spec() = wanted.spec();
    result.writes.push_back({Write::Type::kCreate, std::move(resource), {}});
  }
  return result;
}

}  // namespace mesh::controlplane
