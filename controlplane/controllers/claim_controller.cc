// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/claim_controller.h"

#include <algorithm>
#include <map>
#include <utility>

#include "controlplane/controllers/objects.h"
#include "controlplane/controllers/volume_controller.h"
#include "controlplane/state/claims.h"
#include "fmt/format.h"
#include "google/protobuf/util/message_differencer.h"

namespace mesh::controlplane {
namespace {

using google::protobuf::util::MessageDifferencer;

bool Uses(const v1::Pod& pod, const ObjectKey& claim) {
  const std::vector<ObjectKey> claims = ClaimsOf(pod);
  return std::find(claims.begin(), claims.end(), claim) != claims.end();
}

// A pod that was not placed does not hold a claim: it will not be started with one that goes.
bool IsInUse(const ClusterState& state, const ObjectKey& claim) {
  for (const auto& [key, pod] : InNamespace(state.pods, claim.ns)) {
    if (!pod->spec().node_name().empty() && !IsFinished(*pod) && Uses(*pod, claim)) return true;
  }
  return false;
}

// The ready node with the fewest volumes, by name.
const v1::Node* NodeForImmediate(const ClusterState& state, const v1::StorageClass& type) {
  std::map<std::string, int> volumes;
  if (const auto all = state.others.find(v1::KIND_PERSISTENT_VOLUME); all != state.others.end()) {
    for (const auto& [key, object] : all->second) {
      ++volumes[NodeOfVolume(object->persistent_volume())];
    }
  }
  const v1::Node* best = nullptr;
  for (const auto& [key, node] : state.nodes) {
    if (!IsNodeReady(*node) || node->spec().unschedulable() || IsTerminating(node->metadata()) ||
        !MayProvisionOn(type, *node)) {
      continue;
    }
    if (best == nullptr || volumes[key.name] < volumes[best->metadata().name()]) best = node.get();
  }
  return best;
}

// One claim that is not on its way out.
class Step {
 public:
  Step(const ClusterState& state, const v1::PersistentVolumeClaim& claim)
      : state_(state), claim_(claim), next_(claim) {}

  ReconcileResult Run() {
    auto* finalizers = next_.mutable_metadata()->mutable_finalizers();
    if (std::find(finalizers->begin(), finalizers->end(), kClaimProtection) == finalizers->end()) {
      *finalizers->Add() = kClaimProtection;
    }
    const bool may_default =
        claim_.spec().volume_name().empty() && !claim_.spec().has_storage_class_name();
    if (const v1::StorageClass* type = DefaultClass(state_); type != nullptr && may_default) {
      next_.mutable_spec()->set_storage_class_name(type->metadata().name());
    }
    if (Differs()) {
      Update();
    } else if (claim_.spec().volume_name().empty()) {
      Unbound();
    } else {
      Named();
    }
    return std::move(result_);
  }

 private:
  bool Differs() const { return !MessageDifferencer::Equals(claim_, next_); }

  void Update() {
    v1::Resource resource;
    *resource.mutable_persistent_volume_claim() = next_;
    result_.writes.push_back({Write::Type::kUpdate, std::move(resource), {}});
  }

  void Tell(const char* type, const char* reason, std::string message) {
    result_.events.push_back({ReferenceTo("v1", "PersistentVolumeClaim", claim_.metadata()), type,
                              reason, std::move(message)});
  }

  void SetStatus(const std::string& phase, const v1::PersistentVolume* volume) {
    v1::PersistentVolumeClaimStatus* status = next_.mutable_status();
    status->set_phase(phase);
    status->clear_access_modes();
    status->clear_capacity();
    if (volume != nullptr) {
      *status->mutable_access_modes() = volume->spec().access_modes();
      *status->mutable_capacity() = volume->spec().capacity();
    }
    if (!Differs()) return;
    v1::Resource resource;
    *resource.mutable_persistent_volume_claim() = next_;
    result_.writes.push_back({Write::Type::kUpdateStatus, std::move(resource), {}});
  }

  // The scheduler chooses anew, knowing what was in the way.
  void GiveBackNode() {
    next_.mutable_metadata()->mutable_annotations()->erase(kSelectedNodeAnnotation);
    Update();
  }

