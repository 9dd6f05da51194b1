// SPDX-License-Identifier: Apache-2.0
// Tolerations against taints: those of a node's spec.taints, and two that Kubernetes puts on by
// itself and that are here read from what they stand for (a cordoned and a silent node).
#pragma once

#include <optional>
#include <string_view>

#include "absl/time/time.h"
#include "mesh/v1/core.pb.h"

namespace mesh::controlplane {

inline constexpr std::string_view kUnschedulableTaint = "node.kubernetes.io/unschedulable";
inline constexpr std::string_view kUnreachableTaint = "node.kubernetes.io/unreachable";

// A taint without value of this key and effect.
bool Tolerates(const v1::PodSpec& spec, std::string_view key, std::string_view effect);

bool Tolerates(const v1::PodSpec& spec, const v1::Taint& taint);

// The first of the node's taints that keeps the pod from being placed there (NoSchedule,
// NoExecute); null: none.
const v1::Taint* FirstUntolerated(const v1::PodSpec& spec, const v1::Node& node);
// How many PreferNoSchedule taints of the node the pod does not tolerate.
int CountUnwelcome(const v1::PodSpec& spec, const v1::Node& node);

// How long the pod stays on a node with the node's NoExecute taints, each from its timeAdded: until
// then; InfiniteFuture() when for good. REQUIRES: each such taint has a timeAdded.
absl::Time StaysUntil(const v1::PodSpec& spec, const v1::Node& node);

// How long the pod stays on a node that has a NoExecute taint of this key: InfiniteDuration() when
// it tolerates the taint for good; nullopt when it does not.
std::optional<absl::Duration> ToleratedFor(const v1::PodSpec& spec, std::string_view key);

}  // namespace mesh::controlplane
