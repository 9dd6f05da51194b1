// SPDX-License-Identifier: Apache-2.0
// The connection table of before to that of now, while programs use both (see takeover.h).
#pragma once

#include "absl/status/statusor.h"
#include "dataplane/bpf/migrate.h"
#include "dataplane/tables/family.h"

namespace mesh::dataplane {

// Copies every entry that the new table lacks. Of a flow that the new table has with another
// translation nothing is copied: its client has begun anew.
// The old program may change an entry until the moment it stands in the new table, so each is read
// again then.
template <typename F>
absl::StatusOr<Carried> CarryFlows(int from_fd, int to_fd);

}  // namespace mesh::dataplane
