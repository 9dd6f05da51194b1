// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/volume_controller.h"

#include <algorithm>
#include <utility>

#include "controlplane/controllers/objects.h"
#include "controlplane/state/claims.h"
#include "fmt/format.h"
#include "google/protobuf/util/message_differencer.h"

namespace mesh::controlplane {
namespace {

using google::protobuf::util::MessageDifferencer;

void SetFinalizer(v1::ObjectMeta* meta, const char* name, bool wanted) {
  auto* all = meta->mutable_finalizers();
  const auto it = std::find(all->begin(), all->end(), name);
  if (wanted && it == all->end()) *all->Add() = name;
  if (!wanted && it != all->end()) all->erase(it);
}

bool GoesWithItsContent(const v1::PersistentVolume& volume) {
  return IsProvisioned(volume) && volume.spec().persistent_volume_reclaim_policy() == "Delete";
}

struct Phase {
  std::string name;
  std::string reason;  // of the event, where it is Failed
  std::string message;
  bool unbind = false;  // its claim has another volume
};

// What its reclaim policy makes of a volume whose claim is gone.
Phase Reclaimed(const ClusterState& state, const v1::PersistentVolume& volume) {
  const std::string& policy = volume.spec().persistent_volume_reclaim_policy();
  if (policy == "Recycle") {
    return {"Failed", "VolumeFailedRecycle", "No recycler plugin found for the volume!"};
  }
  if (policy != "Delete") return {"Released", "", ""};
  if (!IsProvisioned(volume)) {
    return {"Failed", "VolumeFailedDelete",
            fmt::format("error getting deleter volume plugin for volume \"{}\": no deletable "
                        "volume plugin matched",
                        volume.metadata().name())};
  }
  const std::string node = NodeOfVolume(volume);
  if (FindObject(state.nodes, {"", node}) == nullptr) {
    return {"Failed", "VolumeFailedDelete",
            fmt::format("node {}, which has the content, is not there", node)};
  }
  // Its node has said why not, and goes on trying.
  if (volume.status().phase() == "Failed") return {"Failed", "", volume.status().message()};
  return {"Released", "", ""};
}

Phase PhaseOf(const ClusterState& state, const v1::PersistentVolume& volume) {
  const v1::ObjectReference& reference = volume.spec().claim_ref();
  if (reference.uid().empty()) return {"Available", "", ""};
  const v1::PersistentVolumeClaim* claim =
      FindClaim(state, {reference.namespace_(), reference.name()});
  if (claim == nullptr || !RefersTo(reference, *claim)) return Reclaimed(state, volume);
  const std::string& bound_to = claim->spec().volume_name();
  if (bound_to == volume.metadata().name()) return {"Bound", "", ""};
  // The claim's half follows.
  if (bound_to.empty()) {
    const std::string& now = volume.status().phase();
    return {now.empty() ? "Available" : now, "", volume.status().message()};
  }
  return {"Available", "", "", true};
}

}  // namespace

void AddVolumeFinalizers(v1::PersistentVolume* volume) {
  SetFinalizer(volume->mutable_metadata(), kVolumeProtection, true);
  SetFinalizer(volume->mutable_metadata(), kContentFinalizer, GoesWithItsContent(*volume));
}

std::vector<ObjectKey> VolumeController::Affected(const ClusterState& state,
                                                  const Change& change) const {
  const v1::Resource& any = change.after != nullptr ? *change.after : *change.before;
  if (any.has_persistent_volume()) return {KeyOf(any)};
  const bool node = any.has_node() && (change.before == nullptr || change.after == nullptr);
  if (!any.has_persistent_volume_claim() && !node) return {};
  std::vector<ObjectKey> keys;
  const auto volumes = state.others.find(v1::KIND_PERSISTENT_VOLUME);
  if (volumes == state.others.end()) return keys;
  const ObjectKey concerned = KeyOf(any);
  for (const auto& [key, object] : volumes->second) {
    const v1::PersistentVolume& volume = object->persistent_volume();
    const v1::ObjectReference& reference = volume.spec().claim_ref();
    const bool is_its =
        node ? NodeOfVolume(volume) == concerned.name
             : reference.namespace_() == concerned.ns && reference.name() == concerned.name;
    if (is_its) keys.push_back(key);
  }
  return keys;
}

ReconcileResult VolumeController::Reconcile(const ClusterState& state, const ObjectKey& key,
                                            absl::Time now) const {
  const v1::PersistentVolume* volume = FindVolume(state, key.name);
  if (volume == nullptr) return {};
  ReconcileResult result;
  const Phase phase = PhaseOf(state, *volume);
  v1::Resource resource;
  v1::PersistentVolume& next = *resource.mutable_persistent_volume();
  next = *volume;
  if (phase.unbind) {
    // Made for nobody else: what it has is nobody's.
    if (IsProvisioned(*volume)) {
      if (!IsTerminating(volume->metadata())) {
        result.writes.push_back({Write::Type::kDelete, std::move(resource), {}});
        return result;
      }
    } else {
      next.mutable_spec()->clear_claim_ref();
    }
  }
  if (!IsTerminating(volume->metadata())) {
    AddVolumeFinalizers(&next);
  } else {
    SetFinalizer(next.mutable_metadata(), kVolumeProtection, phase.name == "Bound");
    SetFinalizer(next.mutable_metadata(), kContentFinalizer,
                 GoesWithItsContent(*volume) && !phase.unbind);
  }
  if (!MessageDifferencer::Equals(*volume, next)) {
    result.writes.push_back({Write::Type::kUpdate, std::move(resource), {}});
    return result;
  }
  v1::PersistentVolumeStatus* status = next.mutable_status();
  if (status->phase() == phase.name && status->message() == phase.message) return result;
  if (status->phase() != phase.name) {
    *status->mutable_last_phase_transition_time() = ToTimestamp(now);
  }
  status->set_phase(phase.name);
  status->set_reason(phase.reason);
  status->set_message(phase.message);
  if (!phase.reason.empty()) {
    result.events.push_back({ReferenceTo("v1", "PersistentVolume", volume->metadata()), "Warning",
                             phase.reason, phase.message});
  }
  result.writes.push_back({Write::Type::kUpdateStatus, std::move(resource), {}});
  return result;
}

}  // namespace mesh::controlplane
