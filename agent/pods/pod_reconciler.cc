// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/pod_reconciler.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>

#include "agent/pods/pod_status.h"
#include "common/log.h"

namespace mesh::agent {
namespace {

constexpr absl::Duration kConnectDelayFirst = absl::Milliseconds(50);
constexpr absl::Duration kConnectDelayMax = absl::Milliseconds(200);
constexpr absl::Duration kSandboxDelayFirst = absl::Milliseconds(200);
constexpr absl::Duration kSandboxDelayMax = absl::Seconds(30);
constexpr absl::Duration kCreateDelayFirst = absl::Seconds(1);
constexpr absl::Duration kCleanupDelayFirst = absl::Milliseconds(100);
constexpr absl::Duration kCleanupDelayMax = absl::Seconds(10);
constexpr absl::Duration kNetworkPoll = absl::Milliseconds(50);
constexpr absl::Duration kObserveRetry = absl::Milliseconds(500);
// Kubernetes never stops a container with less.
constexpr absl::Duration kGraceMin = absl::Seconds(2);
// The event of an exit comes before the runtime's own books show it: look again that soon, and give
// up after that long (the relist is behind it).
constexpr absl::Duration kExitRecheckFirst = absl::Milliseconds(2);
constexpr absl::Duration kExitRecheckMax = absl::Milliseconds(250);
constexpr absl::Duration kExitRecheckFor = absl::Seconds(10);
constexpr absl::Duration kSettle = absl::Seconds(1);

absl::Time FromNanos(int64_t ns) { return absl::FromUnixNanos(ns); }

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

void Failed(Retry& retry, std::string reason, std::string message, absl::Duration first,
            absl::Duration cap, absl::Time now) {
  retry.delay = retry.delay == absl::ZeroDuration() ? first : std::min(retry.delay * 2, cap);
  retry.reason = std::move(reason);
  retry.message = std::move(message);
  retry.failed_at = now;
  retry.next_at = now + retry.delay;
}

const v1::Container* FindSpec(const v1::Pod& pod, const std::string& name) {
  for (const v1::Container& container : pod.spec().containers()) {
    if (container.name() == name) return &container;
  }
  return nullptr;
}

std::string PullPolicy(const v1::Container& container) {
  if (!container.image_pull_policy().empty()) return container.image_pull_policy();
  const std::string& image = container.image();
  if (image.find('@') != std::string::npos) return "IfNotPresent";
  const size_t slash = image.rfind('/');
  const size_t colon = image.rfind(':');
  const bool tagged = colon != std::string::npos && (slash == std::string::npos || colon > slash);
  return !tagged || image.substr(colon + 1) == "latest" ? "Always" : "IfNotPresent";
}

std::string Text(const absl::Status& status) { return std::string(status.message()); }

}  // namespace

struct PodReconciler::Tracked {
  std::string uid, ns, name;
  bool desired = false;
  v1::Pod pod;  // meaningful when it was desired once
  std::string pod_bytes;
  ObservedPod observed;
  bool observed_once = false;
  bool observing = false, observe_again = false;
  // Actions that have finished, and how many of them `observed` is sure to show: nothing is done on
  // the ground of an observation that may be older than what was done.
  int64_t finished = 0, finished_seen = 0;
  PodMemory memory;
  std::map<std::string, absl::Time> stopping;  // container id -> deadline of the call in flight
  std::set<std::string> in_flight;             // keys of other actions
  std::set<std::string> killing_told;
  absl::Time stopping_since = absl::InfiniteFuture();
  std::map<std::string, absl::Time> exits;  // id -> when its exit was told
  absl::Duration recheck_delay = kExitRecheckFirst;
  TimerId recheck_timer = 0;
  TimerId timer = 0;
  absl::Time timer_at = absl::InfiniteFuture();
  v1::PodStatus status;
  std::string reported;  // serialized
  bool gone_reported = false;
  CriClient::Cancel cancel_pull;
  std::map<std::string, absl::Duration> next_delay;  // by container, of the start in flight

