// SPDX-License-Identifier: Apache-2.0
#include "agent/network/trace_policy.h"

#include <algorithm>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "mesh/shared/base.h"
#include "mesh/shared/policy_map.h"

namespace mesh::agent {
namespace {

const char* Direction(bool egress) { return egress ? "egress" : "ingress"; }

// Of the set that judges the pod for the direction and family of `answer`; 0: none, or not known.
uint32_t NumberOf(const PolicyAnswer& answer, const NodeState& state) {
  for (const auto& [uid, pod] : state.pods) {
    if (pod->metadata().namespace_() != answer.ns || pod->metadata().name() != answer.pod) continue;
    const auto identity = state.identities.find(pod->status().identity());
    if (identity == state.identities.end()) return 0;
    const v1::IdentityState& sets = *identity->second;
    return answer.egress ? (answer.ipv6 ? sets.egress6() : sets.egress())
                         : (answer.ipv6 ? sets.ingress6() : sets.ingress());
  }
  return 0;
}

// "policies a, b are not in force on this node: why"
std::string RefusedText(const v1::TracePolicy& facts) {
  const std::string who =
      facts.policies().empty()
          ? std::string("its policies are")
          : fmt::format("{} {} {}", facts.policies_size() == 1 ? "policy" : "policies",
                        fmt::join(facts.policies(), ", "),
                        facts.policies_size() == 1 ? "is" : "are");
  return fmt::format("{} not in force on this node: {}", who, facts.not_in_force());
}

}  // namespace

void NameRule(uint32_t id, const NodeState& state, std::string* policy, uint32_t* index) {
  for (const auto& [number, set] : state.policy_sets) {
    for (const v1::PolicyRuleState& rule : set->rules()) {
      if (rule.id() != id || rule.policy() >= static_cast<uint32_t>(set->policies_size())) continue;
      *policy = set->policies(static_cast<int>(rule.policy()));
      *index = rule.index();
      return;
    }
  }
}

const v1::PolicySetState* SetOf(const PolicyAnswer& answer, const NodeState& state) {
  const auto set = state.policy_sets.find(NumberOf(answer, state));
  return set == state.policy_sets.end() ? nullptr : &*set->second;
}

v1::TracePolicy PolicyFacts(const PolicyAnswer& answer, const NodeState* state,
                            const dataplane::RefusedPolicies& refused) {
  v1::TracePolicy out;
  out.set_egress(answer.egress);
  out.set_namespace_(answer.ns);
  out.set_pod(answer.pod);
  out.set_allowed(answer.verdict == MESH_VERDICT_ALLOW);
  out.set_peer(answer.identity == MESH_IDENTITY_DNS ? "the resolver" : answer.peer.ToString());
  out.set_protocol(answer.protocol);
  out.set_port(answer.port);
  if (answer.shut) out.set_not_in_force(refused.text);
  if (state == nullptr) return out;
  if (const v1::PolicySetState* set = SetOf(answer, *state))
    *out.mutable_policies() = set->policies();
  const uint32_t number = NumberOf(answer, *state);
  if (std::find(refused.sets.begin(), refused.sets.end(), number) != refused.sets.end())
    out.set_not_in_force(refused.text);
  uint32_t index = 0;
  if (answer.verdict != 0) NameRule(answer.rule, *state, out.mutable_policy(), &index);
  out.set_rule(index);
  return out;
}

std::string PolicyText(const PolicyAnswer& answer, const v1::TracePolicy& facts, bool asked) {
  const std::string pod =
      answer.pod.empty() ? "the pod" : fmt::format("pod {}/{}", answer.ns, answer.pod);
  const bool refused = !facts.not_in_force().empty();
  if (answer.shut) {
    return fmt::format("{} is shut for {}: {}", pod, Direction(answer.egress), RefusedText(facts));
  }
  if (refused && (!asked || answer.verdict == 0)) {
    return fmt::format("{} {} for {}: {}", pod,
                       asked ? "is isolated by what was in force before" : "is as it was before",
                       Direction(answer.egress), RefusedText(facts));
  }
  if (answer.verdict != 0) {
    const std::string rule =
        facts.policy().empty()
            ? fmt::format("rule {}, of a policy that has changed meanwhile", answer.rule)
            : fmt::format("policy {}, rule {}[{}]", facts.policy(), Direction(answer.egress),
                          facts.rule());
    return fmt::format("{} {} by {}{}", pod, answer.egress ? "may send it" : "takes it", rule,
                       refused ? ", of what was in force before: " + RefusedText(facts) : "");
  }
  if (facts.policies().empty()) {
    return fmt::format("{} is isolated for {}: its policies are not in the maps yet", pod,
                       Direction(answer.egress));
  }
  return fmt::format("{} is isolated for {} by {} {}, {} admits it", pod, Direction(answer.egress),
                     facts.policies_size() == 1 ? "policy" : "policies",
                     fmt::join(facts.policies(), ", "),
                     facts.policies_size() == 1 ? "no rule of which" : "none of which");
}

}  // namespace mesh::agent
