// SPDX-License-Identifier: Apache-2.0
// Tables and orders that the user describes: -o custom-columns and --sort-by. Pure, over objects as
// JSON.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/output/table.h"

namespace mesh::cli {

struct Column {
  std::string header;
  std::string path;  // in braces
};

// "NAME:.metadata.name,IP:.status.podIP". INVALID_ARGUMENT in kubectl's words.
absl::StatusOr<std::vector<Column>> ParseColumns(std::string_view spec);
// A row per document; "<none>" where the path finds nothing.
absl::StatusOr<Table> ColumnsTable(const std::vector<Column>& columns,
                                   const std::vector<std::string>& documents);

// Positions of the documents, ordered by what `path` finds: numbers by value, the rest as text,
// absent first. Equal ones keep their order.
absl::StatusOr<std::vector<size_t>> SortedBy(std::string_view path,
                                             const std::vector<std::string>& documents);

}  // namespace mesh::cli
