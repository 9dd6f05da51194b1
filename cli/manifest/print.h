// SPDX-License-Identifier: Apache-2.0
// Resources as people know them: Kubernetes' field names and order (apiVersion, kind, metadata,
// spec, status), internal fields left out, empty ones too; quantities and int-or-string bare, times
// in RFC 3339. What is printed decodes to the same object.
#pragma once

#include <string>
#include <vector>

#include "mesh/v1/resource.pb.h"

namespace mesh::manifest {

// One document, ending with a line feed. With `managed`, metadata.managedFields too.
std::string ToYaml(const v1::Resource& resource, bool managed = false);
// Indented by four, as kubectl does; ends with a line feed.
std::string ToJson(const v1::Resource& resource, bool managed = false);
// `kind: List` with the items.
std::string ToYamlList(const std::vector<v1::Resource>& resources, bool managed = false);
std::string ToJsonList(const std::vector<v1::Resource>& resources, bool managed = false);

}  // namespace mesh::manifest
