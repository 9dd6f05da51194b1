// SPDX-License-Identifier: Apache-2.0
// kubectl's JSONPath templates: text with expressions in braces.
//
//   {.metadata.name}  {.items[*].spec.nodeName}  {.a['b.c']}  {.a.b\.c}  {.l[0]}  {.l[-1]}
//   {.l[0:2]}
//   {..name}  {.l[?(@.type=="Ready")].status}  {range .items[*]}{.metadata.name}{"\n"}{end}
//
// Values of one expression are joined with a separator; a key that is absent gives nothing.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mesh::cli {

// INVALID_ARGUMENT naming the place, for what is not a template (before any call to the server).
absl::Status CheckJsonPath(std::string_view text);
// REQUIRES: `json` is valid JSON. INVALID_ARGUMENT as above, and for an index out of range.
absl::StatusOr<std::string> EvaluateJsonPath(std::string_view text, const std::string& json,
                                             std::string_view separator = " ");
// "status.phase", ".status.phase" and "{.status.phase}" are the same (wait --for, --sort-by).
std::string RelaxedJsonPath(std::string_view text);

}  // namespace mesh::cli
