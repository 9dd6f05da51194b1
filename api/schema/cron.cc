// SPDX-License-Identifier: Apache-2.0
#include "api/schema/cron.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::schema {
namespace {

struct Field {
  std::string_view name;
  int min;
  int max;
  // From `min` on; empty: numbers only.
  std::vector<std::string_view> names;
};

const std::vector<Field>& Fields() {
  static const auto* fields = new std::vector<Field>{
      {"minute", 0, 59, {}},
      {"hour", 0, 23, {}},
      {"day of month", 1, 31, {}},
      {"month",
       1,
       12,
       {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
      {"day of week", 0, 6, {"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
  };
  return *fields;
}

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::optional<int> Number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value < 0 ? std::nullopt : std::optional(value);
}

std::optional<int> Value(std::string_view text, const Field& field) {
  const auto it = std::find(field.names.begin(), field.names.end(), Lower(text));
  if (it != field.names.end()) return field.min + static_cast<int>(it - field.names.begin());
  return Number(text);
}

// One of the items between commas: RANGE[/STEP].
std::string CheckItem(std::string_view item, const Field& field) {
  std::string_view range = item.substr(0, item.find('/'));
  int step = 1;
  const bool stepped = range.size() < item.size();
  if (stepped) {
    const std::optional<int> given = Number(item.substr(range.size() + 1));
    if (!given) return fmt::format("failed to parse the step of \"{}\"", item);
    step = *given;
    if (step == 0) return fmt::format("step of range should be a positive number: {}", item);
  }
  int first = field.min;
  int last = field.max;
  if (range != "*" && range != "?") {
    const std::string_view low = range.substr(0, range.find('-'));
    const std::optional<int> from = Value(low, field);
    if (!from) return fmt::format("failed to parse \"{}\" as a {}", low, field.name);
    first = *from;
    last = stepped ? field.max : first;
    if (low.size() < range.size()) {
      const std::string_view high = range.substr(low.size() + 1);
      const std::optional<int> to = Value(high, field);
      if (!to) return fmt::format("failed to parse \"{}\" as a {}", high, field.name);
      last = *to;
    }
  }
  if (first < field.min) {
    return fmt::format("beginning of range ({}) below minimum ({}): {}", first, field.min, item);
  }
  if (last > field.max) {
    return fmt::format("end of range ({}) above maximum ({}): {}", last, field.max, item);
  }
  if (first > last) {
    return fmt::format("beginning of range ({}) beyond end of range ({}): {}", first, last, item);
  }
  return "";
}

std::string CheckDescriptor(std::string_view line) {
  constexpr std::string_view kDescriptors[] = {"@yearly", "@annually", "@monthly", "@weekly",
                                               "@daily",  "@midnight", "@hourly"};
  if (std::find(std::begin(kDescriptors), std::end(kDescriptors), line) != std::end(kDescriptors)) {
    return "";
  }
  constexpr std::string_view kEvery = "@every ";
  if (!line.starts_with(kEvery)) return fmt::format("unrecognized descriptor: {}", line);
  absl::Duration duration;
  const std::string_view text = line.substr(kEvery.size());
  if (absl::ParseDuration({text.data(), text.size()}, &duration)) return "";
  return fmt::format("failed to parse duration {}", line);
}

}  // namespace

std::string CheckCronLine(std::string_view line) {
  if (line.starts_with("TZ=") || line.starts_with("CRON_TZ=")) {
    line.remove_prefix(std::min(line.find(' '), line.size()));
  }
  while (line.starts_with(' ')) line.remove_prefix(1);
  while (line.ends_with(' ')) line.remove_suffix(1);
  if (line.empty()) return "empty spec string";
  if (line.starts_with('@')) return CheckDescriptor(line);

  const std::vector<std::string> words =
      absl::StrSplit(std::string(line), absl::ByAnyChar(" \t\n"), absl::SkipEmpty());
  if (words.size() != Fields().size()) {
    return fmt::format("expected exactly 5 fields, found {}: [{}]", words.size(),
                       fmt::join(words, " "));
  }
  for (size_t i = 0; i < words.size(); ++i) {
    const std::vector<std::string> items = absl::StrSplit(words[i], ',', absl::SkipEmpty());
    if (items.empty()) return fmt::format("empty {}", Fields()[i].name);
    for (const std::string& item : items) {
      if (std::string why = CheckItem(item, Fields()[i]); !why.empty()) return why;
    }
  }
  return "";
}

}  // namespace mesh::schema
