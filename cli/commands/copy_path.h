// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace mesh::cli {

// An argument of `meshctl cp`: "[[NAMESPACE/]POD:]PATH". No pod: a local path.
struct CopyPath {
  std::string ns, pod, path;
  friend bool operator==(const CopyPath&, const CopyPath&) = default;
};
// A path that begins with '/' or '.' is local, whatever follows. INVALID_ARGUMENT for ":x",
// "a/b/c:x".
absl::StatusOr<CopyPath> ParseCopyPath(const std::string& text);

// "/a/b/" -> "b", "/" -> ".", "a" -> "a"; and what is before it, "." when nothing is.
std::string BaseName(const std::string& path);
std::string DirName(const std::string& path);

}  // namespace mesh::cli
