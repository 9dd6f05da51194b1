// SPDX-License-Identifier: Apache-2.0
// Annotations under mesh.io/: one that nobody reads is told, with what may have been meant.
#include <algorithm>
#include <string>
#include <vector>

#include "api/schema/rules.h"
#include "api/schema/schema.h"
#include "api/schema/source_annotation.h"

namespace mesh::schema::internal {
namespace {

constexpr std::string_view kPrefix = "mesh.io/";

// Every annotation that mesh reads, by the kind of object that has it.
struct KnownAnnotation {
  std::string_view name;
  v1::Kind kind;
};
constexpr KnownAnnotation kKnown[] = {
    {"mesh.io/isolation", v1::KIND_NAMESPACE},   {"mesh.io/load-balancing", v1::KIND_SERVICE},
    {"mesh.io/return-path", v1::KIND_SERVICE},   {"mesh.io/weight", v1::KIND_POD},
    {"mesh.io/weight", v1::KIND_ENDPOINT_SLICE}, {kSourceAnnotation, v1::KIND_NETWORK_POLICY},
    {"mesh.io/probe-period-ms", v1::KIND_POD},
};

// "Pod or EndpointSlice"
std::string KindsWith(std::string_view name) {
  std::string out;
  for (const KnownAnnotation& known : kKnown) {
    if (known.name != name) continue;
    out += fmt::format("{}{}", out.empty() ? "" : " or ", Info(known.kind).name);
  }
  return out;
}

std::string WhyNoEffect(std::string_view name, v1::Kind kind) {
  if (const std::string kinds = KindsWith(name); !kinds.empty()) {
    return fmt::format("has no effect on a {}: it is an annotation of a {}", Info(kind).name,
                       kinds);
  }
  std::vector<std::string> words;
  for (const KnownAnnotation& known : kKnown) {
    if (known.kind == kind) words.emplace_back(known.name);
  }
  auto near = NearestWord(name, words);
  if (near) return fmt::format("unknown annotation; did you mean \"{}\"?", *near);
  for (const KnownAnnotation& known : kKnown) words.emplace_back(known.name);
  near = NearestWord(name, words);
  if (!near) return "unknown annotation: it has no effect";
  return fmt::format("unknown annotation; did you mean \"{}\", of a {}?", *near, KindsWith(*near));
}

}  // namespace

void WarnAnnotations(const google::protobuf::Map<std::string, std::string>& annotations,
                     v1::Kind kind, const std::string& path, Problems* problems) {
  std::vector<std::string> names;
  for (const auto& [name, value] : annotations) {
    const bool read = std::any_of(std::begin(kKnown), std::end(kKnown), [&](const auto& known) {
      return known.name == name && known.kind == kind;
    });
    if (name.starts_with(kPrefix) && !read) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    Add(problems, fmt::format("{}.annotations[{}]", path, name), "{}", WhyNoEffect(name, kind));
  }
}

}  // namespace mesh::schema::internal
