// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace mesh {

// Kubernetes' resource.Quantity: <number>[suffix], suffix one of n u m k M G T P E Ki Mi Gi Ti Pi
// Ei or an exponent (e3, E-3). Values are kept in thousandths ("milli"), rounded up, saturated at
// +-2^62. INVALID_ARGUMENT for anything else.
absl::StatusOr<int64_t> ParseQuantityMilli(std::string_view text);

// Whole units, rounded up: "1500m" is 2, "64Mi" is 67108864. Saturated likewise.
absl::StatusOr<int64_t> ParseQuantity(std::string_view text);

// "250m", "2", as kubectl prints cpu.
std::string FormatCpuMilli(int64_t milli);
// "64Mi", "1Gi", "100k" or plain bytes: the shortest exact binary form.
std::string FormatBytes(int64_t bytes);

}  // namespace mesh
