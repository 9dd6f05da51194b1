// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/resources.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "api/schema/qos.h"
#include "common/quantity.h"

namespace mesh::agent {
namespace {

namespace cri = ::runtime::v1;

constexpr int64_t kCpuPeriodUs = 100'000;
constexpr int64_t kCpuQuotaUsMin = 1'000;  // of the kernel
constexpr int64_t kCpuSharesMin = 2;       // of the kernel
constexpr int64_t kCpuSharesMax = 262'144;
// A million processors: no limit to any machine, and its quota is one that the kernel takes.
constexpr int64_t kCpuMilliMax = 1'000'000'000;
// Kubernetes'.
constexpr int64_t kGuaranteedOomScore = -997;

std::optional<int64_t> CpuMilli(const google::protobuf::Map<std::string, v1::Quantity>& from) {
  auto it = from.find("cpu");
  if (it == from.end()) return std::nullopt;
  auto value = ParseQuantityMilli(it->second.text());
  return value.ok() ? std::optional(std::min(*value, kCpuMilliMax)) : std::nullopt;
}

std::optional<int64_t> MemoryBytes(const google::protobuf::Map<std::string, v1::Quantity>& from) {
  auto it = from.find("memory");
  if (it == from.end()) return std::nullopt;
  auto value = ParseQuantity(it->second.text());
  return value.ok() ? std::optional(*value) : std::nullopt;
}

int64_t OomScoreAdj(const v1::PodSpec& pod, const v1::Container& container,
                    const PodConfigOptions& options) {
  const std::string_view qos = schema::QosClass(pod);
  if (qos == "Guaranteed") return std::max(kGuaranteedOomScore, options.oom_score_adj_min);
  if (qos == "BestEffort") return std::max<int64_t>(1000, options.oom_score_adj_min);
  const auto request = MemoryBytes(container.resources().requests());
  const auto limit = MemoryBytes(container.resources().limits());
  const int64_t asked = request.value_or(limit.value_or(0));
  int64_t out = 999;
  if (asked > 0 && options.memory_capacity_bytes > 0) {
    const double share =
        static_cast<double>(asked) / static_cast<double>(options.memory_capacity_bytes);
    out = std::clamp<int64_t>(1000 - static_cast<int64_t>(1000 * share), 3, 999);
  }
  return std::max(out, options.oom_score_adj_min);
}

}  // namespace

void FillResources(const v1::PodSpec& pod, const v1::Container& container,
                   const PodConfigOptions& options, cri::LinuxContainerResources* out) {
  const auto& resources = container.resources();
  const auto limit = CpuMilli(resources.limits());
  const auto request = CpuMilli(resources.requests());
  const int64_t share_milli = request.value_or(limit.value_or(0));
  out->set_cpu_shares(std::clamp(share_milli * 1024 / 1000, kCpuSharesMin, kCpuSharesMax));
  if (limit && *limit > 0) {
    out->set_cpu_period(kCpuPeriodUs);
    out->set_cpu_quota(std::max(*limit * kCpuPeriodUs / 1000, kCpuQuotaUsMin));
  }
  if (const auto memory = MemoryBytes(resources.limits())) out->set_memory_limit_in_bytes(*memory);
  out->set_oom_score_adj(OomScoreAdj(pod, container, options));
}

}  // namespace mesh::agent
