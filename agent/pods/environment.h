// SPDX-License-Identifier: Apache-2.0
// The environment of a container: its Services', envFrom, env, as Kubernetes puts them together.
// Pure.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/pods/pod_fields.h"
#include "agent/state/node_state.h"
#include "mesh/v1/pod.pb.h"

namespace mesh::agent {

using Variables = std::vector<std::pair<std::string, std::string>>;

struct Environment {
  Variables variables;  // each name once
  // Events of reason InvalidEnvironmentVariableNames: keys of an envFrom that are no names.
  std::vector<std::string> skipped;
};

// `services`: variables that everything else hides. A variable may refer to Services' variables, to
// those of envFrom and to those above it.
// NOT_FOUND for what is referred to, required and missing, in Kubernetes' words; INVALID_ARGUMENT
// for a value that cannot be one.
absl::StatusOr<Environment> ResolveEnvironment(const v1::Pod& pod, const v1::Container& container,
                                               const Variables& services, const NodeState& state,
                                               const NodeFacts& node);

// The bytes of a key of a ConfigMap (`data` or `binaryData`) or of a Secret. NOT_FOUND: no such
// key. INVALID_ARGUMENT: they are not base64.
absl::StatusOr<std::string> ValueOf(const v1::ConfigMap& map, const std::string& key);
absl::StatusOr<std::string> ValueOf(const v1::Secret& secret, const std::string& key);

// null: the node has not been told of any.
const v1::ConfigMap* FindConfigMap(const NodeState& state, const std::string& ns,
                                   const std::string& name);
const v1::Secret* FindSecret(const NodeState& state, const std::string& ns,
                             const std::string& name);

}  // namespace mesh::agent
