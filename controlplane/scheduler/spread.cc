// SPDX-License-Identifier: Apache-2.0
#include "controlplane/scheduler/spread.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "controlplane/controllers/objects.h"
#include "controlplane/controllers/tolerations.h"
#include "controlplane/scheduler/affinity.h"

namespace mesh::controlplane {
namespace {

// What each pod more than in the emptiest domain weighs, up to the most that one constraint does.
constexpr int64_t kCrowdWeight = 20;
constexpr int64_t kCrowdMax = 100;

const std::string* LabelOf(const v1::Node& node, const std::string& key) {
  const auto it = node.metadata().labels().find(key);
  return it == node.metadata().labels().end() ? nullptr : &it->second;
}

bool IsRequired(const v1::TopologySpreadConstraint& constraint) {
  return constraint.when_unsatisfiable() != "ScheduleAnyway";
}

}  // namespace

void PodSpread::Constraint::FindFewest() {
  fewest = 0;
  if (pods.empty() || static_cast<int64_t>(pods.size()) < min_domains) return;
  fewest = std::numeric_limits<int64_t>::max();
  for (const auto& [domain, count] : pods) fewest = std::min(fewest, count);
}

PodSpread::PodSpread(const ClusterState& state, const NodeTable& table, const v1::Pod& pod)
    : table_(table), ns_(pod.metadata().namespace_()) {
  for (const v1::TopologySpreadConstraint& from : pod.spec().topology_spread_constraints()) {
    Constraint constraint = Read(from, pod);
    FindDomains(from, pod.spec(), &constraint);
    constraint.FindFewest();
    constraints_.push_back(std::move(constraint));
  }
  if (constraints_.empty()) return;
  for (const auto& [key, other] : InNamespace(state.pods, ns_)) {
    if (!IsBound(*other) || IsFinished(*other) || IsTerminating(other->metadata())) continue;
    if (const int node = table.IndexOf(other->spec().node_name()); node >= 0) Add(*other, node);
  }
}

PodSpread::Constraint PodSpread::Read(const v1::TopologySpreadConstraint& from,
                                      const v1::Pod& pod) {
  Constraint out;
  out.key = from.topology_key();
  out.required = IsRequired(from);
  out.max_skew = from.max_skew();
  out.min_domains = from.has_min_domains() ? from.min_domains() : 1;
  out.selects = from.has_label_selector();
  out.selector = from.label_selector();
  // Only pods that are like this one there: of the same pod-template-hash, say.
  for (const std::string& key : from.match_label_keys()) {
    const auto own = pod.metadata().labels().find(key);
    if (own == pod.metadata().labels().end()) continue;
    v1::LabelSelectorRequirement* same = out.selector.add_match_expressions();
    same->set_key(key);
    same->set_operator_("In");
    same->add_values(own->second);
  }
  out.counts_itself = out.selects && MatchesSelector(out.selector, pod.metadata().labels());
  return out;
}

void PodSpread::FindDomains(const v1::TopologySpreadConstraint& from, const v1::PodSpec& spec,
                            Constraint* constraint) const {
  constraint->eligible.resize(table_.size());
  const auto& all = spec.topology_spread_constraints();
  for (size_t i = 0; i < table_.size(); ++i) {
    const v1::Node& node = *table_.nodes[i];
    const bool has_all = std::all_of(all.begin(), all.end(), [&](const auto& one) {
      return IsRequired(one) != constraint->required ||
             LabelOf(node, one.topology_key()) != nullptr;
    });
    if (!has_all) continue;
    if (from.node_affinity_policy() != "Ignore" &&
        (!MatchesLabels(spec.node_selector(), node.metadata().labels()) ||
         !MatchesNodeAffinity(spec, node)))
      continue;
    if (from.node_taints_policy() == "Honor" && FirstUntolerated(spec, node) != nullptr) continue;
    constraint->eligible[i] = 1;
    constraint->pods.try_emplace(*LabelOf(node, constraint->key), 0);
  }
}

bool PodSpread::Matches(const Constraint& constraint, const v1::Pod& other) const {
  return constraint.selects && other.metadata().namespace_() == ns_ &&
         MatchesSelector(constraint.selector, other.metadata().labels());
}

const std::string* PodSpread::Domain(const Constraint& constraint, int node) const {
  return LabelOf(*table_.nodes[static_cast<size_t>(node)], constraint.key);
}

void PodSpread::Add(const v1::Pod& other, int node) {
  for (Constraint& constraint : constraints_) {
    if (!constraint.eligible[static_cast<size_t>(node)] || !Matches(constraint, other)) continue;
    int64_t& count = constraint.pods[*Domain(constraint, node)];
    if (count++ == constraint.fewest) constraint.FindFewest();
  }
}

PodSpread::Verdict PodSpread::Of(int node) const {
  for (const Constraint& constraint : constraints_) {
    if (!constraint.required) continue;
    const std::string* domain = Domain(constraint, node);
    if (domain == nullptr) return Verdict::kNoDomain;
    const auto found = constraint.pods.find(*domain);
    const int64_t there = found == constraint.pods.end() ? 0 : found->second;
    const int64_t with = there + (constraint.counts_itself ? 1 : 0);
    if (with - constraint.fewest > constraint.max_skew) return Verdict::kSkew;
  }
  return Verdict::kFits;
}

int64_t PodSpread::Crowd(int node) const {
  int64_t out = 0;
  for (const Constraint& constraint : constraints_) {
    if (constraint.required) continue;
    const std::string* domain = Domain(constraint, node);
    const auto found = domain == nullptr ? constraint.pods.end() : constraint.pods.find(*domain);
    out += found == constraint.pods.end()
               ? kCrowdMax
               : std::min((found->second - constraint.fewest) * kCrowdWeight, kCrowdMax);
  }
  return out;
}

}  // namespace mesh::controlplane
