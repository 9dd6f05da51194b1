// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/deployment_controller.h"

#include <algorithm>
#include <charconv>
#include <memory>
#include <set>

#include "api/schema/defaults.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/controllers/rollout.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

int64_t NumberIn(const Labels& annotations, const char* key, int64_t otherwise) {
  auto it = annotations.find(key);
  if (it == annotations.end()) return otherwise;
  int64_t out = otherwise;
  std::from_chars(it->second.data(), it->second.data() + it->second.size(), out);
  return out;
}

// The template as the user wrote it, with defaults: those of one stored by an older version may be
// fewer, and that is no reason to roll.
std::string TemplateBytes(const v1::PodTemplateSpec& tmpl) {
  v1::Resource normal;
  v1::PodTemplateSpec* copy = normal.mutable_replica_set()->mutable_spec()->mutable_template_();
  *copy = tmpl;
  copy->mutable_metadata()->mutable_labels()->erase(kTemplateHashLabel);
  schema::ApplyDefaults(&normal);
  return CanonicalBytes(*copy);
}

// A ReplicaSet in work: what it is, and what it shall become.
struct Part {
  const v1::ReplicaSet* before = nullptr;  // null: to be created
  v1::ReplicaSet rs;
  bool remove = false;

  int32_t replicas() const { return ReplicasOf(rs); }
  // Pods that may exist now.
  int32_t pods() const { return std::max(replicas(), rs.status().replicas()); }
  // Available pods that will stay.
  int32_t available() const { return std::min(replicas(), rs.status().available_replicas()); }
  int64_t revision() const { return NumberIn(rs.metadata().annotations(), kRevisionAnnotation, 0); }
  absl::Time created() const {
    return before == nullptr ? absl::InfiniteFuture() : ToTime(rs.metadata().creation_timestamp());
  }
};

bool OlderFirst(const Part* a, const Part* b) {
  if (a->created() != b->created()) return a->created() < b->created();
  return a->rs.metadata().name() < b->rs.metadata().name();
}

bool IsControlledBy(const v1::ObjectMeta& meta, const v1::ObjectMeta& owner) {
  const v1::OwnerReference* ref = ControllerOf(meta);
  return ref != nullptr && ref->uid() == owner.uid();
}

class Step {
 public:
  Step(const ClusterState& state, const v1::Deployment& deployment, absl::Time now)
      : state_(state),
        deployment_(deployment),
        now_(now),
        replicas_(ReplicasOf(deployment)),
        posts_(FencepostsOf(deployment)),
        recreate_(deployment.spec().strategy().type() == "Recreate") {}

  ReconcileResult Run() {
    if (IsEmptySelector(deployment_.spec().selector())) {
      Note("Warning", "SelectingAll",
           "This deployment is selecting all pods. A non-empty selector is required.");
      return std::move(result_);
    }
    if (IsTerminating(deployment_.metadata())) return {};
    Collect();
    // Each round moves pods in one direction only or ends, so this is finite; the bound is a guard.
    for (int round = 0; round < 1000; ++round) {
      if (IsScaling() ? Scale() : recreate_ ? Recreate() : RollingUpdate()) continue;
      break;
    }
    const v1::DeploymentStatus status = Status();
    if (IsComplete(status)) CleanUpHistory();
    EmitReplicaSets();
    EmitDeployment(status);
    return std::move(result_);
  }

 private:
  // --- what exists ---

