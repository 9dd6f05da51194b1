// SPDX-License-Identifier: Apache-2.0
// Text tables as kubectl prints them: cells three spaces apart, columns at least six wide, nothing
// after the last cell.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace mesh::cli {

struct Table {
  std::vector<std::string> headers;
  std::vector<std::vector<std::string>> rows;  // as many cells as headers
};

// Lines of `table`, each with a line end. Widths count characters, not bytes.
std::string Format(const Table& table, bool with_headers = true);

// Prints row after row of one table (get --watch): columns grow and never shrink.
class TableStream {
 public:
  // Columns are as wide as this row needs, from the beginning.
  void Widen(const std::vector<std::string>& row);
  // The rows, with headers before the first ones.
  std::string Next(const Table& table, bool with_headers = true);

 private:
  std::vector<size_t> widths_;
  bool started_ = false;
};

}  // namespace mesh::cli
