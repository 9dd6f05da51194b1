// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/tolerations.h"

#include <algorithm>

namespace mesh::controlplane {
namespace {

bool Matches(const v1::Toleration& toleration, std::string_view key, std::string_view effect) {
  if (!toleration.effect().empty() && toleration.effect() != effect) return false;
  if (!toleration.key().empty() && toleration.key() != key) return false;
  // Empty means Equal, and these taints have no value.
  return toleration.operator_() == "Exists" ||
         (!toleration.key().empty() && toleration.value().empty());
}

}  // namespace

bool Tolerates(const v1::PodSpec& spec, std::string_view key, std::string_view effect) {
  return std::any_of(
      spec.tolerations().begin(), spec.tolerations().end(),
      [&](const v1::Toleration& toleration) { return Matches(toleration, key, effect); });
}

std::optional<absl::Duration> ToleratedFor(const v1::PodSpec& spec, std::string_view key) {
  std::optional<absl::Duration> out;
  for (const v1::Toleration& toleration : spec.tolerations()) {
    if (!Matches(toleration, key, "NoExecute")) continue;
    const absl::Duration time =
        toleration.has_toleration_seconds()
            ? absl::Seconds(std::max<int64_t>(toleration.toleration_seconds(), 0))
            : absl::InfiniteDuration();
    // The shortest counts, as in Kubernetes.
    out = out ? std::min(*out, time) : time;
  }
  return out;
}

}  // namespace mesh::controlplane