  void Collect() {
    const std::string wanted = TemplateBytes(deployment_.spec().template_());
    for (const auto& [key, rs] :
         InNamespace(state_.replica_sets, deployment_.metadata().namespace_())) {
      const bool owned = IsControlledBy(rs->metadata(), deployment_.metadata());
      if (!owned) {
        if (ControllerOf(rs->metadata()) != nullptr || IsTerminating(rs->metadata()) ||
            !MatchesSelector(deployment_.spec().selector(), rs->metadata().labels()))
          continue;
      }
      auto part = std::make_unique<Part>();
      part->before = rs.get();
      part->rs = *rs;
      if (!owned)
        *part->rs.mutable_metadata()->add_owner_references() =
            ControllerRef("apps/v1", "Deployment", deployment_.metadata());
      parts_.push_back(std::move(part));
    }
    for (const auto& part : parts_) old_.push_back(part.get());
    std::sort(old_.begin(), old_.end(), OlderFirst);
    // With several of the same template the oldest wins.
    auto it = std::find_if(old_.begin(), old_.end(), [&](const Part* part) {
      return !IsTerminating(part->rs.metadata()) &&
             TemplateBytes(part->rs.spec().template_()) == wanted;
    });
    if (it != old_.end()) {
      new_ = *it;
      old_.erase(it);
      AnnotateNew();
      if (new_->rs.spec().min_ready_seconds() != deployment_.spec().min_ready_seconds())
        new_->rs.mutable_spec()->set_min_ready_seconds(deployment_.spec().min_ready_seconds());
    }
  }

  int64_t NextRevision() const {
    int64_t highest = 0;
    for (const Part* part : old_) highest = std::max(highest, part->revision());
    return highest + 1;
  }

  void AnnotateNew() {
    auto& annotations = *new_->rs.mutable_metadata()->mutable_annotations();
    for (const auto& [key, value] : deployment_.metadata().annotations()) {
      if (key == "kubectl.kubernetes.io/last-applied-configuration" || key == kRevisionAnnotation ||
          key == kDesiredReplicasAnnotation || key == kMaxReplicasAnnotation)
        continue;
      annotations[key] = value;
    }
    if (new_->revision() < NextRevision())
      annotations[kRevisionAnnotation] = fmt::format("{}", NextRevision());
    if (!annotations.contains(kDesiredReplicasAnnotation)) Size(new_, new_->replicas());
  }

  std::vector<Part*> All() const {
    std::vector<Part*> all = old_;
    if (new_ != nullptr) all.push_back(new_);
    return all;
  }

  // --- sizes ---

  int32_t AllowedSize() const { return replicas_ > 0 ? replicas_ + posts_.max_surge : 0; }

  // True when the size changed.
  bool Size(Part* part, int32_t size) {
    auto& annotations = *part->rs.mutable_metadata()->mutable_annotations();
    annotations[kDesiredReplicasAnnotation] = fmt::format("{}", replicas_);
    annotations[kMaxReplicasAnnotation] = fmt::format("{}", replicas_ + posts_.max_surge);
    if (part->replicas() == size && part->rs.spec().has_replicas()) return false;
    part->rs.mutable_spec()->set_replicas(size);
    return true;
  }

  int32_t Sum(int32_t (Part::*count)() const) const {
    int32_t sum = 0;
    for (const Part* part : All()) sum += (part->*count)();
    return sum;
  }

  bool IsScaling() const {
    for (const Part* part : All()) {
      if (part->replicas() == 0) continue;
      const int64_t desired =
          NumberIn(part->rs.metadata().annotations(), kDesiredReplicasAnnotation, replicas_);
      if (desired != replicas_) return true;
    }
    return false;
  }

