// SPDX-License-Identifier: Apache-2.0
// The list of programs at the ingress of an interface (tcx, Linux 6.6): packets come to them
// without a qdisc's classifiers in between, which cost some 50 ns for each. Ours in it are told by
// their names (kernel: 15 characters), "mesh_...", those of IPv6 have a 6 in them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/unique_fd.h"

namespace mesh::dataplane {

struct TcxProgram {
  uint32_t id = 0;
  std::string name;
};

// Those at the ingress, in the order in which they are asked. UNIMPLEMENTED: the kernel is older.
absl::StatusOr<std::vector<TcxProgram>> TcxPrograms(int ifindex);

// Where a program goes that is not there yet.
struct TcxPlace {
  uint32_t behind = 0;   // the program with that id; 0: before all
  uint32_t instead = 0;  // of the program with that id, which goes: no packet meets both or none
};
absl::Status TcxAttach(int ifindex, int program_fd, const TcxPlace& place);

// Idempotent.
absl::Status TcxDetach(int ifindex, uint32_t program_id);

}  // namespace mesh::dataplane
