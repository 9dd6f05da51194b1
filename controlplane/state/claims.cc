// SPDX-License-Identifier: Apache-2.0
#include "controlplane/state/claims.h"

#include <algorithm>
#include <utility>

#include "api/schema/references.h"
#include "api/schema/selector.h"
#include "common/quantity.h"
#include "controlplane/state/node_selector.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

constexpr char kHostNameLabel[] = "kubernetes.io/hostname";

// Inside of an object of the state, which holds it.
const v1::Resource* Find(const ClusterState& state, v1::Kind kind, const ObjectKey& key) {
  const auto objects = state.others.find(kind);
  if (objects == state.others.end()) return nullptr;
  const auto it = objects->second.find(key);
  return it == objects->second.end() ? nullptr : it->second.get();
}

const std::string& AnnotationOf(const v1::ObjectMeta& meta, const char* name) {
  static const auto* none = new std::string;
  const auto it = meta.annotations().find(name);
  return it == meta.annotations().end() ? *none : it->second;
}

int64_t Bytes(const google::protobuf::Map<std::string, v1::Quantity>& amounts) {
  const auto it = amounts.find("storage");
  if (it == amounts.end()) return 0;
  const auto bytes = ParseQuantity(it->second.text());
  return bytes.ok() ? *bytes : 0;
}

int64_t SizeOf(const v1::PersistentVolume& volume) { return Bytes(volume.spec().capacity()); }
int64_t SizeOf(const v1::PersistentVolumeClaim& claim) {
  return Bytes(claim.spec().resources().requests());
}

std::string ModeOf(const std::string& mode) { return mode.empty() ? "Filesystem" : mode; }

bool HasModes(const v1::PersistentVolume& volume, const v1::PersistentVolumeClaim& claim) {
  const auto& has = volume.spec().access_modes();
  return std::all_of(
      claim.spec().access_modes().begin(), claim.spec().access_modes().end(),
      [&](const auto& mode) { return std::find(has.begin(), has.end(), mode) != has.end(); });
}

bool IsSelected(const v1::PersistentVolume& volume, const v1::PersistentVolumeClaim& claim) {
  return !claim.spec().has_selector() ||
         schema::Matches(claim.spec().selector(), volume.metadata().labels());
}

// "nfs": the member that says where the volume is.
std::string SourceName(const v1::PersistentVolumeSpec& spec) {
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  spec.GetReflection()->ListFields(spec, &fields);
  for (const auto* field : fields) {
    if (field->message_type() == nullptr || field->is_repeated()) continue;
    if (field->message_type()->name().ends_with("VolumeSource")) return field->json_name();
  }
  return "a volume without a source";
}

}  // namespace

const v1::PersistentVolumeClaim* FindClaim(const ClusterState& state, const ObjectKey& key) {
  const v1::Resource* found = Find(state, v1::KIND_PERSISTENT_VOLUME_CLAIM, key);
  return found == nullptr ? nullptr : &found->persistent_volume_claim();
}

const v1::PersistentVolume* FindVolume(const ClusterState& state, const std::string& name) {
  const v1::Resource* found = Find(state, v1::KIND_PERSISTENT_VOLUME, {"", name});
  return found == nullptr ? nullptr : &found->persistent_volume();
}

const v1::StorageClass* FindClass(const ClusterState& state, const std::string& name) {
  const v1::Resource* found = Find(state, v1::KIND_STORAGE_CLASS, {"", name});
  return found == nullptr ? nullptr : &found->storage_class();
}

const v1::StorageClass* DefaultClass(const ClusterState& state) {
  const auto objects = state.others.find(v1::KIND_STORAGE_CLASS);
  if (objects == state.others.end()) return nullptr;
  const v1::StorageClass* out = nullptr;
  for (const auto& [key, object] : objects->second) {
    const v1::StorageClass& one = object->storage_class();
    if (AnnotationOf(one.metadata(), kDefaultClassAnnotation) != "true") continue;
    if (out == nullptr || one.metadata().creation_timestamp().seconds() >
                              out->metadata().creation_timestamp().seconds()) {
      out = &one;
    }
  }
  return out;
}

bool IsBuiltIn(std::string_view provisioner) {
  return provisioner == kLocalPathProvisioner || provisioner == kRancherLocalPath;
}

std::vector<ObjectKey> ClaimsOf(const v1::Pod& pod) {
  std::vector<ObjectKey> out;
  for (const v1::Volume& volume : pod.spec().volumes()) {
    std::string name = schema::ClaimNameOf(pod, volume);
    if (!name.empty()) out.push_back({pod.metadata().namespace_(), std::move(name)});
  }
  return out;
}

bool IsBoundClaim(const v1::PersistentVolumeClaim& claim) {
  return !claim.spec().volume_name().empty() &&
         claim.metadata().annotations().contains(kBindCompletedAnnotation);
}

bool IsDelayed(const ClusterState& state, const v1::PersistentVolumeClaim& claim) {
  if (!claim.spec().volume_name().empty()) return false;
  const v1::StorageClass* type = FindClass(state, claim.spec().storage_class_name());
  return type != nullptr && type->volume_binding_mode() == "WaitForFirstConsumer";
}

