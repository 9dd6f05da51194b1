// SPDX-License-Identifier: Apache-2.0
#include "cli/output/describe_text.h"

#include "cli/output/age.h"

namespace mesh::cli {

std::string OrNone(const std::string& text) { return text.empty() ? "<none>" : text; }

std::string IntOrStringText(const v1::IntOrString& value) {
  return value.has_int_value() ? std::to_string(value.int_value()) : value.string_value();
}

void DescribeEvents(const std::vector<v1::Event>& events, absl::Time now, Text* text) {
  if (events.empty()) {
    text->Line(0, "Events:\t<none>");
    return;
  }
  text->Line(0, "Events:");
  text->Line(1, "Type\tReason\tAge\tFrom\tMessage");
  text->Line(1, "----\t------\t----\t----\t-------");
  for (const v1::Event& event : events) {
    std::string age = AgeSince(event.has_last_timestamp(), event.last_timestamp(), now);
    if (event.count() > 1) {
      age += fmt::format(" (x{} over {})", event.count(),
                         AgeSince(event.has_first_timestamp(), event.first_timestamp(), now));
    }
    std::string source = event.source().component();
    if (!event.source().host().empty()) source += ", " + event.source().host();
    text->Line(1, "{}\t{}\t{}\t{}\t{}", event.type(), event.reason(), age, source, event.message());
  }
}

}  // namespace mesh::cli
