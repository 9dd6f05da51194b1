// SPDX-License-Identifier: Apache-2.0
// What a pod takes from elsewhere: volumes, their mounts, and sources of environment variables.
#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "api/schema/rules.h"
#include "api/schema/rules_kinds.h"
#include "api/schema/schema.h"

namespace mesh::schema::internal {
namespace {

constexpr std::string_view kMoreThanOne = "may not have more than one field specified at a time";

const std::vector<std::string>& EnvironmentFields() {
  static const std::vector<std::string> fields = {"metadata.name",
                                                  "metadata.namespace",
                                                  "metadata.uid",
                                                  "spec.nodeName",
                                                  "spec.serviceAccountName",
                                                  "status.hostIP",
                                                  "status.hostIPs",
                                                  "status.podIP",
                                                  "status.podIPs"};
  return fields;
}
const std::vector<std::string>& VolumeFields() {
  static const std::vector<std::string> fields = {"metadata.annotations", "metadata.labels",
                                                  "metadata.name", "metadata.namespace",
                                                  "metadata.uid"};
  return fields;
}

std::string SupportedText(const std::vector<std::string>& values) {
  std::string out;
  for (const std::string& value : values) {
    out += fmt::format("{}\"{}\"", out.empty() ? "" : ", ", value);
  }
  return out;
}

void CheckOneOf(const std::string& value, const std::vector<std::string>& values,
                const std::string& path, Problems* problems) {
  if (std::find(values.begin(), values.end(), value) != values.end()) return;
  const auto near = NearestWord(value, values);
  Add(problems, path, "Unsupported value: \"{}\": supported values: {}{}", value,
      SupportedText(values), near ? fmt::format("; did you mean \"{}\"?", *near) : "");
}

bool HasBackstep(const std::string& text) {
  const std::filesystem::path parts(text);
  return std::find(parts.begin(), parts.end(), "..") != parts.end();
}

// Of a path below a volume.
void CheckRelative(const std::string& text, const std::string& path, Problems* problems) {
  if (text.starts_with('/')) {
    Add(problems, path, "{}", InvalidText(text, "must be a relative path"));
  } else if (HasBackstep(text)) {
    Add(problems, path, "{}", InvalidText(text, "must not contain '..'"));
  }
}

// Of a file that the agent writes: "..data" is its own.
void CheckFilePath(const std::string& text, const std::string& path, Problems* problems) {
  CheckRelative(text, path, problems);
  if (text.starts_with("..") && !HasBackstep(text)) {
    Add(problems, path, "{}", InvalidText(text, "must not start with '..'"));
  }
}

void CheckName(const std::string& name, const std::string& path, Problems* problems) {
  if (name.empty()) {
    Add(problems, path, "Required value");
  } else if (const std::string why = CheckDnsSubdomain(name); !why.empty()) {
    Add(problems, path, "{}", InvalidText(name, why));
  }
}

void CheckField(const v1::ObjectFieldSelector& ref, const std::vector<std::string>& fields,
                const std::string& path, Problems* problems) {
  if (!ref.api_version().empty() && ref.api_version() != "v1") {
    Add(problems, path + ".apiVersion", "{}", InvalidText(ref.api_version(), "must be v1"));
  }
  const std::string& field = ref.field_path();
  const std::string here = path + ".fieldPath";
  for (const std::string_view map : {"metadata.labels", "metadata.annotations"}) {
    if (!field.starts_with(map) || field.size() == map.size() || field[map.size()] != '[') continue;
    const std::string rest = field.substr(map.size());
    if (rest.size() < 5 || !rest.starts_with("['") || !rest.ends_with("']")) {
      Add(problems, here, "{}", InvalidText(field, fmt::format("write {}['KEY']", map)));
    } else if (const std::string why = CheckQualifiedName(rest.substr(2, rest.size() - 4));
               !why.empty()) {
      Add(problems, here, "{}", InvalidText(field, why));
    }
    return;
  }
  if (!field.empty()) CheckOneOf(field, fields, here, problems);
}

void CheckResourceField(const v1::ResourceFieldSelector& ref, bool named, const std::string& path,
                        Problems* problems) {
  static const std::vector<std::string> resources = {"limits.cpu", "limits.memory", "requests.cpu",
                                                     "requests.memory"};
  static const std::set<std::string> of_memory = {
      "", "0", "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"};
  if (named && ref.container_name().empty()) {
    Add(problems, path + ".containerName", "Required value");
  }
  const std::string& resource = ref.resource();
  if (resource.empty()) return;  // said by the field's options
  if (resource.ends_with(".ephemeral-storage") ||
      resource.find(".hugepages-") != std::string::npos) {
    return Add(problems, path + ".resource", "not supported yet");
  }
  CheckOneOf(resource, resources, path + ".resource", problems);
  const std::string& divisor = ref.divisor().text();
  if (resource.ends_with(".cpu") && divisor != "1m" && divisor != "1" && !divisor.empty() &&
      divisor != "0") {
    Add(problems, path + ".divisor", "{}",
        InvalidText(divisor, "only divisor's values 1m and 1 are supported with the cpu resource"));
  }
  if (resource.ends_with(".memory") && !of_memory.contains(divisor)) {
    Add(problems, path + ".divisor", "{}",
        InvalidText(divisor,
                    "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei "
                    "are supported with the memory resource"));
  }
}

// ---- environment

void CheckVariable(const v1::EnvVar& variable, const std::string& path, Problems* problems) {
  if (!variable.has_value_from()) return;
  const v1::EnvVarSource& from = variable.value_from();
  const std::string here = path + ".valueFrom";
  const int sources = from.has_field_ref() + from.has_resource_field_ref() +
                      from.has_config_map_key_ref() + from.has_secret_key_ref();
  if (sources == 0) {
    Add(problems, here, "{}",
        InvalidText("",
                    "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or "
                    "`secretKeyRef`"));
  }
  if (!variable.value().empty()) {
    Add(problems, here, "{}", InvalidText("", "may not be specified when `value` is not empty"));
  }
  if (sources > 1) Add(problems, here, "{}", InvalidText("", kMoreThanOne));
  if (from.has_field_ref()) {
    CheckField(from.field_ref(), EnvironmentFields(), here + ".fieldRef", problems);
  }
  if (from.has_resource_field_ref()) {
    CheckResourceField(from.resource_field_ref(), false, here + ".resourceFieldRef", problems);
  }
  if (from.has_config_map_key_ref()) {
    CheckName(from.config_map_key_ref().name(), here + ".configMapKeyRef.name", problems);
  }
  if (from.has_secret_key_ref()) {
    CheckName(from.secret_key_ref().name(), here + ".secretKeyRef.name", problems);
  }
}

void CheckEnvFrom(const v1::EnvFromSource& source, const std::string& path, Problems* problems) {
  if (!source.prefix().empty()) {
    if (const std::string why = CheckEnvName(source.prefix()); !why.empty()) {
      Add(problems, path + ".prefix", "{}", InvalidText(source.prefix(), why));
    }
  }
  if (source.has_config_map_ref() && source.has_secret_ref()) {
    Add(problems, path, "{}", InvalidText("", kMoreThanOne));
  } else if (!source.has_config_map_ref() && !source.has_secret_ref()) {
    Add(problems, path, "{}",
        InvalidText("", "must specify one of: `configMapRef` or `secretRef`"));
  }
  if (source.has_config_map_ref()) {
    CheckName(source.config_map_ref().name(), path + ".configMapRef.name", problems);
  }
  if (source.has_secret_ref()) {
    CheckName(source.secret_ref().name(), path + ".secretRef.name", problems);
  }
}

// ---- volumes

void CheckItems(const google::protobuf::RepeatedPtrField<v1::KeyToPath>& items,
                const std::string& path, std::set<std::string>* paths, Problems* problems) {
  for (int i = 0; i < items.size(); ++i) {
    const std::string here = fmt::format("{}[{}].path", path, i);
    CheckFilePath(items[i].path(), here, problems);
    if (!items[i].path().empty() && !paths->insert(items[i].path()).second) {
      Add(problems, here, "{}", InvalidText(items[i].path(), "conflicting duplicate paths"));
    }
  }
}

void CheckDownward(const google::protobuf::RepeatedPtrField<v1::DownwardAPIVolumeFile>& items,
                   const std::string& path, std::set<std::string>* paths, Problems* problems) {
  for (int i = 0; i < items.size(); ++i) {
    const v1::DownwardAPIVolumeFile& item = items[i];
    const std::string here = fmt::format("{}[{}]", path, i);
    CheckFilePath(item.path(), here + ".path", problems);
    if (!item.path().empty() && !paths->insert(item.path()).second) {
      Add(problems, here + ".path", "{}", InvalidText(item.path(), "conflicting duplicate paths"));
    }
    if (item.has_field_ref() && item.has_resource_field_ref()) {
      Add(problems, here, "{}",
          InvalidText("", "fieldRef and resourceFieldRef can not be specified simultaneously"));
    } else if (!item.has_field_ref() && !item.has_resource_field_ref()) {
      Add(problems, here, "Required value: one of fieldRef and resourceFieldRef is required");
    }
    if (item.has_field_ref()) {
      CheckField(item.field_ref(), VolumeFields(), here + ".fieldRef", problems);
    }
    if (item.has_resource_field_ref()) {
      CheckResourceField(item.resource_field_ref(), true, here + ".resourceFieldRef", problems);
    }
  }
}

void CheckProjected(const v1::ProjectedVolumeSource& projected, const std::string& path,
                    Problems* problems) {
  std::set<std::string> paths;
  for (int i = 0; i < projected.sources_size(); ++i) {
    const v1::VolumeProjection& source = projected.sources(i);
    const std::string here = fmt::format("{}.sources[{}]", path, i);
    const int given = source.has_config_map() + source.has_secret() + source.has_downward_api() +
                      source.has_service_account_token();
    if (given > 1) {
      Add(problems, here, "Forbidden: may not specify more than 1 volume type per source");
    } else if (given == 0) {
      Add(problems, here,
          "Required value: must specify one of: `configMap`, `secret` or `downwardAPI`");
    }
    if (source.has_config_map()) {
      CheckName(source.config_map().name(), here + ".configMap.name", problems);
      CheckItems(source.config_map().items(), here + ".configMap.items", &paths, problems);
    }
    if (source.has_secret()) {
      CheckName(source.secret().name(), here + ".secret.name", problems);
      CheckItems(source.secret().items(), here + ".secret.items", &paths, problems);
    }
    if (source.has_downward_api()) {
      CheckDownward(source.downward_api().items(), here + ".downwardAPI.items", &paths, problems);
    }
  }
}

void CheckEmptyDir(const v1::EmptyDirVolumeSource& source, const std::string& path,
                   Problems* problems) {
  if (source.medium().starts_with("HugePages")) {
    Add(problems, path + ".medium",
        "Unsupported value: \"{}\": not supported yet, supported values: \"\", \"Memory\"",
        source.medium());
  }
}

void CheckVolume(const v1::Volume& volume, const std::string& path, Problems* problems) {
  // In the order in which Kubernetes looks: the first is the one that is meant.
  int sources = 0;
  const auto given = [&](bool has, const char* name) {
    if (has && ++sources > 1) {
      Add(problems, fmt::format("{}.{}", path, name),
          "Forbidden: may not specify more than 1 volume type");
    }
    return has;
  };
  std::set<std::string> paths;
  if (given(volume.has_empty_dir(), "emptyDir")) {
    CheckEmptyDir(volume.empty_dir(), path + ".emptyDir", problems);
  }
  if (given(volume.has_host_path(), "hostPath")) {
    const std::string& host = volume.host_path().path();
    if (HasBackstep(host)) {
      Add(problems, path + ".hostPath.path", "{}", InvalidText(host, "must not contain '..'"));
    } else if (!host.empty() && !host.starts_with('/')) {
      Add(problems, path + ".hostPath.path", "{}", InvalidText(host, "must be an absolute path"));
    }
  }
  if (given(volume.has_secret(), "secret")) {
    CheckName(volume.secret().secret_name(), path + ".secret.secretName", problems);
    CheckItems(volume.secret().items(), path + ".secret.items", &paths, problems);
  }
  given(volume.has_persistent_volume_claim(), "persistentVolumeClaim");
  if (given(volume.has_config_map(), "configMap")) {
    CheckName(volume.config_map().name(), path + ".configMap.name", problems);
    CheckItems(volume.config_map().items(), path + ".configMap.items", &paths, problems);
  }
  if (given(volume.has_downward_api(), "downwardAPI")) {
    CheckDownward(volume.downward_api().items(), path + ".downwardAPI.items", &paths, problems);
  }
  if (given(volume.has_projected(), "projected")) {
    CheckProjected(volume.projected(), path + ".projected", problems);
  }
  if (given(volume.has_ephemeral(), "ephemeral")) {
    const std::string here = path + ".ephemeral.volumeClaimTemplate";
    if (!volume.ephemeral().has_volume_claim_template()) {
      Add(problems, here, "Required value");
    } else if (volume.ephemeral().volume_claim_template().has_spec()) {
      CheckClaimSpec(volume.ephemeral().volume_claim_template().spec(), here + ".spec", problems);
    }
  }
}

void CheckMount(const v1::VolumeMount& mount, const std::vector<std::string>& volumes,
                const std::string& path, Problems* problems) {
  if (!mount.name().empty() &&
      std::find(volumes.begin(), volumes.end(), mount.name()) == volumes.end()) {
    const auto near = NearestWord(mount.name(), volumes);
    Add(problems, path + ".name", "Not found: \"{}\"{}", mount.name(),
        near ? fmt::format("; did you mean \"{}\"?", *near) : "");
  }
  if (mount.mount_path().find(':') != std::string::npos) {
    Add(problems, path + ".mountPath", "{}",
        InvalidText(mount.mount_path(), "must not contain ':'"));
  }
  if (!mount.sub_path().empty()) CheckRelative(mount.sub_path(), path + ".subPath", problems);
  if (!mount.sub_path_expr().empty()) {
    CheckRelative(mount.sub_path_expr(), path + ".subPathExpr", problems);
    if (!mount.sub_path().empty()) {
      Add(problems, path + ".subPathExpr", "{}",
          InvalidText(mount.sub_path_expr(), "subPathExpr and subPath are mutually exclusive"));
    }
  }
  const std::string& propagation = mount.mount_propagation();
  if (propagation == "HostToContainer" || propagation == "Bidirectional") {
    Add(problems, path + ".mountPropagation",
        "Unsupported value: \"{}\": not supported yet, supported values: \"None\"", propagation);
  }
}

}  // namespace

void CheckPodSources(const v1::PodSpec& spec, const std::string& path, Problems* problems) {
  std::vector<std::string> volumes;
  for (int i = 0; i < spec.volumes_size(); ++i) {
    volumes.push_back(spec.volumes(i).name());
    CheckVolume(spec.volumes(i), fmt::format("{}.volumes[{}]", path, i), problems);
  }
  const auto check = [&](const v1::Container& container, const std::string& here) {
    for (int i = 0; i < container.env_size(); ++i) {
      CheckVariable(container.env(i), fmt::format("{}.env[{}]", here, i), problems);
    }
    for (int i = 0; i < container.env_from_size(); ++i) {
      CheckEnvFrom(container.env_from(i), fmt::format("{}.envFrom[{}]", here, i), problems);
    }
    for (int i = 0; i < container.volume_mounts_size(); ++i) {
      CheckMount(container.volume_mounts(i), volumes, fmt::format("{}.volumeMounts[{}]", here, i),
                 problems);
    }
  };
  for (int i = 0; i < spec.init_containers_size(); ++i) {
    check(spec.init_containers(i), fmt::format("{}.initContainers[{}]", path, i));
  }
  for (int i = 0; i < spec.containers_size(); ++i) {
    check(spec.containers(i), fmt::format("{}.containers[{}]", path, i));
  }
}

}  // namespace mesh::schema::internal
