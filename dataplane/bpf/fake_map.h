// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/bpf/map.h"

namespace mesh::dataplane {

// A map in memory, with the kernel's answers. `fault` may refuse a write.
template <MapPod K, MapPod V>
class FakeMap : public Map<K, V> {
 public:
  explicit FakeMap(uint32_t max_entries = 1024) : max_entries_(max_entries) {}

  std::function<absl::Status()> fault;
  int writes = 0;

  absl::Status Upsert(const K& key, const V& value) override {
    if (absl::Status status = Write(); !status.ok()) return status;
    const std::string bytes = Bytes(key);
    if (rows_.size() >= max_entries_ && !rows_.contains(bytes)) {
      return absl::ResourceExhaustedError("the map is full");
    }
    rows_[bytes] = {key, value};
    return absl::OkStatus();
  }
  absl::Status Erase(const K& key) override {
    if (absl::Status status = Write(); !status.ok()) return status;
    return rows_.erase(Bytes(key)) ? absl::OkStatus() : absl::NotFoundError("no such entry");
  }
  absl::StatusOr<V> Lookup(const K& key) const override {
    const auto it = rows_.find(Bytes(key));
    if (it == rows_.end()) return absl::NotFoundError("no such entry");
    return it->second.second;
  }
  absl::StatusOr<std::vector<std::pair<K, V>>> Dump() const override {
    std::vector<std::pair<K, V>> out;
    for (const auto& [bytes, row] : rows_) out.push_back(row);
    return out;
  }
  // Two at a time.
  absl::Status ReadSome(std::string& cursor, std::vector<std::pair<K, V>>& rows) const override {
    auto it = cursor.empty() ? rows_.begin() : rows_.lower_bound(cursor);
    for (int i = 0; i < 2 && it != rows_.end(); ++i, ++it) rows.push_back(it->second);
    cursor = it == rows_.end() ? "" : it->first;
    return absl::OkStatus();
  }
  uint32_t max_entries() const override { return max_entries_; }
  size_t size() const { return rows_.size(); }

 private:
  static std::string Bytes(const K& key) {
    return std::string(reinterpret_cast<const char*>(&key), sizeof(key));
  }
  absl::Status Write() {
    ++writes;
    return fault ? fault() : absl::OkStatus();
  }

  uint32_t max_entries_;
  std::map<std::string, std::pair<K, V>> rows_;
};

}  // namespace mesh::dataplane
