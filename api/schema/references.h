// SPDX-License-Identifier: Apache-2.0
// What a pod takes from other objects of its namespace.
#pragma once

#include <set>
#include <string>

#include "mesh/v1/pod.pb.h"

namespace mesh::schema {

struct PodReferences {
  std::set<std::string> config_maps, secrets;  // names
  bool empty() const { return config_maps.empty() && secrets.empty(); }
};

// Of environments, volumes and pull secrets; optional ones too: they may come.
PodReferences ReferencesOf(const v1::PodSpec& spec);

}  // namespace mesh::schema
