// SPDX-License-Identifier: Apache-2.0
#include "api/schema/rules.h"

namespace mesh::schema::internal {

void CheckNamespace(const v1::Namespace& object, Problems* problems) {
  const auto& annotations = object.metadata().annotations();
  const auto isolation = annotations.find("mesh.io/isolation");
  if (isolation == annotations.end()) return;
  if (isolation->second == "open" || isolation->second == "closed") return;
  Add(problems, "metadata.annotations[mesh.io/isolation]",
      "Unsupported value: \"{}\": supported values: \"open\", \"closed\"", isolation->second);
}

}  // namespace mesh::schema::internal
