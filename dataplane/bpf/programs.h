// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "mesh/shared/config.h"

namespace mesh::dataplane {

// The loaded programs of one node and the maps they share.
class Programs {
 public:
  struct Options {
    // Folder on a bpffs where the maps are pinned, and found again. Empty: maps live only as long
    // as this object, for tests.
    std::string pin_dir;
    // For tests of a full table; 0: MESH_FLOW_MAX_ENTRIES.
    uint32_t flow_max_entries = 0;
  };

  // FAILED_PRECONDITION with the end of the verifier's log when the kernel refuses a program.
  static absl::StatusOr<std::unique_ptr<Programs>> Load(const mesh_config& config, Options options);
  ~Programs();

  // Of the program's file descriptor; owned by this.
  int from_pod() const;
  int node() const;
  int overlay() const;
  // By map name ("mesh_service"). REQUIRES: a map of these programs.
  int map(const std::string& name) const;

 private:
  struct Skeletons;
  explicit Programs(std::unique_ptr<Skeletons> skeletons);
  std::unique_ptr<Skeletons> skeletons_;
  std::map<std::string, int> maps_;
};

}  // namespace mesh::dataplane
