// SPDX-License-Identifier: Apache-2.0
#include "api/schema/references.h"

namespace mesh::schema {
namespace {

void AddContainer(const v1::Container& container, PodReferences* out) {
  for (const v1::EnvFromSource& source : container.env_from()) {
    if (source.has_config_map_ref()) out->config_maps.insert(source.config_map_ref().name());
    if (source.has_secret_ref()) out->secrets.insert(source.secret_ref().name());
  }
  for (const v1::EnvVar& variable : container.env()) {
    const v1::EnvVarSource& from = variable.value_from();
    if (from.has_config_map_key_ref()) out->config_maps.insert(from.config_map_key_ref().name());
    if (from.has_secret_key_ref()) out->secrets.insert(from.secret_key_ref().name());
  }
}

void AddVolume(const v1::Volume& volume, PodReferences* out) {
  if (volume.has_config_map()) out->config_maps.insert(volume.config_map().name());
  if (volume.has_secret()) out->secrets.insert(volume.secret().secret_name());
  for (const v1::VolumeProjection& source : volume.projected().sources()) {
    if (source.has_config_map()) out->config_maps.insert(source.config_map().name());
    if (source.has_secret()) out->secrets.insert(source.secret().name());
  }
}

}  // namespace

std::string ClaimNameOf(const v1::Pod& pod, const v1::Volume& volume) {
  if (volume.has_persistent_volume_claim()) return volume.persistent_volume_claim().claim_name();
  if (volume.has_ephemeral()) return pod.metadata().name() + "-" + volume.name();
  return "";
}

PodReferences ReferencesOf(const v1::PodSpec& spec) {
  PodReferences out;
  for (const v1::Container& container : spec.init_containers()) AddContainer(container, &out);
  for (const v1::Container& container : spec.containers()) AddContainer(container, &out);
  for (const v1::Volume& volume : spec.volumes()) AddVolume(volume, &out);
  for (const v1::LocalObjectReference& secret : spec.image_pull_secrets())
    out.secrets.insert(secret.name());
  out.config_maps.erase("");
  out.secrets.erase("");
  return out;
}

}  // namespace mesh::schema