std::string SelectedNode(const v1::PersistentVolumeClaim& claim) {
  return AnnotationOf(claim.metadata(), kSelectedNodeAnnotation);
}

std::string WhyNotUsable(const v1::PersistentVolume& volume) {
  const v1::PersistentVolumeSpec& spec = volume.spec();
  const std::string& name = volume.metadata().name();
  if (!spec.has_host_path() && !spec.has_local()) {
    return fmt::format("volume \"{}\": {} is not supported yet, hostPath and local are", name,
                       SourceName(spec));
  }
  if (spec.volume_mode() == "Block") {
    return fmt::format("volume \"{}\": volumeMode Block is not supported yet", name);
  }
  if (!spec.mount_options().empty()) {
    return fmt::format("volume \"{}\": mountOptions are not supported for a folder of the node",
                       name);
  }
  if (!spec.local().fs_type().empty()) {
    return fmt::format(
        "volume \"{}\": local.fsType is not supported yet: the path must be a "
        "folder",
        name);
  }
  return "";
}

bool IsReachable(const v1::PersistentVolume& volume, const v1::Node& node) {
  return !volume.spec().node_affinity().has_required() ||
         MatchesNodeSelector(volume.spec().node_affinity().required(), node);
}

bool RefersTo(const v1::ObjectReference& reference, const v1::PersistentVolumeClaim& claim) {
  const v1::ObjectMeta& meta = claim.metadata();
  return reference.name() == meta.name() && reference.namespace_() == meta.namespace_() &&
         (reference.uid().empty() || reference.uid() == meta.uid());
}

std::string WhyNotSatisfied(const v1::PersistentVolume& volume,
                            const v1::PersistentVolumeClaim& claim) {
  if (SizeOf(volume) < SizeOf(claim)) return "requested PV is too small";
  if (volume.spec().storage_class_name() != claim.spec().storage_class_name()) {
    return "storageClassName does not match";
  }
  if (ModeOf(volume.spec().volume_mode()) != ModeOf(claim.spec().volume_mode())) {
    return "incompatible volumeMode";
  }
  return HasModes(volume, claim) ? "" : "incompatible accessMode";
}

const v1::PersistentVolume* MatchingVolume(const ClusterState& state,
                                           const v1::PersistentVolumeClaim& claim,
                                           const v1::Node* node, bool any_node,
                                           const std::set<std::string>& taken) {
  const auto volumes = state.others.find(v1::KIND_PERSISTENT_VOLUME);
  if (volumes == state.others.end()) return nullptr;
  const v1::PersistentVolume* best = nullptr;
  for (const auto& [key, object] : volumes->second) {
    const v1::PersistentVolume& volume = object->persistent_volume();
    if (volume.metadata().has_deletion_timestamp() || taken.contains(key.name)) continue;
    if (node != nullptr && !IsReachable(volume, *node)) continue;
    if (!WhyNotSatisfied(volume, claim).empty()) continue;
    if (volume.spec().has_claim_ref()) {
      if (RefersTo(volume.spec().claim_ref(), claim)) return &volume;
      continue;
    }
    if (volume.status().phase() != "Available" || !IsSelected(volume, claim)) continue;
    if (node == nullptr && !any_node) continue;
    if (best == nullptr || SizeOf(volume) < SizeOf(*best)) best = &volume;
  }
  return best;
}

std::string WhyNotProvisioned(const v1::PersistentVolumeClaim& claim,
                              const v1::StorageClass& type) {
  const v1::PersistentVolumeClaimSpec& spec = claim.spec();
  if (!IsBuiltIn(type.provisioner())) {
    return fmt::format(
        "provisioner \"{}\" of storage class \"{}\" is not supported: {} and {} are, "
        "or make a PersistentVolume for it",
        type.provisioner(), type.metadata().name(), kLocalPathProvisioner, kRancherLocalPath);
  }
  for (const std::string& mode : spec.access_modes()) {
    if (mode == "ReadWriteOnce" || mode == "ReadWriteOncePod") continue;
    return fmt::format(
        "access mode {}: a folder of one node only supports ReadWriteOnce and "
        "ReadWriteOncePod access modes",
        mode);
  }
  if (ModeOf(spec.volume_mode()) == "Block") return "volumeMode Block is not supported";
  if (spec.has_selector()) return "claim.Spec.Selector is not supported";
  if (!type.mount_options().empty()) {
    return fmt::format(
        "mountOptions of storage class \"{}\" are not supported for a folder of a "
        "node",
        type.metadata().name());
  }
  std::set<std::string> parameters;
  for (const auto& [name, value] : type.parameters()) parameters.insert(name);
  if (!parameters.empty()) {
    return fmt::format("parameter \"{}\" of storage class \"{}\" is not supported",
                       *parameters.begin(), type.metadata().name());
  }
  return "";
}

