// SPDX-License-Identifier: Apache-2.0
#include "cli/output/columns.h"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <optional>

#include "cli/output/jsonpath.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

std::optional<double> NumberOf(const std::string& text) {
  double value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool Less(const std::string& a, const std::string& b) {
  const auto x = NumberOf(a), y = NumberOf(b);
  return x && y ? *x < *y : a < b;
}

}  // namespace

absl::StatusOr<std::vector<Column>> ParseColumns(std::string_view spec) {
  if (spec.empty()) {
    return absl::InvalidArgumentError(
        "custom-columns format specified but no custom columns given");
  }
  std::vector<Column> columns;
  while (true) {
    const size_t comma = spec.find(',');
    const std::string_view part = spec.substr(0, comma);
    const size_t colon = part.find(':');
    if (colon == std::string_view::npos || colon == 0 || colon + 1 == part.size()) {
      return absl::InvalidArgumentError(fmt::format(
          "unexpected custom-columns spec: {}, expected <header>:<json-path-expr>", part));
    }
    Column column{std::string(part.substr(0, colon)), RelaxedJsonPath(part.substr(colon + 1))};
    RETURN_IF_ERROR(CheckJsonPath(column.path));
    columns.push_back(std::move(column));
    if (comma == std::string_view::npos) return columns;
    spec.remove_prefix(comma + 1);
  }
}

absl::StatusOr<Table> ColumnsTable(const std::vector<Column>& columns,
                                   const std::vector<std::string>& documents) {
  Table table;
  for (const Column& column : columns) table.headers.push_back(column.header);
  for (const std::string& document : documents) {
    std::vector<std::string> row;
    for (const Column& column : columns) {
      // An index beyond the end finds nothing here.
      const std::string text = EvaluateJsonPath(column.path, document, ",").value_or("");
      row.push_back(text.empty() ? "<none>" : text);
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

absl::StatusOr<std::vector<size_t>> SortedBy(std::string_view path,
                                             const std::vector<std::string>& documents) {
  const std::string relaxed = RelaxedJsonPath(path);
  RETURN_IF_ERROR(CheckJsonPath(relaxed));
  std::vector<std::string> keys;
  for (const std::string& document : documents) {
    keys.push_back(EvaluateJsonPath(relaxed, document).value_or(""));
  }
  std::vector<size_t> order(documents.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return Less(keys[a], keys[b]); });
  return order;
}

}  // namespace mesh::cli
