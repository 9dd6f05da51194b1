// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "dataplane/bpf/maglev_tables.h"

namespace mesh::dataplane {

// mesh_maglev in the kernel: a hash of arrays. `fd` is borrowed.
class KernelMaglevTables : public MaglevTables {
 public:
  explicit KernelMaglevTables(int fd) : fd_(fd) {}

  absl::Status Put(const std::vector<std::pair<uint32_t, Places>>& tables) override;
  absl::StatusOr<Places> Get(uint32_t set_id) const override;
  absl::Status Remove(const std::vector<uint32_t>& set_ids) override;
  absl::StatusOr<std::vector<uint32_t>> List() const override;

 private:
  int fd_;
};

}  // namespace mesh::dataplane
