// SPDX-License-Identifier: Apache-2.0
// Manifests of apiVersions whose objects had another shape, as trees of the present one: Ingress of
// extensions/v1beta1 and networking.k8s.io/v1beta1, HorizontalPodAutoscaler of autoscaling/v1 and
// v2beta1. Private to object_decoder.cc.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/manifest/yaml_tree.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::manifest::internal {

struct LegacyProblem {
  Mark mark;
  std::string path;  // as the present apiVersion has it
  std::string message;
};

struct Modernized {
  // Null: the object is read as it stands. Values keep their places in the file.
  YamlNodePtr node;
  // Fields that only the present apiVersion has.
  std::vector<LegacyProblem> problems;
};

Modernized Modernize(const YamlNode& node, std::string_view api_version, v1::Kind kind);

}  // namespace mesh::manifest::internal
