// SPDX-License-Identifier: Apache-2.0
// What a session says and hears of single pods: when their identities may be told, their reports,
// what they refer to, and volumes.
#include <utility>

#include "common/log.h"
#include "controlplane/rpc/node_sessions.h"
#include "controlplane/state/claims.h"
#include "controlplane/state/object_rules.h"

namespace mesh::controlplane {
namespace {

v1::Condition* ConditionOf(v1::PodStatus* status, const std::string& type) {
  for (v1::Condition& condition : *status->mutable_conditions()) {
    if (condition.type() == type) return &condition;
  }
  v1::Condition* added = status->add_conditions();
  added->set_type(type);
  return added;
}

// What the agent says of a pod, with what the control plane knows better kept.
v1::PodStatus Reported(const v1::PodStatus& current, const v1::PodStatus& report) {
  v1::PodStatus out = report;
  out.set_identity(current.identity());
  *out.mutable_identity_blocks() = current.identity_blocks();
  out.set_qos_class(current.qos_class());
  out.set_pod_ip(current.pod_ip());
  *out.mutable_pod_ips() = current.pod_ips();
  if (out.host_ip().empty()) out.set_host_ip(current.host_ip());
  if (!out.has_start_time() && current.has_start_time()) {
    *out.mutable_start_time() = current.start_time();
  }
  for (const v1::Condition& condition : current.conditions()) {
    if (condition.type() == "PodScheduled") {
      *ConditionOf(&out, "PodScheduled") = condition;
    }
    // An agent that has just started does not know since when.
    for (v1::Condition& told : *out.mutable_conditions()) {
      if (told.type() != condition.type() || told.status() != condition.status()) continue;
      if (!condition.has_last_transition_time()) continue;
      *told.mutable_last_transition_time() = condition.last_transition_time();
    }
  }
  return out;
}

}  // namespace

void NodeSessions::OnReport(const Session& session, const v1::PodReport& report) {
  const auto [it, is_first] = reports_.try_emplace(report.uid());
  if (is_first) return WriteReport(session.node, report);
  it->second = {session.node, report};
}

void NodeSessions::WriteReport(const std::string& node, const v1::PodReport& report) {
  writer_.Change(
      v1::KIND_POD, {report.namespace_(), report.name()},
      [report, node](const ClusterState&,
                     const std::shared_ptr<const v1::Resource>& current) -> absl::StatusOr<Intent> {
        // Of a pod that is gone, or of another with its name: nothing to say.
        if (current == nullptr || current->pod().metadata().uid() != report.uid() ||
            current->pod().spec().node_name() != node) {
          return Intent{};
        }
        const bool going = current->pod().metadata().has_deletion_timestamp();
        if (report.terminated() && going && current->pod().metadata().finalizers().empty()) {
          return Intent{.type = Intent::Type::kRemove, .resource = {}, .others = {}};
        }
        Intent intent{.type = Intent::Type::kPut, .resource = *current, .others = {}};
        *intent.resource.mutable_pod()->mutable_status() =
            Reported(current->pod().status(), report.status());
        return intent;
      },
      [this, alive = alive_, name = report.name(),
       uid = report.uid()](const absl::StatusOr<Written>& written) {
        if (!written.ok()) {
          spdlog::warn("pod {}: report not written: {}", name,
                       std::string(written.status().message()));
        }
        if (!*alive) return;
        const auto it = reports_.find(uid);
        if (!it->second) {
          reports_.erase(it);
          return;
        }
        const auto [next_node, next] = *std::exchange(it->second, std::nullopt);
        WriteReport(next_node, next);
      });
}

void NodeSessions::NoteReferred(const Change& change) {
  const v1::Resource& some = change.after != nullptr ? *change.after : *change.before;
  if (some.has_persistent_volume()) {
    references_.PutVolume(KeyOf(some).name,
                          change.after == nullptr ? nullptr : &change.after->persistent_volume());
    const v1::PersistentVolume& volume = some.persistent_volume();
    const v1::ObjectReference& claim = volume.spec().claim_ref();
    dirty_nodes_.merge(references_.NodesOf(
        {v1::KIND_PERSISTENT_VOLUME_CLAIM, {claim.namespace_(), claim.name()}}));
    if (IsProvisioned(volume)) dirty_nodes_.insert(NodeOfVolume(volume));
    return;
  }
  if (!some.has_config_map() && !some.has_secret() && !some.has_persistent_volume_claim()) return;
  dirty_nodes_.merge(references_.NodesOf({KindOf(some), KeyOf(some)}));
}

// The node has removed what was in a volume, or says why it could not.
void NodeSessions::OnVolumeReport(const Session& session, const v1::VolumeReport& report) {
  writer_.Change(
      v1::KIND_PERSISTENT_VOLUME, {"", report.name()},
      [this, report, node = session.node](
          const ClusterState&,
          const std::shared_ptr<const v1::Resource>& current) -> absl::StatusOr<Intent> {
        // Somebody may have kept it meanwhile.
        if (current == nullptr || !IsToBeRemoved(current->persistent_volume()) ||
            NodeOfVolume(current->persistent_volume()) != node) {
          return Intent{};
        }
        if (report.error().empty()) {
          return Intent{.type = Intent::Type::kRemove, .resource = {}, .others = {}};
        }
        Intent intent{.type = Intent::Type::kPut, .resource = *current, .others = {}};
        v1::PersistentVolumeStatus* status =
            intent.resource.mutable_persistent_volume()->mutable_status();
        if (status->phase() != "Failed") {
          *status->mutable_last_phase_transition_time() = TimestampOf(loop_.Now());
        }
        status->set_phase("Failed");
        status->set_reason("VolumeFailedDelete");
        status->set_message(report.error());
        return intent;
      },
      [this, alive = alive_, report](const absl::StatusOr<Written>& written) {
        if (!written.ok()) {
          spdlog::warn("volume {}: report not written: {}", report.name(),
                       std::string(written.status().message()));
          return;
        }
        if (!*alive || report.error().empty() || !written->changed) return;
        v1::ObjectReference volume;
        volume.set_api_version("v1");
        volume.set_kind("PersistentVolume");
        volume.set_name(report.name());
        volume.set_uid(MetaOf(*written->resource).uid());
        writer_.Note({volume, "Warning", "VolumeFailedDelete", report.error()});
      });
}

void NodeSessions::Introduce(const v1::NodeUpdate& shared) {
  const Introduced now{.revision = flushed_, .until = loop_.Now() + options_.identity_hold};
  for (const uint32_t identity : shared.removed_pod_identities()) {
    known_identities_.erase(identity);
    new_identities_.erase(identity);
  }
  for (const v1::IdentityState& row : shared.identities()) {
    if (known_identities_.insert(row.identity()).second) new_identities_[row.identity()] = now;
  }
  for (const v1::PodIdentity& row : shared.pod_identities()) new_addresses_[row.ip()] = now;
}

void NodeSessions::ReleaseIntroduced() {
  const auto known = [&](const auto& entry) {
    return entry.second.until <= loop_.Now() || AllAcked(entry.second.revision);
  };
  if (std::erase_if(new_identities_, known) + std::erase_if(new_addresses_, known) == 0) return;
  for (const auto& [uid, node] : waiting_) dirty_nodes_.insert(node);
}

uint32_t NodeSessions::IdentityToTell(const v1::Pod& pod) const {
  const uint32_t identity = pod.status().identity();
  const auto told = told_.find(pod.metadata().uid());
  const uint32_t before = told == told_.end() ? 0 : told->second;
  const bool is_known = !new_identities_.contains(identity) &&
                        (before != 0 || !new_addresses_.contains(pod.status().pod_ip()));
  return is_known ? identity : before;
}

// For what no change announces: an identity that goes, a node that does not acknowledge.
void NodeSessions::ScheduleLook() {
  loop_.Cancel(look_timer_);
  std::optional<absl::Time> at = policies_.next();
  const auto earlier = [&](const auto& introduced) {
    for (const auto& [key, entry] : introduced) {
      if (!at || entry.until < *at) at = entry.until;
    }
  };
  earlier(new_identities_);
  earlier(new_addresses_);
  look_timer_ = at ? loop_.RunAt(*at, [this] { PostFlush(); }) : 0;
}

}  // namespace mesh::controlplane
