// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/replica_set_controller.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <tuple>

#include "controlplane/controllers/objects.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

constexpr size_t kNameBaseMax = 58;  // with 5 characters a DNS label of 63
// One write of a step is kept for the status.
constexpr int kMaxPodWrites = kMaxWritesPerStep - 1;

// Names follow from the version of the ReplicaSet they are created for: computing them again from
// the same snapshot gives the same names (a repeated create finds its pod), and the replacement of
// a pod that was counted in the status gets another name.
std::string PodName(const v1::ReplicaSet& rs, int slot) {
  const std::string base = (rs.metadata().name() + "-").substr(0, kNameBaseMax);
  const uint64_t hash = HashText64(
      fmt::format("{}/{}/{}", rs.metadata().uid(), rs.metadata().resource_version(), slot));
  return base + SafeCharacters(hash ^ (hash >> 29), 5);
}

v1::Pod NewPod(const v1::ReplicaSet& rs, const std::string& name) {
  const v1::PodTemplateSpec& tmpl = rs.spec().template_();
  v1::Pod pod;
  pod.mutable_metadata()->set_name(name);
  pod.mutable_metadata()->set_namespace_(rs.metadata().namespace_());
  pod.mutable_metadata()->set_generate_name(rs.metadata().name() + "-");
  *pod.mutable_metadata()->mutable_labels() = tmpl.metadata().labels();
  *pod.mutable_metadata()->mutable_annotations() = tmpl.metadata().annotations();
  *pod.mutable_metadata()->add_owner_references() =
      ControllerRef("apps/v1", "ReplicaSet", rs.metadata());
  *pod.mutable_spec() = tmpl.spec();
  pod.mutable_status()->set_phase("Pending");
  return pod;
}

int DeletionCost(const v1::Pod& pod) {
  auto it = pod.metadata().annotations().find("controller.kubernetes.io/pod-deletion-cost");
  int cost = 0;
  if (it != pod.metadata().annotations().end())
    std::from_chars(it->second.data(), it->second.data() + it->second.size(), cost);
  return cost;
}

int PhaseRank(const v1::Pod& pod) {
  if (pod.status().phase() == "Running") return 2;
  return pod.status().phase() == "Unknown" ? 1 : 0;
}

int Restarts(const v1::Pod& pod) {
  int count = 0;
  for (const v1::ContainerStatus& status : pod.status().container_statuses())
    count = std::max(count, status.restart_count());
  return count;
}

// Victims first.
void SortByWorth(const ClusterState& state, std::vector<const v1::Pod*>* pods) {
  std::map<std::string, int> on_node;
  for (const v1::Pod* pod : *pods) ++on_node[pod->spec().node_name()];
  struct Worth {
    std::tuple<bool, int, bool, int, int, int64_t, int, int64_t, std::string> key;
    const v1::Pod* pod;
  };
  std::vector<Worth> order;
  for (const v1::Pod* pod : *pods) {
    const bool ready = IsPodReady(state, *pod);
    int64_t ready_since = 0;
    if (ready)
      ready_since = -absl::ToUnixNanos(
          ToTime(FindCondition(pod->status().conditions(), "Ready")->last_transition_time()));
    order.push_back(
        {{!pod->spec().node_name().empty(), PhaseRank(*pod), ready, DeletionCost(*pod),
          -on_node[pod->spec().node_name()], ready_since, -Restarts(*pod),
          -absl::ToUnixNanos(ToTime(pod->metadata().creation_timestamp())), pod->metadata().name()},
         pod});
  }
  std::sort(order.begin(), order.end(),
            [](const Worth& a, const Worth& b) { return a.key < b.key; });
  for (size_t i = 0; i < order.size(); ++i) (*pods)[i] = order[i].pod;
}

struct Claim {
  std::vector<const v1::Pod*> active;
  std::vector<const v1::Pod*> finished;
  std::vector<Write> writes;  // adoptions and releases
};

Claim ClaimPods(const ClusterState& state, const v1::ReplicaSet& rs) {
  Claim out;
  const bool may_adopt = !IsTerminating(rs.metadata()) && !IsEmptySelector(rs.spec().selector());
  for (const auto& [key, pod] : InNamespace(state.pods, rs.metadata().namespace_())) {
    const v1::OwnerReference* owner = ControllerOf(pod->metadata());
    if (owner != nullptr && owner->uid() != rs.metadata().uid()) continue;
    if (static_cast<int>(out.writes.size()) >= kMaxPodWrites) break;
    const bool matches = MatchesSelector(rs.spec().selector(), pod->metadata().labels());
    if (owner == nullptr) {
      if (!may_adopt || !matches || !IsActive(*pod)) continue;
      v1::Pod adopted = *pod;
      *adopted.mutable_metadata()->add_owner_references() =
          ControllerRef("apps/v1", "ReplicaSet", rs.metadata());
      out.writes.push_back({Write::Type::kUpdate, Wrap(adopted), {}});
      continue;
    }
    if (!matches) {
      if (!may_adopt || IsTerminating(pod->metadata())) continue;
      v1::Pod released = *pod;
      RemoveOwner(released.mutable_metadata(), rs.metadata().uid());
      out.writes.push_back({Write::Type::kUpdate, Wrap(released), {}});
      continue;
    }
    if (IsActive(*pod))
      out.active.push_back(pod.get());
    else if (!IsTerminating(pod->metadata()))
      out.finished.push_back(pod.get());
  }
  return out;
}

class Step {
 public:
  Step(const ClusterState& state, const v1::ReplicaSet& rs, absl::Time now)
      : state_(state), rs_(rs), now_(now) {}