  void Unbound() {
    const v1::StorageClass* type = FindClass(state_, claim_.spec().storage_class_name());
    const std::string chosen = SelectedNode(claim_);
    const bool delayed = IsDelayed(state_, claim_);
    const v1::Node* node = chosen.empty() ? nullptr : FindObject(state_.nodes, {"", chosen});
    if (!chosen.empty() && node == nullptr) return GiveBackNode();
    const v1::PersistentVolume* volume =
        MatchingVolume(state_, claim_, delayed ? node : nullptr, !delayed);
    if (volume != nullptr) return Bind(*volume);
    if (claim_.spec().storage_class_name().empty()) {
      Tell("Normal", "FailedBinding",
           "no persistent volumes available for this claim and no storage class is set");
      return SetStatus("Pending", nullptr);
    }
    if (type == nullptr) {
      Tell("Warning", "ProvisioningFailed",
           fmt::format("storageclass.storage.k8s.io \"{}\" not found",
                       claim_.spec().storage_class_name()));
      return chosen.empty() ? SetStatus("Pending", nullptr) : GiveBackNode();
    }
    if (delayed && node == nullptr) {
      TellWhomItWaitsFor();
      return SetStatus("Pending", nullptr);
    }
    Provision(*type, delayed, node);
  }

  void TellWhomItWaitsFor() {
    const ObjectKey key = KeyOfMeta(claim_.metadata());
    for (const auto& [pod_key, pod] : InNamespace(state_.pods, key.ns)) {
      if (!pod->spec().node_name().empty() || !IsActive(*pod) || !Uses(*pod, key)) continue;
      return Tell("Normal", "WaitForPodScheduled",
                  fmt::format("waiting for pod {} to be scheduled", pod_key.name));
    }
    Tell("Normal", "WaitForFirstConsumer",
         "waiting for first consumer to be created before binding");
  }

  void Provision(const v1::StorageClass& type, bool delayed, const v1::Node* node) {
    std::string why = type.provisioner() == kNoProvisioner
                          ? "no persistent volumes available for this claim"
                          : WhyNotProvisioned(claim_, type);
    if (why.empty() && !delayed) node = NodeForImmediate(state_, type);
    if (why.empty() && (node == nullptr || !MayProvisionOn(type, *node))) {
      why = node == nullptr
                ? std::string("no node is ready for a volume of the class")
                : fmt::format("node {} makes no volumes of the class", node->metadata().name());
    }
    if (!why.empty()) {
      Tell("Warning", "ProvisioningFailed",
           fmt::format("failed to provision volume with StorageClass \"{}\": {}",
                       type.metadata().name(), why));
      return delayed ? GiveBackNode() : SetStatus("Pending", nullptr);
    }
    v1::Resource made;
    *made.mutable_persistent_volume() = ProvisionedVolume(claim_, type, *node);
    AddVolumeFinalizers(made.mutable_persistent_volume());
    Tell("Normal", "ProvisioningSucceeded",
         fmt::format("Successfully provisioned volume {}",
                     made.persistent_volume().metadata().name()));
    result_.writes.push_back({Write::Type::kCreate, std::move(made), {}});
    SetStatus("Pending", nullptr);
  }

  void Bind(const v1::PersistentVolume& volume) {
    if (volume.spec().claim_ref().uid().empty()) return Claim(volume);
    auto& annotations = *next_.mutable_metadata()->mutable_annotations();
    if (claim_.spec().volume_name().empty()) {
      next_.mutable_spec()->set_volume_name(volume.metadata().name());
      annotations[kBoundByControllerAnnotation] = "yes";
    }
    annotations[kBindCompletedAnnotation] = "yes";
    Update();
  }

  // The volume's half.
  void Claim(const v1::PersistentVolume& volume) {
    v1::Resource resource;
    v1::PersistentVolume& bound = *resource.mutable_persistent_volume();
    bound = volume;
    v1::ObjectReference* reference = bound.mutable_spec()->mutable_claim_ref();
    if (reference->name().empty()) {
      (*bound.mutable_metadata()->mutable_annotations())[kBoundByControllerAnnotation] = "yes";
    }
    *reference = ReferenceTo("v1", "PersistentVolumeClaim", claim_.metadata());
    result_.writes.push_back({Write::Type::kUpdate, std::move(resource), {}});
  }

  // The claim says which volume.
  void Named() {
    const std::string& name = claim_.spec().volume_name();
    const bool completed = IsBoundClaim(claim_);
    const v1::PersistentVolume* volume = FindVolume(state_, name);
    if (volume == nullptr && completed) {
      return Lose("ClaimLost",
                  "Bound claim has lost its PersistentVolume. Data on the volume is lost!");
    }
    if (volume == nullptr) {
      Tell("Normal", "FailedBinding", fmt::format("volume \"{}\" does not exist yet", name));
      return SetStatus("Pending", nullptr);
    }
    const v1::ObjectReference& reference = volume->spec().claim_ref();
    const bool is_free =
        !volume->spec().has_claim_ref() || (RefersTo(reference, claim_) && reference.uid().empty());
    if (!is_free && !RefersTo(reference, claim_)) {
      if (completed) {
        return Lose("ClaimMisbound",
                    "Two claims are bound to the same volume, this one is bound incorrectly");
      }
      Tell("Warning", "FailedBinding",
           fmt::format("volume \"{}\" already bound to a different claim.", name));
      return SetStatus("Pending", nullptr);
    }
    if (is_free) {
      const std::string why = WhyNotSatisfied(*volume, claim_);
      if (why.empty() && !IsTerminating(volume->metadata())) return Claim(*volume);
      if (!why.empty()) {
        Tell("Warning", "VolumeMismatch",
             fmt::format("Cannot bind to requested volume \"{}\": {}", name, why));
      }
      return SetStatus("Pending", nullptr);
    }
    if (!completed) return Bind(*volume);
    Grow(*volume);
    SetStatus("Bound", volume);
  }

