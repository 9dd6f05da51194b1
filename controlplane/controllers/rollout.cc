// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/rollout.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>

namespace mesh::controlplane {
namespace {

int32_t Resolve(const v1::IntOrString& value, int32_t whole, bool round_up) {
  if (value.has_int_value()) return std::max(value.int_value(), 0);
  const std::string text = value.has_string_value() ? value.string_value() : "25%";
  int64_t percent = 0;
  std::from_chars(text.data(), text.data() + text.size(), percent);
  const int64_t scaled = percent * whole + (round_up ? 99 : 0);
  return static_cast<int32_t>(std::max<int64_t>(scaled / 100, 0));
}

}  // namespace

Fenceposts ResolveFenceposts(const v1::RollingUpdateDeployment& strategy, int32_t replicas) {
  Fenceposts out{.max_surge = Resolve(strategy.max_surge(), replicas, true),
                 .max_unavailable = Resolve(strategy.max_unavailable(), replicas, false)};
  if (out.max_surge == 0 && out.max_unavailable == 0) out.max_unavailable = 1;
  return out;
}

Fenceposts FencepostsOf(const v1::Deployment& deployment) {
  if (deployment.spec().strategy().type() == "Recreate") return {};
  const int32_t replicas = ReplicasOf(deployment);
  Fenceposts out = ResolveFenceposts(deployment.spec().strategy().rolling_update(), replicas);
  out.max_unavailable = std::min(out.max_unavailable, replicas);
  return out;
}

int32_t ReplicasOf(const v1::Deployment& deployment) {
  return deployment.spec().has_replicas() ? deployment.spec().replicas() : 1;
}

int32_t ReplicasOf(const v1::ReplicaSet& replica_set) {
  return replica_set.spec().has_replicas() ? replica_set.spec().replicas() : 1;
}

int32_t Proportion(int32_t replicas, int32_t allowed_size, int32_t old_allowed_size,
                   bool deployment_is_empty, int32_t to_add, int32_t added) {
  if (replicas == 0 || to_add == 0 || to_add == added) return 0;
  int32_t fraction = -replicas;
  if (!deployment_is_empty) {
    const double share = static_cast<double>(replicas) * allowed_size / old_allowed_size;
    fraction = static_cast<int32_t>(std::lround(share)) - replicas;
  }
  const int32_t allowed = to_add - added;
  return to_add > 0 ? std::min(fraction, allowed) : std::max(fraction, allowed);
}

}  // namespace mesh::controlplane
