// SPDX-License-Identifier: Apache-2.0
// Lookup tables of Maglev sets as rows of mesh_maglev. Pure, but for MaglevStands().
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "dataplane/bpf/map.h"
#include "mesh/shared/maglev_map.h"

namespace mesh::dataplane {

// Backend ids by place.
using MaglevPlaces = std::vector<uint32_t>;
using MaglevMap = Map<mesh_maglev_key, mesh_maglev_value>;

// Adds the rows of a table.
void EncodeMaglev(uint32_t set_id, const MaglevPlaces& places,
                  std::vector<std::pair<mesh_maglev_key, mesh_maglev_value>>* rows);
// Adds their keys. A table of size 0 has none.
void CollectMaglevKeys(uint32_t set_id, uint32_t table_size, std::vector<mesh_maglev_key>* keys);
// Whether the map holds exactly this table for the set. Cost: a system call for each of its rows.
absl::StatusOr<bool> MaglevStands(const MaglevMap& map, uint32_t set_id,
                                  const MaglevPlaces& places);

}  // namespace mesh::dataplane
