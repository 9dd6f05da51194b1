// SPDX-License-Identifier: Apache-2.0
// Policies that a node has no room for.
#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "controlplane/controllers/objects.h"
#include "controlplane/inspect/topics.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::controlplane {
namespace {

bool Has(const google::protobuf::RepeatedPtrField<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Report::Remedies RemediesFor(const std::string& node) {
  return {"let the rules name fewer ports, ranges of ports and ipBlocks, or fewer peers",
          fmt::format("run fewer different pods that policies select on node {}", node),
          fmt::format("see how full its maps are: meshctl bpf policy stats --node {}", node)};
}

}  // namespace

std::vector<std::string> NodesThatRefusePolicies(const ClusterState& state) {
  std::vector<std::string> out;
  for (const auto& [key, node] : state.nodes) {
    const v1::Condition* condition = FindCondition(node->status().conditions(), "PoliciesInForce");
    if (condition != nullptr && condition->status() == "False") out.push_back(key.name);
  }
  return out;
}

bool WhyRefused(const ClusterState& state, const v1::Pod& pod, std::optional<Direction> direction,
                const Refusals& refusals, Report* report) {
  const std::string& node = pod.spec().node_name();
  const auto refusal = refusals.find(node);
  if (refusal == refusals.end()) return false;
  std::vector<std::string> policies;
  for (const auto& [key, object] :
       InNamespace(state.network_policies, pod.metadata().namespace_())) {
    if (!Has(refusal->second.policies(), key.ToString())) continue;
    const ParsedPolicy policy = Parse(*object);
    const bool judges = !direction.has_value() || policy.Judges(*direction);
    if (judges && policy.pods.Matches(pod.metadata().labels())) policies.push_back(key.ToString());
  }
  const bool shut = Has(refusal->second.shut_pods(), KeyOfMeta(pod.metadata()).ToString());
  if (policies.empty() && !shut) return false;
  const std::string which =
      policies.empty() ? std::string("what policies ask for it is")
      : policies.size() == 1
          ? fmt::format("policy {} selects it but is", policies.front())
          : fmt::format("policies {} select it but are", fmt::join(policies, ", "));
  report->Problem(
      PodTitle(pod),
      fmt::format("{} not in force on node {}: {}; {}", which, node, refusal->second.reason(),
                  shut ? "it is new there and shut until there is room"
                       : "what was in force for it before still is"),
      RemediesFor(node));
  return true;
}

void WhyPolicyRefused(const ClusterState& state, const ParsedPolicy& parsed,
                      const std::string& name, const std::string& title, const Refusals& refusals,
                      Report* report) {
  std::map<std::string, std::vector<std::string>> nodes;  // by reason
  std::map<std::string, std::vector<std::string>> shut;   // pods
  for (const auto& [node, refusal] : refusals) {
    if (!Has(refusal.policies(), name)) continue;
    nodes[refusal.reason()].push_back(node);
    for (const std::string& pod : refusal.shut_pods()) {
      const size_t slash = pod.find('/');
      const v1::Pod* object = FindObject(state.pods, {pod.substr(0, slash), pod.substr(slash + 1)});
      if (object != nullptr && object->metadata().namespace_() == parsed.ns &&
          parsed.pods.Matches(object->metadata().labels()))
        shut[refusal.reason()].push_back(object->metadata().name());
    }
  }
  for (const auto& [reason, names] : nodes) {
    std::string text = fmt::format(
        "is not in force on node{} {}: {}; pods there keep what was in "
        "force before",
        names.size() == 1 ? "" : "s", NameList(names), reason);
    if (const auto pods = shut.find(reason); pods != shut.end())
      text += fmt::format(", and new ones are shut: {}", NameList(pods->second));
    report->Problem(title, text, RemediesFor(names.front()));
  }
}

}  // namespace mesh::controlplane