  bool must_stop() const { return !desired || pod.metadata().has_deletion_timestamp(); }
  bool busy() const { return !in_flight.empty() || !stopping.empty(); }
};

struct PodReconciler::Observation {
  std::vector<cri::PodSandbox> sandboxes;
  std::vector<cri::Container> containers;
  ObservedPod result;
  int64_t finished = 0;  // actions before it began
  int pending = 0;
  absl::Status error;
};

PodReconciler::PodReconciler(EventLoop* loop, CriClient* cri, PodReconcilerOptions options,
                             Hooks hooks)
    : loop_(loop),
      cri_(cri),
      options_(std::move(options)),
      hooks_(std::move(hooks)),
      state_(std::make_shared<NodeState>()),
      connect_delay_(kConnectDelayFirst),
      directory_(std::make_shared<PodDirectory>()) {}

PodReconciler::~PodReconciler() = default;

void PodReconciler::Start() { Connect(); }

// ---- the runtime as a whole

void PodReconciler::Connect() {
  cri_->Version(Posted([this](const absl::StatusOr<cri::VersionResponse>& version) {
    if (!version.ok()) return Disconnected(version.status());
    connect_delay_ = kConnectDelayFirst;
    runtime_up_ = true;
    listed_ = false;
    unsubscribe_ = cri_->Subscribe(
        [this](const RuntimeEvent& event) {
          loop_->Post([this, event] { OnRuntimeEvent(event); });
        },
        Posted([this](const absl::Status& why) { Disconnected(why); }));
    std::string number = version->runtime_version();  // with or without "v", by vendor
    if (number.starts_with("v")) number.erase(0, 1);
    hooks_.runtime(fmt::format("{}://{}", version->runtime_name(), number));
    Relist();
    // What happened between the list and the start of the event stream.
    loop_->RunAfter(kSettle, [this] { Relist(); });
  }));
}

void PodReconciler::Disconnected(absl::Status why) {
  if (runtime_up_) spdlog::warn("container runtime went away: {}", Text(why));
  runtime_up_ = false;
  hooks_.runtime(why);
  loop_->RunAfter(connect_delay_, [this] { Connect(); });
  connect_delay_ = std::min(connect_delay_ * 2, kConnectDelayMax);
}

void PodReconciler::ArmRelist() {
  loop_->Cancel(relist_timer_);
  relist_timer_ = loop_->RunAfter(options_.relist_every, [this] { Relist(); });
}

void PodReconciler::Relist() {
  ArmRelist();
  if (!runtime_up_) return;
  cri_->ListSandboxes("", Posted([this](const absl::StatusOr<std::vector<cri::PodSandbox>>& list) {
                        if (!list.ok()) return;
                        for (const cri::PodSandbox& sandbox : *list) {
                          const auto& labels = sandbox.labels();
                          auto uid = labels.find(kPodUidLabel);
                          if (uid == labels.end()) continue;  // made by somebody else
                          Ensure(uid->second, sandbox.metadata().namespace_(),
                                 sandbox.metadata().name());
                          owners_[sandbox.id()] = uid->second;
                        }
                        listed_ = true;
                        std::vector<std::string> uids;
                        for (const auto& [uid, tracked] : pods_) uids.push_back(uid);
                        for (const std::string& uid : uids) Kick(uid);
                      }));
}

void PodReconciler::OnRuntimeEvent(const RuntimeEvent& event) {
  if (event.kind != RuntimeEvent::Kind::kExit) return;
  auto owner = owners_.find(event.container_id);
  if (owner == owners_.end()) return;
  Tracked* t = Find(owner->second);
  if (t == nullptr) return;
  t->exits[event.container_id] = loop_->Now();
  t->recheck_delay = kExitRecheckFirst;
  Kick(t->uid);
}

// ---- one pod

PodReconciler::Tracked* PodReconciler::Find(const std::string& uid) {
  auto it = pods_.find(uid);
  return it == pods_.end() ? nullptr : it->second.get();
}

PodReconciler::Tracked& PodReconciler::Ensure(const std::string& uid, const std::string& ns,
                                              const std::string& name) {
  std::unique_ptr<Tracked>& t = pods_[uid];
  if (t == nullptr) {
    t = std::make_unique<Tracked>();
    t->uid = uid;
    t->ns = ns;
    t->name = name;
  }
  return *t;
}

void PodReconciler::SetDesired(NodeStatePtr state, bool live) {
  state_ = std::move(state);
  may_remove_ = may_remove_ || (live && state_->complete);
  std::vector<std::string> changed;
  for (const auto& [uid, pod] : state_->pods) {
    Tracked& t = Ensure(uid, pod.metadata().namespace_(), pod.metadata().name());
    std::string bytes = pod.SerializeAsString();
    if (t.desired && t.pod_bytes == bytes) continue;
    t.desired = true;
    t.pod = pod;
    t.pod_bytes = std::move(bytes);
    changed.push_back(uid);
  }
  if (state_->complete) {
    for (const auto& [uid, t] : pods_) {
      if (!t->desired || state_->pods.contains(uid)) continue;
      t->desired = false;
      changed.push_back(uid);
    }
  }
  if (may_remove_) {
    for (const auto& [uid, t] : pods_) {
      if (!t->desired && t->stopping_since == absl::InfiniteFuture()) changed.push_back(uid);
    }
  }
  for (const std::string& uid : changed) {
    Tracked* t = Find(uid);
    if (t == nullptr) continue;
    if (t->must_stop() && t->cancel_pull) t->cancel_pull();
    if (t->observed_once) {
      Step(*t);
    } else {
      Kick(uid);
    }
  }
  Publish();
}

std::vector<std::string> PodReconciler::RunningUids() const {
  std::vector<std::string> out;
  for (const auto& [uid, t] : pods_) {
    if (!t->observed.sandboxes.empty()) out.push_back(uid);
  }
  return out;
}

void PodReconciler::Kick(const std::string& uid) {
  Tracked* t = Find(uid);
  if (t == nullptr || !runtime_up_) return;
  if (t->observing) {
    t->observe_again = true;
    return;
  }
  Observe(*t);
}

void PodReconciler::Observe(Tracked& t) {
  t.observing = true;
  t.observe_again = false;
  auto seen = std::make_shared<Observation>();
  seen->finished = t.finished;
  cri_->ListSandboxes(
      t.uid, Posted([this, uid = t.uid,
                     seen](const absl::StatusOr<std::vector<cri::PodSandbox>>& sandboxes) {
        if (!sandboxes.ok()) return ObservationFailed(uid, sandboxes.status());
        seen->sandboxes = *sandboxes;
        cri_->ListContainers(
            uid, Posted([this, uid,
                         seen](const absl::StatusOr<std::vector<cri::Container>>& containers) {
              if (!containers.ok()) return ObservationFailed(uid, containers.status());
              seen->containers = *containers;
              ObserveDetails(uid, seen);
            }));
      }));
}

void PodReconciler::ObserveDetails(const std::string& uid, std::shared_ptr<Observation> seen) {
  Tracked* t = Find(uid);
  if (t == nullptr) return;
  seen->result.sandboxes.resize(seen->sandboxes.size());
  seen->result.containers.resize(seen->containers.size());
  seen->pending = 1;  // this function
  for (size_t i = 0; i < seen->sandboxes.size(); ++i) {
    const cri::PodSandbox& listed = seen->sandboxes[i];
    owners_[listed.id()] = uid;
    ObservedSandbox& out = seen->result.sandboxes[i];
    out.id = listed.id();
    out.attempt = listed.metadata().attempt();
    out.ready = listed.state() == cri::SANDBOX_READY;
    out.created_at = FromNanos(listed.created_at());
    if (!out.ready) continue;
    ++seen->pending;
    cri_->SandboxStatus(
        listed.id(),
        Posted([this, uid, seen, i](const absl::StatusOr<cri::PodSandboxStatus>& status) {
          if (status.ok()) {
            seen->result.sandboxes[i].ready = status->state() == cri::SANDBOX_READY;
            seen->result.sandboxes[i].ip = status->network().ip();
          } else if (absl::IsNotFound(status.status())) {
            seen->result.sandboxes[i].ready = false;
          } else {
            seen->error = status.status();
          }
          if (--seen->pending == 0) ObservationDone(uid, seen);
        }));
  }
  for (size_t i = 0; i < seen->containers.size(); ++i) {
    const cri::Container& listed = seen->containers[i];
    owners_[listed.id()] = uid;
    // Times, exit code and reason change only with the state.
    const RunState state = ToRunState(listed.state());
    const auto known = std::find_if(
        t->observed.containers.begin(), t->observed.containers.end(),
        [&](const ObservedContainer& c) { return c.id == listed.id() && c.state == state; });
    if (known != t->observed.containers.end() && state != RunState::kUnknown) {
      seen->result.containers[i] = *known;
      continue;
    }
    ObservedContainer& out = seen->result.containers[i];
    out.id = listed.id();
    out.sandbox_id = listed.pod_sandbox_id();
    out.name = listed.metadata().name();
    out.attempt = listed.metadata().attempt();
    out.state = state;
    out.created_at = FromNanos(listed.created_at());
    out.image_ref = listed.image_ref();
    if (auto hash = listed.annotations().find("io.kubernetes.container.hash");
        hash != listed.annotations().end()) {
      out.spec_hash = hash->second;
    }
    ++seen->pending;
    cri_->ContainerStatus(
        listed.id(),
        Posted([this, uid, seen, i](const absl::StatusOr<cri::ContainerStatus>& status) {
          ObservedContainer& c = seen->result.containers[i];
          if (status.ok()) {
            c.state = ToRunState(status->state());
            c.started_at = FromNanos(status->started_at());
            c.finished_at = FromNanos(status->finished_at());
            c.exit_code = status->exit_code();
            c.reason = status->reason();
            c.message = status->message();
            c.image = status->image().image();
            if (!status->image_ref().empty()) c.image_ref = status->image_ref();
          } else if (absl::IsNotFound(status.status())) {
            c.id.clear();  // removed since it was listed
          } else {
            seen->error = status.status();
          }
          if (--seen->pending == 0) ObservationDone(uid, seen);
        }));
  }
  if (--seen->pending == 0) ObservationDone(uid, seen);
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
  NoteExits(*t, now);
  Publish();
  if (t->observe_again) Observe(*t);
  Step(*t);
}

void PodReconciler::NoteExits(Tracked& t, const ObservedPod& before) {
  for (const ObservedContainer& container : t.observed.containers) {
    if (container.state != RunState::kExited || !t.desired || t.must_stop()) continue;
    const bool known = std::any_of(before.containers.begin(), before.containers.end(),
                                   [&](const ObservedContainer& c) {
                                     return c.id == container.id && c.state == RunState::kExited;
                                   });
    if (known || !ShouldRestart(t.pod, container)) continue;
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
    if (now - exit.second > kExitRecheckFor) return true;
    for (const ObservedContainer& c : t.observed.containers) {
      if (c.id == exit.first) return c.state != RunState::kRunning;
    }
    for (const ObservedSandbox& s : t.observed.sandboxes) {
      if (s.id == exit.first) return !s.ready;
    }
    return true;
  });
  if (t.exits.empty()) return;
  loop_->Cancel(t.recheck_timer);
  t.recheck_timer = loop_->RunAfter(t.recheck_delay, [this, uid = t.uid] { Kick(uid); });
  t.recheck_delay = std::min(t.recheck_delay * 2, kExitRecheckMax);
}

