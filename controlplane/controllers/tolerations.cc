// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/tolerations.h"

#include <algorithm>

#include "controlplane/controllers/objects.h"

namespace mesh::controlplane {
namespace {

bool Matches(const v1::Toleration& toleration, std::string_view key, std::string_view value,
             std::string_view effect) {
  if (!toleration.effect().empty() && toleration.effect() != effect) return false;
  if (!toleration.key().empty() && toleration.key() != key) return false;
  // Empty means Equal, which needs a key.
  return toleration.operator_() == "Exists" ||
         (!toleration.key().empty() && toleration.value() == value);
}

// See ToleratedFor().
std::optional<absl::Duration> Stay(const v1::PodSpec& spec, std::string_view key,
                                   std::string_view value) {
  std::optional<absl::Duration> out;
  for (const v1::Toleration& toleration : spec.tolerations()) {
    if (!Matches(toleration, key, value, "NoExecute")) continue;
    const absl::Duration time =
        toleration.has_toleration_seconds()
            ? absl::Seconds(std::max<int64_t>(toleration.toleration_seconds(), 0))
            : absl::InfiniteDuration();
    // The shortest counts, as in Kubernetes.
    out = out ? std::min(*out, time) : time;
  }
  return out;
}

}  // namespace

bool Tolerates(const v1::PodSpec& spec, std::string_view key, std::string_view effect) {
  return std::any_of(
      spec.tolerations().begin(), spec.tolerations().end(),
      [&](const v1::Toleration& toleration) { return Matches(toleration, key, "", effect); });
}

bool Tolerates(const v1::PodSpec& spec, const v1::Taint& taint) {
  return std::any_of(spec.tolerations().begin(), spec.tolerations().end(),
                     [&](const v1::Toleration& toleration) {
                       return Matches(toleration, taint.key(), taint.value(), taint.effect());
                     });
}

const v1::Taint* FirstUntolerated(const v1::PodSpec& spec, const v1::Node& node) {
  for (const v1::Taint& taint : node.spec().taints()) {
    if (taint.effect() != "PreferNoSchedule" && !Tolerates(spec, taint)) return &taint;
  }
  return nullptr;
}

int CountUnwelcome(const v1::PodSpec& spec, const v1::Node& node) {
  return static_cast<int>(std::count_if(
      node.spec().taints().begin(), node.spec().taints().end(), [&](const v1::Taint& taint) {
        return taint.effect() == "PreferNoSchedule" && !Tolerates(spec, taint);
      }));
}

absl::Time StaysUntil(const v1::PodSpec& spec, const v1::Node& node) {
  absl::Time out = absl::InfiniteFuture();
  for (const v1::Taint& taint : node.spec().taints()) {
    if (taint.effect() != "NoExecute") continue;
    const absl::Time since = ToTime(taint.time_added());
    out = std::min(out,
                   since + Stay(spec, taint.key(), taint.value()).value_or(absl::ZeroDuration()));
  }
  return out;
}

std::optional<absl::Duration> ToleratedFor(const v1::PodSpec& spec, std::string_view key) {
  return Stay(spec, key, "");
}

}  // namespace mesh::controlplane
