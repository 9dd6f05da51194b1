// SPDX-License-Identifier: Apache-2.0
// The connection table of before to that of now, while programs use both (see takeover.h).
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "dataplane/bpf/migrate.h"
#include "dataplane/tables/family.h"

namespace mesh::dataplane {

// Copies every entry that the new table lacks. Of a flow that the new table has with another
// translation nothing is copied: its client has begun anew. But one in the new table that was last
// seen before `begun_ns` (CLOCK_MONOTONIC_COARSE: when the first program that writes there was put
// at a hook), and before the one that comes, is left from an earlier time: it gives way.
// The old program may change an entry until the moment it stands in the new table, so each is read
// again then.
template <typename F>
absl::StatusOr<Carried> CarryFlows(int from_fd, int to_fd, uint64_t begun_ns);

}  // namespace mesh::dataplane
