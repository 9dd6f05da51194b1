// SPDX-License-Identifier: Apache-2.0
#include "cli/output/tab_writer.h"

#include <algorithm>
#include <vector>

namespace mesh::cli {
namespace {

constexpr size_t kPadding = 2;

struct Line {
  std::vector<std::string> cells;
  std::vector<size_t> widths;  // of all cells but the last
};

// Gives column `column` of lines [begin, end) its widths, then the columns right of it.
void Align(std::vector<Line>* lines, size_t begin, size_t end, size_t column) {
  for (size_t i = begin; i < end;) {
    if (column + 1 >= (*lines)[i].cells.size()) {
      ++i;
      continue;
    }
    const size_t start = i;
    size_t width = 0;
    for (; i < end && column + 1 < (*lines)[i].cells.size(); ++i) {
      width = std::max(width, (*lines)[i].cells[column].size());
    }
    for (size_t k = start; k < i; ++k) (*lines)[k].widths[column] = width + kPadding;
    Align(lines, start, i, column + 1);
  }
}

}  // namespace

std::string AlignTabs(std::string_view text) {
  std::vector<Line> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view rest = text.substr(0, end);
    Line line;
    while (true) {
      const size_t tab = rest.find('\t');
      line.cells.emplace_back(rest.substr(0, tab));
      if (tab == std::string_view::npos) break;
      rest.remove_prefix(tab + 1);
    }
    line.widths.resize(line.cells.size() - 1);
    lines.push_back(std::move(line));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  Align(&lines, 0, lines.size(), 0);
  std::string out;
  for (const Line& line : lines) {
    for (size_t i = 0; i < line.cells.size(); ++i) {
      out += line.cells[i];
      if (i + 1 < line.cells.size()) out.append(line.widths[i] - line.cells[i].size(), ' ');
    }
    out += '\n';
  }
  return out;
}

}  // namespace mesh::cli