  // The Deployment was resized: the one active ReplicaSet follows; in the middle of a rollout all
  // grow or shrink in proportion, which keeps the risk spread as it was.
  bool Scale() {
    std::vector<Part*> active;
    for (Part* part : All())
      if (part->replicas() > 0) active.push_back(part);
    if (active.size() == 1) {
      const int32_t others = Sum(&Part::pods) - active[0]->pods();
      Size(active[0], std::min(replicas_, std::max(active[0]->replicas(), AllowedSize() - others)));
      return true;
    }
    if (IsSaturated()) {
      for (Part* part : old_) Size(part, 0);
      Size(new_, replicas_);
      return true;
    }
    if (recreate_) {
      for (Part* part : active) Size(part, part->replicas());
      return true;
    }
    int32_t total = 0;
    for (const Part* part : active) total += part->replicas();
    int32_t to_add = AllowedSize() - total;
    if (to_add > 0) to_add = std::max(0, AllowedSize() - Sum(&Part::pods));
    // Larger first; of equal ones the newer first when growing, the older when shrinking.
    std::sort(active.begin(), active.end(), [&](const Part* a, const Part* b) {
      if (a->replicas() != b->replicas()) return a->replicas() > b->replicas();
      return to_add > 0 ? OlderFirst(b, a) : OlderFirst(a, b);
    });
    std::vector<int32_t> sizes;
    int32_t added = 0;
    for (const Part* part : active) {
      const int64_t old_size = NumberIn(part->rs.metadata().annotations(), kMaxReplicasAnnotation,
                                        deployment_.status().replicas());
      const int32_t share = Proportion(part->replicas(), replicas_ + posts_.max_surge,
                                       static_cast<int32_t>(std::max<int64_t>(old_size, 1)),
                                       replicas_ == 0, to_add, added);
      added += share;
      sizes.push_back(part->replicas() + share);
    }
    sizes[0] = std::max(sizes[0] + to_add - added, 0);
    for (size_t i = 0; i < active.size(); ++i) Size(active[i], sizes[i]);
    return true;
  }

  bool IsSaturated() const {
    return new_ != nullptr && new_->replicas() == replicas_ &&
           NumberIn(new_->rs.metadata().annotations(), kDesiredReplicasAnnotation, -1) ==
               replicas_ &&
           new_->rs.status().available_replicas() == replicas_;
  }

  // --- the two strategies: true when something moved and more may follow ---

  bool RollingUpdate() {
    if (new_ == nullptr) {
      CreateNew();
      return true;
    }
    if (GrowNew()) return true;
    return ShrinkOld();
  }

  bool GrowNew() {
    if (new_->replicas() > replicas_) return Size(new_, replicas_);
    if (new_->replicas() == replicas_) return false;
    // What exists, not what is wanted: pods on their way out take their room until they have gone.
    const int32_t room = replicas_ + posts_.max_surge - Sum(&Part::pods) +
                         std::max(0, new_->pods() - new_->replicas());
    if (room <= 0) return false;
    return Size(new_, new_->replicas() + std::min(room, replicas_ - new_->replicas()));
  }

  bool ShrinkOld() {
    int32_t old_total = 0;
    for (const Part* part : old_) old_total += part->replicas();
    if (old_total == 0) return false;
    const int32_t min_available = replicas_ - posts_.max_unavailable;
    const int32_t new_unavailable = new_->replicas() - new_->available();
    int32_t may_go = old_total + new_->replicas() - min_available - new_unavailable;
    if (may_go <= 0) return false;
    bool moved = false;
    // Pods that do not serve go first, whatever the number of available ones.
    for (Part* part : old_) {
      const int32_t unhealthy = part->replicas() - part->available();
      const int32_t count = std::min(unhealthy, may_go);
      if (count <= 0) continue;
      moved |= Size(part, part->replicas() - count);
      may_go -= count;
    }
    int32_t spare = Sum(&Part::available) - min_available;
    for (Part* part : old_) {
      const int32_t count = std::min(part->replicas(), spare);
      if (count <= 0) continue;
      moved |= Size(part, part->replicas() - count);
      spare -= count;
    }
    return moved;
  }

  bool Recreate() {
    bool moved = false;
    for (Part* part : old_)
      if (part->replicas() > 0) moved |= Size(part, 0);
    if (moved) return true;
    if (OldPodsLive()) return false;
    if (new_ == nullptr) {
      CreateNew();
      return true;
    }
    return new_->replicas() != replicas_ && Size(new_, replicas_);
  }

