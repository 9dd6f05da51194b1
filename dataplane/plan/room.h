// SPDX-License-Identifier: Apache-2.0
// How many rows the maps have for Services, and how many each takes. Pure; a part of the planner.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "dataplane/model/state.h"
#include "dataplane/plan/port_plan.h"

namespace mesh::dataplane {

// What may run out. Clients with affinity and flows are not here: their maps make room themselves.
enum class Rows : uint8_t {
  kFrontends,
  kBackends,
  kSourceRanges,
  kFrontends6,
  kBackends6,
  kSourceRanges6,
  kAnnounced,  // an address that several announce counts for each
  kAnnounced6,
  kCounted,      // backends of least-loaded sets, of both families
  kSets,         // of both families, and what follows
  kSlots,        // they stand there twice while their Service changes
  kMaglevParts,  // likewise
};
inline constexpr size_t kRowsCount = 12;
using RowCounts = std::array<uint64_t, kRowsCount>;

// Limits of all nodes' maps: mesh/shared/limits.h.
const RowCounts& MapLimits();

// Rows of one Service, no frontend of which is another's. More than the limits can be asked for.
RowCounts RowsOf(const std::string& key, const Service& service);

// Who has taken which rows.
class Room {
 public:
  explicit Room(const RowCounts& limits) : limits_(limits) {}

  // Nullopt: taken. Otherwise what there is too little of, in a sentence about the Service.
  std::optional<std::string> Take(const std::string& key, const RowCounts& rows);
  // Whether there would be room without those.
  bool FitsWithout(const std::set<std::string>& keys, const RowCounts& rows) const;
  void GiveBack(const std::string& key);
  // Those that nobody has taken.
  uint64_t Free(Rows rows) const;
  void Clear();

 private:
  // The rows that are too many, by their index in Rows.
  std::optional<size_t> FindShort(const RowCounts& taken, const RowCounts& rows) const;

  const RowCounts limits_;
  RowCounts taken_{};
  std::map<std::string, RowCounts> takers_;
};

}  // namespace mesh::dataplane
