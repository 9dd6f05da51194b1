// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/pod_status.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "agent/pods/pod_deadline.h"
#include "agent/pods/pod_plan.h"
#include "agent/pods/termination_message.h"
#include "common/utf8.h"

namespace mesh::agent {
namespace {

constexpr char kContainerIdPrefix[] = "containerd://";

void SetTime(absl::Time time, google::protobuf::Timestamp* out) {
  const int64_t seconds = absl::ToUnixSeconds(time);
  out->set_seconds(seconds);
  out->set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
}

std::string PodTitle(const v1::Pod& pod) {
  return fmt::format("{}_{}({})", pod.metadata().name(), pod.metadata().namespace_(),
                     pod.metadata().uid());
}

// "5m0s", "10s", "400ms", as Go prints durations.
std::string GoDuration(absl::Duration duration) {
  const int64_t ms = absl::ToInt64Milliseconds(duration);
  if (ms < 1000) return fmt::format("{}ms", ms);
  const int64_t seconds = ms / 1000;
  if (seconds < 60) {
    return ms % 1000 == 0 ? fmt::format("{}s", seconds)
                          : fmt::format("{:g}s", static_cast<double>(ms) / 1000);
  }
  return fmt::format("{}m{}s", seconds / 60, seconds % 60);
}

// `most`: bytes of the message.
void FillTerminated(const ObservedContainer& container, size_t most,
                    v1::ContainerStateTerminated* out) {
  out->set_exit_code(container.exit_code);
  out->set_reason(!container.reason.empty()  ? container.reason
                  : container.exit_code == 0 ? "Completed"
                                             : "Error");
  out->set_message(std::string(Utf8Prefix(container.message, most)));
  if (container.started_at > absl::UnixEpoch()) {
    SetTime(container.started_at, out->mutable_started_at());
  }
  SetTime(container.finished_at, out->mutable_finished_at());
  out->set_container_id(kContainerIdPrefix + container.id);
}

const v1::ContainerStatus* FindStatus(const v1::PodStatus* status, const std::string& name) {
  if (status == nullptr) return nullptr;
  for (const auto* list : {&status->container_statuses(), &status->init_container_statuses()}) {
    for (const v1::ContainerStatus& container : *list) {
      if (container.name() == name) return &container;
    }
  }
  return nullptr;
}

void FillWaiting(std::string reason, std::string message, v1::ContainerStatus* out) {
  out->mutable_state()->mutable_waiting()->set_reason(std::move(reason));
  out->mutable_state()->mutable_waiting()->set_message(std::move(message));
}

// The words for a container that could not be started: fresh failures by name, later ones as the
// back-off they wait in.
void FillRetry(const v1::Container& spec, const Retry& retry, absl::Time now,
               absl::Time& look_again_at, v1::ContainerStatus* out) {
  if (retry.reason == "ErrImagePull") {
    const absl::Time stale_at = retry.failed_at + kFreshFailure;
    if (now >= stale_at) {
      return FillWaiting("ImagePullBackOff",
                         fmt::format("Back-off pulling image \"{}\": ErrImagePull: {}",
                                     spec.image(), retry.message),
                         out);
    }
    look_again_at = std::min(look_again_at, stale_at);
  }
  FillWaiting(retry.reason, retry.message, out);
}

constexpr char kEvicted[] = "Evicted";

class Builder {
 public:
  explicit Builder(const StatusInput& input)
      : in_(input),
        message_most_(TerminationMessageMost(input.pod->spec())),
        late_(input.now >= input.memory->deadline_at) {}

  StatusOutput Build() {
    v1::PodStatus& status = out_.status;
    initialized_ = IsInitialized(*in_.pod, *in_.observed, *in_.memory);
    for (const v1::Container& init : in_.pod->spec().init_containers()) {
      v1::ContainerStatus* out = status.add_init_container_statuses();
      Container(init, out);
      if (IsSidecar(init)) continue;
      out->set_started(false);
      out->set_ready(out->state().has_terminated() && out->state().terminated().exit_code() == 0);
    }
    for (const v1::Container& container : in_.pod->spec().containers())
      Container(container, status.add_container_statuses());
    status.set_phase(Phase());
    if (late_ && status.phase() == "Failed") {
      status.set_reason(kDeadlineExceeded);
      status.set_message(kDeadlineMessage);
    }
    Eviction();
    status.set_host_ip(in_.node_ip);
    status.set_pod_ip(in_.pod->status().pod_ip());
    *status.mutable_pod_ips() = in_.pod->status().pod_ips();
    if (status.pod_ips().empty() && !status.pod_ip().empty()) {
      status.add_pod_ips()->set_ip(status.pod_ip());
    }
    status.set_identity(in_.pod->status().identity());
    StartTime();
    Conditions();
    return std::move(out_);
  }

