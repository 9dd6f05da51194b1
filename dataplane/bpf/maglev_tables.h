// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mesh::dataplane {

// The lookup tables of Maglev sets, mesh_maglev: backend ids by place. KernelMaglevTables is the
// real one.
class MaglevTables {
 public:
  using Places = std::vector<uint32_t>;

  virtual ~MaglevTables() = default;
  // A table that keeps its size changes place by place, readers see a backend at each. Others are
  // replaced, which waits for an RCU grace period once for all of them (on kernels before 6.8 once
  // for each).
  virtual absl::Status Put(const std::vector<std::pair<uint32_t, Places>>& tables) = 0;
  // NOT_FOUND.
  virtual absl::StatusOr<Places> Get(uint32_t set_id) const = 0;
  // Absent ones are fine. Waits as Put() does when there is any.
  virtual absl::Status Remove(const std::vector<uint32_t>& set_ids) = 0;
  virtual absl::StatusOr<std::vector<uint32_t>> List() const = 0;
};

// In memory.
class FakeMaglevTables : public MaglevTables {
 public:
  absl::Status Put(const std::vector<std::pair<uint32_t, Places>>& tables) override {
    for (const auto& [set_id, places] : tables) tables_[set_id] = places;
    return absl::OkStatus();
  }
  absl::StatusOr<Places> Get(uint32_t set_id) const override {
    const auto it = tables_.find(set_id);
    if (it == tables_.end()) return absl::NotFoundError("no such table");
    return it->second;
  }
  absl::Status Remove(const std::vector<uint32_t>& set_ids) override {
    for (const uint32_t set_id : set_ids) tables_.erase(set_id);
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<uint32_t>> List() const override {
    std::vector<uint32_t> out;
    for (const auto& [set_id, places] : tables_) out.push_back(set_id);
    return out;
  }

 private:
  std::map<uint32_t, Places> tables_;
};

}  // namespace mesh::dataplane
