// SPDX-License-Identifier: Apache-2.0
// The kinds of the API, and how people and manifests name them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::schema {

struct KindInfo {
  v1::Kind kind = v1::KIND_UNSPECIFIED;
  std::string_view api_version;  // "apps/v1", "v1"
  std::string_view group;        // "apps", "" for the core group
  std::string_view name;         // "Deployment"
  std::string_view plural;       // "deployments"
  std::string_view singular;     // "deployment"
  // "deploy"; empty entries are unused.
  std::string_view short_name;
  bool namespaced = true;
};

// All kinds, in the order of v1::Kind.
const std::vector<KindInfo>& AllKinds();
// REQUIRES: a kind of the enum other than KIND_UNSPECIFIED.
const KindInfo& Info(v1::Kind kind);

// "deployments.apps", "pods": as in `deployments.apps "web" not found`.
std::string PluralWithGroup(v1::Kind kind);
// "deployment.apps", "pod": as in `deployment.apps/web created`.
std::string SingularWithGroup(v1::Kind kind);
// "deployment.apps/web".
std::string ObjectText(const v1::Resource& resource);

// Any name that kubectl takes on its command line, in any case: pods, pod, po, deployments.apps,
// deployments.v1.apps, deploy. INVALID_ARGUMENT with kubectl's words, for what Kubernetes has and
// mesh does not with "not supported yet", for a typing error with the nearest name.
absl::StatusOr<const KindInfo*> FindResourceType(std::string_view name);

struct ManifestType {
  const KindInfo* info = nullptr;
  // Not empty: a warning for the user (an old apiVersion taken as the present one).
  std::string note;
};
// The kind of a manifest's apiVersion and kind. INVALID_ARGUMENT with one of:
//   kind ConfigMap is not supported yet
//   unknown kind "Deploymnet"; did you mean "Deployment"?
//   kind Deployment has apiVersion "apps/v1", not "v1"
absl::StatusOr<ManifestType> FindManifestType(std::string_view api_version, std::string_view kind);

// REQUIRES for all below: one kind of the oneof is set (KindOf: else KIND_UNSPECIFIED).
v1::Kind KindOf(const v1::Resource& resource);
const v1::ObjectMeta& MetaOf(const v1::Resource& resource);
v1::ObjectMeta* MutableMetaOf(v1::Resource* resource);
// The Pod, Deployment, ... inside.
const google::protobuf::Message& BodyOf(const v1::Resource& resource);
google::protobuf::Message* MutableBodyOf(v1::Resource* resource);
// A Resource with an empty object of the kind set.
v1::Resource NewResource(v1::Kind kind);

// The candidate nearest to `word` by edit distance (case ignored), when it is near enough to be
// meant: one letter of a short word may be wrong, three of a long one. Of equals the one that has
// the same case and length and begins and ends alike; of those the first.
std::optional<std::string> NearestWord(std::string_view word,
                                       const std::vector<std::string>& candidates);

}  // namespace mesh::schema
