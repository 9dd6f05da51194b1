// SPDX-License-Identifier: Apache-2.0
// How PodReconciler does what the plan says: one or a few CRI calls per action.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "agent/network/files.h"
#include "agent/pods/log_files.h"
#include "agent/pods/pod_tracked.h"
#include "agent/pods/security.h"
#include "agent/pods/termination_message.h"
#include "common/log.h"
#include "common/status.h"

namespace mesh::agent {
namespace {

constexpr absl::Duration kSandboxDelayFirst = absl::Milliseconds(200);
constexpr absl::Duration kSandboxDelayMax = absl::Seconds(30);
constexpr absl::Duration kCleanupDelayFirst = absl::Milliseconds(100);
constexpr absl::Duration kCleanupDelayMax = absl::Seconds(10);
constexpr absl::Duration kNetworkPoll = absl::Milliseconds(50);
// A start that was refused: the one of an agent before this may still be on its way.
constexpr absl::Duration kStartAgain = absl::Milliseconds(200);
// Kubernetes never stops a container with less.
constexpr absl::Duration kGraceMin = absl::Seconds(2);

// A container that runs keeps the file it has: one that is not as it must be is replaced, not
// written to. The runtime would make a folder where there is none.
absl::Status WriteHosts(const v1::Pod& pod, const PodConfigOptions& options) {
  const std::string path = HostsPath(options, pod.metadata().uid());
  const std::string content = HostsFile(pod, options);
  if (auto there = ReadWholeFile(path); there.ok() && *there == content) return absl::OkStatus();
  RETURN_IF_ERROR(MakeDirectories(PodFilesDirectory(options, pod.metadata().uid()), 0755));
  return ReplaceFile(path, content, 0644);
}

// What the runtime cannot do without it says better than we could.
void MakeFolder(const std::string& path) {
  std::error_code ignored;
  std::filesystem::create_directories(path, ignored);
}

}  // namespace

void PodReconciler::Run(Tracked& t, const PodAction& action) {
  std::visit([&](const auto& a) { Do(t, a); }, action);
}

void PodReconciler::Begin(Tracked& t, const std::string& key) { t.in_flight.insert(key); }

void PodReconciler::Finish(const std::string& uid, const std::string& key) {
  Tracked* t = Find(uid);
  if (t == nullptr) return;
  t->in_flight.erase(key);
  ++t->finished;
  Kick(uid);
}

// ---- sandboxes

void PodReconciler::Do(Tracked& t, const RunSandbox& action) {
  if (!hooks_.network_ready()) {
    t.memory.sandbox.message = "waiting for the node's network";
    t.memory.sandbox.next_at = loop_->Now() + kNetworkPoll;
    return ArmTimer(t, t.memory.sandbox.next_at);
  }
  Begin(t, "sandbox");
  if (action.attempt > 0) {
    Emit(t, "Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
  }
  WithSlot([this, uid = t.uid, attempt = action.attempt] {
    Tracked* pod = Find(uid);
    if (pod == nullptr || pod->ending()) {
      ReleaseSlot();
      return Finish(uid, "sandbox");
    }
    if (const absl::Status named = CheckHostname(*pod->pod, ConfigOptions()); !named.ok()) {
      ReleaseSlot();
      return SandboxMade(uid, named);
    }
    const cri::PodSandboxConfig config = BuildSandboxConfig(*pod->pod, attempt, ConfigOptions());
    MakeFolder(config.log_directory());
    auto done = [this, uid](const absl::StatusOr<std::string>& id) {
      ReleaseSlot();
      SandboxMade(uid, id);
    };
    cri_->RunSandbox(config, Posted(done));
  });
}

void PodReconciler::SandboxMade(const std::string& uid, const absl::StatusOr<std::string>& id) {
  if (Tracked* t = Find(uid)) {
    if (id.ok()) {
      t->memory.sandbox = Retry();
      owners_[*id] = uid;
    } else if (runtime_up_ && !absl::IsUnavailable(id.status())) {
      NoteFailure(t->memory.sandbox, "FailedCreatePodSandBox", Text(id.status()),
                  kSandboxDelayFirst, kSandboxDelayMax, loop_->Now());
      Emit(*t, "Warning", "FailedCreatePodSandBox",
           fmt::format("Failed to create pod sandbox: {}", Text(id.status())));
    }
  }
  Finish(uid, "sandbox");
}

void PodReconciler::Do(Tracked& t, const StopSandbox& action) {
  const std::string key = "stop " + action.id;
  Begin(t, key);
  auto done = [this, uid = t.uid, key, id = action.id](const absl::Status& status) {
    Cleaned(uid, "stop its sandbox", status);
    if (Tracked* found = Find(uid); found != nullptr && status.ok()) {
      found->memory.stopped_sandboxes.insert(id);
    }
    Finish(uid, key);
  };
  cri_->StopSandbox(action.id, Posted(done));
}

void PodReconciler::Do(Tracked& t, const RemoveSandbox& action) {
  const std::string key = "remove " + action.id;
  Begin(t, key);
  auto done = [this, uid = t.uid, key, id = action.id](const absl::Status& status) {
    Cleaned(uid, "remove its sandbox", status);
    if (Tracked* found = Find(uid); found != nullptr && status.ok()) {
      found->memory.stopped_sandboxes.erase(id);
      owners_.erase(id);
    }
    Finish(uid, key);
  };
  cri_->RemoveSandbox(action.id, Posted(done));
}

// ---- the end of containers

void PodReconciler::Cleaned(const std::string& uid, const std::string& what,
                            const absl::Status& status) {
  Tracked* t = Find(uid);
  if (t == nullptr) return;
  if (status.ok()) {
    t->memory.cleanup = Retry();
    return;
  }
  if (!runtime_up_ || absl::IsUnavailable(status)) return;
  t->memory.ended_tasks.clear();
  NoteFailure(t->memory.cleanup, "Cleanup", Text(status), kCleanupDelayFirst, kCleanupDelayMax,
              loop_->Now());
  spdlog::warn("pod {}/{}: {}: {}", t->ns, t->name, what, Text(status));
}

void PodReconciler::Do(Tracked& t, const RemoveContainer& action) {
  const std::string key = "remove " + action.id;
  Begin(t, key);
  const std::string log = PodLogDirectory(options_.config, t.ns, t.name, t.uid) + "/" +
                          ContainerLogPath(action.name, action.attempt);
  auto done = [this, uid = t.uid, key, id = action.id, log](const absl::Status& status) {
    Cleaned(uid, "remove a container", status);
    if (status.ok()) {
      RemoveLogs(log);
      owners_.erase(id);
    }
    Finish(uid, key);
  };
  cri_->RemoveContainer(action.id, Posted(done));
}

void PodReconciler::Do(Tracked& t, const EndTask& action) {
  const std::string key = "end " + action.id;
  Begin(t, key);
  auto done = [this, uid = t.uid, key, action](const absl::Status& status) {
    if (Tracked* found = Find(uid); found != nullptr && status.ok()) {
      found->memory.ended_tasks.insert(action.id);
    } else {
      Cleaned(uid, fmt::format("end what may run of container {}", action.name), status);
    }
    Finish(uid, key);
  };
  cri_->EndTask(action.id, Posted(done));
}

void PodReconciler::Do(Tracked& t, const StopContainer& action) {
  t.stopping[action.id] = action.deadline;
  if (t.killing_told.insert(action.id).second && t.desired) {
    const auto health = t.memory.health.find(action.id);
    const bool given_up = health != t.memory.health.end() && health->second.given_up();
    const bool again = !t.ending() && t.pod->spec().restart_policy() != "Never";
    Emit(t, "Normal", "Killing",
         given_up ? fmt::format("Container {} {}{}", action.name, health->second.kill_why,
                                again ? ", will be restarted" : "")
                  : fmt::format("Stopping container {}", action.name));
  }
  // Also of a pod that the control plane has dropped; null where this agent never knew it.
  const v1::Container* spec = FindContainer(*t.pod, action.name);
  if (spec == nullptr || !spec->lifecycle().has_pre_stop()) return StopNow(t.uid, action);
  pod_hooks_.BeforeStop(*t.pod, *spec, action.id, action.deadline,
                        [this, uid = t.uid, action] { StopNow(uid, action); });
}

void PodReconciler::StopNow(const std::string& uid, const StopContainer& action) {
  Tracked* t = Find(uid);
  if (t == nullptr) return;
  const auto now_wanted = t->stopping.find(action.id);
  if (now_wanted == t->stopping.end() || now_wanted->second != action.deadline) return;
  auto done = [this, uid, action](const absl::Status& status) {
    Cleaned(uid, fmt::format("stop container {}", action.name), status);
    Tracked* found = Find(uid);
    if (found == nullptr) return;
    // One with less patience may have overtaken it.
    auto it = found->stopping.find(action.id);
    if (it == found->stopping.end() || it->second != action.deadline) return;
    found->stopping.erase(it);
    ++found->finished;
    Kick(uid);
  };
  const absl::Duration grace = std::max(action.deadline - loop_->Now(), kGraceMin);
  cri_->StopContainer(action.id, grace, Posted(done));
}

// ---- the start of containers: image, create, start

void PodReconciler::Do(Tracked& t, const StartContainer& action) {
  Begin(t, RunKey(action.name));
  WithSlot([this, uid = t.uid, action] { StartCreated(uid, action.name, action.id); });
}

void PodReconciler::Do(Tracked& t, const RunContainer& action) {
  Begin(t, RunKey(action.name));
  // Counts once it has been started: what fails before has delays of its own.
  const ObservedContainer* last = t.observed.Newest(action.name);
  const absl::Duration delay = t.memory.containers[action.name].restart_delay;
  t.next_delay[action.name] = last == nullptr ? delay : NextRestartDelay(*last, delay);
  CheckImage(t.uid, action);
}

void PodReconciler::StartFailed(const std::string& uid, const std::string& container,
                                const std::string& reason, const std::string& message,
                                absl::Duration first, absl::Duration cap) {
  if (Tracked* t = Find(uid); t != nullptr && runtime_up_ && !t->ending()) {
    NoteFailure(t->memory.containers[container].start, reason, message, first, cap, loop_->Now());
  }
  Finish(uid, RunKey(container));
}

void PodReconciler::CreateContainer(const std::string& uid, const RunContainer& action,
                                    const std::string& image_ref) {
  Tracked* t = Find(uid);
  const v1::Container* spec = t == nullptr ? nullptr : FindContainer(*t->pod, action.name);
  if (spec == nullptr) return Finish(uid, RunKey(action.name));
  if (!NeedsImageUser(t->pod->spec(), *spec)) return CreateFrom(uid, action, image_ref, {});
  auto done = [this, uid, action,
               image_ref](const absl::StatusOr<std::optional<cri::Image>>& image) {
    if (image.ok() && image->has_value()) return CreateFrom(uid, action, image_ref, **image);
    const std::string why = image.ok() ? "the image is gone" : Text(image.status());
    StartFailed(uid, action.name, "ImageInspectError", why, kCreateDelayFirst, kPullDelayMax);
  };
  cri_->ImageStatus(image_ref, Posted(done));
}

// `image`: whom it runs as, where that matters.
void PodReconciler::CreateFrom(const std::string& uid, const RunContainer& action,
                               const std::string& image_ref, const cri::Image& image) {
  WithSlot([this, uid, action, image_ref, image] {
    Tracked* t = Find(uid);
    const v1::Container* spec = t == nullptr ? nullptr : FindContainer(*t->pod, action.name);
    if (spec == nullptr || t->ending()) {
      ReleaseSlot();
      return Finish(uid, RunKey(action.name));
    }
    const PodConfigOptions config = ConfigOptions();
    absl::Status ready = CheckImageUser(*t->pod, *spec, image);
    if (ready.ok()) ready = WriteHosts(*t->pod, config);
    if (ready.ok()) ready = MakeTerminationFile(config, uid, *spec, action.attempt);
    const absl::StatusOr<PodInputs> inputs =
        ready.ok() ? InputsOf(*t, *spec) : absl::StatusOr<PodInputs>(ready);
    if (!inputs.ok()) {
      ReleaseSlot();
      Emit(*t, "Warning", "Failed", fmt::format("Error: {}", Text(inputs.status())));
      return StartFailed(uid, action.name, "CreateContainerConfigError", Text(inputs.status()),
                         kCreateDelayFirst, kPullDelayMax);
    }
    cri::CreateContainerRequest request;
    request.set_pod_sandbox_id(action.sandbox_id);
    *request.mutable_sandbox_config() = BuildSandboxConfig(*t->pod, 0, config);
    *request.mutable_config() =
        BuildContainerConfig(*t->pod, *spec, action.attempt, image_ref, *inputs, config, image);
    MakeFolder(request.sandbox_config().log_directory() + "/" + action.name);
    auto done = [this, uid, action](const absl::StatusOr<std::string>& id) {
      ContainerMade(uid, action, id);
    };
    cri_->CreateContainer(request, Posted(done));
  });
}

// Holds a slot.
void PodReconciler::ContainerMade(const std::string& uid, const RunContainer& action,
                                  const absl::StatusOr<std::string>& id) {
  Tracked* t = Find(uid);
  if (t == nullptr) return ReleaseSlot();
  if (id.ok()) {
    owners_[*id] = uid;
    Emit(*t, "Normal", "Created", fmt::format("Created container {}", action.name));
    return StartCreated(uid, action.name, *id);
  }
  ReleaseSlot();
  if (!absl::IsUnavailable(id.status())) {
    Emit(*t, "Warning", "Failed", fmt::format("Error: {}", Text(id.status())));
  }
  StartFailed(uid, action.name, "CreateContainerError", Text(id.status()), kCreateDelayFirst,
              kPullDelayMax);
}

// Holds a slot.
void PodReconciler::StartCreated(const std::string& uid, const std::string& container,
                                 const std::string& id) {
  auto done = [this, uid, container](const absl::Status& status) {
    ReleaseSlot();
    if (Tracked* t = Find(uid)) {
      ContainerMemory& memory = t->memory.containers[container];
      memory.start = Retry();
      memory.restart_delay = t->next_delay[container];
      if (status.ok()) {
        Emit(*t, "Normal", "Started", fmt::format("Started container {}", container));
      } else if (!absl::IsUnavailable(status)) {
        memory.start.next_at = loop_->Now() + kStartAgain;
        Emit(*t, "Warning", "Failed", fmt::format("Error: {}", Text(status)));
      }
    }
    Finish(uid, RunKey(container));
  };
  cri_->StartContainer(id, Posted(done));
}

void PodReconciler::WithSlot(Task task) {
  if (busy_slots_ >= options_.parallel_starts) {
    waiting_.push_back(std::move(task));
    return;
  }
  ++busy_slots_;
  task();
}

void PodReconciler::ReleaseSlot() {
  if (waiting_.empty()) {
    --busy_slots_;
    return;
  }
  Task next = std::move(waiting_.front());
  waiting_.pop_front();
  loop_->Post(std::move(next));
}

}  // namespace mesh::agent
