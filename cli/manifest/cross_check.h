// SPDX-License-Identifier: Apache-2.0
// What only shows when objects are seen together: a Service's targetPort that no container has, a
// key that is not in its ConfigMap, a reference to nothing, an autoscaler on pods without requests.
// Kubernetes takes all of these and the pod or the request fails later, so they are warnings.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/manifest/manifest.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::manifest {

// An object that is not among those given: NOT_FOUND when there is none, any other error when that
// cannot be told (no server): nothing is said of it then. May be called more than once for one.
using Lookup = std::function<absl::StatusOr<v1::Resource>(v1::Kind kind, const std::string& ns,
                                                          const std::string& name)>;

// Warnings in the order of the objects. REQUIRES: namespaced objects have their namespace. Pure but
// for `lookup`, which may be empty (only the objects themselves are looked at).
std::vector<Diagnostic> CrossCheck(const std::vector<Object>& objects, const Lookup& lookup);

}  // namespace mesh::manifest
