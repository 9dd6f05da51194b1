// SPDX-License-Identifier: Apache-2.0
// Where a NetworkPolicy and its rules stand in the file that it was applied from, as an annotation:
// "web.yaml:3 ingress=9,14 egress=20". Written by `meshctl apply -f FILE`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mesh/v1/meta.pb.h"

namespace mesh::schema {

inline constexpr char kSourceAnnotation[] = "mesh.io/source";

struct Source {
  std::string file;
  int line = 0;
  // Lines of the rules, in their order.
  std::vector<int> ingress, egress;
};

// Rules beyond the first 500 of a direction are left out: the value stays small.
std::string SourceText(const Source& source);

// "web.yaml:14": where the rule stands, else where the object does; empty: it is not known.
std::string RulePlace(const v1::ObjectMeta& meta, bool egress, uint32_t rule);

}  // namespace mesh::schema
