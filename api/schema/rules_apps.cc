// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

#include "api/schema/rules_kinds.h"
#include "api/schema/selector.h"

namespace mesh::schema::internal {
namespace {

constexpr int kMaxExactPercent = 100;

// The number of "25%"; nullopt for anything else.
std::optional<int> Percent(const std::string& text) {
  if (text.size() < 2 || text.back() != '%') return std::nullopt;
  int value = 0;
  const char* end = text.data() + text.size() - 1;
  const auto [at, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || at != end || text.front() == '-') return std::nullopt;
  return value;
}

}  // namespace

std::string LabelsText(const LabelMap& labels) {
  std::map<std::string, std::string> sorted(labels.begin(), labels.end());
  std::string out;
  for (const auto& [key, value] : sorted) {
    out += fmt::format("{}\"{}\":\"{}\"", out.empty() ? "" : ",", key, value);
  }
  return "{" + out + "}";
}

void CheckTemplate(const v1::LabelSelector& selector, const v1::PodTemplateSpec& pod,
                   std::string_view kind, Problems* problems) {
  CheckSelector(selector, "spec.selector", problems);
  const bool empty = selector.match_labels().empty() && selector.match_expressions().empty();
  if (empty) {
    Add(problems, "spec.selector", "Invalid value: {{}}: empty selector is invalid for {}", kind);
  } else if (!Matches(selector, pod.metadata().labels())) {
    Add(problems, "spec.template.metadata.labels",
        "Invalid value: {}: `selector` does not match template `labels`",
        LabelsText(pod.metadata().labels()));
  }
  const std::string& policy = pod.spec().restart_policy();
  if (policy == "OnFailure" || policy == "Never") {
    Add(problems, "spec.template.spec.restartPolicy",
        "Unsupported value: \"{}\": supported values: \"Always\"", policy);
  }
  const bool replicas = kind == "replicaset" || kind == "deployment";
  if (replicas && pod.spec().has_active_deadline_seconds()) {
    Add(problems, "spec.template.spec.activeDeadlineSeconds",
        "Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported");
  }
  CheckPodTemplate(pod, "spec.template", problems);
}

void CheckPodTemplate(const v1::PodTemplateSpec& pod, const std::string& path, Problems* problems) {
  CheckPodSpec(pod.spec(), path + ".spec", problems);
  CheckWeight(pod.metadata().annotations(), path + ".metadata", problems);
  CheckBandwidth(pod.metadata().annotations(), path + ".metadata", problems);
  CheckProbePeriod(pod.metadata().annotations(), path + ".metadata", problems);
}

bool CheckIntOrPercent(const v1::IntOrString& value, const std::string& path, bool capped,
                       Problems* problems) {
  if (value.has_int_value()) {
    if (value.int_value() < 0) {
      Add(problems, path, "Invalid value: {}: must be greater than or equal to 0",
          value.int_value());
    }
    return value.int_value() == 0;
  }
  if (!value.has_string_value()) return false;
  const std::optional<int> percent = Percent(value.string_value());
  if (!percent) {
    Add(problems, path,
        "Invalid value: \"{}\": a valid percent string must be a numeric string followed by an "
        "ending "
        "'%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        value.string_value());
    return false;
  }
  if (capped && *percent > kMaxExactPercent) {
    Add(problems, path, "Invalid value: \"{}\": must not be greater than 100%",
        value.string_value());
  }
  return *percent == 0;
}

std::string ValueText(const v1::IntOrString& value) {
  return value.has_int_value() ? fmt::format("{}", value.int_value())
                               : fmt::format("\"{}\"", value.string_value());
}

namespace {

void CheckStrategy(const v1::DeploymentStrategy& strategy, Problems* problems) {
  const std::string path = "spec.strategy.rollingUpdate";
  if (strategy.type() == "Recreate" && strategy.has_rolling_update()) {
    Add(problems, path, "Forbidden: may not be specified when strategy `type` is 'Recreate'");
    return;
  }
  const v1::RollingUpdateDeployment& rolling = strategy.rolling_update();
  const bool no_unavailable =
      CheckIntOrPercent(rolling.max_unavailable(), path + ".maxUnavailable", true, problems);
  const bool no_surge = CheckIntOrPercent(rolling.max_surge(), path + ".maxSurge", false, problems);
  if (no_unavailable && no_surge) {
    Add(problems, path + ".maxUnavailable", "Invalid value: {}: may not be 0 when `maxSurge` is 0",
        ValueText(rolling.max_unavailable()));
  }
}

}  // namespace

void CheckSelector(const v1::LabelSelector& selector, const std::string& path, Problems* problems) {
  for (int i = 0; i < selector.match_expressions_size(); ++i) {
    const v1::LabelSelectorRequirement& term = selector.match_expressions(i);
    const std::string here = fmt::format("{}.matchExpressions[{}]", path, i);
    const bool wants_values = term.operator_() == "In" || term.operator_() == "NotIn";
    const bool wants_none = term.operator_() == "Exists" || term.operator_() == "DoesNotExist";
    if (wants_values && term.values().empty()) {
      Add(problems, here + ".values",
          "Required value: must be specified when `operator` is 'In' or 'NotIn'");
    }
    if (wants_none && !term.values().empty()) {
      Add(problems, here + ".values",
          "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
    }
    if (!term.key().empty()) {
      if (const std::string why = CheckQualifiedName(term.key()); !why.empty()) {
        Add(problems, here + ".key", "{}", InvalidText(term.key(), why));
      }
    }
    for (int j = 0; j < term.values_size(); ++j) {
      if (const std::string why = CheckLabelValue(term.values(j)); !why.empty()) {
        Add(problems, fmt::format("{}.values[{}]", here, j), "{}",
            InvalidText(term.values(j), why));
      }
    }
  }
}

void CheckReplicaSet(const v1::ReplicaSet& object, Problems* problems) {
  if (!object.spec().has_template_() || !object.spec().has_selector()) return;  // said already
  CheckTemplate(object.spec().selector(), object.spec().template_(), "replicaset", problems);
}

void CheckDeployment(const v1::Deployment& object, Problems* problems) {
  const v1::DeploymentSpec& spec = object.spec();
  if (spec.has_template_() && spec.has_selector()) {
    CheckTemplate(spec.selector(), spec.template_(), "deployment", problems);
  } else {
    CheckPodSpec(spec.template_().spec(), "spec.template.spec", problems);
  }
  CheckStrategy(spec.strategy(), problems);
  if (spec.has_progress_deadline_seconds() &&
      spec.progress_deadline_seconds() <= spec.min_ready_seconds()) {
    Add(problems, "spec.progressDeadlineSeconds",
        "Invalid value: {}: must be greater than minReadySeconds",
        spec.progress_deadline_seconds());
  }
}

}  // namespace mesh::schema::internal
