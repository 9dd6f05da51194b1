// SPDX-License-Identifier: Apache-2.0
// Where a pod may run: tolerations, affinity and spreading.
#include <algorithm>
#include <string>
#include <vector>

#include "api/schema/rules.h"
#include "api/schema/schema.h"

namespace mesh::schema::internal {
namespace {

void CheckKey(const std::string& key, const std::string& path, Problems* problems) {
  const std::string why = CheckQualifiedName(key);
  if (!why.empty()) Add(problems, path, "{}", InvalidText(key, why));
}

void CheckToleration(const v1::Toleration& toleration, const std::string& path,
                     Problems* problems) {
  const std::string& op = toleration.operator_();
  if (!toleration.key().empty()) CheckKey(toleration.key(), path + ".key", problems);
  if (toleration.key().empty() && op != "Exists") {
    Add(problems, path + ".operator", "{}",
        InvalidText(op,
                    "operator must be Exists when `key` is empty, which means \"match all values "
                    "and all keys\""));
  }
  if (toleration.has_toleration_seconds() && toleration.effect() != "NoExecute") {
    Add(problems, path + ".effect", "{}",
        InvalidText(toleration.effect(),
                    "effect must be 'NoExecute' when `tolerationSeconds` is set"));
  }
  if (op == "Exists" && !toleration.value().empty()) {
    Add(problems, path + ".value", "{}",
        InvalidText(toleration.value(), "value must be empty when `operator` is 'Exists'"));
  }
}

void CheckExpression(const v1::NodeSelectorRequirement& one, const std::string& path,
                     Problems* problems) {
  const std::string& op = one.operator_();
  CheckKey(one.key(), path + ".key", problems);
  if ((op == "In" || op == "NotIn") && one.values().empty()) {
    Add(problems, path + ".values",
        "Required value: must be specified when `operator` is 'In' or 'NotIn'");
  } else if ((op == "Exists" || op == "DoesNotExist") && !one.values().empty()) {
    Add(problems, path + ".values",
        "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
  } else if (op == "Gt" || op == "Lt") {
    if (one.values_size() != 1) {
      Add(problems, path + ".values",
          "Required value: must be specified single value when `operator` is 'Lt' or 'Gt'");
    } else if (one.values(0).empty() ||
               one.values(0).find_first_not_of("0123456789", one.values(0)[0] == '-' ? 1 : 0) !=
                   std::string::npos) {
      Add(problems, path + ".values[0]", "{}", InvalidText(one.values(0), "must be an integer"));
    }
  }
}

void CheckField(const v1::NodeSelectorRequirement& one, const std::string& path,
                Problems* problems) {
  if (one.key() != "metadata.name") {
    Add(problems, path + ".key", "{}", InvalidText(one.key(), "not a valid field selector key"));
  }
  if (one.operator_() != "In" && one.operator_() != "NotIn") {
    Add(problems, path + ".operator", "{}",
        InvalidText(one.operator_(), "not a valid selector operator"));
  } else if (one.values_size() != 1) {
    Add(problems, path + ".values",
        "Required value: must be only one value when `operator` is 'In' or 'NotIn' for node field "
        "selector");
  }
}

void CheckTerm(const v1::NodeSelectorTerm& term, const std::string& path, Problems* problems) {
  for (int i = 0; i < term.match_expressions_size(); ++i)
    CheckExpression(term.match_expressions(i), fmt::format("{}.matchExpressions[{}]", path, i),
                    problems);
  for (int i = 0; i < term.match_fields_size(); ++i)
    CheckField(term.match_fields(i), fmt::format("{}.matchFields[{}]", path, i), problems);
}

void CheckNodeAffinity(const v1::NodeAffinity& affinity, const std::string& path,
                       Problems* problems) {
  const auto& terms = affinity.required_during_scheduling_ignored_during_execution();
  for (int i = 0; i < terms.node_selector_terms_size(); ++i) {
    CheckTerm(terms.node_selector_terms(i),
              fmt::format("{}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[{}]",
                          path, i),
              problems);
  }
  const auto& preferred = affinity.preferred_during_scheduling_ignored_during_execution();
  for (int i = 0; i < preferred.size(); ++i) {
    CheckTerm(
        preferred[i].preference(),
        fmt::format("{}.preferredDuringSchedulingIgnoredDuringExecution[{}].preference", path, i),
        problems);
  }
}

void CheckPodTerm(const v1::PodAffinityTerm& term, const std::string& path, Problems* problems) {
  if (term.has_label_selector())
    CheckSelector(term.label_selector(), path + ".labelSelector", problems);
  if (term.has_namespace_selector())
    CheckSelector(term.namespace_selector(), path + ".namespaceSelector", problems);
  for (int i = 0; i < term.namespaces_size(); ++i) {
    const std::string why = CheckDnsLabel(term.namespaces(i));
    if (!why.empty())
      Add(problems, fmt::format("{}.namespaces[{}]", path, i), "{}",
          InvalidText(term.namespaces(i), why));
  }
  if (!term.topology_key().empty()) CheckKey(term.topology_key(), path + ".topologyKey", problems);
}

// Affinity and anti-affinity have one shape.
template <typename T>
void CheckPodTerms(const T& affinity, const std::string& path, Problems* problems) {
  const auto& required = affinity.required_during_scheduling_ignored_during_execution();
  for (int i = 0; i < required.size(); ++i) {
    CheckPodTerm(required[i],
                 fmt::format("{}.requiredDuringSchedulingIgnoredDuringExecution[{}]", path, i),
                 problems);
  }
  const auto& preferred = affinity.preferred_during_scheduling_ignored_during_execution();
  for (int i = 0; i < preferred.size(); ++i) {
    CheckPodTerm(
        preferred[i].pod_affinity_term(),
        fmt::format("{}.preferredDuringSchedulingIgnoredDuringExecution[{}].podAffinityTerm", path,
                    i),
        problems);
  }
}

// Whether the selector says something of this label itself.
bool Mentions(const v1::LabelSelector& selector, const std::string& key) {
  return selector.match_labels().contains(key) ||
         std::any_of(selector.match_expressions().begin(), selector.match_expressions().end(),
                     [&](const auto& one) { return one.key() == key; });
}

void CheckSpread(const v1::TopologySpreadConstraint& constraint, const std::string& path,
                 Problems* problems) {
  if (!constraint.topology_key().empty())
    CheckKey(constraint.topology_key(), path + ".topologyKey", problems);
  if (constraint.has_min_domains() && constraint.when_unsatisfiable() == "ScheduleAnyway") {
    Add(problems, path + ".minDomains",
        "Invalid value: {}: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not "
        "ScheduleAnyway",
        constraint.min_domains());
  }
  if (constraint.has_label_selector())
    CheckSelector(constraint.label_selector(), path + ".labelSelector", problems);
  if (!constraint.has_label_selector() && !constraint.match_label_keys().empty()) {
    Add(problems, path + ".matchLabelKeys",
        "Forbidden: must not be specified when labelSelector is not set");
    return;
  }
  for (int i = 0; i < constraint.match_label_keys_size(); ++i) {
    const std::string& key = constraint.match_label_keys(i);
    const std::string at = fmt::format("{}.matchLabelKeys[{}]", path, i);
    CheckKey(key, at, problems);
    if (Mentions(constraint.label_selector(), key)) {
      Add(problems, at, "{}", InvalidText(key, "exists in both matchLabelKeys and labelSelector"));
    }
  }
}

void CheckSpreads(const v1::PodSpec& spec, const std::string& path, Problems* problems) {
  for (int i = 0; i < spec.topology_spread_constraints_size(); ++i) {
    CheckSpread(spec.topology_spread_constraints(i),
                fmt::format("{}.topologySpreadConstraints[{}]", path, i), problems);
  }
}

}  // namespace

void CheckPlacement(const v1::PodSpec& spec, const std::string& path, Problems* problems) {
  for (int i = 0; i < spec.tolerations_size(); ++i)
    CheckToleration(spec.tolerations(i), fmt::format("{}.tolerations[{}]", path, i), problems);
  CheckSpreads(spec, path, problems);
  const v1::Affinity& affinity = spec.affinity();
  CheckNodeAffinity(affinity.node_affinity(), path + ".affinity.nodeAffinity", problems);
  CheckPodTerms(affinity.pod_affinity(), path + ".affinity.podAffinity", problems);
  CheckPodTerms(affinity.pod_anti_affinity(), path + ".affinity.podAntiAffinity", problems);
}

}  // namespace mesh::schema::internal
