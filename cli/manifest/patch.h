// SPDX-License-Identifier: Apache-2.0
// What `patch` does to an object, in the three ways of Kubernetes.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::manifest {

enum class PatchType : uint8_t {
  kStrategic,  // a part of the object; lists with merge keys merge by element
  kMerge,      // RFC 7386: lists are replaced, null removes
  kJson,       // RFC 6902: a list of operations
};

// `live` with the patch (YAML or JSON) applied. What the system writes stays as it is. Of the
// directives of a strategic patch `$patch: delete` and `$patch: replace` are known.
// INVALID_ARGUMENT: the patch cannot be read or does not fit, or the result has a field that is
// unknown, not supported or of the wrong type; kind, name and namespace cannot change. Pure.
absl::StatusOr<v1::Resource> Patched(const v1::Resource& live, PatchType type,
                                     std::string_view patch);

}  // namespace mesh::manifest
