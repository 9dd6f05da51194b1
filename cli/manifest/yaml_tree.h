// SPDX-License-Identifier: Apache-2.0
// YAML text as a tree that keeps positions; yaml-cpp stays behind this header.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mesh::manifest {

struct Mark {
  int line = 0;    // from 1
  int column = 0;  // from 1
};

struct YamlNode;
using YamlNodePtr = std::shared_ptr<const YamlNode>;

// A node; an alias is the very node of its anchor, so the tree may share parts (never in a circle).
struct YamlNode {
  enum class Type : uint8_t { kNull, kScalar, kList, kMap };
  Type type = Type::kNull;
  Mark mark;
  // Scalars: the text, whether it was unquoted, and a tag other than the core ones ("!Ref").
  std::string text;
  bool plain = false;
  std::string tag;
  std::vector<YamlNodePtr> items;                            // kList
  std::vector<std::pair<YamlNodePtr, YamlNodePtr>> entries;  // kMap, as written
};

struct YamlError {
  Mark mark;
  std::string message;
};

struct YamlDocuments {
  // Without the empty ones.
  std::vector<YamlNodePtr> documents;
  // One per document that is broken; documents after it are still read.
  std::vector<YamlError> errors;
};

// Reads all documents. Refuses what is no UTF-8 text, and nesting deeper than `max_depth`.
YamlDocuments ParseYaml(std::string_view text, int max_depth);

// What a plain scalar is to Kubernetes' YAML (1.1): yes, no, on and off are booleans.
enum class ScalarType : uint8_t { kString, kInteger, kFloat, kBoolean, kNull };
ScalarType PlainScalarType(std::string_view text);
// REQUIRES: kBoolean.
bool BooleanValue(std::string_view text);

}  // namespace mesh::manifest
