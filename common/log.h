// SPDX-License-Identifier: Apache-2.0
// spdlog with one format for all binaries: time, level, text, to standard error.
#pragma once

#include <string_view>

#include "spdlog/spdlog.h"

namespace mesh {

// level: trace, debug, info, warn, error, off.
void InitLog(std::string_view level);

}  // namespace mesh