 private:
  void Container(const v1::Container& spec, v1::ContainerStatus* out) {
    out->set_name(spec.name());
    out->set_image(spec.image());
    const ObservedContainer* newest = in_.observed->Newest(spec.name());
    const ObservedContainer* previous = in_.observed->Previous(spec.name());
    const v1::ContainerStatus* before = FindStatus(in_.previous, spec.name());
    const ContainerMemory* memory = nullptr;
    if (auto it = in_.memory->containers.find(spec.name()); it != in_.memory->containers.end()) {
      memory = &it->second;
    }
    out->set_started(false);
    if (newest == nullptr) {
      if (memory != nullptr && memory->start.failed()) {
        FillRetry(spec, memory->start, in_.now, out_.look_again_at, out);
      } else {
        FillWaiting(initialized_ ? "ContainerCreating" : "PodInitializing",
                    in_.memory->sandbox.message, out);
      }
      return;
    }
    out->set_restart_count(static_cast<int32_t>(newest->attempt));
    out->set_container_id(kContainerIdPrefix + newest->id);
    out->set_image_id(newest->image_ref);
    if (previous != nullptr && previous->state == RunState::kExited) {
      FillTerminated(*previous, message_most_, out->mutable_last_state()->mutable_terminated());
    } else if (before != nullptr && newest->attempt > 0 && before->has_last_state()) {
      *out->mutable_last_state() = before->last_state();
    }
    switch (newest->state) {
      case RunState::kRunning: {
        SetTime(newest->started_at, out->mutable_state()->mutable_running()->mutable_started_at());
        const ContainerHealth health = HealthOf(spec, *newest, *in_.memory);
        out->set_ready(health.ready);
        out->set_started(health.started);
        out->set_probe_failure(health.failing);
        return;
      }
      case RunState::kCreated:
        FillWaiting("ContainerCreating", "", out);
        return;
      case RunState::kUnknown:
      case RunState::kExited:
        break;
    }
    Exited(spec, *newest, memory, out);
  }

  void Exited(const v1::Container& spec, const ObservedContainer& exited,
              const ContainerMemory* memory, v1::ContainerStatus* out) {
    const bool again = ShouldRestart(*in_.pod, exited) && !Stopping();
    if (again && memory != nullptr && memory->start.failed()) {
      FillTerminated(exited, message_most_, out->mutable_last_state()->mutable_terminated());
      return FillRetry(spec, memory->start, in_.now, out_.look_again_at, out);
    }
    const absl::Time restart_at = again ? RestartAt(exited, *in_.memory) : absl::InfinitePast();
    if (again && in_.now < restart_at) {
      FillTerminated(exited, message_most_, out->mutable_last_state()->mutable_terminated());
      return FillWaiting(
          "CrashLoopBackOff",
          fmt::format("back-off {} restarting failed container={} pod={}",
                      GoDuration(memory->restart_delay), spec.name(), PodTitle(*in_.pod)),
          out);
    }
    FillTerminated(exited, message_most_, out->mutable_state()->mutable_terminated());
  }

  bool Stopping() const { return late_ || in_.pod->metadata().has_deletion_timestamp(); }

  bool AnyRuns() const {
    for (const auto* list :
         {&out_.status.container_statuses(), &out_.status.init_container_statuses()}) {
      for (const v1::ContainerStatus& container : *list) {
        if (container.state().has_running()) return true;
      }
    }
    return false;
  }

