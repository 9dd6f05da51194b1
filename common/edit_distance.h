// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string_view>

namespace mesh {

// How many letters have to be added, left out or changed to make one of the other; a swap of
// neighbours is one (optimal string alignment). Takes time and memory of the product of the sizes.
size_t EditDistance(std::string_view a, std::string_view b);

}  // namespace mesh
