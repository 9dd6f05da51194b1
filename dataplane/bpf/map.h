// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mesh::dataplane {

// Bytes are the value: no implicit padding to hash or leak.
template <typename T>
concept MapPod = std::is_trivially_copyable_v<T> && std::is_standard_layout_v<T> &&
    std::has_unique_object_representations_v<T>;

// One BPF hash or LPM map. KernelMap is the real one, FakeMap one in memory.
template <MapPod K, MapPod V>
class Map {
 public:
  virtual ~Map() = default;
  // RESOURCE_EXHAUSTED when full.
  virtual absl::Status Upsert(const K& key, const V& value) = 0;
  // NOT_FOUND is the caller's decision.
  virtual absl::Status Erase(const K& key) = 0;
  virtual absl::StatusOr<V> Lookup(const K& key) const = 0;
  // Not atomic: rows that come or go meanwhile may be missing.
  virtual absl::StatusOr<std::vector<std::pair<K, V>>> Dump() const = 0;
  // The next some thousand rows after `cursor`, which moves on; it is empty at the beginning, and
  // again when there are no more.
  virtual absl::Status ReadSome(std::string& cursor, std::vector<std::pair<K, V>>& rows) const = 0;
  virtual uint32_t max_entries() const = 0;
  // Many rows with few system calls. After an error some of them are written.
  virtual absl::Status UpsertAll(const std::vector<std::pair<K, V>>& rows) {
    for (const auto& [key, value] : rows) {
      if (absl::Status status = Upsert(key, value); !status.ok()) return status;
    }
    return absl::OkStatus();
  }
  // Absent ones are fine.
  virtual absl::Status RemoveAll(const std::vector<K>& keys) {
    for (const K& key : keys) {
      if (absl::Status status = Remove(key); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // Erase for which an absent row is fine.
  absl::Status Remove(const K& key) {
    absl::Status status = Erase(key);
    return absl::IsNotFound(status) ? absl::OkStatus() : status;
  }
};

}  // namespace mesh::dataplane
