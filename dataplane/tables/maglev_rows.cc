// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/maglev_rows.h"

#include <algorithm>
#include <cstring>

namespace mesh::dataplane {

void EncodeMaglev(uint32_t set_id, const MaglevPlaces& places,
                  std::vector<std::pair<mesh_maglev_key, mesh_maglev_value>>* rows) {
  const auto size = static_cast<uint32_t>(places.size());
  for (uint32_t part = 0; part < MESH_MAGLEV_PARTS(size); ++part) {
    auto& [key, value] = rows->emplace_back();
    key = {.set_id = set_id, .table_size = size, .part = part};
    value = {};
    const size_t first = size_t{part} * MESH_MAGLEV_PART;
    const size_t count = std::min<size_t>(MESH_MAGLEV_PART, places.size() - first);
    std::copy_n(places.begin() + static_cast<ptrdiff_t>(first), count, value.backend_id);
  }
}

void CollectMaglevKeys(uint32_t set_id, uint32_t table_size, std::vector<mesh_maglev_key>* keys) {
  for (uint32_t part = 0; part < MESH_MAGLEV_PARTS(table_size); ++part) {
    keys->push_back({.set_id = set_id, .table_size = table_size, .part = part});
  }
}

absl::StatusOr<bool> MaglevStands(const MaglevMap& map, uint32_t set_id,
                                  const MaglevPlaces& places) {
  std::vector<std::pair<mesh_maglev_key, mesh_maglev_value>> rows;
  EncodeMaglev(set_id, places, &rows);
  for (const auto& [key, value] : rows) {
    const absl::StatusOr<mesh_maglev_value> there = map.Lookup(key);
    if (absl::IsNotFound(there.status())) return false;
    if (!there.ok()) return there.status();
    if (std::memcmp(&*there, &value, sizeof(value)) != 0) return false;
  }
  return true;
}

}  // namespace mesh::dataplane
