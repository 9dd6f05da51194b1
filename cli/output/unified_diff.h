// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace mesh::cli {

// What `diff -u` prints for two texts, with three lines of context; empty when they are equal. A
// last line without a line feed counts as one with it. The names stand in the header lines. Pure.
std::string UnifiedDiff(std::string_view before, std::string_view after,
                        std::string_view before_name, std::string_view after_name);

}  // namespace mesh::cli
