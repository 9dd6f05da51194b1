// SPDX-License-Identifier: Apache-2.0
// A kind or one of its fields, explained from the schema: `meshctl explain`.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace mesh::cli {

// `path`: "deployment", "deploy.spec.template.spec.containers". The text says type, description,
// allowed values, default, and the fields below; with `recursive` the names of all fields below.
// INVALID_ARGUMENT: `the server doesn't have a resource type "x"`, `field "x" does not exist; did
// you mean "y"?`. Pure.
absl::StatusOr<std::string> Explain(std::string_view path, bool recursive);

}  // namespace mesh::cli
