// SPDX-License-Identifier: Apache-2.0
// Tolerations against the taints that nodes have here: those that Kubernetes puts on by itself. The
// API has no spec.taints yet.
#pragma once

#include <optional>
#include <string_view>

#include "absl/time/time.h"
#include "mesh/v1/pod.pb.h"

namespace mesh::controlplane {

inline constexpr std::string_view kUnschedulableTaint = "node.kubernetes.io/unschedulable";
inline constexpr std::string_view kUnreachableTaint = "node.kubernetes.io/unreachable";

// A taint without value of this key and effect.
bool Tolerates(const v1::PodSpec& spec, std::string_view key, std::string_view effect);

// How long the pod stays on a node that has a NoExecute taint of this key: InfiniteDuration() when
// it tolerates the taint for good; nullopt when it does not.
std::optional<absl::Duration> ToleratedFor(const v1::PodSpec& spec, std::string_view key);

}  // namespace mesh::controlplane
