// SPDX-License-Identifier: Apache-2.0
// Names and meaning of MESH_REASON_*.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mesh::dataplane {

// "isolation"; "reason_<n>" for a number this build does not know.
std::string ReasonName(uint32_t reason);
// What it means, as its list says it (mesh/shared/drop_reason.h, docs/errors.md); empty: nothing to
// explain.
const char* ReasonText(uint32_t reason);
// Whether it is the name of a reason that this build knows.
bool IsReason(std::string_view name);

}  // namespace mesh::dataplane