void PodReconciler::Step(Tracked& t) {
  if (!t.observed_once) return;
  if (!t.desired && !may_remove_) return;
  const absl::Time now = loop_->Now();
  if (t.must_stop() && t.stopping_since == absl::InfiniteFuture()) t.stopping_since = now;
  const PodPlan plan =
      ComputePodPlan(t.desired ? &t.pod : nullptr, t.observed, t.memory, t.stopping_since, now);
  absl::Time look_again_at = plan.look_again_at.value_or(absl::InfiniteFuture());
  if (t.desired) Report(t, plan, look_again_at);
  const bool stale = t.finished_seen != t.finished;
  if (plan.gone && !t.busy() && !stale) return Gone(t);
  ArmTimer(t, look_again_at);
  if (!runtime_up_ || stale) return;
  const bool idle = !t.busy();
  for (const PodAction& action : plan.actions) {
    if (const auto* stop = std::get_if<StopContainer>(&action)) {
      // A stop in flight is only overtaken by one with less patience.
      auto it = t.stopping.find(stop->id);
      if (it != t.stopping.end() && stop->deadline >= it->second - absl::Seconds(1)) continue;
      Run(t, action);
    } else if (idle) {
      Run(t, action);
    }
  }
}

void PodReconciler::Report(Tracked& t, const PodPlan& plan, absl::Time& look_again_at) {
  // Once its containers are removed there is nothing to see: the last words stand.
  const bool ended = t.pod.status().phase() == "Succeeded" || t.pod.status().phase() == "Failed";
  const bool silent = t.observed.containers.empty() && (t.must_stop() || ended);
  if (!silent) {
    StatusInput input;
    input.pod = &t.pod;
    input.observed = &t.observed;
    input.memory = &t.memory;
    input.previous = t.reported.empty() ? &t.pod.status() : &t.status;
    input.node_ip = options_.node_ip;
    input.now = loop_->Now();
    StatusOutput output = ComputePodStatus(input);
    t.status = std::move(output.status);
    look_again_at = std::min(look_again_at, output.look_again_at);
  } else if (t.reported.empty()) {
    t.status = t.pod.status();
  }
  const bool terminated = plan.gone && !t.busy() && t.finished_seen == t.finished;
  std::string bytes = t.status.SerializeAsString();
  if (bytes == t.reported && terminated == t.gone_reported) return;
  if (silent && !terminated && t.reported.empty()) return;
  t.reported = std::move(bytes);
  t.gone_reported = terminated;
  v1::PodReport report;
  report.set_namespace_(t.ns);
  report.set_name(t.name);
  report.set_uid(t.uid);
  *report.mutable_status() = t.status;
  report.set_terminated(terminated);
  hooks_.report(report);
}

