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

// The claim of a volume of the pod, POD-VOLUME for an ephemeral one; empty: it is no claim.
std::string ClaimNameOf(const v1::Pod& pod, const v1::Volume& volume);

// Of environments, volumes and pull secrets; optional ones too: they may come.
PodReferences ReferencesOf(const v1::PodSpec& spec);

}  // namespace mesh::schema
