// SPDX-License-Identifier: Apache-2.0
// Aligned text for `describe`: lines of cells that end with tabs; a column reaches over
// neighbouring lines that have it (elastic tabstops), cells two spaces apart.
#pragma once

#include <string>
#include <string_view>

namespace mesh::cli {

// The text with its tabs replaced by spaces. What follows the last tab of a line is not padded.
std::string AlignTabs(std::string_view text);

}  // namespace mesh::cli