void PodReconciler::Gone(Tracked& t) {
  loop_->Cancel(t.timer);
  loop_->Cancel(t.recheck_timer);
  t.timer = 0;
  std::error_code ignored;  // a log folder that stays behind does no harm
  std::filesystem::remove_all(PodLogDirectory(options_.config, t.ns, t.name, t.uid), ignored);
  std::erase_if(owners_, [&](const auto& owner) { return owner.second == t.uid; });
  if (t.desired) return;  // until the control plane drops it, the report may have to be repeated
  hooks_.forget(t.uid);
  const std::string uid = t.uid;
  pods_.erase(uid);
  Publish();
}

void PodReconciler::ArmTimer(Tracked& t, absl::Time when) {
  loop_->Cancel(t.timer);
  t.timer = 0;
  if (when == absl::InfiniteFuture()) return;
  t.timer = loop_->RunAt(when, [this, uid = t.uid] {
    if (Tracked* found = Find(uid)) Step(*found);
  });
}

// ---- actions

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
    Tracked* found = Find(uid);
    if (found == nullptr || found->must_stop()) {
      ReleaseSlot();
      return Finish(uid, "sandbox");
    }
    const cri::PodSandboxConfig config = BuildSandboxConfig(found->pod, attempt, ConfigOptions());
    std::error_code ignored;  // the runtime reports it better
    std::filesystem::create_directories(config.log_directory(), ignored);
    cri_->RunSandbox(config, Posted([this, uid](const absl::StatusOr<std::string>& id) {
                       ReleaseSlot();
                       if (Tracked* pod = Find(uid)) {
                         if (id.ok()) {
                           pod->memory.sandbox = Retry();
                           owners_[*id] = uid;
                         } else if (runtime_up_ && !absl::IsUnavailable(id.status())) {
                           Failed(pod->memory.sandbox, "FailedCreatePodSandBox", Text(id.status()),
                                  kSandboxDelayFirst, kSandboxDelayMax, loop_->Now());
                           Emit(*pod, "Warning", "FailedCreatePodSandBox",
                                fmt::format("Failed to create pod sandbox: {}", Text(id.status())));
                         }
                       }
                       Finish(uid, "sandbox");
                     }));
  });
}

