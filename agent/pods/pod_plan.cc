// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/pod_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace mesh::agent {
namespace {

void LookAgain(PodPlan& plan, absl::Time when) {
  plan.look_again_at = plan.look_again_at ? std::min(*plan.look_again_at, when) : when;
}

bool IsLive(const ObservedContainer& container) {
  return container.state == RunState::kRunning || container.state == RunState::kUnknown;
}

// One that could not be started has no start time.
bool WasHealthy(const ObservedContainer& exited) {
  return exited.started_at > absl::UnixEpoch() &&
         exited.finished_at - exited.started_at >= kHealthyAfter;
}

const ObservedSandbox* UsableSandbox(const ObservedPod& observed) {
  if (observed.sandboxes.empty()) return nullptr;
  const ObservedSandbox& newest = observed.sandboxes.front();
  return newest.ready && !newest.ip.empty() ? &newest : nullptr;
}

// All that are no sidecars at once; then the sidecars, the last one first.
void PlanStopOfContainers(const v1::Pod* pod, const ObservedPod& observed, absl::Time deadline,
                          PodPlan& plan) {
  std::vector<std::string> sidecars;
  if (pod != nullptr) {
    for (const v1::Container& init : pod->spec().init_containers()) {
      if (IsSidecar(init)) sidecars.push_back(init.name());
    }
  }
  for (const ObservedContainer& container : observed.containers) {
    if (!IsLive(container)) continue;
    if (std::find(sidecars.begin(), sidecars.end(), container.name) != sidecars.end()) continue;
    plan.actions.push_back(StopContainer{container.name, container.id, deadline});
  }
  for (auto name = sidecars.rbegin(); name != sidecars.rend() && plan.actions.empty(); ++name) {
    for (const ObservedContainer& container : observed.containers) {
      if (container.name == *name && IsLive(container))
        plan.actions.push_back(StopContainer{container.name, container.id, deadline});
    }
  }
}

// Containers first, then their sandbox, then what the runtime keeps of it.
void PlanStop(const v1::Pod* pod, const ObservedPod& observed, const PodMemory& memory,
              absl::Time stopping_since, absl::Time now, PodPlan& plan) {
  if (now < memory.cleanup.next_at) return LookAgain(plan, memory.cleanup.next_at);
  PlanStopOfContainers(pod, observed, KillDeadline(pod, stopping_since), plan);
  if (!plan.actions.empty()) return;
  for (const ObservedSandbox& sandbox : observed.sandboxes) {
    if (memory.stopped_sandboxes.contains(sandbox.id)) {
      plan.actions.push_back(RemoveSandbox{sandbox.id});
    } else {
      plan.actions.push_back(StopSandbox{sandbox.id});
    }
  }
  if (!plan.actions.empty()) return;
  for (const ObservedContainer& container : observed.containers) {
    plan.actions.push_back(RemoveContainer{container.name, container.id, container.attempt});
  }
  plan.gone = plan.actions.empty();
}

// A start that is interrupted (the agent was killed, or the runtime too slow) leaves a container
// that counts as exited and may run: it would be there twice, and cannot be removed. Where a
// clean-up fails all that have exited are looked at.
bool MayRunOn(const ObservedContainer& container, const PodMemory& memory, absl::Time now) {
  if (container.state != RunState::kExited || memory.ended_tasks.contains(container.id)) {
    return false;
  }
  return container.reason == "StartError" ||
         (memory.cleanup.failed() && now >= memory.cleanup.next_at);
}

void PlanEndOfTasks(const ObservedPod& observed, const PodMemory& memory, absl::Time now,
                    PodPlan& plan) {
  for (const ObservedContainer& container : observed.containers) {
    if (!MayRunOn(container, memory, now)) continue;
    if (now < memory.cleanup.next_at) return LookAgain(plan, memory.cleanup.next_at);
    plan.actions.push_back(EndTask{container.name, container.id});
  }
}

bool IsFinished(const v1::Pod& pod, const ObservedPod& observed) {
  // A pod that has ended never runs again, whatever the runtime has forgotten.
  if (pod.status().phase() == "Succeeded" || pod.status().phase() == "Failed") return true;
  if (pod.spec().restart_policy() == "Always" || pod.spec().restart_policy().empty()) return false;
  for (const v1::Container& init : pod.spec().init_containers()) {
    const ObservedContainer* newest = observed.Newest(init.name());
    if (IsSidecar(init) || newest == nullptr || newest->state != RunState::kExited) continue;
    if (newest->exit_code != 0 && !ShouldRestart(pod, *newest)) return true;
  }
  for (const v1::Container& container : pod.spec().containers()) {
    const ObservedContainer* newest = observed.Newest(container.name());
    if (newest == nullptr || newest->state != RunState::kExited) return false;
    if (ShouldRestart(pod, *newest)) return false;
  }
  return true;
}

// Without a usable sandbox: free its address, then make the next one. Containers of the lost one
// are kept until their successors exist: they carry the restart count and the last exit.
void PlanSandbox(const ObservedPod& observed, const PodMemory& memory, absl::Time now,
                 PodPlan& plan) {
  for (const ObservedContainer& container : observed.containers) {
    if (IsLive(container)) {
      plan.actions.push_back(StopContainer{container.name, container.id, now + kOrphanGrace});
    }
  }
  if (!plan.actions.empty()) return;
  for (const ObservedSandbox& sandbox : observed.sandboxes) {
    if (!memory.stopped_sandboxes.contains(sandbox.id)) {
      plan.actions.push_back(StopSandbox{sandbox.id});
    }
  }
  if (!plan.actions.empty()) return;
  if (now < memory.sandbox.next_at) return LookAgain(plan, memory.sandbox.next_at);
  uint32_t attempt = 0;
  for (const ObservedSandbox& sandbox : observed.sandboxes) {
    attempt = std::max(attempt, sandbox.attempt + 1);
  }
  plan.actions.push_back(RunSandbox{attempt});
}

enum class Step : uint8_t {
  kSettled,  // nothing to do: it runs, or has ended for good
  kWaits,    // for its back-off
  kStarts,   // its postStart hook is not over
  kActs,     // an action is planned
};

// `again`: one that has ended in another sandbox is run again, however it ended.
Step PlanContainer(const v1::Pod& pod, const v1::Container& container, bool again,
                   const ObservedPod& observed, const PodMemory& memory,
                   const ObservedSandbox& sandbox, absl::Time now, PodPlan& plan) {
  const ObservedContainer* newest = observed.Newest(container.name());
  if (newest != nullptr && newest->state == RunState::kUnknown) {
    plan.actions.push_back(StopContainer{newest->name, newest->id, now});
    return Step::kActs;
  }
  if (newest != nullptr && newest->state == RunState::kRunning) {
    if (!newest->spec_hash.empty() && newest->spec_hash != SpecHash(container)) {
      const absl::Duration grace = absl::Seconds(pod.spec().termination_grace_period_seconds());
      plan.actions.push_back(StopContainer{newest->name, newest->id, now + grace});
      return Step::kActs;
    }
    const ContainerHealth health = HealthOf(container, *newest, memory);
    if (health.given_up())
      plan.actions.push_back(StopContainer{newest->name, newest->id, health.kill_by});
    return health.in_post_start ? Step::kStarts : Step::kSettled;
  }
  absl::Time not_before = absl::InfinitePast();
  if (auto it = memory.containers.find(container.name()); it != memory.containers.end()) {
    not_before = it->second.start.next_at;
  }
  if (newest != nullptr && newest->state == RunState::kExited) {
    const bool ended_elsewhere = again && newest->sandbox_id != sandbox.id;
    if (!ended_elsewhere && !ShouldRestart(pod, *newest)) return Step::kSettled;
    not_before = std::max(not_before, RestartAt(*newest, memory));
  }
  if (now < not_before) {
    LookAgain(plan, not_before);
    return Step::kWaits;
  }
  if (newest != nullptr && newest->state == RunState::kCreated &&
      newest->sandbox_id == sandbox.id) {
    plan.actions.push_back(StartContainer{newest->name, newest->id});
  } else {
    const uint32_t attempt = newest == nullptr ? 0 : newest->attempt + 1;
    plan.actions.push_back(RunContainer{container.name(), attempt, sandbox.id});
  }
  return Step::kActs;
}

// One init container that is not done holds up all after it.
bool InitDone(const v1::Container& init, const ObservedPod& observed, const PodMemory& memory,
              const std::string& sandbox_id) {
  const ObservedContainer* newest = observed.Newest(init.name());
  if (newest == nullptr || newest->sandbox_id != sandbox_id) return false;
  if (IsSidecar(init))
    return newest->state == RunState::kRunning && HealthOf(init, *newest, memory).started;
  return newest->state == RunState::kExited && newest->exit_code == 0;
}

// Up to the first that is not done; once all were, only the sidecars are kept running.
Step PlanInitContainers(const v1::Pod& pod, bool initialized, const ObservedPod& observed,
                        const PodMemory& memory, const ObservedSandbox& sandbox, absl::Time now,
                        PodPlan& plan) {
  for (const v1::Container& init : pod.spec().init_containers()) {
    const bool done = InitDone(init, observed, memory, sandbox.id);
    if (!IsSidecar(init) && (initialized || done)) continue;
    const Step step =
        PlanContainer(pod, init, /*again=*/true, observed, memory, sandbox, now, plan);
    if (step == Step::kActs) return step;
    if (!initialized && !done) return Step::kWaits;
  }
  return Step::kSettled;
}

// One start after the other, in the order of the spec; a start is over with its postStart hook.
void PlanContainers(const v1::Pod& pod, const ObservedPod& observed, const PodMemory& memory,
                    const ObservedSandbox& sandbox, absl::Time now, PodPlan& plan) {
  const bool initialized = IsInitialized(pod, observed, memory);
  const Step init = PlanInitContainers(pod, initialized, observed, memory, sandbox, now, plan);
  if (init != Step::kSettled) return;
  for (const v1::Container& container : pod.spec().containers()) {
    const Step step =
        PlanContainer(pod, container, /*again=*/false, observed, memory, sandbox, now, plan);
    if (step == Step::kActs || step == Step::kStarts) return;
  }
}

// Keeps the newest and the one before of each name; lost sandboxes go when every container has a
// successor in the present one.
void PlanLeftovers(const v1::Pod& pod, const ObservedPod& observed, const PodMemory& memory,
                   const ObservedSandbox& sandbox, absl::Time now, PodPlan& plan) {
  if (now < memory.cleanup.next_at) return LookAgain(plan, memory.cleanup.next_at);
  std::map<std::string, int> seen;
  for (const ObservedContainer& container : observed.containers) {
    if (++seen[container.name] > 2 && !IsLive(container)) {
      plan.actions.push_back(RemoveContainer{container.name, container.id, container.attempt});
    }
  }
  if (!plan.actions.empty()) return;
  const bool moved = std::all_of(pod.spec().containers().begin(), pod.spec().containers().end(),
                                 [&](const v1::Container& container) {
                                   const ObservedContainer* newest =
                                       observed.Newest(container.name());
                                   return newest != nullptr && newest->sandbox_id == sandbox.id;
                                 });
  if (!moved) return;
  for (const ObservedSandbox& other : observed.sandboxes) {
    if (other.id == sandbox.id) continue;
    if (memory.stopped_sandboxes.contains(other.id)) {
      plan.actions.push_back(RemoveSandbox{other.id});
    } else {
      plan.actions.push_back(StopSandbox{other.id});
    }
  }
}

}  // namespace

