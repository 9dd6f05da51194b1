// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/volume_files.h"

#include <fmt/format.h>

#include <optional>

#include "agent/pods/environment.h"
#include "common/status.h"

namespace mesh::agent {
namespace {

constexpr int32_t kDefaultMode = 0644;

using Items = google::protobuf::RepeatedPtrField<v1::KeyToPath>;

template <typename Source>
int32_t ModeOf(const Source& source) {
  return source.has_default_mode() ? source.default_mode() : kDefaultMode;
}

// Keys of an object, all or those that are named.
template <typename Object>
absl::Status AddKeys(const Object& object, const std::vector<std::string>& all, const Items& items,
                     int32_t default_mode, bool optional, const char* kind, VolumeFiles* out) {
  if (items.empty()) {
    for (const std::string& key : all) {
      ASSIGN_OR_RETURN((*out)[key].content, ValueOf(object, key));
      (*out)[key].mode = static_cast<uint32_t>(default_mode);
    }
    return absl::OkStatus();
  }
  for (const v1::KeyToPath& item : items) {
    absl::StatusOr<std::string> content = ValueOf(object, item.key());
    if (absl::IsNotFound(content.status())) {
      if (optional) continue;
      return absl::NotFoundError(
          fmt::format("references non-existent {} key: {}", kind, item.key()));
    }
    if (!content.ok()) return content.status();
    (*out)[item.path()] = {
        .content = *std::move(content),
        .mode = static_cast<uint32_t>(item.has_mode() ? item.mode() : default_mode)};
  }
  return absl::OkStatus();
}

class Writer {
 public:
  Writer(const v1::Pod& pod, const NodeState& state, const NodeFacts& node)
      : pod_(pod), state_(state), node_(node) {}

  VolumeFiles files;

  absl::Status ConfigMap(const std::string& name, const Items& items, int32_t mode, bool optional) {
    const v1::ConfigMap* map = FindConfigMap(state_, pod_.metadata().namespace_(), name);
    if (map == nullptr) {
      if (optional) return absl::OkStatus();
      return absl::NotFoundError(fmt::format("configmap \"{}\" not found", name));
    }
    std::vector<std::string> keys;
    for (const auto& [key, value] : map->data()) keys.push_back(key);
    for (const auto& [key, value] : map->binary_data()) keys.push_back(key);
    return AddKeys(*map, keys, items, mode, optional, "config", &files);
  }

  absl::Status Secret(const std::string& name, const Items& items, int32_t mode, bool optional) {
    const v1::Secret* secret = FindSecret(state_, pod_.metadata().namespace_(), name);
    if (secret == nullptr) {
      if (optional) return absl::OkStatus();
      return absl::NotFoundError(fmt::format("secret \"{}\" not found", name));
    }
    std::vector<std::string> keys;
    for (const auto& [key, value] : secret->data()) keys.push_back(key);
    return AddKeys(*secret, keys, items, mode, optional, "secret", &files);
  }

  absl::Status Downward(const google::protobuf::RepeatedPtrField<v1::DownwardAPIVolumeFile>& items,
                        int32_t mode) {
    for (const v1::DownwardAPIVolumeFile& item : items) {
      VolumeFile& file = files[item.path()];
      file.mode = static_cast<uint32_t>(item.has_mode() ? item.mode() : mode);
      if (item.has_field_ref()) {
        ASSIGN_OR_RETURN(file.content, PodField(pod_, item.field_ref().field_path(), node_));
        continue;
      }
      const v1::ResourceFieldSelector& ref = item.resource_field_ref();
      const v1::Container* of = FindContainer(pod_.spec(), ref.container_name());
      if (of == nullptr) {
        return absl::NotFoundError(fmt::format("container {} not found", ref.container_name()));
      }
      ASSIGN_OR_RETURN(file.content, ContainerResource(*of, ref, node_));
    }
    return absl::OkStatus();
  }

 private:
  const v1::Pod& pod_;
  const NodeState& state_;
  const NodeFacts& node_;
};

}  // namespace

bool HasFiles(const v1::Volume& volume) {
  return volume.has_config_map() || volume.has_secret() || volume.has_downward_api() ||
         volume.has_projected();
}

bool HasSecrets(const v1::Volume& volume) {
  if (volume.has_secret()) return true;
  for (const v1::VolumeProjection& source : volume.projected().sources()) {
    if (source.has_secret()) return true;
  }
  return false;
}

absl::StatusOr<VolumeFiles> FilesOf(const v1::Volume& volume, const v1::Pod& pod,
                                    const NodeState& state, const NodeFacts& node) {
  Writer writer(pod, state, node);
  if (volume.has_config_map()) {
    const v1::ConfigMapVolumeSource& from = volume.config_map();
    RETURN_IF_ERROR(writer.ConfigMap(from.name(), from.items(), ModeOf(from), from.optional()));
  } else if (volume.has_secret()) {
    const v1::SecretVolumeSource& from = volume.secret();
    RETURN_IF_ERROR(writer.Secret(from.secret_name(), from.items(), ModeOf(from), from.optional()));
  } else if (volume.has_downward_api()) {
    const v1::DownwardAPIVolumeSource& from = volume.downward_api();
    RETURN_IF_ERROR(writer.Downward(from.items(), ModeOf(from)));
  }
  const int32_t mode = ModeOf(volume.projected());
  for (const v1::VolumeProjection& source : volume.projected().sources()) {
    if (source.has_config_map()) {
      const v1::ConfigMapProjection& from = source.config_map();
      RETURN_IF_ERROR(writer.ConfigMap(from.name(), from.items(), mode, from.optional()));
    }
    if (source.has_secret()) {
      const v1::SecretProjection& from = source.secret();
      RETURN_IF_ERROR(writer.Secret(from.name(), from.items(), mode, from.optional()));
    }
    if (source.has_downward_api()) {
      RETURN_IF_ERROR(writer.Downward(source.downward_api().items(), mode));
    }
  }
  return std::move(writer.files);
}

}  // namespace mesh::agent
