// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "dataplane/plan/planner_impl.h"
#include "fmt/format.h"

namespace mesh::dataplane {

Plan Planner::Impl::Compute(const DesiredState& desired, const Observed& observed) {
  desired_ = &desired;
  observed_ = &observed;
  plan_ = Plan();
  phases_ = Phases();
  released_names_.clear();
  released_ids_.clear();
  released_outliving_.clear();
  returned_.clear();
  leaving_ = {};
  touched_outside_.clear();
  const bool everything = !desired.changed_services.has_value() || !planned_ ||
                          (desired.complete && !planned_complete_);
  if (!planned_ && !observed.services.empty()) {
    next_.service = std::max(next_.service, observed.services.rbegin()->first + 1);
  }
  if (!planned_ && !observed.backends.empty()) {
    next_.backend = std::max(next_.backend, observed.backends.rbegin()->first + 1);
  }
  planned_ = true;
  planned_complete_ = desired.complete;

  if (everything || desired.namespaces != namespaces_) PlanNamespaces();
  const bool peers_changed =
      everything || desired.peers != peers_ || desired.non_masquerade != non_masquerade_;
  std::set<IpPrefix> nodes_before;
  if (peers_changed) {
    nodes_before = std::exchange(nodes_, {});
    PlanPeers();
  }
  if (peers_changed || !desired.changed_pod_identities.has_value()) {
    PlanIdentities();
  } else {
    for (const IpAddress& ip : *desired.changed_pod_identities) PlanIdentity(ip);
  }
  std::set<std::string> keys;
  if (!everything) {
    keys.insert(desired.changed_services->begin(), desired.changed_services->end());
  } else {
    for (const auto& [key, service] : desired.services) keys.insert(key);
    for (const auto& [key, record] : records_) keys.insert(key);
  }
  AddTaken(&keys);
  if (peers_changed) AddAtNodes(nodes_before, &keys);
  if (!desired.complete) {
    std::erase_if(keys, [&](const std::string& key) { return !desired.services.contains(key); });
  }
  PlanServices(keys);
  if (everything) {
    // What no Service of ours has left behind: an agent before this one knew it.
    for (const auto& [id, entry] : observed.services) {
      if (!owners_.contains(id) && !released_ids_.contains(id)) RemoveLeft(id, {}, {false, false});
    }
    for (const OutsidePlace& place : observed.outside) {
      if (place.kind != Outside::kNode && place.kind != Outside::kNoMasquerade)
        touched_outside_.insert(place);
    }
  }
  for (const OutsidePlace& place : touched_outside_) {
    const bool there = observed.outside.contains(place);
    // A node's own address stays its own, whatever Service names it: the tunnel goes there.
    const bool wanted = outside_.contains(place) && !nodes_.contains(place.range);
    if (wanted && !there) phases_.put_outside.push_back(PutOutside{place});
    if (!wanted && there) phases_.remove_outside.push_back(RemoveOutside{place});
  }
  MakeRoomOfLeft();
  Join();
  return std::move(plan_);
}

void Planner::Impl::Join() {
  const auto append = [&](std::vector<Action>& actions) {
    for (Action& action : actions) plan_.actions.push_back(std::move(action));
  };
  for (auto* phase : {&phases_.put_backends, &phases_.put_source_ranges, &phases_.put_sets,
                      &phases_.put_frontends, &phases_.put_outside}) {
    append(*phase);
  }
  if (desired_->complete) {
    for (auto* phase :
         {&phases_.remove_outside, &phases_.remove_frontends, &phases_.remove_sets,
          &phases_.remove_source_ranges, &phases_.leave_backends, &phases_.remove_backends,
          &phases_.remove_identities, &phases_.remove_peers}) {
      append(*phase);
    }
    if (!phases_.remove_backends.empty() || !phases_.remove_peers.empty()) {
      plan_.judge_flows_again = true;
    }
  }
  size_t count = peer_problems_.size();
  const std::string* first = peer_problems_.empty() ? nullptr : &peer_problems_[0];
  for (const std::string& key : troubled_) {
    const std::vector<std::string>& problems = records_.at(key).problems;
    if (first == nullptr) first = &problems[0];
    count += problems.size();
  }
  if (first == nullptr) return;
  plan_.problem = absl::InvalidArgumentError(
      count == 1 ? *first : fmt::format("{} (and {} more)", *first, count - 1));
}

void Planner::Impl::Forget() {
  planned_ = planned_complete_ = false;
  records_.clear();
  claims_.clear();
  owners_.clear();
  outside_.clear();
  troubled_.clear();
  left_out_.clear();
  room_.Clear();
  peer_problems_.clear();
}

const Service* Planner::Impl::Find(uint32_t service_id, size_t* port) const {
  const auto it = owners_.find(service_id);
  if (it == owners_.end()) return nullptr;
  *port = it->second.second;
  return &records_.at(it->second.first).service;
}

FrontendKind Planner::Impl::Kind(const Frontend& frontend) const {
  const auto it = claims_.find(frontend);
  return it == claims_.end() ? FrontendKind::kUnknown : it->second.begin()->kind;
}

Planner::Planner(NodeConfig node, NextIds next, const RowCounts& limits)
    : impl_(std::make_unique<Impl>(std::move(node), next, limits)) {}
Planner::~Planner() = default;
Plan Planner::Compute(const DesiredState& desired, const Observed& observed) {
  return impl_->Compute(desired, observed);
}
void Planner::Forget() { impl_->Forget(); }
const Service* Planner::Find(uint32_t service_id, size_t* port) const {
  return impl_->Find(service_id, port);
}
FrontendKind Planner::Kind(const Frontend& frontend) const { return impl_->Kind(frontend); }
void Planner::ForEachServiceProblem(
    const std::function<void(const Service& service, const std::string& problem)>& tell) const {
  impl_->ForEachServiceProblem(tell);
}
const NextIds& Planner::next() const { return impl_->next(); }

}  // namespace mesh::dataplane
