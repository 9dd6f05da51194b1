// SPDX-License-Identifier: Apache-2.0
#include <set>
#include <string>

#include "api/schema/rules.h"

namespace mesh::schema::internal {

void CheckNode(const v1::Node& object, Problems* problems) {
  std::set<std::string> seen;
  for (int i = 0; i < object.spec().taints_size(); ++i) {
    const v1::Taint& taint = object.spec().taints(i);
    const std::string path = fmt::format("spec.taints[{}]", i);
    if (const std::string why = CheckQualifiedName(taint.key());
        !taint.key().empty() && !why.empty())
      Add(problems, path + ".key", "{}", InvalidText(taint.key(), why));
    if (const std::string why = CheckLabelValue(taint.value()); !why.empty())
      Add(problems, path + ".value", "{}", InvalidText(taint.value(), why));
    const std::string pair = fmt::format("{}:{}", taint.key(), taint.effect());
    if (!seen.insert(pair).second) {
      Add(problems, path, "{}: taints must be unique by key and effect pair", DuplicateText(pair));
    }
  }
}

}  // namespace mesh::schema::internal
