// SPDX-License-Identifier: Apache-2.0
// PersistentVolume, PersistentVolumeClaim, StorageClass.
#include <algorithm>
#include <set>

#include "api/schema/rules_kinds.h"
#include "common/quantity.h"
#include "google/protobuf/util/message_differencer.h"

namespace mesh::schema::internal {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::util::MessageDifferencer;

constexpr size_t kMaxParameters = 512;
constexpr size_t kMaxParameterBytes = 256 * 1024;

// Members of a PersistentVolumeSpec that say where the volume is.
std::vector<const FieldDescriptor*> SourceFields() {
  std::vector<const FieldDescriptor*> out;
  const auto& type = *v1::PersistentVolumeSpec::descriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const bool source = field.message_type() != nullptr && !field.is_repeated() &&
                        (field.message_type()->name().ends_with("VolumeSource"));
    if (source) out.push_back(&field);
  }
  return out;
}

void CheckAccessModes(const google::protobuf::RepeatedPtrField<std::string>& modes,
                      const std::string& path, Problems* problems) {
  constexpr std::string_view kModes[] = {"ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany",
                                         "ReadWriteOncePod"};
  if (modes.empty()) {
    return Add(problems, path, "Required value: at least 1 access mode is required");
  }
  for (int i = 0; i < modes.size(); ++i) {
    if (std::find(std::begin(kModes), std::end(kModes), modes[i]) == std::end(kModes)) {
      Add(problems, fmt::format("{}[{}]", path, i),
          "Unsupported value: \"{}\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", "
          "\"ReadWriteOnce\", \"ReadWriteOncePod\"",
          modes[i]);
    }
  }
  const bool once = std::find(modes.begin(), modes.end(), "ReadWriteOncePod") != modes.end();
  if (once && modes.size() > 1) {
    Add(problems, path, "Forbidden: may not use ReadWriteOncePod with other access modes");
  }
}

// What is wrong with a path that the node opens; empty when nothing is.
bool LeavesItsFolder(std::string_view path) {
  while (!path.empty()) {
    const std::string_view part = path.substr(0, path.find('/'));
    if (part == "..") return true;
    path.remove_prefix(std::min(path.size(), part.size() + 1));
  }
  return false;
}

void CheckPositive(const std::string& text, const std::string& path, Problems* problems) {
  const auto milli = ParseQuantityMilli(text);
  if (!milli.ok() || *milli > 0) return;  // said already, or fine
  Add(problems, path, "Invalid value: \"{}\": must be greater than zero", text);
}

void CheckClassName(const std::string& name, const std::string& path, Problems* problems) {
  if (name.empty()) return;
  if (const std::string why = CheckDnsSubdomain(name); !why.empty()) {
    Add(problems, path, "{}", InvalidText(name, why));
  }
}

void CheckSource(const v1::PersistentVolumeSpec& spec, Problems* problems) {
  const auto& reflection = *spec.GetReflection();
  const FieldDescriptor* given = nullptr;
  for (const FieldDescriptor* field : SourceFields()) {
    if (!reflection.HasField(spec, field)) continue;
    if (given != nullptr) {
      Add(problems, "spec." + field->json_name(),
          "Forbidden: may not specify more than 1 volume type");
    } else {
      given = field;
    }
  }
  if (given == nullptr) Add(problems, "spec", "Required value: must specify a volume type");

  const std::string& host_path = spec.host_path().path();
  if (LeavesItsFolder(host_path)) {
    Add(problems, "spec.hostPath.path", "Invalid value: \"{}\": must not contain '..'", host_path);
  }
  if (host_path == "/" && spec.persistent_volume_reclaim_policy() == "Recycle") {
    Add(problems, "spec.persistentVolumeReclaimPolicy",
        "Forbidden: may not be 'recycle' for a hostPath mount of '/'");
  }
  if (spec.has_local()) {
    if (LeavesItsFolder(spec.local().path())) {
      Add(problems, "spec.local.path", "Invalid value: \"{}\": must not contain '..'",
          spec.local().path());
    }
    if (!spec.has_node_affinity()) {
      Add(problems, "spec.nodeAffinity", "Required value: Local volume requires node affinity");
    }
  }
  if (!spec.nfs().path().empty() && !spec.nfs().path().starts_with('/')) {
    Add(problems, "spec.nfs.path", "Invalid value: \"{}\": must be an absolute path",
        spec.nfs().path());
  }
}

}  // namespace

void CheckPersistentVolume(const v1::PersistentVolume& object, Problems* problems) {
  if (!object.has_spec()) return;
  const v1::PersistentVolumeSpec& spec = object.spec();
  CheckAccessModes(spec.access_modes(), "spec.accessModes", problems);
  const auto storage = spec.capacity().find("storage");
  if (spec.capacity().empty()) {
    Add(problems, "spec.capacity", "Required value");
  } else if (storage == spec.capacity().end() || spec.capacity().size() > 1) {
    Add(problems, "spec.capacity", "Unsupported value: supported values: \"storage\"");
  } else {
    CheckPositive(storage->second.text(), "spec.capacity[storage]", problems);
  }
  CheckSource(spec, problems);
  if (spec.has_node_affinity() && !spec.node_affinity().has_required()) {
    Add(problems, "spec.nodeAffinity.required",
        "Required value: must specify required node constraints");
  }
  CheckClassName(spec.storage_class_name(), "spec.storageClassName", problems);
}

