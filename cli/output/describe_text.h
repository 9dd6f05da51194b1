// SPDX-License-Identifier: Apache-2.0
// What the descriptions of all kinds are made of; private to describe*.cc.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "cli/output/describe.h"
#include "cli/output/tab_writer.h"
#include "fmt/format.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::cli {

using StringMap = google::protobuf::Map<std::string, std::string>;

// Collects lines; tabs become columns at the end.
class Text {
 public:
  template <typename... Args>
  void Line(int level, std::string_view format, const Args&... args) {
    text_.append(static_cast<size_t>(level) * 2, ' ');
    text_ += fmt::format(fmt::runtime(format), args...);
    text_ += '\n';
  }

  // "Labels:  a=b" with one pair per line.
  void Map(std::string_view title, const StringMap& map) {
    std::map<std::string, std::string> sorted(map.begin(), map.end());
    if (sorted.empty()) Line(0, "{}:\t<none>", title);
    bool first = true;
    for (const auto& [key, value] : sorted) {
      if (first) {
        Line(0, "{}:\t{}={}", title, key, value);
      } else {
        Line(0, "\t{}={}", key, value);
      }
      first = false;
    }
  }

  void Annotations(const StringMap& map) {
    std::map<std::string, std::string> sorted(map.begin(), map.end());
    if (sorted.empty()) Line(0, "Annotations:\t<none>");
    bool first = true;
    for (const auto& [key, value] : sorted) {
      if (first) {
        Line(0, "Annotations:\t{}: {}", key, value);
      } else {
        Line(0, "\t{}: {}", key, value);
      }
      first = false;
    }
  }

  std::string Finish() const { return AlignTabs(text_); }

 private:
  std::string text_;
};

std::string OrNone(const std::string& text);
std::string IntOrStringText(const v1::IntOrString& value);
void DescribeEvents(const std::vector<v1::Event>& events, absl::Time now, Text* text);

void DescribeService(const v1::Service& service, const Related& related, absl::Time now,
                     Text* text);
void DescribeNetworkPolicy(const v1::NetworkPolicy& policy, const Related& related, absl::Time now,
                           Text* text);
void DescribeSlice(const v1::EndpointSlice& slice, const Related& related, absl::Time now,
                   Text* text);

// Of kinds that are stored for others to act on.
void DescribeStoredKind(const v1::Resource& object, const Related& related, absl::Time now,
                        Text* text);

}  // namespace mesh::cli