const ObservedContainer* ObservedPod::Newest(const std::string& name) const {
  for (const ObservedContainer& container : containers) {
    if (container.name == name) return &container;
  }
  return nullptr;
}

const ObservedContainer* ObservedPod::Previous(const std::string& name) const {
  bool first = true;
  for (const ObservedContainer& container : containers) {
    if (container.name != name) continue;
    if (!first) return &container;
    first = false;
  }
  return nullptr;
}

ContainerHealth HealthOf(const v1::Container& spec, const ObservedContainer& running,
                         const PodMemory& memory) {
  const auto it = memory.health.find(running.id);
  if (it != memory.health.end()) return it->second;
  ContainerHealth out;
  out.in_post_start = spec.lifecycle().has_post_start();
  out.started = !spec.has_startup_probe() && !out.in_post_start;
  out.ready = out.started && !spec.has_readiness_probe();
  return out;
}

bool IsSidecar(const v1::Container& init_container) {
  return init_container.restart_policy() == "Always";
}

const v1::Container* FindContainer(const v1::Pod& pod, const std::string& name) {
  for (const auto* list : {&pod.spec().containers(), &pod.spec().init_containers()}) {
    for (const v1::Container& container : *list) {
      if (container.name() == name) return &container;
    }
  }
  return nullptr;
}

