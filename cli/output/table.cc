// SPDX-License-Identifier: Apache-2.0
#include "cli/output/table.h"

#include <algorithm>

namespace mesh::cli {
namespace {

constexpr size_t kPadding = 3;
constexpr size_t kMinWidth = 6;

// Characters of UTF-8 text: all bytes but the continuations.
size_t Width(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

void Grow(const std::vector<std::string>& row, std::vector<size_t>* widths) {
  widths->resize(std::max(widths->size(), row.size()), kMinWidth);
  for (size_t i = 0; i < row.size(); ++i) {
    (*widths)[i] = std::max((*widths)[i], Width(row[i]) + kPadding);
  }
}

void AppendLine(const std::vector<std::string>& row, const std::vector<size_t>& widths,
                std::string* out) {
  for (size_t i = 0; i < row.size(); ++i) {
    *out += row[i];
    if (i + 1 < row.size()) out->append(widths[i] - Width(row[i]), ' ');
  }
  *out += '\n';
}

}  // namespace

std::string Format(const Table& table, bool with_headers) {
  return TableStream().Next(table, with_headers);
}

void TableStream::Widen(const std::vector<std::string>& row) { Grow(row, &widths_); }

std::string TableStream::Next(const Table& table, bool with_headers) {
  const bool headers = with_headers && !started_;
  started_ = true;
  if (headers) Grow(table.headers, &widths_);
  for (const auto& row : table.rows) Grow(row, &widths_);
  std::string out;
  if (headers) AppendLine(table.headers, widths_, &out);
  for (const auto& row : table.rows) AppendLine(row, widths_, &out);
  return out;
}

}  // namespace mesh::cli