void PodReconciler::Cleaned(const std::string& uid, const std::string& what,
                            const absl::Status& status) {
  Tracked* t = Find(uid);
  if (t == nullptr) return;
  if (status.ok()) {
    t->memory.cleanup = Retry();
    return;
  }
  if (!runtime_up_ || absl::IsUnavailable(status)) return;
  Failed(t->memory.cleanup, "Cleanup", Text(status), kCleanupDelayFirst, kCleanupDelayMax,
         loop_->Now());
  spdlog::warn("pod {}/{}: {}: {}", t->ns, t->name, what, Text(status));
}

void PodReconciler::Do(Tracked& t, const StopSandbox& action) {
  const std::string key = "stop " + action.id;
  Begin(t, key);
  cri_->StopSandbox(action.id,
                    Posted([this, uid = t.uid, key, id = action.id](const absl::Status& status) {
                      Cleaned(uid, "stop its sandbox", status);
                      if (Tracked* found = Find(uid); found != nullptr && status.ok()) {
                        found->memory.stopped_sandboxes.insert(id);
                      }
                      Finish(uid, key);
                    }));
}

void PodReconciler::Do(Tracked& t, const RemoveSandbox& action) {
  const std::string key = "remove " + action.id;
  Begin(t, key);
  cri_->RemoveSandbox(action.id,
                      Posted([this, uid = t.uid, key, id = action.id](const absl::Status& status) {
                        Cleaned(uid, "remove its sandbox", status);
                        if (Tracked* found = Find(uid); found != nullptr && status.ok()) {
                          found->memory.stopped_sandboxes.erase(id);
                          owners_.erase(id);
                        }
                        Finish(uid, key);
                      }));
}