bool IsInitialized(const v1::Pod& pod, const ObservedPod& observed, const PodMemory& memory) {
  if (pod.spec().init_containers().empty()) return true;
  if (observed.sandboxes.empty()) return false;
  const std::string& sandbox = observed.sandboxes.front().id;
  for (const v1::Container& container : pod.spec().containers()) {
    const ObservedContainer* newest = observed.Newest(container.name());
    if (newest != nullptr && newest->sandbox_id == sandbox) return true;
  }
  return std::all_of(
      pod.spec().init_containers().begin(), pod.spec().init_containers().end(),
      [&](const v1::Container& init) { return InitDone(init, observed, memory, sandbox); });
}

bool ShouldRestart(const v1::Pod& pod, const ObservedContainer& exited) {
  const std::string& policy = pod.spec().restart_policy();
  for (const v1::Container& init : pod.spec().init_containers()) {
    if (init.name() != exited.name) continue;
    return IsSidecar(init) || (exited.exit_code != 0 && policy != "Never");
  }
  if (policy == "Never") return false;
  if (policy == "OnFailure") return exited.exit_code != 0;
  return true;
}

absl::Time RestartAt(const ObservedContainer& exited, const PodMemory& memory) {
  auto it = memory.containers.find(exited.name);
  if (it == memory.containers.end()) return absl::InfinitePast();
  if (WasHealthy(exited)) return absl::InfinitePast();
  if (it->second.restart_delay == absl::ZeroDuration()) return absl::InfinitePast();
  return exited.finished_at + it->second.restart_delay;
}

