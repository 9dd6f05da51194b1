// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/pod_deadline.h"

namespace mesh::agent {

absl::Time DeadlineOf(const v1::PodSpec& spec, const v1::PodStatus& known) {
  if (!spec.has_active_deadline_seconds() || !known.has_start_time()) return absl::InfiniteFuture();
  const bool ended = known.phase() == "Succeeded" || known.phase() == "Failed";
  if (ended && known.reason() != kDeadlineExceeded) return absl::InfiniteFuture();
  const auto& start = known.start_time();
  return absl::FromUnixSeconds(start.seconds()) + absl::Nanoseconds(start.nanos()) +
         absl::Seconds(spec.active_deadline_seconds());
}

}  // namespace mesh::agent
