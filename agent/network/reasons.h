// SPDX-License-Identifier: Apache-2.0
// Names and meaning of MESH_REASON_*.
#pragma once

#include <cstdint>
#include <string_view>

namespace mesh::agent {

// "isolation"; "unknown" when there is no such reason.
const char* ReasonName(uint32_t reason);
// What it means, as its list says it (mesh/shared/drop_reason.h, docs/errors.md); empty: nothing to
// explain.
const char* ReasonText(uint32_t reason);
bool IsReason(std::string_view name);

}  // namespace mesh::agent
