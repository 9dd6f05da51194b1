// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/wait_condition.h"

#include <algorithm>
#include <cctype>

#include "api/schema/schema.h"
#include "cli/manifest/print.h"
#include "cli/output/jsonpath.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

bool EqualFold(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

const google::protobuf::RepeatedPtrField<v1::Condition>* ConditionsOf(const v1::Resource& object) {
  switch (object.kind_case()) {
    case v1::Resource::kNamespace:
      return &object.namespace_().status().conditions();
    case v1::Resource::kNode:
      return &object.node().status().conditions();
    case v1::Resource::kPod:
      return &object.pod().status().conditions();
    case v1::Resource::kReplicaSet:
      return &object.replica_set().status().conditions();
    case v1::Resource::kDeployment:
      return &object.deployment().status().conditions();
    case v1::Resource::kService:
      return &object.service().status().conditions();
    default:
      return nullptr;
  }
}

// The status is about the present spec.
bool IsObserved(const v1::Resource& object) {
  const int64_t generation = schema::MetaOf(object).generation();
  switch (object.kind_case()) {
    case v1::Resource::kReplicaSet:
      return object.replica_set().status().observed_generation() >= generation;
    case v1::Resource::kDeployment:
      return object.deployment().status().observed_generation() >= generation;
    default:
      return true;
  }
}

}  // namespace

absl::StatusOr<WaitCondition> ParseWaitCondition(std::string_view text) {
  using Kind = WaitCondition::Kind;
  if (EqualFold(text, "delete")) return WaitCondition{.kind = Kind::kDelete};
  if (EqualFold(text, "create")) return WaitCondition{.kind = Kind::kCreate};
  if (text.starts_with("condition=")) {
    text.remove_prefix(10);
    const size_t equals = text.find('=');
    WaitCondition condition{
        .kind = Kind::kCondition, .subject = std::string(text.substr(0, equals)), .value = "true"};
    if (equals != std::string_view::npos) condition.value = text.substr(equals + 1);
    return condition;
  }
  if (text.starts_with("jsonpath=")) {
    text.remove_prefix(9);
    if (text.size() >= 2 && (text[0] == '\'' || text[0] == '"')) {
      return absl::InvalidArgumentError(fmt::format(
          "jsonpath wait format must be --for=jsonpath='{{.status.readyReplicas}}'=3 or "
          "--for=jsonpath='{{.status.readyReplicas}}', not {}",
          text));
    }
    // The template ends at its last brace; a filter in it may hold "=".
    const size_t close = text.rfind('}');
    const size_t equals = text.find('=', close == std::string_view::npos ? 0 : close);
    WaitCondition condition{.kind = Kind::kJsonPath,
                            .subject = RelaxedJsonPath(text.substr(0, equals))};
    condition.any_value = equals == std::string_view::npos;
    if (!condition.any_value) {
      condition.value = text.substr(equals + 1);
      if (condition.value.empty()) {
        return absl::InvalidArgumentError(
            "jsonpath wait has to have a value to compare, such as "
            "--for=jsonpath='{.status.phase}'=Running");
      }
    }
    RETURN_IF_ERROR(CheckJsonPath(condition.subject));
    return condition;
  }
  return absl::InvalidArgumentError(fmt::format("unrecognized condition: \"{}\"", text));
}

absl::StatusOr<bool> IsMet(const WaitCondition& condition, const v1::Resource& object) {
  if (condition.kind == WaitCondition::Kind::kJsonPath) {
    auto value = EvaluateJsonPath(condition.subject, manifest::ToJson(object));
    // An index that is not there yet may come.
    if (!value.ok()) return false;
    return condition.any_value ? !value->empty() : *value == condition.value;
  }
  const auto* conditions = ConditionsOf(object);
  if (!conditions || !IsObserved(object)) return false;
  for (const v1::Condition& have : *conditions) {
    if (EqualFold(have.type(), condition.subject)) return EqualFold(have.status(), condition.value);
  }
  return false;
}

}  // namespace mesh::cli
