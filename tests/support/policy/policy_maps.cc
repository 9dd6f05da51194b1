// SPDX-License-Identifier: Apache-2.0
#include "tests/support/policy/policy_maps.h"

namespace mesh::testing {
namespace {

template <typename Map, typename Rows>
void Put(Map* map, const Rows& rows) {
  for (const auto& [key, value] : rows) {
    if (value) {
      (*map)[key] = *value;
    } else {
      map->erase(key);
    }
  }
}

}  // namespace

void PolicyMaps::Write(const dataplane::PolicyRowChanges& changes) {
  Put(&peers_, changes.peers);
  Put(&blocks_, changes.blocks);
  for (const auto& [key, value] : changes.ports) {
    if (value) {
      ports_[key.first][key.second] = *value;
    } else if (const auto rows = ports_.find(key.first); rows != ports_.end()) {
      rows->second.erase(key.second);
      if (rows->second.empty()) ports_.erase(rows);
    }
  }
}

size_t PolicyMaps::port_rows() const {
  size_t out = 0;
  for (const auto& [number, rows] : ports_) out += rows.size();
  return out;
}

std::optional<dataplane::Decision> PolicyMaps::Decide(uint32_t set, uint32_t class_of_everybody,
                                                      uint32_t identity, const IpAddress& address,
                                                      uint8_t protocol, uint16_t port) const {
  uint32_t number = class_of_everybody;
  if (identity != 0) {
    const auto row = peers_.find({set, identity});
    if (row != peers_.end()) number = row->second;
  } else {
    int longest = -1;
    for (auto it = blocks_.lower_bound({set, IpPrefix()});
         it != blocks_.end() && it->first.first == set; ++it) {
      const IpPrefix& range = it->first.second;
      if (range.Contains(address) && range.length() > longest) {
        longest = range.length();
        number = it->second;
      }
    }
  }
  const auto rows = ports_.find(number);
  return rows == ports_.end() ? std::nullopt : dataplane::Decide(rows->second, protocol, port);
}

}  // namespace mesh::testing
