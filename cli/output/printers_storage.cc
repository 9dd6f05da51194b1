// SPDX-License-Identifier: Apache-2.0
#include "cli/output/age.h"
#include "cli/output/printers_kinds.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::cli {
namespace {

constexpr char kUnset[] = "<unset>";

std::string Age(const v1::ObjectMeta& meta, absl::Time now) {
  return AgeSince(meta.has_creation_timestamp(), meta.creation_timestamp(), now);
}

std::string StorageOf(const google::protobuf::Map<std::string, v1::Quantity>& map) {
  const auto it = map.find("storage");
  return it == map.end() ? "" : it->second.text();
}

std::string OrUnset(const std::string& text) { return text.empty() ? kUnset : text; }

Row VolumeRow(const v1::PersistentVolume& volume, bool wide, absl::Time now) {
  const v1::PersistentVolumeSpec& spec = volume.spec();
  const bool ending = volume.metadata().has_deletion_timestamp();
  const std::string claim =
      spec.has_claim_ref()
          ? fmt::format("{}/{}", spec.claim_ref().namespace_(), spec.claim_ref().name())
          : "";
  Row row = {volume.metadata().name(),
             StorageOf(spec.capacity()),
             AccessModesText(spec.access_modes()),
             spec.persistent_volume_reclaim_policy(),
             ending ? "Terminating" : volume.status().phase(),
             claim,
             spec.storage_class_name(),
             OrUnset(spec.volume_attributes_class_name()),
             volume.status().reason(),
             Age(volume.metadata(), now)};
  if (wide) row.push_back(OrUnset(spec.volume_mode()));
  return row;
}

Row ClaimRow(const v1::PersistentVolumeClaim& claim, bool wide, absl::Time now) {
  const v1::PersistentVolumeClaimSpec& spec = claim.spec();
  const bool ending = claim.metadata().has_deletion_timestamp();
  const bool bound = !spec.volume_name().empty();
  Row row = {claim.metadata().name(),
             ending ? "Terminating" : claim.status().phase(),
             spec.volume_name(),
             bound ? StorageOf(claim.status().capacity()) : "",
             bound ? AccessModesText(claim.status().access_modes()) : "",
             spec.storage_class_name(),
             OrUnset(spec.volume_attributes_class_name()),
             Age(claim.metadata(), now)};
  if (wide) row.push_back(OrUnset(spec.volume_mode()));
  return row;
}

Row ClassRow(const v1::StorageClass& storage, absl::Time now) {
  std::string name = storage.metadata().name();
  const auto& annotations = storage.metadata().annotations();
  for (const char* key : {"storageclass.kubernetes.io/is-default-class",
                          "storageclass.beta.kubernetes.io/is-default-class"}) {
    const auto it = annotations.find(key);
    if (it == annotations.end() || it->second != "true") continue;
    name += " (default)";
    break;
  }
  return {name,
          storage.provisioner(),
          storage.reclaim_policy(),
          storage.volume_binding_mode(),
          storage.allow_volume_expansion() ? "true" : "false",
          Age(storage.metadata(), now)};
}

Row EndpointsRow(const v1::Endpoints& endpoints, absl::Time now) {
  constexpr size_t kShown = 3;
  std::vector<std::string> shown;
  size_t count = 0;
  const auto add = [&](const std::string& ip, const std::string& port) {
    if (++count > kShown) return;
    const bool v6 = !port.empty() && ip.find(':') != std::string::npos;
    shown.push_back(v6 ? fmt::format("[{}]{}", ip, port) : ip + port);
  };
  for (const v1::EndpointSubset& subset : endpoints.subsets()) {
    for (const v1::EndpointAddress& address : subset.addresses()) {
      if (subset.ports().empty()) add(address.ip(), "");
      for (const v1::EndpointsPort& port : subset.ports()) {
        add(address.ip(), fmt::format(":{}", port.port()));
      }
    }
  }
  std::string text = shown.empty() ? "<none>" : fmt::format("{}", fmt::join(shown, ","));
  if (count > kShown) text += fmt::format(" + {} more...", count - kShown);
  return {endpoints.metadata().name(), text, Age(endpoints.metadata(), now)};
}

}  // namespace

