// SPDX-License-Identifier: Apache-2.0
// HorizontalPodAutoscaler, PodDisruptionBudget, PriorityClass, ResourceQuota, LimitRange.
#include <algorithm>
#include <map>
#include <set>

#include "api/schema/rules_kinds.h"
#include "common/quantity.h"

namespace mesh::schema::internal {
namespace {

using QuantityMap = google::protobuf::Map<std::string, v1::Quantity>;

constexpr int32_t kMaxUserPriority = 1'000'000'000;
constexpr int64_t kMilli = 1000;

// Sorted, so that two runs report in one order.
std::map<std::string, std::string> Sorted(const QuantityMap& map) {
  std::map<std::string, std::string> out;
  for (const auto& [name, quantity] : map) out[name] = quantity.text();
  return out;
}

int Given(const v1::MetricTarget& target) {
  return (target.has_average_utilization() ? 1 : 0) + (target.has_average_value() ? 1 : 0) +
         (target.has_value() ? 1 : 0);
}

void CheckTarget(const v1::MetricTarget& target, const std::string& path, Problems* problems) {
  if (Given(target) == 0) {
    Add(problems, path,
        "Required value: must set either a target raw value or a target utilization");
  }
  if (target.has_average_utilization() && target.average_utilization() < 1) {
    Add(problems, path + ".averageUtilization", "Invalid value: {}: must be greater than 0",
        target.average_utilization());
  }
  const auto positive = [&](bool given, const v1::Quantity& value, const char* field) {
    const auto milli = ParseQuantityMilli(value.text());
    if (!given || !milli.ok() || *milli > 0) return;
    Add(problems, fmt::format("{}.{}", path, field), "Invalid value: \"{}\": must be positive",
        value.text());
  };
  positive(target.has_average_value(), target.average_value(), "averageValue");
  positive(target.has_value(), target.value(), "value");
  const std::string& type = target.type();
  const bool fits = (type != "Utilization" || target.has_average_utilization()) &&
                    (type != "Value" || target.has_value()) &&
                    (type != "AverageValue" || target.has_average_value());
  if (!fits && Given(target) > 0) {
    Add(problems, path, "Invalid value: a target of type {} needs {}", type,
        type == "Utilization" ? "averageUtilization"
        : type == "Value"     ? "value"
                              : "averageValue");
  }
}

void CheckMetric(const v1::MetricSpec& metric, const std::string& path, Problems* problems) {
  struct Source {
    std::string_view type;
    std::string_view field;
    bool given;
    const v1::MetricTarget* target;
  };
  const Source sources[] = {
      {"Resource", "resource", metric.has_resource(), &metric.resource().target()},
      {"ContainerResource", "containerResource", metric.has_container_resource(),
       &metric.container_resource().target()},
      {"Pods", "pods", metric.has_pods(), &metric.pods().target()},
      {"Object", "object", metric.has_object(), &metric.object().target()},
      {"External", "external", metric.has_external(), &metric.external().target()},
  };
  for (const Source& source : sources) {
    const std::string here = fmt::format("{}.{}", path, source.field);
    if (source.given && source.type == metric.type()) {
      CheckTarget(*source.target, here + ".target", problems);
    } else if (source.given) {
      Add(problems, here, "Forbidden: must populate the given metric source only");
    } else if (source.type == metric.type()) {
      Add(problems, here, "Required value: must populate information for the given metric source");
    }
  }
}

bool CountsOutside(const v1::HorizontalPodAutoscalerSpec& spec) {
  return std::any_of(spec.metrics().begin(), spec.metrics().end(), [](const auto& metric) {
    return metric.type() == "Object" || metric.type() == "External";
  });
}

void FillScaling(bool up, v1::HPAScalingRules* rules) {
  constexpr int kPeriodSeconds = 15;
  if (rules->select_policy().empty()) rules->set_select_policy("Max");
  if (up && !rules->has_stabilization_window_seconds()) {
    rules->set_stabilization_window_seconds(0);
  }
  if (!rules->policies().empty()) return;
  const auto add = [&](const char* type, int32_t value) {
    v1::HPAScalingPolicy* policy = rules->add_policies();
    policy->set_type(type);
    policy->set_value(value);
    policy->set_period_seconds(kPeriodSeconds);
  };
  if (up) add("Pods", 4);
  add("Percent", 100);
}

bool IsQuotaResource(std::string_view name) {
  constexpr std::string_view kNames[] = {"cpu",
                                         "memory",
                                         "ephemeral-storage",
                                         "storage",
                                         "pods",
                                         "services",
                                         "replicationcontrollers",
                                         "resourcequotas",
                                         "secrets",
                                         "configmaps",
                                         "persistentvolumeclaims",
                                         "services.nodeports",
                                         "services.loadbalancers",
                                         "requests.cpu",
                                         "requests.memory",
                                         "requests.storage",
                                         "requests.ephemeral-storage",
                                         "limits.cpu",
                                         "limits.memory",
                                         "limits.ephemeral-storage"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames) ||
         name.starts_with("hugepages-") || name.starts_with("requests.hugepages-");
}

bool IsCount(std::string_view name) {
  constexpr std::string_view kNames[] = {"pods",
                                         "services",
                                         "replicationcontrollers",
                                         "resourcequotas",
                                         "secrets",
                                         "configmaps",
                                         "persistentvolumeclaims",
                                         "services.nodeports",
                                         "services.loadbalancers"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames) ||
         name.starts_with("count/");
}

void CheckHard(const QuantityMap& hard, Problems* problems) {
  for (const auto& [name, text] : Sorted(hard)) {
    const std::string path = fmt::format("spec.hard[{}]", name);
    if (const std::string why = CheckQualifiedName(name); !why.empty()) {
      Add(problems, path, "{}", InvalidText(name, why));
    } else if (name.find('/') == std::string::npos && !IsQuotaResource(name)) {
      Add(problems, path, "{}",
          InvalidText(name, "must be a standard resource for quota or fully qualified"));
    }
    const auto milli = ParseQuantityMilli(text);
    if (IsCount(name) && milli.ok() && *milli % kMilli != 0) {
      Add(problems, path, "Invalid value: \"{}\": must be an integer", text);
    }
  }
}

void CheckScopes(const v1::ResourceQuotaSpec& spec, Problems* problems) {
  constexpr std::string_view kScopes[] = {"Terminating",          "NotTerminating",
                                          "BestEffort",           "NotBestEffort",
                                          "PriorityClass",        "CrossNamespacePodAffinity",
                                          "VolumeAttributesClass"};
  std::set<std::string> seen;
  for (int i = 0; i < spec.scopes_size(); ++i) {
    const std::string& scope = spec.scopes(i);
    if (std::find(std::begin(kScopes), std::end(kScopes), scope) == std::end(kScopes)) {
      Add(problems, fmt::format("spec.scopes[{}]", i), "Invalid value: \"{}\": unsupported scope",
          scope);
    }
    seen.insert(scope);
  }
  for (const auto& [one, other] :
       {std::pair("BestEffort", "NotBestEffort"), std::pair("Terminating", "NotTerminating")}) {
    if (seen.contains(one) && seen.contains(other)) {
      Add(problems, "spec.scopes", "Invalid value: conflicting scopes: {} and {}", one, other);
    }
  }
  for (int i = 0; i < spec.scope_selector().match_expressions_size(); ++i) {
    const auto& term = spec.scope_selector().match_expressions(i);
    const std::string path = fmt::format("spec.scopeSelector.matchExpressions[{}]", i);
    const bool wants_values = term.operator_() == "In" || term.operator_() == "NotIn";
    if (wants_values && term.values().empty()) {
      Add(problems, path + ".values",
          "Required value: must be at least one value when `operator` is 'In' or 'NotIn' for "
          "scope selector");
    }
    if (!wants_values && !term.values().empty()) {
      Add(problems, path + ".values",
          "Invalid value: must be no value when `operator` is 'Exists' or 'DoesNotExist' for "
          "scope selector");
    }
    const bool named =
        term.scope_name() == "PriorityClass" || term.scope_name() == "VolumeAttributesClass";
    if (!named && wants_values) {
      Add(problems, path + ".operator",
          "Invalid value: \"{}\": must be 'Exists' when scope is any of "
          "ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
          "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or "
          "ResourceQuotaScopeCrossNamespacePodAffinity",
          term.operator_());
    }
  }
}

// a[name] may not be more than b[name].
void CheckOrder(const QuantityMap& a, std::string_view a_name, const QuantityMap& b,
                std::string_view b_name, const std::string& path, Problems* problems) {
  for (const auto& [name, text] : Sorted(a)) {
    const auto other = b.find(name);
    if (other == b.end()) continue;
    const auto low = ParseQuantityMilli(text);
    const auto high = ParseQuantityMilli(other->second.text());
    if (!low.ok() || !high.ok() || *low <= *high) continue;
    Add(problems, fmt::format("{}.{}[{}]", path, a_name, name),
        "Invalid value: \"{}\": {} value {} is greater than {} value {}", text, a_name, text,
        b_name, other->second.text());
  }
}

// Those of `from` that `to` does not have.
void AddMissing(const QuantityMap& from, QuantityMap* to) {
  for (const auto& [name, quantity] : from) to->insert({name, quantity});
}

}  // namespace

void FillAutoscaler(v1::HorizontalPodAutoscalerSpec* spec) {
  constexpr int32_t kTargetPercent = 80;
  if (spec->metrics().empty()) {
    v1::MetricSpec* metric = spec->add_metrics();
    metric->set_type("Resource");
    metric->mutable_resource()->set_name("cpu");
    metric->mutable_resource()->mutable_target()->set_type("Utilization");
    metric->mutable_resource()->mutable_target()->set_average_utilization(kTargetPercent);
  }
  if (!spec->has_behavior()) return;
  FillScaling(true, spec->mutable_behavior()->mutable_scale_up());
  FillScaling(false, spec->mutable_behavior()->mutable_scale_down());
}

void CheckAutoscaler(const v1::HorizontalPodAutoscaler& object, Problems* problems) {
  if (!object.has_spec()) return;
  const v1::HorizontalPodAutoscalerSpec& spec = object.spec();
  if (spec.min_replicas() < 1 && !CountsOutside(spec)) {
    Add(problems, "spec.minReplicas", "Invalid value: {}: must be greater than or equal to 1",
        spec.min_replicas());
  }
  if (spec.has_max_replicas() && spec.max_replicas() < spec.min_replicas()) {
    Add(problems, "spec.maxReplicas",
        "Invalid value: {}: must be greater than or equal to `minReplicas`", spec.max_replicas());
  }
  for (int i = 0; i < spec.metrics_size(); ++i) {
    CheckMetric(spec.metrics(i), fmt::format("spec.metrics[{}]", i), problems);
  }
}

void CheckDisruptionBudget(const v1::PodDisruptionBudget& object, Problems* problems) {
  const v1::PodDisruptionBudgetSpec& spec = object.spec();
  if (spec.has_min_available() && spec.has_max_unavailable()) {
    Add(problems, "spec", "Invalid value: minAvailable and maxUnavailable cannot be both set");
  }
  CheckIntOrPercent(spec.min_available(), "spec.minAvailable", true, problems);
  CheckIntOrPercent(spec.max_unavailable(), "spec.maxUnavailable", true, problems);
  CheckSelector(spec.selector(), "spec.selector", problems);
}

void WarnDisruptionBudget(const v1::PodDisruptionBudget& object, Problems* problems) {
  const v1::PodDisruptionBudgetSpec& spec = object.spec();
  if (!spec.has_min_available() && !spec.has_max_unavailable()) {
    Add(problems, "spec", "has no effect without minAvailable or maxUnavailable");
  }
}

void CheckPriorityClass(const v1::PriorityClass& object, Problems* problems) {
  const std::string& name = object.metadata().name();
  if (name.starts_with("system-")) {
    Add(problems, "metadata.name",
        "Forbidden: priority class names with 'system-' prefix are reserved for system use only. "
        "error: {} is not a known system priority class",
        name);
  }
  if (object.value() > kMaxUserPriority) {
    Add(problems, "value", "Forbidden: maximum allowed value of a user defined priority is {}",
        kMaxUserPriority);
  }
}

void CheckPriorityClassUpdate(const v1::PriorityClass& live, const v1::PriorityClass& next,
                              Problems* problems) {
  if (live.value() != next.value()) {
    Add(problems, "value", "Forbidden: may not be changed in an update.");
  }
  if (live.preemption_policy() != next.preemption_policy()) {
    Add(problems, "preemptionPolicy", "Invalid value: \"{}\": field is immutable",
        next.preemption_policy());
  }
}

void CheckResourceQuota(const v1::ResourceQuota& object, Problems* problems) {
  CheckHard(object.spec().hard(), problems);
  CheckScopes(object.spec(), problems);
}

void CheckResourceQuotaUpdate(const v1::ResourceQuotaSpec& live, const v1::ResourceQuotaSpec& next,
                              Problems* problems) {
  const std::multiset<std::string> was(live.scopes().begin(), live.scopes().end());
  const std::multiset<std::string> is(next.scopes().begin(), next.scopes().end());
  if (was != is) Add(problems, "spec.scopes", "Invalid value: field is immutable");
}

void FillLimitRange(v1::LimitRangeSpec* spec) {
  for (v1::LimitRangeItem& item : *spec->mutable_limits()) {
    if (item.type() != "Container") continue;
    AddMissing(item.max(), item.mutable_default_());
    AddMissing(item.default_(), item.mutable_default_request());
    AddMissing(item.min(), item.mutable_default_request());
  }
}

void CheckLimitRange(const v1::LimitRange& object, Problems* problems) {
  std::set<std::string> types;
  for (int i = 0; i < object.spec().limits_size(); ++i) {
    const v1::LimitRangeItem& item = object.spec().limits(i);
    const std::string path = fmt::format("spec.limits[{}]", i);
    if (!item.type().empty() && !types.insert(item.type()).second) {
      Add(problems, path + ".type", "{}", DuplicateText(item.type()));
    }
    if (item.type() == "Pod") {
      const char* why = "Forbidden: may not be specified when `type` is 'Pod'";
      if (!item.default_().empty()) Add(problems, path + ".default", "{}", why);
      if (!item.default_request().empty()) Add(problems, path + ".defaultRequest", "{}", why);
    }
    if (item.type() == "PersistentVolumeClaim" && !item.min().contains("storage") &&
        !item.max().contains("storage")) {
      Add(problems, fmt::format("spec.limits[{}]", i),
          "Required value: either minimum or maximum storage value is required, but neither was "
          "provided");
    }
    CheckOrder(item.min(), "min", item.max(), "max", path, problems);
    CheckOrder(item.min(), "min", item.default_request(), "defaultRequest", path, problems);
    CheckOrder(item.min(), "min", item.default_(), "default", path, problems);
    CheckOrder(item.default_request(), "defaultRequest", item.default_(), "default", path,
               problems);
    CheckOrder(item.default_request(), "defaultRequest", item.max(), "max", path, problems);
    CheckOrder(item.default_(), "default", item.max(), "max", path, problems);
    for (const auto& [name, text] : Sorted(item.max_limit_request_ratio())) {
      const auto milli = ParseQuantityMilli(text);
      if (!milli.ok() || *milli >= kMilli) continue;
      Add(problems, fmt::format("{}.maxLimitRequestRatio[{}]", path, name),
          "Invalid value: \"{}\": ratio {} is less than 1", text, text);
    }
  }
}

}  // namespace mesh::schema::internal
