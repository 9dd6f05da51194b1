// SPDX-License-Identifier: Apache-2.0
#include "api/schema/qos.h"

#include <cstdint>
#include <optional>

#include "common/quantity.h"

namespace mesh::schema {
namespace {

using Quantities = google::protobuf::Map<std::string, v1::Quantity>;

// Nothing and zero are one.
std::optional<int64_t> Amount(const Quantities& from, const char* name) {
  const auto it = from.find(name);
  if (it == from.end()) return std::nullopt;
  const auto milli = ParseQuantityMilli(it->second.text());
  return milli.ok() && *milli > 0 ? std::optional(*milli) : std::nullopt;
}

}  // namespace

std::string_view QosClass(const v1::PodSpec& spec) {
  bool asks = false, guaranteed = true;
  const auto look = [&](const v1::ResourceRequirements& resources) {
    for (const char* name : {"cpu", "memory"}) {
      const auto limit = Amount(resources.limits(), name);
      auto request = Amount(resources.requests(), name);
      if (!request && !resources.requests().contains(name)) request = limit;
      asks = asks || limit || request;
      guaranteed = guaranteed && limit && request == limit;
    }
  };
  for (const v1::Container& container : spec.containers()) look(container.resources());
  for (const v1::Container& container : spec.init_containers()) look(container.resources());
  if (!asks) return "BestEffort";
  return guaranteed ? "Guaranteed" : "Burstable";
}

}  // namespace mesh::schema
