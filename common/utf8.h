// SPDX-License-Identifier: Apache-2.0
// What programs print is bytes; what goes into a message must be UTF-8.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace mesh {

// Length of the character that `text` begins with; 0 where there is none (a broken or an overlong
// one, a surrogate, or the end).
size_t Utf8Length(std::string_view text);

// The same text with U+FFFD for each byte that is part of no character. Longer than the input by
// at most two bytes for each of those.
std::string ToUtf8(std::string_view bytes);

// The first `most` bytes at most, without a part of a character at the end. REQUIRES: UTF-8.
std::string_view Utf8Prefix(std::string_view text, size_t most);

}  // namespace mesh
