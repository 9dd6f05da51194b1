// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <set>

#include "cli/output/age.h"
#include "cli/output/printers_kinds.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::cli {
namespace {

constexpr char kNone[] = "<none>";

std::string OrNone(const std::string& text) { return text.empty() ? kNone : text; }

std::string Age(const v1::ObjectMeta& meta, absl::Time now) {
  return AgeSince(meta.has_creation_timestamp(), meta.creation_timestamp(), now);
}

// "2026-01-31T12:00:00Z".
std::string CreatedAt(const v1::ObjectMeta& meta) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ",
                          absl::FromUnixSeconds(meta.creation_timestamp().seconds()),
                          absl::UTCTimeZone());
}

std::string ValueText(const v1::IntOrString& value) {
  return value.has_int_value() ? std::to_string(value.int_value()) : value.string_value();
}

// What a metric stands at is not known before something measures it.
std::string TargetText(const v1::MetricTarget& target) {
  if (target.has_average_utilization()) {
    return fmt::format("<unknown>/{}%", target.average_utilization());
  }
  if (target.has_average_value()) {
    return fmt::format("<unknown>/{} (avg)", target.average_value().text());
  }
  return fmt::format("<unknown>/{}", target.value().text());
}

std::string MetricText(const v1::MetricSpec& metric) {
  if (metric.has_resource()) {
    return fmt::format("{}: {}", metric.resource().name(), TargetText(metric.resource().target()));
  }
  if (metric.has_container_resource()) {
    return fmt::format("{}: {}", metric.container_resource().name(),
                       TargetText(metric.container_resource().target()));
  }
  if (metric.has_pods()) return TargetText(metric.pods().target());
  if (metric.has_object()) return TargetText(metric.object().target());
  if (metric.has_external()) return TargetText(metric.external().target());
  return "<unknown type>";
}

Row AutoscalerRow(const v1::HorizontalPodAutoscaler& hpa, absl::Time now) {
  constexpr size_t kShown = 2;
  const v1::HorizontalPodAutoscalerSpec& spec = hpa.spec();
  std::vector<std::string> metrics;
  for (const v1::MetricSpec& metric : spec.metrics()) metrics.push_back(MetricText(metric));
  const size_t more = metrics.size() > kShown ? metrics.size() - kShown : 0;
  metrics.resize(metrics.size() - more);
  std::string text = OrNone(fmt::format("{}", fmt::join(metrics, ", ")));
  if (more > 0) text += fmt::format(" + {} more...", more);
  return {hpa.metadata().name(),
          fmt::format("{}/{}", spec.scale_target_ref().kind(), spec.scale_target_ref().name()),
          text,
          std::to_string(spec.min_replicas()),
          std::to_string(spec.max_replicas()),
          std::to_string(hpa.status().current_replicas()),
          Age(hpa.metadata(), now)};
}

Row BudgetRow(const v1::PodDisruptionBudget& budget, absl::Time now) {
  const v1::PodDisruptionBudgetSpec& spec = budget.spec();
  return {budget.metadata().name(),
          spec.has_min_available() ? ValueText(spec.min_available()) : "N/A",
          spec.has_max_unavailable() ? ValueText(spec.max_unavailable()) : "N/A",
          std::to_string(budget.status().disruptions_allowed()), Age(budget.metadata(), now)};
}

Row QuotaRow(const v1::ResourceQuota& quota, absl::Time now) {
  std::vector<std::string> requests;
  std::vector<std::string> limits;
  std::map<std::string, std::string> hard;
  for (const auto& [name, quantity] : quota.spec().hard()) hard[name] = quantity.text();
  for (const auto& [name, text] : hard) {
    const auto used = quota.status().used().find(name);
    const std::string now_used = used == quota.status().used().end() ? "0" : used->second.text();
    (name.starts_with("limits.") ? limits : requests)
        .push_back(fmt::format("{}: {}/{}", name, now_used, text));
  }
  return {quota.metadata().name(), fmt::format("{}", fmt::join(requests, ", ")),
          fmt::format("{}", fmt::join(limits, ", ")), Age(quota.metadata(), now)};
}

