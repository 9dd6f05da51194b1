// SPDX-License-Identifier: Apache-2.0
// What `meshctl wait` waits for. Pure.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::cli {

struct WaitCondition {
  enum class Kind { kCondition, kDelete, kCreate, kJsonPath };
  Kind kind = Kind::kCondition;
  // Of the condition; or the template, in braces.
  std::string subject;
  // Status of the condition; or what the template must give. A template without value must give
  // anything at all.
  std::string value;
  bool any_value = false;
  friend bool operator==(const WaitCondition&, const WaitCondition&) = default;
};

// "condition=Ready", "condition=Ready=false", "delete", "create",
// "jsonpath={.status.phase}=Running", "jsonpath={.status.podIP}". kubectl's words for anything
// else.
absl::StatusOr<WaitCondition> ParseWaitCondition(std::string_view text);

// True when `object` is as the condition wants. A condition of an older generation does not count.
// REQUIRES: not kDelete, not kCreate.
absl::StatusOr<bool> IsMet(const WaitCondition& condition, const v1::Resource& object);

}  // namespace mesh::cli