  // Kubernetes' getPhase.
  std::string Phase() const {
    int waiting = 0, running = 0, stopped = 0, succeeded = 0;
    for (const v1::ContainerStatus& container : out_.status.container_statuses()) {
      if (container.state().has_running()) {
        ++running;
      } else if (container.state().has_terminated()) {
        ++stopped;
        if (container.state().terminated().exit_code() == 0) ++succeeded;
      } else if (container.last_state().has_terminated()) {
        ++stopped;
      } else {
        ++waiting;
      }
    }
    const std::string& policy = in_.pod->spec().restart_policy();
    // Failed once nothing of it runs: what it holds of the node is not free before.
    if (late_) return AnyRuns() ? (waiting > 0 ? "Pending" : "Running") : "Failed";
    bool sidecars = false;
    for (int i = 0; i < out_.status.init_container_statuses_size(); ++i) {
      const v1::ContainerStatus& init = out_.status.init_container_statuses(i);
      if (IsSidecar(in_.pod->spec().init_containers(i))) {
        sidecars = sidecars || init.state().has_running();
      } else if (policy == "Never" && init.state().terminated().exit_code() != 0) {
        return "Failed";
      }
    }
    if (waiting > 0 || !initialized_) return "Pending";
    // Sidecars end after the containers, and the pod with them.
    if (running > 0 || sidecars) return "Running";
    if (policy != "Never" && policy != "OnFailure") return "Running";
    if (stopped == succeeded) return "Succeeded";
    return policy == "Never" ? "Failed" : "Running";
  }

  // Told before the containers have ended, and for good.
  void Eviction() {
    const bool before = in_.previous != nullptr && in_.previous->phase() == "Failed" &&
                        in_.previous->reason() == kEvicted;
    if (in_.memory->evicted.empty() && !before) return;
    out_.status.set_phase("Failed");
    out_.status.set_reason(kEvicted);
    out_.status.set_message(before ? in_.previous->message() : in_.memory->evicted);
  }

  void StartTime() {
    auto* out = out_.status.mutable_start_time();
    if (in_.previous != nullptr && in_.previous->has_start_time()) {
      *out = in_.previous->start_time();
    } else if (!in_.observed->sandboxes.empty()) {
      SetTime(in_.observed->sandboxes.back().created_at, out);
    } else {
      SetTime(in_.now, out);
    }
  }

  void Condition(const std::string& type, bool value, const std::string& reason,
                 const std::string& message) {
    v1::Condition* out = out_.status.add_conditions();
    out->set_type(type);
    out->set_status(value ? "True" : "False");
    out->set_reason(reason);
    out->set_message(message);
    if (in_.previous != nullptr) {
      for (const v1::Condition& before : in_.previous->conditions()) {
        if (before.type() == type && before.status() == out->status()) {
          *out->mutable_last_transition_time() = before.last_transition_time();
        }
      }
    }
    if (!out->has_last_transition_time()) {
      SetTime(in_.now, out->mutable_last_transition_time());
    }
  }

  // Sidecars that are not ready, and init containers that are not done.
  void Uninitialized(std::vector<std::string>* unready, std::vector<std::string>* incomplete) {
    for (int i = 0; i < out_.status.init_container_statuses_size(); ++i) {
      const v1::ContainerStatus& init = out_.status.init_container_statuses(i);
      const bool sidecar = IsSidecar(in_.pod->spec().init_containers(i));
      if (sidecar && !init.ready()) unready->push_back(init.name());
      if (sidecar ? !init.started() : !init.ready()) incomplete->push_back(init.name());
    }
  }

  void Conditions() {
    const std::string phase = out_.status.phase();
    std::vector<std::string> unready, incomplete;
    Uninitialized(&unready, &incomplete);
    for (const v1::ContainerStatus& container : out_.status.container_statuses()) {
      if (!container.ready()) unready.push_back(container.name());
    }
    std::string reason, message;
    const bool ready = unready.empty() && !late_ && phase != "Failed";
    if (phase == "Succeeded") {
      reason = "PodCompleted";
    } else if (phase == "Failed") {
      reason = "PodFailed";
    } else if (late_) {
      reason = kDeadlineExceeded;
      message = kDeadlineMessage;
    } else if (!ready) {
      reason = "ContainersNotReady";
      message = fmt::format("containers with unready status: [{}]", fmt::join(unready, " "));
    }
    if (initialized_) {
      Condition("Initialized", true, phase == "Succeeded" ? "PodCompleted" : "", "");
    } else {
      Condition("Initialized", false, "ContainersNotInitialized",
                fmt::format("containers with incomplete status: [{}]", fmt::join(incomplete, " ")));
    }
    Condition("Ready", ready, reason, message);
    Condition("ContainersReady", ready, reason, message);
    Condition("PodScheduled", true, "", "");
  }

  const StatusInput& in_;
  const size_t message_most_;
  const bool late_;  // its deadline has passed
  bool initialized_ = true;
  StatusOutput out_;
};

}  // namespace

StatusOutput ComputePodStatus(const StatusInput& input) { return Builder(input).Build(); }

}  // namespace mesh::agent