  void Lose(const char* reason, const char* message) {
    if (claim_.status().phase() != "Lost") Tell("Warning", reason, message);
    SetStatus("Lost", nullptr);
  }

  // A folder has no size of its own: what its class lets grow is as large as the claim says
  // (AdmitClaim has asked the class).
  void Grow(const v1::PersistentVolume& volume) {
    if (WhyNotSatisfied(volume, claim_) != "requested PV is too small" || !IsProvisioned(volume)) {
      return;
    }
    v1::Resource resource;
    v1::PersistentVolume& grown = *resource.mutable_persistent_volume();
    grown = volume;
    (*grown.mutable_spec()->mutable_capacity())["storage"] =
        claim_.spec().resources().requests().at("storage");
    result_.writes.push_back({Write::Type::kUpdate, std::move(resource), {}});
  }

  const ClusterState& state_;
  const v1::PersistentVolumeClaim& claim_;
  v1::PersistentVolumeClaim next_;
  ReconcileResult result_;
};

// Whether the change of a pod may let a claim of it go, or begins to wait for it.
bool Matters(const Change& change) {
  if (change.before == nullptr || change.after == nullptr) return true;
  const v1::Pod& before = change.before->pod();
  const v1::Pod& after = change.after->pod();
  return before.spec().node_name() != after.spec().node_name() ||
         IsFinished(before) != IsFinished(after);
}

}  // namespace

std::vector<ObjectKey> ClaimController::Affected(const ClusterState& state,
                                                 const Change& change) const {
  std::vector<ObjectKey> keys;
  const v1::Resource& any = change.after != nullptr ? *change.after : *change.before;
  if (any.has_persistent_volume_claim()) return {KeyOf(any)};
  if (any.has_pod()) {
    if (Matters(change)) keys = ClaimsOf(any.pod());
    return keys;
  }
  const bool node =
      any.has_node() && (change.before == nullptr || change.after == nullptr ||
                         NodeFlipOf(change.before.get(), change.after.get()).flipped ||
                         IsNodeReady(change.before->node()) != IsNodeReady(change.after->node()));
  if (!any.has_persistent_volume() && !any.has_storage_class() && !node) return {};
  ForEachSide(change, [&](const v1::Resource& side) {
    const v1::ObjectReference& reference = side.persistent_volume().spec().claim_ref();
    if (!reference.name().empty()) keys.push_back({reference.namespace_(), reference.name()});
  });
  const auto claims = state.others.find(v1::KIND_PERSISTENT_VOLUME_CLAIM);
  if (claims == state.others.end()) return keys;
  for (const auto& [key, object] : claims->second) {
    const std::string& volume = object->persistent_volume_claim().spec().volume_name();
    const bool waits = object->persistent_volume_claim().status().phase() != "Bound";
    if (waits || (any.has_persistent_volume() && volume == KeyOf(any).name)) keys.push_back(key);
  }
  return keys;
}

ReconcileResult ClaimController::Reconcile(const ClusterState& state, const ObjectKey& key,
                                           absl::Time) const {
  const v1::PersistentVolumeClaim* claim = FindClaim(state, key);
  if (claim == nullptr) return {};
  if (!IsTerminating(claim->metadata())) return Step(state, *claim).Run();
  ReconcileResult result;
  if (IsInUse(state, key)) return result;
  v1::Resource resource;
  *resource.mutable_persistent_volume_claim() = *claim;
  auto* finalizers =
      resource.mutable_persistent_volume_claim()->mutable_metadata()->mutable_finalizers();
  const auto end = std::remove(finalizers->begin(), finalizers->end(), kClaimProtection);
  if (end == finalizers->end()) return result;
  finalizers->erase(end, finalizers->end());
  result.writes.push_back({Write::Type::kUpdate, std::move(resource), {}});
  return result;
}

}  // namespace mesh::controlplane
