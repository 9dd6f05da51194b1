// SPDX-License-Identifier: Apache-2.0
// Role, ClusterRole and their bindings.
#include "api/schema/rules_kinds.h"
#include "google/protobuf/util/json_util.h"
#include "google/protobuf/util/message_differencer.h"

namespace mesh::schema::internal {
namespace {

constexpr char kGroup[] = "rbac.authorization.k8s.io";

void CheckRules(const google::protobuf::RepeatedPtrField<v1::PolicyRule>& rules, bool namespaced,
                Problems* problems) {
  for (int i = 0; i < rules.size(); ++i) {
    const v1::PolicyRule& rule = rules[i];
    const std::string path = fmt::format("rules[{}]", i);
    if (!rule.non_resource_urls().empty()) {
      if (namespaced) {
        Add(problems, path + ".nonResourceURLs",
            "Invalid value: {}: namespaced rules cannot apply to non-resource URLs",
            ListText(rule.non_resource_urls()));
      }
      if (!rule.api_groups().empty() || !rule.resources().empty() ||
          !rule.resource_names().empty()) {
        Add(problems, path + ".nonResourceURLs",
            "Invalid value: {}: rules cannot apply to both regular resources and non-resource URLs",
            ListText(rule.non_resource_urls()));
      }
      continue;
    }
    if (rule.api_groups().empty()) {
      Add(problems, path + ".apiGroups",
          "Required value: resource rules must supply at least one api group");
    }
    if (rule.resources().empty()) {
      Add(problems, path + ".resources",
          "Required value: resource rules must supply at least one resource");
    }
  }
}

void CheckRoleRef(const v1::RoleRef& role, bool cluster, Problems* problems) {
  if (role.has_api_group() && role.api_group() != kGroup) {
    Add(problems, "roleRef.apiGroup", "Unsupported value: \"{}\": supported values: \"{}\"",
        role.api_group(), kGroup);
  }
  if (cluster && role.kind() == "Role") {
    Add(problems, "roleRef.kind", "Unsupported value: \"Role\": supported values: \"ClusterRole\"");
  }
  if (const std::string why = CheckNameOfKind(v1::KIND_ROLE, role.name()).value_or("");
      !role.name().empty() && !why.empty()) {
    Add(problems, "roleRef.name", "{}", InvalidText(role.name(), why));
  }
}

void CheckSubjects(const google::protobuf::RepeatedPtrField<v1::Subject>& subjects,
                   Problems* problems) {
  for (int i = 0; i < subjects.size(); ++i) {
    const v1::Subject& subject = subjects[i];
    const std::string path = fmt::format("subjects[{}]", i);
    if (subject.kind() == "ServiceAccount") {
      if (!subject.api_group().empty()) {
        Add(problems, path + ".apiGroup", "Unsupported value: \"{}\": supported values: \"\"",
            subject.api_group());
      }
      if (subject.namespace_().empty()) Add(problems, path + ".namespace", "Required value");
      if (const std::string why = CheckDnsSubdomain(subject.name());
          !subject.name().empty() && !why.empty()) {
        Add(problems, path + ".name", "{}", InvalidText(subject.name(), why));
      }
    } else if (subject.kind() == "User" || subject.kind() == "Group") {
      if (subject.api_group() != kGroup) {
        Add(problems, path + ".apiGroup", "Unsupported value: \"{}\": supported values: \"{}\"",
            subject.api_group(), kGroup);
      }
    }
  }
}

}  // namespace

void CheckRole(const v1::Role& object, Problems* problems) {
  CheckRules(object.rules(), true, problems);
}

void CheckClusterRole(const v1::ClusterRole& object, Problems* problems) {
  CheckRules(object.rules(), false, problems);
  if (!object.has_aggregation_rule()) return;
  const auto& selectors = object.aggregation_rule().cluster_role_selectors();
  if (selectors.empty()) {
    Add(problems, "aggregationRule.clusterRoleSelectors",
        "Required value: at least one clusterRoleSelector required if aggregationRule is non-nil");
  }
  for (int i = 0; i < selectors.size(); ++i) {
    CheckSelector(selectors[i], fmt::format("aggregationRule.clusterRoleSelectors[{}]", i),
                  problems);
  }
}

void CheckRoleBinding(const v1::RoleBinding& object, Problems* problems) {
  CheckRoleRef(object.role_ref(), false, problems);
  CheckSubjects(object.subjects(), problems);
}

void CheckClusterRoleBinding(const v1::ClusterRoleBinding& object, Problems* problems) {
  CheckRoleRef(object.role_ref(), true, problems);
  CheckSubjects(object.subjects(), problems);
}

void CheckRoleRefUpdate(const v1::RoleRef& live, const v1::RoleRef& next, Problems* problems) {
  if (google::protobuf::util::MessageDifferencer::Equals(live, next)) return;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(next, &text).ok()) text = "{}";
  Add(problems, "roleRef", "Invalid value: {}: cannot change roleRef", text);
}

void FillBinding(v1::RoleRef* role, google::protobuf::RepeatedPtrField<v1::Subject>* subjects) {
  if (role != nullptr && role->api_group().empty()) role->set_api_group(kGroup);
  for (v1::Subject& subject : *subjects) {
    const bool person = subject.kind() == "User" || subject.kind() == "Group";
    if (person && subject.api_group().empty()) subject.set_api_group(kGroup);
  }
}

}  // namespace mesh::schema::internal