  ReconcileResult Run() {
    Claim claim = ClaimPods(state_, rs_);
    if (!claim.writes.empty()) {
      // Each object is written once per step; the counts follow when these have arrived.
      result_.writes = std::move(claim.writes);
      return std::move(result_);
    }
    if (!IsTerminating(rs_.metadata())) {
      const int wanted = rs_.spec().has_replicas() ? rs_.spec().replicas() : 1;
      const int have = static_cast<int>(claim.active.size());
      if (have < wanted) Create(wanted - have);
      if (have > wanted) Delete(&claim.active, have - wanted);
      DropFinished(claim.finished);
    }
    UpdateStatus(claim.active);
    return std::move(result_);
  }

 private:
  bool Full() const { return static_cast<int>(result_.writes.size()) >= kMaxPodWrites; }

  void Note(std::string_view reason, std::string message) {
    result_.events.push_back({ReferenceTo("apps/v1", "ReplicaSet", rs_.metadata()), "Normal",
                              std::string(reason), std::move(message)});
  }

  void Create(int count) {
    for (int slot = 0; count > 0; ++slot) {
      const std::string name = PodName(rs_, slot);
      if (state_.pods.contains({rs_.metadata().namespace_(), name})) continue;
      if (Full()) {
        result_.requeue_at = now_;
        return;
      }
      result_.writes.push_back({Write::Type::kCreate, Wrap(NewPod(rs_, name)), {}});
      Note("SuccessfulCreate", fmt::format("Created pod: {}", name));
      ++created_;
      --count;
    }
  }

  void Delete(std::vector<const v1::Pod*>* active, int count) {
    SortByWorth(state_, active);
    while (count-- > 0) {
      if (Full()) {
        result_.requeue_at = now_;
        return;
      }
      const v1::Pod& pod = *active->front();
      result_.writes.push_back({Write::Type::kDelete, Wrap(pod), {}});
      Note("SuccessfulDelete", fmt::format("Deleted pod: {}", pod.metadata().name()));
      active->erase(active->begin());
    }
  }

  // A pod that failed for good has been replaced; the newest stays to be looked at.
  void DropFinished(std::vector<const v1::Pod*> finished) {
    std::sort(finished.begin(), finished.end(), [](const v1::Pod* a, const v1::Pod* b) {
      const auto at = ToTime(a->metadata().creation_timestamp());
      const auto bt = ToTime(b->metadata().creation_timestamp());
      return at != bt ? at > bt : a->metadata().name() < b->metadata().name();
    });
    for (size_t i = 1; i < finished.size() && !Full(); ++i)
      result_.writes.push_back({Write::Type::kDelete, Wrap(*finished[i]), {}});
  }

  // Counts are those after this step's writes, which are committed before it.
  void UpdateStatus(const std::vector<const v1::Pod*>& active) {
    v1::ReplicaSetStatus status = rs_.status();
    int ready = 0, available = 0, labeled = created_;
    for (const v1::Pod* pod : active) {
      if (MatchesLabels(rs_.spec().template_().metadata().labels(), pod->metadata().labels()))
        ++labeled;
      if (IsPodReady(state_, *pod)) ++ready;
      std::optional<absl::Time> next;
      if (IsPodAvailable(state_, *pod, rs_.spec().min_ready_seconds(), now_, &next)) ++available;
      if (next.has_value()) Earlier(&result_.requeue_at, *next);
    }
    status.set_replicas(static_cast<int>(active.size()) + created_);
    status.set_fully_labeled_replicas(labeled);
    status.set_ready_replicas(ready);
    status.set_available_replicas(available);
    status.set_observed_generation(rs_.metadata().generation());
    if (CanonicalBytes(status) == CanonicalBytes(rs_.status())) return;
    v1::ReplicaSet updated = rs_;
    *updated.mutable_status() = status;
    result_.writes.push_back({Write::Type::kUpdateStatus, Wrap(updated), {}});
  }

  const ClusterState& state_;
  const v1::ReplicaSet& rs_;
  const absl::Time now_;
  int created_ = 0;
  ReconcileResult result_;
};

}  // namespace

std::vector<ObjectKey> ReplicaSetController::Affected(const ClusterState& state,
                                                      const Change& change) const {
  std::vector<ObjectKey> keys;
  auto by_pod = [&](const v1::Pod& pod) {
    if (const v1::OwnerReference* owner = ControllerOf(pod.metadata())) {
      if (owner->kind() == "ReplicaSet")
        keys.push_back({pod.metadata().namespace_(), owner->name()});
      return;
    }
    for (const auto& [key, rs] : InNamespace(state.replica_sets, pod.metadata().namespace_()))
      if (MatchesSelector(rs->spec().selector(), pod.metadata().labels())) keys.push_back(key);
  };
  ForEachSide(change, [&](const v1::Resource& side) {
    if (side.has_replica_set()) keys.push_back(KeyOf(side));
    if (side.has_pod()) by_pod(side.pod());
  });
  const NodeFlip flip = NodeFlipOf(change.before.get(), change.after.get());
  if (flip.flipped) {
    for (const auto& [key, pod] : state.pods)
      if (pod->spec().node_name() == flip.node_name) by_pod(*pod);
  }
  return keys;
}

ReconcileResult ReplicaSetController::Reconcile(const ClusterState& state, const ObjectKey& key,
                                                absl::Time now) const {
  const v1::ReplicaSet* rs = FindObject(state.replica_sets, key);
  if (rs == nullptr) return {};
  return Step(state, *rs, now).Run();
}

}  // namespace mesh::controlplane
