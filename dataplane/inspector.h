// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/unique_fd.h"
#include "dataplane/bpf/programs.h"
#include "dataplane/dataplane.h"

namespace mesh::dataplane {

// A look at the loaded programs and maps of a node, as the kernel has them: reads only.
class Inspector {
 public:
  // `programs` outlives this. `uplink`: interface with our programs that has no name of ours; may
  // be empty. `sockets_dir`: where those at sockets are pinned; may not be there.
  Inspector(const Programs& programs, std::string uplink, std::string sockets_dir);

  // As Dataplane has them.
  absl::StatusOr<std::vector<ProgramRow>> LoadedPrograms() const;
  absl::StatusOr<UniqueFd> CountRuns() const;
  // Costs a pass over each map but those of `counted`, whose rows somebody else has counted; some
  // 0.1 ms for a thousand rows.
  absl::StatusOr<std::vector<MapRow>> LoadedMaps(
      const std::map<std::string, uint32_t>& counted) const;
  absl::StatusOr<MapRows> RowsOf(const std::string& map, uint32_t limit) const;

 private:
  struct NamedFd {
    std::string name;
    int fd = -1;
  };
  // With those pinned in `sockets_dir_`, which are opened into `opened`.
  std::vector<NamedFd> AllMaps(std::vector<UniqueFd>* opened) const;

  const Programs& programs_;
  std::string uplink_, sockets_dir_;
};

}  // namespace mesh::dataplane
