// SPDX-License-Identifier: Apache-2.0
// Whom a node is to the registries of a pod: what the pod's pull secrets say of an image.
//
// Secrets are of type kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg, as Docker writes
// its configuration: names of registries with a user and a password, as such or as
// base64("user:password") in `auth`. A name may have a port, a path, and patterns (*, ?, [a-z]) in
// each label of its host: "*.example.com:5000/team". As the kubelet does, all that match are tried,
// the most special first; "https://index.docker.io/v1/" is the registry of images that name none.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/cri/runtime_v1.pb.h"
#include "agent/state/node_state.h"
#include "mesh/v1/pod.pb.h"

namespace mesh::agent {

struct PullCredentials {
  std::vector<runtime::v1::AuthConfig> tries;  // in this order; none: as nobody
  std::vector<std::string> missing;            // Secrets that the pod names and that are not there
};

// INVALID_ARGUMENT: a pull secret is not what its type says. A Secret of another type has none.
absl::StatusOr<PullCredentials> CredentialsFor(const v1::Pod& pod, std::string_view image,
                                               const NodeState& state);

// The image with its registry and without tag and digest: "docker.io/library/nginx".
std::string FullImageName(std::string_view image);
// Whether what is said of registry `pattern` holds for the image of that full name.
bool RegistryMatches(std::string_view pattern, std::string_view full_name);

}  // namespace mesh::agent