void PodReconciler::Do(Tracked& t, const RemoveContainer& action) {
  const std::string key = "remove " + action.id;
  Begin(t, key);
  const std::string log = PodLogDirectory(options_.config, t.ns, t.name, t.uid) + "/" +
                          ContainerLogPath(action.name, action.attempt);
  cri_->RemoveContainer(
      action.id, Posted([this, uid = t.uid, key, id = action.id, log](const absl::Status& status) {
        Cleaned(uid, "remove a container", status);
        if (status.ok()) {
          ::unlink(log.c_str());
          owners_.erase(id);
        }
        Finish(uid, key);
      }));
}

void PodReconciler::Do(Tracked& t, const StopContainer& action) {
  t.stopping[action.id] = action.deadline;
  if (t.killing_told.insert(action.id).second && t.desired) {
    Emit(t, "Normal", "Killing", fmt::format("Stopping container {}", action.name));
  }
  const absl::Duration grace = std::max(action.deadline - loop_->Now(), kGraceMin);
  cri_->StopContainer(action.id, grace,
                      Posted([this, uid = t.uid, action](const absl::Status& status) {
                        Cleaned(uid, fmt::format("stop container {}", action.name), status);
                        Tracked* found = Find(uid);
                        if (found == nullptr) return;
                        auto it = found->stopping.find(action.id);
                        if (it == found->stopping.end() || it->second != action.deadline) return;
                        found->stopping.erase(it);
                        ++found->finished;
                        Kick(uid);
                      }));
}

void PodReconciler::Do(Tracked& t, const StartContainer& action) {
  const std::string key = "run " + action.name;
  Begin(t, key);
  WithSlot([this, uid = t.uid, key, action] { StartCreated(uid, key, action.name, action.id); });
}

void PodReconciler::Do(Tracked& t, const RunContainer& action) {
  Begin(t, "run " + action.name);
  // Counts once it has been started: what fails before has delays of its own.
  const ObservedContainer* last = t.observed.Newest(action.name);
  const absl::Duration delay = t.memory.containers[action.name].restart_delay;
  t.next_delay[action.name] = last == nullptr ? delay : NextRestartDelay(*last, delay);
  CheckImage(t.uid, action);
}

void PodReconciler::StartFailed(const std::string& uid, const std::string& key,
                                const std::string& name, const std::string& reason,
                                const std::string& message, absl::Duration first,
                                absl::Duration cap) {
  if (Tracked* t = Find(uid); t != nullptr && runtime_up_ && !t->must_stop()) {
    Failed(t->memory.containers[name].start, reason, message, first, cap, loop_->Now());
  }
  Finish(uid, key);
}