absl::Duration NextRestartDelay(const ObservedContainer& exited, absl::Duration delay) {
  if (WasHealthy(exited)) return kRestartDelayFirst;
  if (delay == absl::ZeroDuration()) return kRestartDelayFirst;
  return std::min(delay * 2, kRestartDelayMax);
}

std::string SpecHash(const v1::Container& container) {
  // Maps have no order on the wire unless it is asked for.
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    container.SerializeToCodedStream(&coded);
  }
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a, 64 bits
  for (const char c : bytes) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return fmt::format("{:016x}", hash);
}

absl::Time KillDeadline(const v1::Pod* pod, absl::Time stopping_since) {
  if (pod == nullptr || !pod->metadata().has_deletion_timestamp()) {
    return stopping_since + kOrphanGrace;
  }
  const auto& at = pod->metadata().deletion_timestamp();
  return absl::FromUnixSeconds(at.seconds()) + absl::Nanoseconds(at.nanos());
}

PodPlan ComputePodPlan(const v1::Pod* pod, const ObservedPod& observed, const PodMemory& memory,
                       absl::Time stopping_since, absl::Time now) {
  PodPlan plan;
  PlanEndOfTasks(observed, memory, now, plan);
  if (!plan.actions.empty() || plan.look_again_at) return plan;
  if (pod == nullptr || pod->metadata().has_deletion_timestamp()) {
    PlanStop(pod, observed, memory, stopping_since, now, plan);
    return plan;
  }
  const bool evicted = !memory.evicted.empty();
  const bool late = now >= memory.deadline_at;
  if (evicted || late || IsFinished(*pod, observed)) {
    plan.finished = true;
    if (now < memory.cleanup.next_at) {
      LookAgain(plan, memory.cleanup.next_at);
      return plan;
    }
    // Sidecars outlive the containers, and end as if the pod were deleted.
    const absl::Duration grace =
        evicted ? kEvictionGrace : absl::Seconds(pod->spec().termination_grace_period_seconds());
    const absl::Time since = late && !evicted ? memory.deadline_at : now;
    PlanStopOfContainers(pod, observed, since + grace, plan);
    if (!plan.actions.empty()) return plan;
    for (const ObservedSandbox& sandbox : observed.sandboxes) {
      if (!memory.stopped_sandboxes.contains(sandbox.id)) {
        plan.actions.push_back(StopSandbox{sandbox.id});
      }
    }
    return plan;
  }
  if (memory.deadline_at != absl::InfiniteFuture()) LookAgain(plan, memory.deadline_at);
  const ObservedSandbox* sandbox = UsableSandbox(observed);
  if (sandbox == nullptr) {
    PlanSandbox(observed, memory, now, plan);
    return plan;
  }
  PlanContainers(*pod, observed, memory, *sandbox, now, plan);
  if (plan.actions.empty()) PlanLeftovers(*pod, observed, memory, *sandbox, now, plan);
  return plan;
}

}  // namespace mesh::agent
