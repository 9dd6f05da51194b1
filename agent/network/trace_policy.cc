// SPDX-License-Identifier: Apache-2.0
#include "agent/network/trace_policy.h"

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "mesh/shared/policy_map.h"

namespace mesh::agent {
namespace {

const char* Direction(bool egress) { return egress ? "egress" : "ingress"; }

// "policy shop/allow, ingress[0]"
std::string RuleText(uint32_t id, const NodeState& state) {
  for (const auto& [number, set] : state.policy_sets) {
    for (const v1::PolicyRuleState& rule : set->rules()) {
      if (rule.id() != id || rule.policy() >= static_cast<uint32_t>(set->policies_size())) continue;
      return fmt::format("policy {}, rule {}[{}]", set->policies(static_cast<int>(rule.policy())),
                         Direction(set->egress()), rule.index());
    }
  }
  return fmt::format("rule {}, of a policy that has changed meanwhile", id);
}

// The set that judges the pod; null when it is not known.
const v1::PolicySetState* SetOf(const PolicyAnswer& answer, const NodeState& state) {
  for (const auto& [uid, pod] : state.pods) {
    if (pod.metadata().namespace_() != answer.ns || pod.metadata().name() != answer.pod) continue;
    const auto identity = state.identities.find(pod.status().identity());
    if (identity == state.identities.end()) return nullptr;
    const v1::IdentityState& sets = *identity->second;
    const uint32_t number = answer.egress ? (answer.ipv6 ? sets.egress6() : sets.egress())
                                          : (answer.ipv6 ? sets.ingress6() : sets.ingress());
    const auto set = state.policy_sets.find(number);
    return set == state.policy_sets.end() ? nullptr : &*set->second;
  }
  return nullptr;
}

}  // namespace

std::string PolicyText(const PolicyAnswer& answer, const NodeState* state) {
  const std::string pod =
      answer.pod.empty() ? "the pod" : fmt::format("pod {}/{}", answer.ns, answer.pod);
  if (answer.verdict != 0) {
    return fmt::format(
        "{} {} by {}", pod, answer.egress ? "may send it" : "takes it",
        state == nullptr ? fmt::format("rule {}", answer.rule) : RuleText(answer.rule, *state));
  }
  const v1::PolicySetState* set = state == nullptr ? nullptr : SetOf(answer, *state);
  if (set == nullptr) {
    return fmt::format("{} is isolated for {}: its policies are not in the maps yet", pod,
                       Direction(answer.egress));
  }
  return fmt::format("{} is isolated for {} by {} {}, none of which admits it", pod,
                     Direction(answer.egress), set->policies_size() == 1 ? "policy" : "policies",
                     fmt::join(set->policies(), ", "));
}

}  // namespace mesh::agent