void CheckPersistentVolumeUpdate(const v1::PersistentVolumeSpec& live,
                                 const v1::PersistentVolumeSpec& next, Problems* problems) {
  const auto sources = SourceFields();
  MessageDifferencer differencer;
  if (!differencer.CompareWithFields(live, next, sources, sources)) {
    Add(problems, "spec.persistentvolumesource",
        "Forbidden: spec.persistentvolumesource is immutable after creation");
  }
  if (live.volume_mode() != next.volume_mode()) {
    Add(problems, "spec.volumeMode", "Invalid value: \"{}\": field is immutable",
        next.volume_mode());
  }
  if (live.has_node_affinity() &&
      !MessageDifferencer::Equals(live.node_affinity(), next.node_affinity())) {
    Add(problems, "spec.nodeAffinity", "Invalid value: field is immutable");
  }
}

void CheckClaimSpec(const v1::PersistentVolumeClaimSpec& spec, const std::string& path,
                    Problems* problems) {
  CheckAccessModes(spec.access_modes(), path + ".accessModes", problems);
  CheckSelector(spec.selector(), path + ".selector", problems);
  const auto& requests = spec.resources().requests();
  const auto storage = requests.find("storage");
  if (storage == requests.end()) {
    Add(problems, path + ".resources[storage]", "Required value");
  } else {
    CheckPositive(storage->second.text(), path + ".resources.requests[storage]", problems);
  }
  CheckClassName(spec.storage_class_name(), path + ".storageClassName", problems);
}

void CheckPersistentVolumeClaim(const v1::PersistentVolumeClaim& object, Problems* problems) {
  if (object.has_spec()) CheckClaimSpec(object.spec(), "spec", problems);
}

void CheckClaimUpdate(const v1::PersistentVolumeClaimSpec& live,
                      const v1::PersistentVolumeClaimSpec& next, Problems* problems) {
  v1::PersistentVolumeClaimSpec fixed = live;
  v1::PersistentVolumeClaimSpec changed = next;
  // A claim is bound once, grows, and may get the class that the cluster's default gave it.
  if (live.volume_name().empty()) changed.clear_volume_name();
  if (!live.has_storage_class_name()) changed.clear_storage_class_name();
  fixed.clear_resources();
  changed.clear_resources();
  fixed.clear_volume_attributes_class_name();
  changed.clear_volume_attributes_class_name();
  if (!MessageDifferencer::Equals(fixed, changed)) {
    Add(problems, "spec",
        "Forbidden: spec is immutable after creation except resources.requests and "
        "volumeAttributesClassName for bound claims");
  }
  const auto size = [](const v1::PersistentVolumeClaimSpec& spec) {
    const auto it = spec.resources().requests().find("storage");
    const auto milli = ParseQuantityMilli(
        it == spec.resources().requests().end() ? std::string() : it->second.text());
    return milli.ok() ? *milli : 0;
  };
  if (size(next) < size(live)) {
    Add(problems, "spec.resources.requests[storage]",
        "Forbidden: field can not be less than previous value");
  }
}

void CheckStorageClass(const v1::StorageClass& object, Problems* problems) {
  if (const std::string& name = object.provisioner(); !name.empty()) {
    std::string lower = name;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (const std::string why = CheckQualifiedName(lower); !why.empty()) {
      Add(problems, "provisioner", "{}", InvalidText(name, why));
    }
  }
  size_t bytes = 0;
  for (const auto& [key, value] : object.parameters()) {
    if (key.empty()) Add(problems, "parameters", "Invalid value: \"\": field can not be empty.");
    bytes += key.size() + value.size();
  }
  if (static_cast<size_t>(object.parameters().size()) > kMaxParameters) {
    Add(problems, "parameters", "Too long: may not have more than {} bytes", kMaxParameters);
  } else if (bytes > kMaxParameterBytes) {
    Add(problems, "parameters", "Too long: may not have more than {} bytes", kMaxParameterBytes);
  }
  for (int i = 0; i < object.allowed_topologies_size(); ++i) {
    std::set<std::string> keys;
    const auto& terms = object.allowed_topologies(i).match_label_expressions();
    for (int j = 0; j < terms.size(); ++j) {
      if (terms[j].key().empty() || keys.insert(terms[j].key()).second) continue;
      Add(problems, fmt::format("allowedTopologies[{}].matchLabelExpressions[{}].key", i, j), "{}",
          DuplicateText(terms[j].key()));
    }
  }
}

void CheckStorageClassUpdate(const v1::StorageClass& live, const v1::StorageClass& next,
                             Problems* problems) {
  const bool same =
      live.parameters().size() == next.parameters().size() &&
      std::all_of(live.parameters().begin(), live.parameters().end(), [&](const auto& entry) {
        const auto it = next.parameters().find(entry.first);
        return it != next.parameters().end() && it->second == entry.second;
      });
  if (!same) Add(problems, "parameters", "Forbidden: updates to parameters are forbidden.");
}

}  // namespace mesh::schema::internal
