// SPDX-License-Identifier: Apache-2.0
// How PodReconciler looks at one pod in the runtime.
#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "agent/pods/pod_tracked.h"
#include "agent/pods/termination_message.h"
#include "common/log.h"

namespace mesh::agent {
namespace {

constexpr absl::Duration kObserveRetry = absl::Milliseconds(500);
// What the runtime says of containers whose shim was killed.
constexpr int kShimLost = 255;

RunState ToRunState(cri::ContainerState state) {
  switch (state) {
    case cri::CONTAINER_CREATED:
      return RunState::kCreated;
    case cri::CONTAINER_RUNNING:
      return RunState::kRunning;
    case cri::CONTAINER_EXITED:
      return RunState::kExited;
    default:
      return RunState::kUnknown;
  }
}

ObservedSandbox FromList(const cri::PodSandbox& listed) {
  return ObservedSandbox{.id = listed.id(),
                         .attempt = listed.metadata().attempt(),
                         .ready = listed.state() == cri::SANDBOX_READY,
                         .created_at = absl::FromUnixNanos(listed.created_at())};
}

ObservedContainer FromList(const cri::Container& listed) {
  ObservedContainer out{.id = listed.id(),
                        .sandbox_id = listed.pod_sandbox_id(),
                        .name = listed.metadata().name(),
                        .attempt = listed.metadata().attempt(),
                        .state = ToRunState(listed.state()),
                        .created_at = absl::FromUnixNanos(listed.created_at()),
                        .image_ref = listed.image_ref()};
  if (auto hash = listed.annotations().find(kSpecHashAnnotation);
      hash != listed.annotations().end()) {
    out.spec_hash = hash->second;
  }
  return out;
}

void AddStatus(const cri::ContainerStatus& status, ObservedContainer& out) {
  out.state = ToRunState(status.state());
  out.started_at = absl::FromUnixNanos(status.started_at());
  out.finished_at = absl::FromUnixNanos(status.finished_at());
  out.exit_code = status.exit_code();
  out.reason = status.reason();
  out.message = status.message();
  out.image = status.image().image();
  if (!status.image_ref().empty()) out.image_ref = status.image_ref();
}

}  // namespace
void PodReconciler::Observe(Tracked& t) {
  t.observing = true;
  t.observe_again = false;
  auto seen = std::make_shared<Observation>();
  seen->finished = t.finished;
  auto listed_containers = [this, uid = t.uid,
                            seen](const absl::StatusOr<std::vector<cri::Container>>& list) {
    if (!list.ok()) return ObservationFailed(uid, list.status());
    seen->containers = *list;
    ObserveDetails(uid, seen);
  };
  auto listed_sandboxes = [this, uid = t.uid, seen, listed_containers](
                              const absl::StatusOr<std::vector<cri::PodSandbox>>& list) {
    if (!list.ok()) return ObservationFailed(uid, list.status());
    seen->sandboxes = *list;
    cri_->ListContainers(uid, Posted(listed_containers));
  };
  cri_->ListSandboxes(t.uid, Posted(listed_sandboxes));
}

void PodReconciler::ObserveDetails(const std::string& uid, std::shared_ptr<Observation> seen) {
  Tracked* t = Find(uid);
  if (t == nullptr) return;
  seen->result.sandboxes.resize(seen->sandboxes.size());
  seen->result.containers.resize(seen->containers.size());
  seen->pending = 1;  // this function
  for (size_t i = 0; i < seen->sandboxes.size(); ++i) ObserveSandbox(uid, seen, i);
  for (size_t i = 0; i < seen->containers.size(); ++i) ObserveContainer(*t, seen, i);
  if (--seen->pending == 0) ObservationDone(uid, seen);
}

void PodReconciler::ObserveSandbox(const std::string& uid, std::shared_ptr<Observation> seen,
                                   size_t index) {
  seen->result.sandboxes[index] = FromList(seen->sandboxes[index]);
  const ObservedSandbox& sandbox = seen->result.sandboxes[index];
  owners_[sandbox.id] = uid;
  if (!sandbox.ready) return;
  ++seen->pending;
  auto done = [this, uid, seen, index](const absl::StatusOr<cri::PodSandboxStatus>& status) {
    ObservedSandbox& out = seen->result.sandboxes[index];
    if (status.ok()) {
      out.ready = status->state() == cri::SANDBOX_READY;
      out.ip = status->network().ip();
    } else if (absl::IsNotFound(status.status())) {
      out.ready = false;
    } else {
      seen->error = status.status();
    }
    if (--seen->pending == 0) ObservationDone(uid, seen);
  };
  cri_->SandboxStatus(sandbox.id, Posted(done));
}

void PodReconciler::ObserveContainer(Tracked& t, std::shared_ptr<Observation> seen, size_t index) {
  ObservedContainer& container = seen->result.containers[index];
  container = FromList(seen->containers[index]);
  owners_[container.id] = t.uid;
  // Times, exit code and reason change only with the state.
  const auto known =
      std::find_if(t.observed.containers.begin(), t.observed.containers.end(), [&](const auto& c) {
        return c.id == container.id && c.state == container.state && !c.just_ended;
      });
  if (known != t.observed.containers.end() && container.state != RunState::kUnknown) {
    container = *known;
    return;
  }
  ++seen->pending;
  auto done = [this, uid = t.uid, seen, index](const absl::StatusOr<cri::ContainerStatus>& status) {
    ObservedContainer& out = seen->result.containers[index];
    if (status.ok()) {
      AddStatus(*status, out);
    } else if (absl::IsNotFound(status.status())) {
      out.id.clear();  // removed since it was listed
    } else {
      seen->error = status.status();
    }
    if (--seen->pending == 0) ObservationDone(uid, seen);
  };
  cri_->ContainerStatus(container.id, Posted(done));
}

// Once for each end. Not while the runtime is asked: its answer may come before the pod's spec.
void PodReconciler::AddLastWords(Tracked& t) {
  for (ObservedContainer& container : t.observed.containers) {
    if (container.state != RunState::kExited || container.just_ended || container.has_last_words)
      continue;
    const v1::Container* spec = FindContainer(*t.pod, container.name);
    if (spec == nullptr) continue;
    const std::string log = PodLogDirectory(options_.config, t.ns, t.name, t.uid) + "/" +
                            ContainerLogPath(container.name, container.attempt);
    container.message = TerminationMessage(options_.config, t.uid, *spec, container, log);
    container.has_last_words = true;
  }
}

void PodReconciler::ObservationFailed(const std::string& uid, const absl::Status& status) {
  Tracked* t = Find(uid);
  if (t == nullptr) return;
  t->observing = false;
  if (!runtime_up_) return;  // the relist after the reconnect looks again
  spdlog::warn("pod {}/{}: cannot look at it: {}", t->ns, t->name, Text(status));
  loop_->RunAfter(kObserveRetry, [this, uid] { Kick(uid); });
}

void PodReconciler::ObservationDone(const std::string& uid, std::shared_ptr<Observation> seen) {
  if (!seen->error.ok()) return ObservationFailed(uid, seen->error);
  Tracked* t = Find(uid);
  if (t == nullptr) return;
  ObservedPod& now = seen->result;
  std::erase_if(now.containers, [](const ObservedContainer& c) { return c.id.empty(); });
  std::sort(now.sandboxes.begin(), now.sandboxes.end(),
            [](const ObservedSandbox& a, const ObservedSandbox& b) {
              return std::tie(b.attempt, b.created_at) < std::tie(a.attempt, a.created_at);
            });
  std::sort(now.containers.begin(), now.containers.end(),
            [](const ObservedContainer& a, const ObservedContainer& b) {
              return std::tie(a.name, b.attempt, b.created_at) <
                     std::tie(b.name, a.attempt, a.created_at);
            });
  t->observing = false;
  t->observed_once = true;
  t->finished_seen = seen->finished;
  std::swap(t->observed, now);
  ShowEnds(*t);
  NoteExits(*t, now);
  Publish();
  if (t->observe_again) Observe(*t);
  Step(*t);
}

// The CRI shows an end once the runtime has cleaned up after it, some tenths of a second later on a
// busy machine: what is to run again does not wait for that.
void PodReconciler::ShowEnds(Tracked& t) {
  if (!t.desired || t.ending()) return;
  for (ObservedContainer& container : t.observed.containers) {
    const auto exit = t.exits.find(container.id);
    if (container.state != RunState::kRunning || exit == t.exits.end()) continue;
    // Its shim has ended, and with it the sandbox: nothing can be started in there.
    if (exit->second.exit_code == kShimLost || t.stopping.contains(container.id)) continue;
    ObservedContainer ended = container;
    ended.state = RunState::kExited;
    ended.exit_code = exit->second.exit_code;
    ended.finished_at = exit->second.exited_at;
    ended.reason = ended.exit_code == 0 ? "Completed" : "Error";
    ended.just_ended = true;
    if (ShouldRestart(*t.pod, ended)) container = std::move(ended);
  }
}

void PodReconciler::NoteExits(Tracked& t, const ObservedPod& before) {
  for (const ObservedContainer& container : t.observed.containers) {
    if (container.state != RunState::kExited || !t.desired || t.ending()) continue;
    const bool known = std::any_of(before.containers.begin(), before.containers.end(),
                                   [&](const ObservedContainer& c) {
                                     return c.id == container.id && c.state == RunState::kExited;
                                   });
    if (known || !ShouldRestart(*t.pod, container)) continue;
    if (loop_->Now() < RestartAt(container, t.memory)) {
      Emit(t, "Warning", "BackOff",
           fmt::format("Back-off restarting failed container {} in pod {}_{}({})", container.name,
                       t.name, t.ns, t.uid));
    }
  }
  Recheck(t);
}

void PodReconciler::Recheck(Tracked& t) {
  const absl::Time now = loop_->Now();
  std::erase_if(t.exits, [&](const auto& exit) {
    if (now - exit.second.told_at > kExitRecheckFor) return true;
    for (const ObservedContainer& c : t.observed.containers) {
      if (c.id == exit.first) return c.state != RunState::kRunning && !c.just_ended;
    }
    for (const ObservedSandbox& s : t.observed.sandboxes) {
      if (s.id == exit.first) return !s.ready;
    }
    return true;
  });
  if (t.exits.empty()) return;
  // Nobody waits for what is shown already.
  const bool waits = std::any_of(t.exits.begin(), t.exits.end(), [&](const auto& exit) {
    const auto& all = t.observed.containers;
    return std::none_of(all.begin(), all.end(),
                        [&](const auto& c) { return c.id == exit.first && c.just_ended; });
  });
  if (!waits) t.recheck_delay = std::max(t.recheck_delay, kShownRecheck);
  loop_->Cancel(t.recheck_timer);
  t.recheck_timer = loop_->RunAfter(t.recheck_delay, [this, uid = t.uid] { Kick(uid); });
  t.recheck_delay = std::min(t.recheck_delay * 2, kExitRecheckMax);
}

}  // namespace mesh::agent
