// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace mesh::schema {

// An image reference taken apart: "localhost:5000/team/web:v1@sha256:..." has name
// "localhost:5000/team/web", tag "v1", digest "sha256:...". Absent parts are empty. Views of
// `text`.
struct ImageReference {
  std::string_view name;
  std::string_view tag;
  std::string_view digest;
};
ImageReference SplitImageReference(std::string_view text);

// No digest, and the tag is "latest" or missing: what the name means may change.
bool HasMovingTag(std::string_view text);

}  // namespace mesh::schema