  bool OldPodsLive() const {
    std::set<std::string> old_uids;
    for (const Part* part : old_) {
      if (part->rs.status().replicas() > 0) return true;
      old_uids.insert(part->rs.metadata().uid());
    }
    for (const auto& [key, pod] : InNamespace(state_.pods, deployment_.metadata().namespace_())) {
      const v1::OwnerReference* owner = ControllerOf(pod->metadata());
      if (owner != nullptr && old_uids.contains(owner->uid()) && !IsFinished(*pod)) return true;
    }
    return false;
  }

  void CreateNew() {
    const std::string bytes = TemplateBytes(deployment_.spec().template_());
    const v1::ObjectMeta& meta = deployment_.metadata();
    std::string hash, name;
    // Another template with the same hash, or a foreign object of that name: salt it.
    for (int salt = 0;; ++salt) {
      hash = SafeCharacters(HashText64(salt == 0 ? bytes : fmt::format("{}#{}", bytes, salt)), 10);
      name = fmt::format("{}-{}", meta.name(), hash);
      if (!state_.replica_sets.contains({meta.namespace_(), name})) break;
    }
    auto part = std::make_unique<Part>();
    v1::ReplicaSet& rs = part->rs;
    rs.mutable_metadata()->set_name(name);
    rs.mutable_metadata()->set_namespace_(meta.namespace_());
    *rs.mutable_metadata()->add_owner_references() = ControllerRef("apps/v1", "Deployment", meta);
    *rs.mutable_metadata()->mutable_labels() = deployment_.spec().template_().metadata().labels();
    (*rs.mutable_metadata()->mutable_labels())[kTemplateHashLabel] = hash;
    rs.mutable_spec()->set_replicas(0);
    rs.mutable_spec()->set_min_ready_seconds(deployment_.spec().min_ready_seconds());
    *rs.mutable_spec()->mutable_selector() = deployment_.spec().selector();
    (*rs.mutable_spec()->mutable_selector()->mutable_match_labels())[kTemplateHashLabel] = hash;
    *rs.mutable_spec()->mutable_template_() = deployment_.spec().template_();
    (*rs.mutable_spec()
          ->mutable_template_()
          ->mutable_metadata()
          ->mutable_labels())[kTemplateHashLabel] = hash;
    parts_.push_back(std::move(part));
    new_ = parts_.back().get();
    AnnotateNew();
  }

  // --- status ---

  v1::DeploymentStatus Status() {
    const v1::DeploymentStatus& before = deployment_.status();
    v1::DeploymentStatus status = before;
    int32_t total = 0, ready = 0, available = 0;
    for (const Part* part : All()) {
      total += part->rs.status().replicas();
      ready += part->rs.status().ready_replicas();
      available += part->rs.status().available_replicas();
    }
    status.set_observed_generation(deployment_.metadata().generation());
    status.set_replicas(total);
    status.set_updated_replicas(new_ == nullptr ? 0 : new_->rs.status().replicas());
    status.set_ready_replicas(ready);
    status.set_available_replicas(available);
    status.set_unavailable_replicas(std::max(0, Sum(&Part::replicas) - available));
    if (available >= replicas_ - posts_.max_unavailable)
      SetCondition(status.mutable_conditions(), "Available", "True", "MinimumReplicasAvailable",
                   "Deployment has minimum availability.", now_);
    else
      SetCondition(status.mutable_conditions(), "Available", "False", "MinimumReplicasUnavailable",
                   "Deployment does not have minimum availability.", now_);
    Progress(&status);
    return status;
  }

  bool IsComplete(const v1::DeploymentStatus& status) const {
    return status.updated_replicas() == replicas_ && status.replicas() == replicas_ &&
           status.available_replicas() == replicas_ &&
           status.observed_generation() >= deployment_.metadata().generation();
  }

