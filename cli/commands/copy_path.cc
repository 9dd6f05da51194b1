// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/copy_path.h"

#include "fmt/format.h"

namespace mesh::cli {
namespace {

std::string WithoutEndSlashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

}  // namespace

absl::StatusOr<CopyPath> ParseCopyPath(const std::string& text) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos || text.starts_with('/') || text.starts_with('.')) {
    return CopyPath{.path = text};
  }
  const auto broken = [&] {
    return absl::InvalidArgumentError(fmt::format(
        "filespec \"{}\" must match the canonical format: [[namespace/]pod:]file/path", text));
  };
  CopyPath out{.pod = text.substr(0, colon), .path = text.substr(colon + 1)};
  if (const size_t slash = out.pod.find('/'); slash != std::string::npos) {
    out.ns = out.pod.substr(0, slash);
    out.pod = out.pod.substr(slash + 1);
    if (out.ns.empty() || out.pod.find('/') != std::string::npos) return broken();
  }
  if (out.pod.empty()) return broken();
  return out;
}

std::string BaseName(const std::string& path) {
  const std::string clean = WithoutEndSlashes(path);
  if (clean == "/") return ".";
  const size_t slash = clean.rfind('/');
  return slash == std::string::npos ? clean : clean.substr(slash + 1);
}

std::string DirName(const std::string& path) {
  const std::string clean = WithoutEndSlashes(path);
  const size_t slash = clean.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : clean.substr(0, slash);
}

}  // namespace mesh::cli