void PodReconciler::CheckImage(const std::string& uid, const RunContainer& action) {
  const std::string key = "run " + action.name;
  Tracked* t = Find(uid);
  const v1::Container* spec = t == nullptr ? nullptr : FindSpec(t->pod, action.name);
  if (spec == nullptr) return Finish(uid, key);
  const std::string image = spec->image();
  if (absl::Status valid = CheckImageReference(image); !valid.ok()) {
    Emit(*t, "Warning", "InspectFailed", Text(valid));
    Emit(*t, "Warning", "Failed", "Error: InvalidImageName");
    return StartFailed(uid, key, action.name, "InvalidImageName", Text(valid), kPullDelayFirst,
                       kPullDelayMax);
  }
  const std::string policy = PullPolicy(*spec);
  if (policy == "Always") return PullImage(uid, action, image);
  cri_->ImageStatus(
      image, Posted([this, uid, action, key, image,
                     policy](const absl::StatusOr<std::optional<cri::Image>>& present) {
        Tracked* found = Find(uid);
        if (found == nullptr) return;
        if (!present.ok()) {
          return StartFailed(uid, key, action.name, "ImageInspectError", Text(present.status()),
                             kCreateDelayFirst, kPullDelayMax);
        }
        if (present->has_value()) {
          Emit(*found, "Normal", "Pulled",
               fmt::format("Container image \"{}\" already present on machine", image));
          return CreateContainer(uid, action, (*present)->id());
        }
        if (policy != "Never") return PullImage(uid, action, image);
        const std::string why =
            fmt::format("Container image \"{}\" is not present with pull policy of Never", image);
        Emit(*found, "Warning", "ErrImageNeverPull", why);
        Emit(*found, "Warning", "Failed", "Error: ErrImageNeverPull");
        StartFailed(uid, key, action.name, "ErrImageNeverPull", why, kPullDelayFirst,
                    kPullDelayMax);
      }));
}

void PodReconciler::PullImage(const std::string& uid, const RunContainer& action,
                              const std::string& image) {
  const std::string key = "run " + action.name;
  Tracked* t = Find(uid);
  if (t == nullptr || t->must_stop()) return Finish(uid, key);
  Emit(*t, "Normal", "Pulling", fmt::format("Pulling image \"{}\"", image));
  const absl::Time begun = loop_->Now();
  t->cancel_pull = cri_->PullImage(
      image, BuildSandboxConfig(t->pod, 0, ConfigOptions()),
      Posted([this, uid, action, key, image, begun](const absl::StatusOr<std::string>& ref) {
        Tracked* found = Find(uid);
        if (found == nullptr) return;
        found->cancel_pull = nullptr;
        if (ref.ok()) {
          const int64_t ms = absl::ToInt64Milliseconds(loop_->Now() - begun);
          Emit(*found, "Normal", "Pulled",
               fmt::format("Successfully pulled image \"{}\" in {}ms", image, ms));
          return CreateContainer(uid, action, *ref);
        }
        if (found->must_stop() || !runtime_up_) return Finish(uid, key);
        const std::string why = Text(ref.status());
        Emit(*found, "Warning", "Failed",
             fmt::format("Failed to pull image \"{}\": {}", image, why));
        Emit(*found, "Warning", "Failed", "Error: ErrImagePull");
        Emit(*found, "Normal", "BackOff", fmt::format("Back-off pulling image \"{}\"", image));
        Emit(*found, "Warning", "Failed", "Error: ImagePullBackOff");
        StartFailed(uid, key, action.name, "ErrImagePull", why, kPullDelayFirst, kPullDelayMax);
      }));
}