template <typename Binding>
Row BindingRow(const Binding& binding, bool wide, absl::Time now) {
  Row row = {binding.metadata().name(),
             fmt::format("{}/{}", binding.role_ref().kind(), binding.role_ref().name()),
             Age(binding.metadata(), now)};
  if (!wide) return row;
  for (const char* kind : {"User", "Group", "ServiceAccount"}) {
    std::vector<std::string> names;
    for (const v1::Subject& subject : binding.subjects()) {
      if (subject.kind() != kind) continue;
      names.push_back(subject.namespace_().empty()
                          ? subject.name()
                          : fmt::format("{}/{}", subject.namespace_(), subject.name()));
    }
    row.push_back(fmt::format("{}", fmt::join(names, ", ")));
  }
  return row;
}

Row IngressRow(const v1::Ingress& ingress, absl::Time now) {
  std::vector<std::string> hosts;
  for (const v1::IngressRule& rule : ingress.spec().rules()) {
    if (!rule.host().empty()) hosts.push_back(rule.host());
  }
  std::string text = hosts.empty() ? "*" : fmt::format("{}", fmt::join(hosts, ","));
  constexpr size_t kShown = 3;
  if (hosts.size() > kShown) {
    const size_t more = hosts.size() - kShown;
    hosts.resize(kShown);
    text = fmt::format("{} + {} more...", fmt::join(hosts, ","), more);
  }
  std::vector<std::string> addresses;
  for (const auto& entry : ingress.status().load_balancer().ingress()) {
    addresses.push_back(entry.ip().empty() ? entry.hostname() : entry.ip());
  }
  return {ingress.metadata().name(),
          OrNone(ingress.spec().ingress_class_name()),
          text,
          fmt::format("{}", fmt::join(addresses, ",")),
          ingress.spec().tls().empty() ? "80" : "80, 443",
          Age(ingress.metadata(), now)};
}

Row IngressClassRow(const v1::IngressClass& object, absl::Time now) {
  const v1::IngressClassParametersReference& ref = object.spec().parameters();
  std::string text = kNone;
  if (object.spec().has_parameters()) {
    text = ref.api_group().empty()
               ? fmt::format("{}/{}", ref.kind(), ref.name())
               : fmt::format("{}.{}/{}", ref.kind(), ref.api_group(), ref.name());
  }
  return {object.metadata().name(), object.spec().controller(), text, Age(object.metadata(), now)};
}

std::string ConditionStatus(const google::protobuf::RepeatedPtrField<v1::Condition>& conditions,
                            std::string_view type) {
  for (const v1::Condition& condition : conditions) {
    if (condition.type() == type) return condition.status();
  }
  return "Unknown";
}

template <typename Route>
Row RouteRow(const Route& route, absl::Time now) {
  std::vector<std::string> names;
  for (const std::string& name : route.spec().hostnames()) names.push_back("\"" + name + "\"");
  return {route.metadata().name(), names.empty() ? "" : fmt::format("[{}]", fmt::join(names, ",")),
          Age(route.metadata(), now)};
}

}  // namespace

