// SPDX-License-Identifier: Apache-2.0
#include "api/schema/source_annotation.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::schema {
namespace {

constexpr size_t kMostRules = 500;

std::string Lines(std::string_view direction, const std::vector<int>& lines) {
  if (lines.empty()) return "";
  const size_t count = std::min(lines.size(), kMostRules);
  return fmt::format(" {}={}", direction, fmt::join(lines.begin(), lines.begin() + count, ","));
}

}  // namespace

std::string SourceText(const Source& source) {
  return fmt::format("{}:{}{}{}", source.file, source.line, Lines("ingress", source.ingress),
                     Lines("egress", source.egress));
}

std::string RulePlace(const v1::ObjectMeta& meta, bool egress, uint32_t rule) {
  const auto it = meta.annotations().find(kSourceAnnotation);
  if (it == meta.annotations().end()) return "";
  // Names of files may have spaces: what is known stands at the end.
  std::string object = it->second;
  std::string line;
  for (const std::string_view direction : {" egress=", " ingress="}) {
    const size_t at = object.rfind(direction);
    if (at == std::string::npos) continue;
    if (object.find_first_not_of("0123456789,", at + direction.size()) != std::string::npos)
      continue;
    const bool asked = egress == (direction == " egress=");
    const std::vector<std::string> lines =
        absl::StrSplit(object.substr(at + direction.size()), ',');
    if (asked && rule < lines.size()) line = lines[rule];
    object.resize(at);
  }
  const size_t colon = object.rfind(':');
  int number = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(object.substr(colon + 1), &number)) return "";
  return absl::SimpleAtoi(line, &number) ? fmt::format("{}:{}", object.substr(0, colon), number)
                                         : object;
}

}  // namespace mesh::schema