void PodReconciler::CreateContainer(const std::string& uid, const RunContainer& action,
                                    const std::string& image_ref) {
  WithSlot([this, uid, action, image_ref] {
    const std::string key = "run " + action.name;
    Tracked* t = Find(uid);
    const v1::Container* spec = t == nullptr ? nullptr : FindSpec(t->pod, action.name);
    if (spec == nullptr || t->must_stop()) {
      ReleaseSlot();
      return Finish(uid, key);
    }
    const PodConfigOptions config = ConfigOptions();
    cri::CreateContainerRequest request;
    request.set_pod_sandbox_id(action.sandbox_id);
    *request.mutable_sandbox_config() = BuildSandboxConfig(t->pod, 0, config);
    *request.mutable_config() =
        BuildContainerConfig(t->pod, *spec, action.attempt, image_ref,
                             ServiceEnvironment(state_->services, t->ns), config);
    std::error_code ignored;  // the runtime reports it better
    std::filesystem::create_directories(
        request.sandbox_config().log_directory() + "/" + action.name, ignored);
    cri_->CreateContainer(
        request, Posted([this, uid, key, action](const absl::StatusOr<std::string>& id) {
          Tracked* found = Find(uid);
          if (found == nullptr) return ReleaseSlot();
          if (!id.ok()) {
            ReleaseSlot();
            if (!absl::IsUnavailable(id.status())) {
              Emit(*found, "Warning", "Failed", fmt::format("Error: {}", Text(id.status())));
            }
            return StartFailed(uid, key, action.name, "CreateContainerError", Text(id.status()),
                               kCreateDelayFirst, kPullDelayMax);
          }
          owners_[*id] = uid;
          Emit(*found, "Normal", "Created", fmt::format("Created container {}", action.name));
          StartCreated(uid, key, action.name, *id);
        }));
  });
}

// Holds a slot.
void PodReconciler::StartCreated(const std::string& uid, const std::string& key,
                                 const std::string& name, const std::string& id) {
  cri_->StartContainer(id, Posted([this, uid, key, name](const absl::Status& status) {
                         ReleaseSlot();
                         if (Tracked* t = Find(uid)) {
                           ContainerMemory& memory = t->memory.containers[name];
                           memory.start = Retry();
                           memory.restart_delay = t->next_delay[name];
                           if (status.ok()) {
                             Emit(*t, "Normal", "Started",
                                  fmt::format("Started container {}", name));
                           } else if (!absl::IsUnavailable(status)) {
                             Emit(*t, "Warning", "Failed", fmt::format("Error: {}", Text(status)));
                           }
                         }
                         Finish(uid, key);
                       }));
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

void PodReconciler::Emit(const Tracked& t, const char* type, const char* reason,
                         std::string message) {
  v1::NodeEvent event;
  event.set_namespace_(t.ns);
  event.set_pod(t.name);
  event.set_uid(t.uid);
  event.set_type(type);
  event.set_reason(reason);
  event.set_message(std::move(message));
  hooks_.event(event);
}

PodConfigOptions PodReconciler::ConfigOptions() const {
  PodConfigOptions out = options_.config;
  if (!state_->config.cluster_domain().empty())
    out.cluster_domain = state_->config.cluster_domain();
  out.name_server = hooks_.name_server();
  return out;
}

void PodReconciler::Publish() {
  auto directory = std::make_shared<PodDirectory>();
  for (const auto& [uid, t] : pods_) {
    if (!t->desired) continue;
    PodEntry entry;
    entry.uid = uid;
    entry.log_directory = PodLogDirectory(options_.config, t->ns, t->name, uid);
    for (const v1::Container& spec : t->pod.spec().containers()) {
      ContainerEntry container;
      container.name = spec.name();
      container.waiting = "ContainerCreating";
      for (const v1::ContainerStatus& status : t->status.container_statuses()) {
        if (status.name() == spec.name() && status.state().has_waiting()) {
          container.waiting = status.state().waiting().reason();
        }
      }
      if (const ObservedContainer* newest = t->observed.Newest(spec.name())) {
        if (newest->state == RunState::kExited && container.waiting == "ContainerCreating") {
          container.waiting.clear();
        }
        container.id = newest->id;
        container.attempt = newest->attempt;
        container.running = newest->state == RunState::kRunning;
      }
      entry.containers.push_back(std::move(container));
    }
    (*directory)[t->ns + "/" + t->name] = std::move(entry);
  }
  absl::MutexLock lock(&directory_mutex_);
  directory_ = std::move(directory);
}

std::shared_ptr<const PodDirectory> PodReconciler::Directory() const {
  absl::MutexLock lock(&directory_mutex_);
  return directory_;
}

}  // namespace mesh::agent