std::string AccessModesText(const google::protobuf::RepeatedPtrField<std::string>& modes) {
  std::string out;
  const auto add = [&](const char* mode, const char* text) {
    for (const std::string& given : modes) {
      if (given != mode) continue;
      out += fmt::format("{}{}", out.empty() ? "" : ",", text);
      return;
    }
  };
  add("ReadWriteOnce", "RWO");
  add("ReadOnlyMany", "ROX");
  add("ReadWriteMany", "RWX");
  add("ReadWriteOncePod", "RWOP");
  return out;
}

bool StorageColumns(v1::Kind kind, Columns* columns) {
  switch (kind) {
    case v1::KIND_CONFIG_MAP:
      *columns = {{"NAME", "DATA", "AGE"}, {}};
      return true;
    case v1::KIND_SECRET:
      *columns = {{"NAME", "TYPE", "DATA", "AGE"}, {}};
      return true;
    case v1::KIND_SERVICE_ACCOUNT:
      *columns = {{"NAME", "SECRETS", "AGE"}, {}};
      return true;
    case v1::KIND_ENDPOINTS:
      *columns = {{"NAME", "ENDPOINTS", "AGE"}, {}};
      return true;
    case v1::KIND_PERSISTENT_VOLUME:
      *columns = {{"NAME", "CAPACITY", "ACCESS MODES", "RECLAIM POLICY", "STATUS", "CLAIM",
                   "STORAGECLASS", "VOLUMEATTRIBUTESCLASS", "REASON", "AGE"},
                  {"VOLUMEMODE"}};
      return true;
    case v1::KIND_PERSISTENT_VOLUME_CLAIM:
      *columns = {{"NAME", "STATUS", "VOLUME", "CAPACITY", "ACCESS MODES", "STORAGECLASS",
                   "VOLUMEATTRIBUTESCLASS", "AGE"},
                  {"VOLUMEMODE"}};
      return true;
    case v1::KIND_STORAGE_CLASS:
      *columns = {{"NAME", "PROVISIONER", "RECLAIMPOLICY", "VOLUMEBINDINGMODE",
                   "ALLOWVOLUMEEXPANSION", "AGE"},
                  {}};
      return true;
    default:
      return false;
  }
}

bool StorageRow(const v1::Resource& object, bool wide, absl::Time now, Row* row) {
  switch (object.kind_case()) {
    case v1::Resource::kConfigMap: {
      const v1::ConfigMap& map = object.config_map();
      *row = {map.metadata().name(), std::to_string(map.data().size() + map.binary_data().size()),
              Age(map.metadata(), now)};
      return true;
    }
    case v1::Resource::kSecret: {
      const v1::Secret& secret = object.secret();
      *row = {secret.metadata().name(), secret.type(), std::to_string(secret.data().size()),
              Age(secret.metadata(), now)};
      return true;
    }
    case v1::Resource::kServiceAccount: {
      const v1::ServiceAccount& account = object.service_account();
      *row = {account.metadata().name(), std::to_string(account.secrets_size()),
              Age(account.metadata(), now)};
      return true;
    }
    case v1::Resource::kEndpoints:
      *row = EndpointsRow(object.endpoints(), now);
      return true;
    case v1::Resource::kPersistentVolume:
      *row = VolumeRow(object.persistent_volume(), wide, now);
      return true;
    case v1::Resource::kPersistentVolumeClaim:
      *row = ClaimRow(object.persistent_volume_claim(), wide, now);
      return true;
    case v1::Resource::kStorageClass:
      *row = ClassRow(object.storage_class(), now);
      return true;
    default:
      return false;
  }
}

}  // namespace mesh::cli
