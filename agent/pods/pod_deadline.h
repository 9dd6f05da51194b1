// SPDX-License-Identifier: Apache-2.0
// activeDeadlineSeconds of a pod. Pure.
#pragma once

#include "absl/time/time.h"
#include "mesh/v1/pod.pb.h"

namespace mesh::agent {

inline constexpr char kDeadlineExceeded[] = "DeadlineExceeded";
inline constexpr char kDeadlineMessage[] =
    "Pod was active on the node longer than the specified deadline";

// When the pod is ended, however its containers do: from its start (status.startTime, which the
// control plane keeps, so that an agent that is started again counts on). InfiniteFuture: it has no
// deadline, has not been started, or has ended by itself. `known`: reported of it last.
absl::Time DeadlineOf(const v1::PodSpec& spec, const v1::PodStatus& known);

}  // namespace mesh::agent
