// SPDX-License-Identifier: Apache-2.0
#include "controlplane/scheduler/pod_volumes.h"

#include <algorithm>
#include <utility>

#include "api/schema/references.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/state/claims.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

bool IsOnce(const v1::PersistentVolumeClaim& claim) {
  const auto& modes = claim.spec().access_modes();
  return std::find(modes.begin(), modes.end(), "ReadWriteOncePod") != modes.end();
}

bool IsTaken(const ClusterState& state, const v1::Pod& pod, const ObjectKey& claim) {
  for (const auto& [key, other] : InNamespace(state.pods, claim.ns)) {
    if (other->metadata().uid() == pod.metadata().uid()) continue;
    if (other->spec().node_name().empty() || IsFinished(*other)) continue;
    const std::vector<ObjectKey> claims = ClaimsOf(*other);
    if (std::find(claims.begin(), claims.end(), claim) != claims.end()) return true;
  }
  return false;
}

bool IsOwner(const v1::Pod& pod, const v1::PersistentVolumeClaim& claim) {
  const v1::OwnerReference* owner = ControllerOf(claim.metadata());
  return owner != nullptr && owner->uid() == pod.metadata().uid();
}

}  // namespace

PodVolumes::PodVolumes(const ClusterState& state, const v1::Pod& pod,
                       const std::set<ObjectKey>& once)
    : state_(state) {
  for (const v1::Volume& volume : pod.spec().volumes()) {
    Look(state, pod, volume, once);
    if (!problem_.empty()) return;
  }
}

void PodVolumes::Look(const ClusterState& state, const v1::Pod& pod, const v1::Volume& volume,
                      const std::set<ObjectKey>& once) {
  const ObjectKey key{pod.metadata().namespace_(), schema::ClaimNameOf(pod, volume)};
  if (key.name.empty()) return;
  const v1::PersistentVolumeClaim* claim = FindClaim(state, key);
  if (claim == nullptr) {
    problem_ = volume.has_ephemeral()
                   ? fmt::format(
                         "waiting for ephemeral volume controller to create the "
                         "persistentvolumeclaim \"{}\"",
                         key.name)
                   : fmt::format("persistentvolumeclaim \"{}\" not found", key.name);
    return;
  }
  if (volume.has_ephemeral() && !IsOwner(pod, *claim)) {
    problem_ = fmt::format("PVC {} was not created for pod {} (pod is not owner)", key.ToString(),
                           KeyOfMeta(pod.metadata()).ToString());
    return;
  }
  if (IsTerminating(claim->metadata())) {
    problem_ = fmt::format("persistentvolumeclaim \"{}\" is being deleted", key.name);
    return;
  }
  if (IsOnce(*claim)) {
    if (once.contains(key) || IsTaken(state, pod, key)) {
      problem_ =
          "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access "
          "mode";
      return;
    }
    once_.push_back(key);
  }
  if (IsBoundClaim(*claim)) {
    const v1::PersistentVolume* bound = FindVolume(state, claim->spec().volume_name());
    if (bound == nullptr || claim->status().phase() == "Lost") {
      problem_ = fmt::format(
          "persistentvolumeclaim \"{}\" bound to non-existent persistentvolume "
          "\"{}\"",
          key.name, claim->spec().volume_name());
      return;
    }
    problem_ = WhyNotUsable(*bound);
    bound_.push_back(bound);
    return;
  }
  if (!IsDelayed(state, *claim)) {
    problem_ = "pod has unbound immediate PersistentVolumeClaims";
    return;
  }
  if (const std::string node = SelectedNode(*claim); !node.empty()) {
    awaited_ =
        fmt::format("persistentvolumeclaim \"{}\" is being bound on node {}", key.name, node);
  }
  unbound_.push_back(claim);
}

PodVolumes::Verdict PodVolumes::Of(const v1::Node& node) const {
  for (const v1::PersistentVolume* volume : bound_) {
    if (!IsReachable(*volume, node)) return Verdict::kAffinity;
  }
  std::set<std::string> taken;
  for (const v1::PersistentVolumeClaim* claim : unbound_) {
    const v1::PersistentVolume* free = MatchingVolume(state_, *claim, &node, false, taken);
    if (free != nullptr) {
      taken.insert(free->metadata().name());
      continue;
    }
    const v1::StorageClass* type = FindClass(state_, claim->spec().storage_class_name());
    if (!WhyNotProvisioned(*claim, *type).empty() || !MayProvisionOn(*type, node)) {
      return Verdict::kNoVolume;
    }
  }
  return Verdict::kFits;
}

std::vector<Write> PodVolumes::Choose(const std::string& node) const {
  std::vector<Write> out;
  for (const v1::PersistentVolumeClaim* claim : unbound_) {
    v1::Resource resource;
    v1::PersistentVolumeClaim& chosen = *resource.mutable_persistent_volume_claim();
    chosen = *claim;
    (*chosen.mutable_metadata()->mutable_annotations())[kSelectedNodeAnnotation] = node;
    out.push_back({Write::Type::kUpdate, std::move(resource), {}});
  }
  return out;
}

}  // namespace mesh::controlplane
