// SPDX-License-Identifier: Apache-2.0
// What the cluster does with each kind, and where a kind keeps the template of its pods.
#pragma once

#include <string>
#include <string_view>

#include "mesh/v1/resource.pb.h"

namespace mesh::schema {

// Something acts on objects of the kind. Others are stored and come back unchanged, nothing more.
bool IsActedUpon(v1::Kind kind);

// How a line among the warnings of a server begins that is no warning: shown as it stands.
inline constexpr std::string_view kNotePrefix = "note: ";

// `note: statefulset.apps/web: stored; nothing acts on StatefulSets yet`; empty for a kind that is
// acted upon.
std::string StoredNote(const v1::Resource& resource);

// The template of the pods that the object makes, and its JSON path ("spec.template",
// "spec.jobTemplate.spec.template"). Null for kinds without one, and where it is not given.
struct TemplateRef {
  const v1::PodTemplateSpec* pod = nullptr;
  std::string_view path;
};
TemplateRef PodTemplateOf(const v1::Resource& resource);
// The same to write to.
v1::PodTemplateSpec* MutablePodTemplateOf(v1::Resource* resource);

}  // namespace mesh::schema