  void Progress(v1::DeploymentStatus* status) {
    const v1::DeploymentStatus& before = deployment_.status();
    auto* conditions = status->mutable_conditions();
    auto set = [&](const char* value, const char* reason, std::string message) {
      SetCondition(conditions, "Progressing", value, reason, message, now_);
      for (v1::Condition& c : *conditions)
        if (c.type() == "Progressing") *c.mutable_last_update_time() = ToTimestamp(now_);
    };
    const std::string name = new_ != nullptr ? new_->rs.metadata().name() : "";
    const v1::Condition* current = FindCondition(*conditions, "Progressing");
    if (new_ != nullptr && new_->before == nullptr) {
      set("True", "NewReplicaSetCreated", fmt::format("Created new replica set \"{}\"", name));
      RequeueAtDeadline(*status);
      return;
    }
    if (new_ != nullptr && current == nullptr)
      set("True", "FoundNewReplicaSet", fmt::format("Found new replica set \"{}\"", name));
    current = FindCondition(*conditions, "Progressing");
    const bool was_complete = status->replicas() == status->updated_replicas() &&
                              current != nullptr && current->reason() == "NewReplicaSetAvailable";
    if (was_complete) return;
    if (IsComplete(*status)) {
      set("True", "NewReplicaSetAvailable",
          fmt::format("ReplicaSet \"{}\" has successfully progressed.", name));
      return;
    }
    const bool progressing = status->updated_replicas() > before.updated_replicas() ||
                             status->replicas() - status->updated_replicas() <
                                 before.replicas() - before.updated_replicas() ||
                             status->ready_replicas() > before.ready_replicas() ||
                             status->available_replicas() > before.available_replicas();
    if (progressing) {
      set("True", "ReplicaSetUpdated", fmt::format("ReplicaSet \"{}\" is progressing.", name));
    } else if (current != nullptr && current->reason() == "NewReplicaSetAvailable") {
      // A finished rollout was taken up again with nothing moved yet: its clock starts here.
      set("True", "ReplicaSetUpdated", fmt::format("ReplicaSet \"{}\" is progressing.", name));
    } else if (current != nullptr && current->reason() != "ProgressDeadlineExceeded" &&
               Deadline(*current) <= now_) {
      set("False", "ProgressDeadlineExceeded",
          fmt::format("ReplicaSet \"{}\" has timed out progressing.", name));
      return;
    }
    RequeueAtDeadline(*status);
  }

  absl::Time Deadline(const v1::Condition& progressing) const {
    const int32_t seconds = deployment_.spec().has_progress_deadline_seconds()
                                ? deployment_.spec().progress_deadline_seconds()
                                : 600;
    return ToTime(progressing.last_update_time()) + absl::Seconds(seconds);
  }

  void RequeueAtDeadline(const v1::DeploymentStatus& status) {
    const v1::Condition* current = FindCondition(status.conditions(), "Progressing");
    if (current == nullptr || current->reason() == "ProgressDeadlineExceeded" ||
        current->reason() == "NewReplicaSetAvailable")
      return;
    Earlier(&result_.requeue_at, Deadline(*current));
  }

  void CleanUpHistory() {
    const int32_t limit = deployment_.spec().has_revision_history_limit()
                              ? deployment_.spec().revision_history_limit()
                              : 10;
    std::vector<Part*> idle;
    for (Part* part : old_)
      if (!IsTerminating(part->rs.metadata())) idle.push_back(part);
    std::sort(idle.begin(), idle.end(), [](const Part* a, const Part* b) {
      return a->revision() != b->revision() ? a->revision() < b->revision() : OlderFirst(a, b);
    });
    const int32_t surplus = static_cast<int32_t>(idle.size()) - limit;
    for (int32_t i = 0; i < surplus; ++i) {
      Part* part = idle[i];
      const v1::ReplicaSet& rs = part->rs;
      if (part->replicas() == 0 && rs.status().replicas() == 0 &&
          rs.metadata().generation() <= rs.status().observed_generation())
        part->remove = true;
    }
  }

  // --- writes ---

  void Note(std::string_view type, std::string_view reason, std::string message) {
    result_.events.push_back({ReferenceTo("apps/v1", "Deployment", deployment_.metadata()),
                              std::string(type), std::string(reason), std::move(message)});
  }

