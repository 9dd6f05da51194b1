// SPDX-License-Identifier: Apache-2.0
#include "cli/output/describe_pod_sources.h"

#include <utility>

namespace mesh::cli {
namespace {

const char* Truth(bool value) { return value ? "true" : "false"; }

std::string SourceText(const v1::Container& container, const v1::EnvVarSource& from) {
  if (from.has_field_ref()) {
    return fmt::format(" (v1:{})", from.field_ref().field_path());
  }
  if (from.has_resource_field_ref()) {
    const v1::ResourceFieldSelector& ref = from.resource_field_ref();
    const std::string of = ref.container_name().empty() ? container.name() : ref.container_name();
    return fmt::format("<{} of container '{}'>", ref.resource(), of);
  }
  if (from.has_config_map_key_ref()) {
    const v1::ConfigMapKeySelector& ref = from.config_map_key_ref();
    return fmt::format("<set to the key '{}' of config map '{}'>  Optional: {}", ref.key(),
                       ref.name(), Truth(ref.optional()));
  }
  const v1::SecretKeySelector& ref = from.secret_key_ref();
  return fmt::format("<set to the key '{}' in secret '{}'>  Optional: {}", ref.key(), ref.name(),
                     Truth(ref.optional()));
}

void DescribeDownward(const google::protobuf::RepeatedPtrField<v1::DownwardAPIVolumeFile>& items,
                      int level, Text* text) {
  text->Line(level, "Items:");
  for (const v1::DownwardAPIVolumeFile& item : items) {
    text->Line(
        level + 1, "{} -> {}",
        item.has_field_ref() ? item.field_ref().field_path() : item.resource_field_ref().resource(),
        item.path());
  }
}

}  // namespace

std::vector<std::string> LinesOf(std::string_view text) {
  std::vector<std::string> lines;
  while (true) {
    const size_t end = text.find('\n');
    std::string line;
    for (char c : text.substr(0, end)) line += c == '\t' ? std::string(4, ' ') : std::string(1, c);
    lines.push_back(std::move(line));
    if (end == std::string_view::npos || end + 1 == text.size()) return lines;
    text.remove_prefix(end + 1);
  }
}

void DescribeEnvironment(const v1::Container& container, Text* text) {
  if (!container.env_from().empty()) text->Line(2, "Environment Variables from:");
  for (const v1::EnvFromSource& source : container.env_from()) {
    const bool is_map = source.has_config_map_ref();
    text->Line(3, "{}\t{}{}\tOptional: {}",
               is_map ? source.config_map_ref().name() : source.secret_ref().name(),
               is_map ? "ConfigMap" : "Secret",
               source.prefix().empty() ? "" : fmt::format(" with prefix '{}'", source.prefix()),
               Truth(is_map ? source.config_map_ref().optional() : source.secret_ref().optional()));
  }
  if (container.env().empty()) return text->Line(2, "Environment:\t<none>");
  text->Line(2, "Environment:");
  for (const v1::EnvVar& variable : container.env()) {
    if (variable.has_value_from()) {
      text->Line(3, "{}:\t{}", variable.name(), SourceText(container, variable.value_from()));
      continue;
    }
    const std::vector<std::string> lines = LinesOf(variable.value());
    text->Line(3, "{}:\t{}", variable.name(), lines.front());
    for (size_t i = 1; i < lines.size(); ++i) text->Line(3, "\t{}", lines[i]);
  }
}

void DescribeMounts(const v1::Container& container, Text* text) {
  if (container.volume_mounts().empty()) return;
  text->Line(2, "Mounts:");
  for (const v1::VolumeMount& mount : container.volume_mounts()) {
    std::string flags = mount.read_only() ? "ro" : "rw";
    if (!mount.sub_path().empty()) flags += fmt::format(",path=\"{}\"", mount.sub_path());
    if (!mount.sub_path_expr().empty()) flags += fmt::format(",path=\"{}\"", mount.sub_path_expr());
    text->Line(3, "{} from {} ({})", mount.mount_path(), mount.name(), flags);
  }
}

void DescribeVolumes(const v1::PodSpec& spec, int level, Text* text) {
  if (spec.volumes().empty()) return;
  text->Line(level, "Volumes:");
  const int in = level + 2;
  for (const v1::Volume& volume : spec.volumes()) {
    text->Line(level + 1, "{}:", volume.name());
    if (volume.has_config_map()) {
      text->Line(in, "Type:\tConfigMap (a volume populated by a ConfigMap)");
      text->Line(in, "Name:\t{}", volume.config_map().name());
      text->Line(in, "Optional:\t{}", Truth(volume.config_map().optional()));
    } else if (volume.has_secret()) {
      text->Line(in, "Type:\tSecret (a volume populated by a Secret)");
      text->Line(in, "SecretName:\t{}", volume.secret().secret_name());
      text->Line(in, "Optional:\t{}", Truth(volume.secret().optional()));
    } else if (volume.has_host_path()) {
      text->Line(in, "Type:\tHostPath (bare host directory volume)");
      text->Line(in, "Path:\t{}", volume.host_path().path());
      text->Line(in, "HostPathType:\t{}", volume.host_path().type());
    } else if (volume.has_downward_api()) {
      text->Line(in, "Type:\tDownwardAPI (a volume populated by information about the pod)");
      DescribeDownward(volume.downward_api().items(), in, text);
    } else if (volume.has_projected()) {
      text->Line(in,
                 "Type:\tProjected (a volume that contains injected data from multiple sources)");
      for (const v1::VolumeProjection& source : volume.projected().sources()) {
        if (source.has_config_map()) {
          text->Line(in, "ConfigMapName:\t{}", source.config_map().name());
          text->Line(in, "Optional:\t{}", Truth(source.config_map().optional()));
        }
        if (source.has_secret()) {
          text->Line(in, "SecretName:\t{}", source.secret().name());
          text->Line(in, "Optional:\t{}", Truth(source.secret().optional()));
        }
        if (source.has_downward_api()) text->Line(in, "DownwardAPI:\ttrue");
      }
    } else if (volume.has_persistent_volume_claim()) {
      const v1::PersistentVolumeClaimVolumeSource& claim = volume.persistent_volume_claim();
      text->Line(in,
                 "Type:\tPersistentVolumeClaim (a reference to a PersistentVolumeClaim in the "
                 "same namespace)");
      text->Line(in, "ClaimName:\t{}", claim.claim_name());
      text->Line(in, "ReadOnly:\t{}", Truth(claim.read_only()));
    } else if (volume.has_ephemeral()) {
      const v1::PersistentVolumeClaimSpec& claim =
          volume.ephemeral().volume_claim_template().spec();
      text->Line(in,
                 "Type:\tEphemeralVolume (an inline specification for a volume that gets "
                 "created and deleted with the pod)");
      text->Line(in, "StorageClass:\t{}", claim.storage_class_name());
      const auto size = claim.resources().requests().find("storage");
      text->Line(in, "Capacity:\t{}",
                 size == claim.resources().requests().end() ? "" : size->second.text());
    } else {
      const v1::EmptyDirVolumeSource& empty = volume.empty_dir();
      text->Line(in, "Type:\tEmptyDir (a temporary directory that shares a pod's lifetime)");
      text->Line(in, "Medium:\t{}", empty.medium());
      text->Line(in, "SizeLimit:\t{}",
                 empty.has_size_limit() ? empty.size_limit().text() : "<unset>");
    }
  }
}

}  // namespace mesh::cli
