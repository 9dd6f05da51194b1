// SPDX-License-Identifier: Apache-2.0
#pragma once

// Debian builds abseil as C++14, so absl::string_view is not std::string_view. The house uses
// std::string_view and fmt::format; a std::string converts to what absl::Status wants.

#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mesh {

// Puts one clause in front of a failed status, keeping code and payloads. OK stays OK.
absl::Status Annotate(const absl::Status& status, std::string_view clause);

// absl::Status for an errno, "<what>: <strerror>". For bpf(2) errors use dataplane/bpf/errors.h.
absl::Status ErrnoStatus(int error, std::string_view what);

}  // namespace mesh

#define MESH_CONCAT_INNER(a, b) a##b
#define MESH_CONCAT(a, b) MESH_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expr)                                                        \
  do {                                                                               \
    if (absl::Status mesh_status_ = (expr); !mesh_status_.ok()) return mesh_status_; \
  } while (false)

#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_IMPL(MESH_CONCAT(mesh_or_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr)    \
  auto tmp = (expr);                             \
  if (!tmp.ok()) return std::move(tmp).status(); \
  lhs = *std::move(tmp)
