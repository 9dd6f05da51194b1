// SPDX-License-Identifier: Apache-2.0
#include "agent/network/policy_refusal.h"

#include <algorithm>
#include <set>

#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::agent {
namespace {

// Of a condition, which people read in a table.
constexpr size_t kNamesTold = 5;

template <typename Names>
std::string Told(const Names& names) {
  const auto count = static_cast<size_t>(names.size());
  const auto end = names.begin() + static_cast<std::ptrdiff_t>(std::min(count, kNamesTold));
  std::string out = fmt::format("{}", fmt::join(names.begin(), end, ", "));
  if (count > kNamesTold) out += fmt::format(" and {} more", count - kNamesTold);
  return out;
}

}  // namespace

std::optional<v1::PolicyRefusal> NameRefusal(const dataplane::RefusedPolicies& refused,
                                             const std::vector<dataplane::Endpoint>& endpoints,
                                             const NodeState* state) {
  if (refused.text.empty()) return std::nullopt;
  v1::PolicyRefusal out;
  out.set_reason(refused.text);
  std::set<std::string> policies, shut;
  for (const uint32_t number : refused.sets) {
    if (state == nullptr) break;
    const auto set = state->policy_sets.find(number);
    if (set == state->policy_sets.end()) continue;
    policies.insert(set->second->policies().begin(), set->second->policies().end());
  }
  for (const dataplane::Endpoint& endpoint : endpoints) {
    if (refused.shut.contains(endpoint.ip))
      shut.insert(fmt::format("{}/{}", endpoint.ns, endpoint.pod));
  }
  out.mutable_policies()->Add(policies.begin(), policies.end());
  out.mutable_shut_pods()->Add(shut.begin(), shut.end());
  return out;
}

std::string RefusalText(const std::optional<v1::PolicyRefusal>& refusal) {
  if (!refusal.has_value()) return "";
  const int count = refusal->policies_size();
  std::string out = count == 0 ? std::string("changes of policies are")
                    : count == 1
                        ? fmt::format("policy {} is", refusal->policies(0))
                        : fmt::format("{} policies ({}) are", count, Told(refusal->policies()));
  out += fmt::format(" not in force on this node: {}; pods keep what was in force before",
                     refusal->reason());
  if (!refusal->shut_pods().empty())
    out += fmt::format(", and new ones are shut: {}", Told(refusal->shut_pods()));
  return out;
}

}  // namespace mesh::agent
