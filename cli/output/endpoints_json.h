// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "mesh/v1/resource.pb.h"

namespace mesh::cli {

// The Endpoints object of each Service, as Kubernetes' v1 has it, seen from its EndpointSlices:
// one object when `single`, else a List. JSON.
std::string EndpointsJson(const std::vector<v1::Resource>& slices, bool single);

}  // namespace mesh::cli
