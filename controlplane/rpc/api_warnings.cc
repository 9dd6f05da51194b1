// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "api/schema/kinds.h"
#include "api/schema/schema.h"
#include "api/schema/selector.h"
#include "controlplane/rpc/api.h"
#include "controlplane/scheduler/fit.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

template <typename T, typename LabelsOf>
bool AnyMatch(const ObjectMap<T>& objects, const std::string& ns, const schema::LabelMap& wanted,
              LabelsOf labels_of) {
  return std::any_of(objects.begin(), objects.end(), [&](const auto& entry) {
    return entry.first.ns == ns && schema::MatchesAll(wanted, labels_of(*entry.second));
  });
}

// Of the kinds that are kept whole: StatefulSets, Jobs and so on.
bool AnyTemplateMatches(const ClusterState& state, const std::string& ns,
                        const schema::LabelMap& wanted) {
  for (const auto& [kind, objects] : state.others) {
    for (const auto& [key, object] : objects) {
      if (key.ns != ns) continue;
      const schema::TemplateRef ref = schema::PodTemplateOf(*object);
      if (ref.pod == nullptr) break;  // none of this kind has one
      if (schema::MatchesAll(wanted, ref.pod->metadata().labels())) return true;
    }
  }
  return false;
}

bool SelectsNothing(const ClusterState& state, const v1::Service& service) {
  const auto& wanted = service.spec().selector();
  const std::string& ns = service.metadata().namespace_();
  const auto of_template = [](const auto& owner) -> const auto& {
    return owner.spec().template_().metadata().labels();
  };
  return !wanted.empty() &&
         !AnyMatch(
             state.pods, ns, wanted,
             [](const v1::Pod& pod) -> const auto& { return pod.metadata().labels(); }) &&
         !AnyMatch(state.deployments, ns, wanted, of_template) &&
         !AnyMatch(state.replica_sets, ns, wanted, of_template) &&
         !AnyTemplateMatches(state, ns, wanted);
}

const v1::PodSpec* PodSpecOf(const v1::Resource& resource) {
  if (resource.has_pod()) return &resource.pod().spec();
  const schema::TemplateRef ref = schema::PodTemplateOf(resource);
  return ref.pod == nullptr ? nullptr : &ref.pod->spec();
}

}  // namespace

std::vector<Warning> WarningsFor(const std::vector<const ClusterState*>& states,
                                 const v1::Resource& resource) {
  std::vector<Warning> out;
  const auto selects_nothing = [&](const ClusterState* state) {
    return SelectsNothing(*state, resource.service());
  };
  if (resource.has_service() && std::ranges::all_of(states, selects_nothing)) {
    std::string selector = schema::Selector::From(resource.service().spec().selector()).ToString();
    out.push_back({"SelectorMatchesNothing",
                   fmt::format("service \"{}\": selector {} matches no pod and no pod template in "
                               "namespace {}",
                               MetaOf(resource).name(), selector, MetaOf(resource).namespace_())});
  }
  if (const v1::PodSpec* spec = PodSpecOf(resource)) {
    for (const std::string& why : WhyNeverFits(*states[0], *spec)) {
      out.push_back({"NeverFits", fmt::format("{} \"{}\" can never fit on any node: {}",
                                              schema::SingularWithGroup(KindOf(resource)),
                                              MetaOf(resource).name(), why)});
    }
  }
  return out;
}

}  // namespace mesh::controlplane