bool RuleColumns(v1::Kind kind, Columns* columns) {
  switch (kind) {
    case v1::KIND_HORIZONTAL_POD_AUTOSCALER:
      *columns = {{"NAME", "REFERENCE", "TARGETS", "MINPODS", "MAXPODS", "REPLICAS", "AGE"}, {}};
      return true;
    case v1::KIND_POD_DISRUPTION_BUDGET:
      *columns = {{"NAME", "MIN AVAILABLE", "MAX UNAVAILABLE", "ALLOWED DISRUPTIONS", "AGE"}, {}};
      return true;
    case v1::KIND_PRIORITY_CLASS:
      *columns = {{"NAME", "VALUE", "GLOBAL-DEFAULT", "AGE", "PREEMPTIONPOLICY"}, {}};
      return true;
    case v1::KIND_RESOURCE_QUOTA:
      *columns = {{"NAME", "REQUEST", "LIMIT", "AGE"}, {}};
      return true;
    case v1::KIND_LIMIT_RANGE:
    case v1::KIND_ROLE:
    case v1::KIND_CLUSTER_ROLE:
      *columns = {{"NAME", "CREATED AT"}, {}};
      return true;
    case v1::KIND_ROLE_BINDING:
    case v1::KIND_CLUSTER_ROLE_BINDING:
      *columns = {{"NAME", "ROLE", "AGE"}, {"USERS", "GROUPS", "SERVICEACCOUNTS"}};
      return true;
    case v1::KIND_INGRESS:
      *columns = {{"NAME", "CLASS", "HOSTS", "ADDRESS", "PORTS", "AGE"}, {}};
      return true;
    case v1::KIND_INGRESS_CLASS:
      *columns = {{"NAME", "CONTROLLER", "PARAMETERS", "AGE"}, {}};
      return true;
    case v1::KIND_GATEWAY:
      *columns = {{"NAME", "CLASS", "ADDRESS", "PROGRAMMED", "AGE"}, {}};
      return true;
    case v1::KIND_GATEWAY_CLASS:
      *columns = {{"NAME", "CONTROLLER", "ACCEPTED", "AGE"}, {"DESCRIPTION"}};
      return true;
    case v1::KIND_HTTP_ROUTE:
    case v1::KIND_GRPC_ROUTE:
      *columns = {{"NAME", "HOSTNAMES", "AGE"}, {}};
      return true;
    default:
      return false;
  }
}

bool RuleRow(const v1::Resource& object, bool wide, absl::Time now, Row* row) {
  switch (object.kind_case()) {
    case v1::Resource::kHorizontalPodAutoscaler:
      *row = AutoscalerRow(object.horizontal_pod_autoscaler(), now);
      return true;
    case v1::Resource::kPodDisruptionBudget:
      *row = BudgetRow(object.pod_disruption_budget(), now);
      return true;
    case v1::Resource::kPriorityClass: {
      const v1::PriorityClass& priority = object.priority_class();
      *row = {priority.metadata().name(), std::to_string(priority.value()),
              priority.global_default() ? "true" : "false", Age(priority.metadata(), now),
              priority.preemption_policy()};
      return true;
    }
    case v1::Resource::kResourceQuota:
      *row = QuotaRow(object.resource_quota(), now);
      return true;
    case v1::Resource::kLimitRange:
      *row = {object.limit_range().metadata().name(), CreatedAt(object.limit_range().metadata())};
      return true;
    case v1::Resource::kRole:
      *row = {object.role().metadata().name(), CreatedAt(object.role().metadata())};
      return true;
    case v1::Resource::kClusterRole:
      *row = {object.cluster_role().metadata().name(), CreatedAt(object.cluster_role().metadata())};
      return true;
    case v1::Resource::kRoleBinding:
      *row = BindingRow(object.role_binding(), wide, now);
      return true;
    case v1::Resource::kClusterRoleBinding:
      *row = BindingRow(object.cluster_role_binding(), wide, now);
      return true;
    case v1::Resource::kIngress:
      *row = IngressRow(object.ingress(), now);
      return true;
    case v1::Resource::kIngressClass:
      *row = IngressClassRow(object.ingress_class(), now);
      return true;
    case v1::Resource::kGateway: {
      const v1::Gateway& gateway = object.gateway();
      std::vector<std::string> addresses;
      for (const auto& address : gateway.status().addresses()) addresses.push_back(address.value());
      *row = {gateway.metadata().name(), gateway.spec().gateway_class_name(),
              fmt::format("{}", fmt::join(addresses, ",")),
              ConditionStatus(gateway.status().conditions(), "Programmed"),
              Age(gateway.metadata(), now)};
      return true;
    }
    case v1::Resource::kGatewayClass: {
      const v1::GatewayClass& object_class = object.gateway_class();
      *row = {object_class.metadata().name(), object_class.spec().controller_name(),
              ConditionStatus(object_class.status().conditions(), "Accepted"),
              Age(object_class.metadata(), now)};
      if (wide) row->push_back(object_class.spec().description());
      return true;
    }
    case v1::Resource::kHttpRoute:
      *row = RouteRow(object.http_route(), now);
      return true;
    case v1::Resource::kGrpcRoute:
      *row = RouteRow(object.grpc_route(), now);
      return true;
    default:
      return false;
  }
}

}  // namespace mesh::cli