  void EmitReplicaSets() {
    for (const auto& part : parts_) {
      if (part->remove) {
        result_.writes.push_back({Write::Type::kDelete, Wrap(*part->before), {}});
        continue;
      }
      if (part->before != nullptr && CanonicalBytes(part->rs) == CanonicalBytes(*part->before))
        continue;
      const auto type = part->before == nullptr ? Write::Type::kCreate : Write::Type::kUpdate;
      result_.writes.push_back({type, Wrap(part->rs), {}});
      const int32_t from = part->before == nullptr ? 0 : ReplicasOf(*part->before);
      const int32_t to = part->replicas();
      if (from == to) continue;
      Note("Normal", "ScalingReplicaSet",
           fmt::format("Scaled {} replica set {} from {} to {}", to > from ? "up" : "down",
                       part->rs.metadata().name(), from, to));
    }
  }

  // One write per object and step: the annotation first, the status when it has arrived. Only that
  // a ReplicaSet was created can be told now or never.
  void EmitDeployment(const v1::DeploymentStatus& status) {
    v1::Deployment updated = deployment_;
    if (new_ != nullptr && new_->before != nullptr) {
      const std::string revision = fmt::format("{}", new_->revision());
      std::string& present =
          (*updated.mutable_metadata()->mutable_annotations())[kRevisionAnnotation];
      if (present != revision) {
        present = revision;
        result_.writes.push_back({Write::Type::kUpdate, Wrap(updated), {}});
        return;
      }
    }
    if (CanonicalBytes(status) == CanonicalBytes(deployment_.status())) return;
    *updated.mutable_status() = status;
    result_.writes.push_back({Write::Type::kUpdateStatus, Wrap(updated), {}});
  }

  const ClusterState& state_;
  const v1::Deployment& deployment_;
  const absl::Time now_;
  const int32_t replicas_;
  const Fenceposts posts_;
  const bool recreate_;
  std::vector<std::unique_ptr<Part>> parts_;
  Part* new_ = nullptr;
  std::vector<Part*> old_;  // by age
  ReconcileResult result_;
};

}  // namespace

std::vector<ObjectKey> DeploymentController::Affected(const ClusterState& state,
                                                      const Change& change) const {
  std::vector<ObjectKey> keys;
  auto by_replica_set = [&](const v1::ReplicaSet& rs) {
    const std::string& ns = rs.metadata().namespace_();
    if (const v1::OwnerReference* owner = ControllerOf(rs.metadata())) {
      if (owner->kind() == "Deployment") keys.push_back({ns, owner->name()});
      return;
    }
    for (const auto& [key, deployment] : InNamespace(state.deployments, ns))
      if (MatchesSelector(deployment->spec().selector(), rs.metadata().labels()))
        keys.push_back(key);
  };
  ForEachSide(change, [&](const v1::Resource& side) {
    if (side.has_deployment()) keys.push_back(KeyOf(side));
    if (side.has_replica_set()) by_replica_set(side.replica_set());
    if (!side.has_pod()) return;
    // Recreate waits for old pods to be gone.
    const v1::OwnerReference* owner = ControllerOf(side.pod().metadata());
    if (owner == nullptr || owner->kind() != "ReplicaSet") return;
    if (change.after != nullptr && !IsFinished(change.after->pod())) return;
    const v1::ReplicaSet* rs =
        FindObject(state.replica_sets, {side.pod().metadata().namespace_(), owner->name()});
    if (rs != nullptr) by_replica_set(*rs);
  });
  return keys;
}

ReconcileResult DeploymentController::Reconcile(const ClusterState& state, const ObjectKey& key,
                                                absl::Time now) const {
  const v1::Deployment* deployment = FindObject(state.deployments, key);
  if (deployment == nullptr) return {};
  return Step(state, *deployment, now).Run();
}

}  // namespace mesh::controlplane