bool MayProvisionOn(const v1::StorageClass& type, const v1::Node& node) {
  if (AnnotationOf(node.metadata(), kVolumeDirAnnotation).empty()) return false;
  if (type.allowed_topologies().empty()) return true;
  const auto& labels = node.metadata().labels();
  const auto holds = [&](const v1::TopologySelectorLabelRequirement& one) {
    const auto label = labels.find(one.key());
    return label != labels.end() &&
           std::find(one.values().begin(), one.values().end(), label->second) != one.values().end();
  };
  return std::any_of(type.allowed_topologies().begin(), type.allowed_topologies().end(),
                     [&](const v1::TopologySelectorTerm& term) {
                       const auto& all = term.match_label_expressions();
                       return std::all_of(all.begin(), all.end(), holds);
                     });
}

v1::PersistentVolume ProvisionedVolume(const v1::PersistentVolumeClaim& claim,
                                       const v1::StorageClass& type, const v1::Node& node) {
  const v1::ObjectMeta& meta = claim.metadata();
  v1::PersistentVolume out;
  out.mutable_metadata()->set_name("pvc-" + meta.uid());
  (*out.mutable_metadata()->mutable_annotations())[kProvisionedByAnnotation] = type.provisioner();
  v1::PersistentVolumeSpec* spec = out.mutable_spec();
  *spec->mutable_access_modes() = claim.spec().access_modes();
  (*spec->mutable_capacity())["storage"] = claim.spec().resources().requests().at("storage");
  v1::ObjectReference* reference = spec->mutable_claim_ref();
  reference->set_api_version("v1");
  reference->set_kind("PersistentVolumeClaim");
  reference->set_namespace_(meta.namespace_());
  reference->set_name(meta.name());
  reference->set_uid(meta.uid());
  // The name that local-path gives: people find it.
  spec->mutable_host_path()->set_path(
      fmt::format("{}/{}_{}_{}", AnnotationOf(node.metadata(), kVolumeDirAnnotation),
                  out.metadata().name(), meta.namespace_(), meta.name()));
  spec->mutable_host_path()->set_type("DirectoryOrCreate");
  v1::NodeSelectorRequirement* here = spec->mutable_node_affinity()
                                          ->mutable_required()
                                          ->add_node_selector_terms()
                                          ->add_match_expressions();
  here->set_key(kHostNameLabel);
  here->set_operator_("In");
  here->add_values(node.metadata().name());
  spec->set_persistent_volume_reclaim_policy(type.reclaim_policy().empty() ? "Delete"
                                                                           : type.reclaim_policy());
  spec->set_storage_class_name(type.metadata().name());
  spec->set_volume_mode(ModeOf(claim.spec().volume_mode()));
  return out;
}

bool IsProvisioned(const v1::PersistentVolume& volume) {
  return IsBuiltIn(AnnotationOf(volume.metadata(), kProvisionedByAnnotation)) &&
         !NodeOfVolume(volume).empty();
}

std::string NodeOfVolume(const v1::PersistentVolume& volume) {
  const auto& terms = volume.spec().node_affinity().required().node_selector_terms();
  if (!volume.spec().has_host_path() || terms.size() != 1) return "";
  const auto& all = terms[0].match_expressions();
  const bool one = all.size() == 1 && all[0].key() == kHostNameLabel &&
                   all[0].operator_() == "In" && all[0].values_size() == 1;
  return one ? all[0].values(0) : "";
}

bool IsToBeRemoved(const v1::PersistentVolume& volume) {
  const std::string& phase = volume.status().phase();
  return (phase == "Released" || phase == "Failed") && IsProvisioned(volume) &&
         volume.spec().persistent_volume_reclaim_policy() == "Delete";
}

v1::VolumeState VolumeForNode(const v1::PersistentVolume& volume) {
  const v1::PersistentVolumeSpec& spec = volume.spec();
  v1::VolumeState out;
  out.set_name(volume.metadata().name());
  out.set_claim(spec.claim_ref().namespace_() + "/" + spec.claim_ref().name());
  if (spec.has_host_path()) {
    out.set_path(spec.host_path().path());
    out.set_type(spec.host_path().type());
  } else {
    out.set_path(spec.local().path());
    out.set_type("Directory");
    out.set_takes_ownership(true);
  }
  out.set_provisioned(IsProvisioned(volume));
  out.set_remove(IsToBeRemoved(volume));
  return out;
}

absl::Status AdmitClaim(const ClusterState& state, const v1::PersistentVolumeClaim& before,
                        const v1::PersistentVolumeClaim& next) {
  if (SizeOf(next) <= SizeOf(before)) return absl::OkStatus();
  const v1::StorageClass* type = FindClass(state, before.spec().storage_class_name());
  const v1::PersistentVolume* volume = FindVolume(state, before.spec().volume_name());
  const bool may_grow = IsBoundClaim(before) && volume != nullptr && IsProvisioned(*volume) &&
                        type != nullptr && type->allow_volume_expansion();
  if (may_grow) return absl::OkStatus();
  return absl::PermissionDeniedError(fmt::format(
      "persistentvolumeclaims \"{}\" is forbidden: only dynamically provisioned pvc can "
      "be resized and the storageclass that provisions the pvc must support resize",
      next.metadata().name()));
}

}  // namespace mesh::controlplane
