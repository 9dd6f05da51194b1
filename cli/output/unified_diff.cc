// SPDX-License-Identifier: Apache-2.0
#include "cli/output/unified_diff.h"

#include <algorithm>
#include <vector>

#include "fmt/format.h"

namespace mesh::cli {
namespace {

constexpr size_t kContext = 3;
// Texts that differ in more lines are shown as replaced: the search takes memory of its square.
constexpr int kMaxEdits = 3000;

using Lines = std::vector<std::string_view>;

// One line of the result: ' ' in both, '-' only before, '+' only after.
struct Line {
  char mark;
  std::string_view text;
};

Lines LinesOf(std::string_view text) {
  Lines out;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    out.push_back(text.substr(0, end));
    text.remove_prefix(std::min(text.size(), end + 1));
  }
  return out;
}

std::vector<Line> Replaced(const Lines& a, const Lines& b) {
  std::vector<Line> out;
  for (const std::string_view text : a) out.push_back({'-', text});
  for (const std::string_view text : b) out.push_back({'+', text});
  return out;
}

// The shortest script, by Myers' greedy search ("An O(ND) Difference Algorithm", 1986).
std::vector<Line> Script(const Lines& a, const Lines& b) {
  const int n = static_cast<int>(a.size());
  const int m = static_cast<int>(b.size());
  const int most = std::min(n + m, kMaxEdits);
  // reach[d][k + d]: how far into `a` d edits come on diagonal k = x - y.
  std::vector<std::vector<int>> reach;
  const auto at = [&](int d, int k) {
    return reach[static_cast<size_t>(d)][static_cast<size_t>(k + d)];
  };
  // Whether the last edit towards (d, k) added a line of `b`.
  const auto added = [&](int d, int k) {
    return k == -d || (k != d && at(d - 1, k - 1) < at(d - 1, k + 1));
  };
  int found = -1;
  for (int d = 0; d <= most && found < 0; ++d) {
    reach.emplace_back(static_cast<size_t>(2 * d + 1), 0);
    for (int k = -d; k <= d; k += 2) {
      int x = d == 0 ? 0 : added(d, k) ? at(d - 1, k + 1) : at(d - 1, k - 1) + 1;
      while (x < n && x - k < m && a[static_cast<size_t>(x)] == b[static_cast<size_t>(x - k)]) ++x;
      reach.back()[static_cast<size_t>(k + d)] = x;
      if (x >= n && x - k >= m) {
        found = d;
        break;
      }
    }
  }
  if (found < 0) return Replaced(a, b);

  std::vector<Line> out;
  int x = n, y = m;
  for (int d = found; d > 0; --d) {
    const int k = x - y;
    const bool add = added(d, k);
    const int from_x = add ? at(d - 1, k + 1) : at(d - 1, k - 1);
    const int from_y = from_x - (add ? k + 1 : k - 1);
    const int edit_x = add ? from_x : from_x + 1;
    for (; x > edit_x; --x, --y) out.push_back({' ', a[static_cast<size_t>(x - 1)]});
    out.push_back(add ? Line{'+', b[static_cast<size_t>(from_y)]}
                      : Line{'-', a[static_cast<size_t>(from_x)]});
    x = from_x;
    y = from_y;
  }
  for (; x > 0; --x) out.push_back({' ', a[static_cast<size_t>(x - 1)]});
  std::reverse(out.begin(), out.end());
  return out;
}

// "3,7", "3" for one line, "2,0" for none after line 2.
std::string Range(size_t first, size_t count) {
  if (count == 1) return fmt::format("{}", first + 1);
  return fmt::format("{},{}", count == 0 ? first : first + 1, count);
}

}  // namespace

std::string UnifiedDiff(std::string_view before, std::string_view after,
                        std::string_view before_name, std::string_view after_name) {
  const std::vector<Line> script = Script(LinesOf(before), LinesOf(after));
  const auto changed = [](const Line& line) { return line.mark != ' '; };
  std::string out;
  size_t a = 0, b = 0;  // lines of either text before `i`
  for (size_t i = 0; i < script.size();) {
    if (!changed(script[i])) {
      ++i, ++a, ++b;
      continue;
    }
    if (out.empty()) out = fmt::format("--- {}\n+++ {}\n", before_name, after_name);
    const size_t lead = std::min(kContext, std::min(a, i));
    const size_t begin = i - lead;
    // Changes with no more than twice the context between them are one hunk.
    size_t end = i + 1;
    for (size_t j = i; j < script.size() && j <= end + 2 * kContext; ++j) {
      if (changed(script[j])) end = j + 1;
    }
    const size_t stop = std::min(script.size(), end + kContext);
    size_t a_count = 0, b_count = 0;
    std::string body;
    for (size_t j = begin; j < stop; ++j) {
      a_count += script[j].mark != '+';
      b_count += script[j].mark != '-';
      body += fmt::format("{}{}\n", script[j].mark, script[j].text);
    }
    out +=
        fmt::format("@@ -{} +{} @@\n{}", Range(a - lead, a_count), Range(b - lead, b_count), body);
    a += a_count - lead;
    b += b_count - lead;
    i = stop;
  }
  return out;
}

}  // namespace mesh::cli
