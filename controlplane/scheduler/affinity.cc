// SPDX-License-Identifier: Apache-2.0
#include "controlplane/scheduler/affinity.h"

#include <algorithm>

#include "controlplane/controllers/objects.h"
#include "controlplane/state/node_selector.h"

namespace mesh::controlplane {
namespace {

const std::string* LabelOf(const v1::Node& node, const std::string& key) {
  const auto it = node.metadata().labels().find(key);
  return it == node.metadata().labels().end() ? nullptr : &it->second;
}

}  // namespace

bool MatchesNodeAffinity(const v1::PodSpec& spec, const v1::Node& node) {
  const v1::NodeAffinity& affinity = spec.affinity().node_affinity();
  if (!affinity.has_required_during_scheduling_ignored_during_execution()) return true;
  return MatchesNodeSelector(affinity.required_during_scheduling_ignored_during_execution(), node);
}

int64_t NodePreference(const v1::PodSpec& spec, const v1::Node& node) {
  int64_t out = 0;
  const v1::NodeAffinity& affinity = spec.affinity().node_affinity();
  for (const auto& one : affinity.preferred_during_scheduling_ignored_during_execution()) {
    const v1::NodeSelectorTerm& term = one.preference();
    // Here an empty term is every node's, as in Kubernetes.
    const bool all = term.match_expressions().empty() && term.match_fields().empty();
    if (all || MatchesTerm(term, node)) out += one.weight();
  }
  return out;
}

AntiAffinePods FindAntiAffine(const ClusterState& state, const NodeTable& table) {
  AntiAffinePods out;
  for (const auto& [key, pod] : state.pods) {
    const auto& affinity = pod->spec().affinity().pod_anti_affinity();
    if (affinity.required_during_scheduling_ignored_during_execution().empty()) continue;
    if (!IsBound(*pod) || IsFinished(*pod)) continue;
    const int node = table.IndexOf(pod->spec().node_name());
    if (node >= 0) out.emplace_back(pod.get(), node);
  }
  return out;
}

PodAffinity::PodAffinity(const ClusterState& state, const NodeTable& table,
                         const AntiAffinePods& anti_affine, const v1::Pod& pod)
    : state_(state), table_(table), pod_(pod), spread_(state, table, pod) {
  AddTerms(pod_.spec().affinity());
  for (const auto& [other, node] : anti_affine) Forbid(*other, node);
  if (terms_.empty()) return;
  for (const auto& [key, other] : state.pods) {
    if (!IsBound(*other) || IsFinished(*other)) continue;
    if (const int node = table.IndexOf(other->spec().node_name()); node >= 0) Count(*other, node);
  }
  const std::string& ns = pod_.metadata().namespace_();
  matches_itself_ = std::all_of(terms_.begin(), terms_.end(), [&](const Term& term) {
    return term.anti || !term.required || Matches(*term.term, ns, pod_);
  });
}

void PodAffinity::AddTerms(const v1::Affinity& affinity) {
  const auto add = [&](const auto& from, bool anti) {
    for (const auto& term : from.required_during_scheduling_ignored_during_execution()) {
      terms_.push_back({.term = &term, .anti = anti, .required = true, .weight = 0, .pods = {}});
      has_required_ = has_required_ || !anti;
    }
    for (const auto& one : from.preferred_during_scheduling_ignored_during_execution()) {
      terms_.push_back({.term = &one.pod_affinity_term(),
                        .anti = anti,
                        .required = false,
                        .weight = one.weight(),
                        .pods = {}});
    }
  };
  add(affinity.pod_affinity(), false);
  add(affinity.pod_anti_affinity(), true);
}

bool PodAffinity::Matches(const v1::PodAffinityTerm& term, const std::string& own_namespace,
                          const v1::Pod& other) const {
  // Without a selector a term means no pod.
  if (!term.has_label_selector()) return false;
  const std::string& ns = other.metadata().namespace_();
  bool in_namespace = false;
  if (term.namespaces().empty() && !term.has_namespace_selector()) {
    in_namespace = ns == own_namespace;
  } else {
    in_namespace = std::find(term.namespaces().begin(), term.namespaces().end(), ns) !=
                   term.namespaces().end();
    if (!in_namespace && term.has_namespace_selector()) {
      const v1::Namespace* object = FindObject(state_.namespaces, {"", ns});
      in_namespace = object != nullptr &&
                     MatchesSelector(term.namespace_selector(), object->metadata().labels());
    }
  }
  return in_namespace && MatchesSelector(term.label_selector(), other.metadata().labels());
}

const std::string* PodAffinity::Domain(int node, const std::string& key) const {
  return LabelOf(*table_.nodes[static_cast<size_t>(node)], key);
}

void PodAffinity::Add(const v1::Pod& other, int node) {
  Forbid(other, node);
  spread_.Add(other, node);
  if (!terms_.empty()) Count(other, node);
}

void PodAffinity::Forbid(const v1::Pod& other, int node) {
  const auto& affinity = other.spec().affinity().pod_anti_affinity();
  for (const auto& term : affinity.required_during_scheduling_ignored_during_execution()) {
    const std::string* domain = Domain(node, term.topology_key());
    if (domain == nullptr || !Matches(term, other.metadata().namespace_(), pod_)) continue;
    forbidden_[term.topology_key()].insert(*domain);
  }
}

void PodAffinity::Count(const v1::Pod& other, int node) {
  const std::string& ns = pod_.metadata().namespace_();
  // A pod is near for all terms together or for none.
  const bool is_near = std::all_of(terms_.begin(), terms_.end(), [&](const Term& term) {
    return term.anti || !term.required || Matches(*term.term, ns, other);
  });
  near_ += has_required_ && is_near ? 1 : 0;
  for (Term& term : terms_) {
    const bool counts = term.required && !term.anti ? is_near : Matches(*term.term, ns, other);
    if (!counts) continue;
    const std::string* domain = Domain(node, term.term->topology_key());
    if (domain != nullptr) ++term.pods[*domain];
  }
}

PodAffinity::Verdict PodAffinity::Of(int node) const {
  const bool is_first = near_ == 0 && matches_itself_;
  for (const Term& term : terms_) {
    if (!term.required) continue;
    const std::string* domain = Domain(node, term.term->topology_key());
    if (term.anti) {
      if (domain != nullptr && term.pods.contains(*domain)) return Verdict::kAntiAffinity;
    } else if (domain == nullptr || (!is_first && !term.pods.contains(*domain))) {
      return Verdict::kAffinity;
    }
  }
  for (const auto& [key, values] : forbidden_) {
    const std::string* domain = Domain(node, key);
    if (domain != nullptr && values.contains(*domain)) return Verdict::kExistingAntiAffinity;
  }
  switch (spread_.Of(node)) {
    case PodSpread::Verdict::kFits:
      break;
    case PodSpread::Verdict::kNoDomain:
      return Verdict::kNoDomain;
    case PodSpread::Verdict::kSkew:
      return Verdict::kSkew;
  }
  return Verdict::kFits;
}

int64_t PodAffinity::Preference(int node) const {
  int64_t out = -spread_.Crowd(node);
  for (const Term& term : terms_) {
    if (term.required) continue;
    const std::string* domain = Domain(node, term.term->topology_key());
    if (domain == nullptr) continue;
    const auto found = term.pods.find(*domain);
    if (found == term.pods.end()) continue;
    out += int64_t{term.anti ? -term.weight : term.weight} * found->second;
  }
  return out;
}

}  // namespace mesh::controlplane
