// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/pod_reconciler.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "agent/network/files.h"
#include "agent/pods/pod_deadline.h"
#include "agent/pods/pod_status.h"
#include "agent/pods/pod_tracked.h"
#include "common/log.h"

namespace mesh::agent {
namespace {

constexpr absl::Duration kConnectDelayFirst = absl::Milliseconds(50);
constexpr absl::Duration kConnectDelayMax = absl::Milliseconds(200);
// Within it, what happened between the list and the start of the event stream is found.
constexpr absl::Duration kSettle = absl::Seconds(1);
constexpr char kNodeResolvConf[] = "/etc/resolv.conf";

// All pods are looked at closer in one of so many relists.
constexpr int kRelistsOfAll = 6;

// What the lists of all pods say of one: states of the CRI by id.
using RuntimeView = std::map<std::string, int>;

RuntimeView ViewOf(const ObservedPod& observed) {
  RuntimeView out;
  for (const ObservedSandbox& sandbox : observed.sandboxes)
    out[sandbox.id] = sandbox.ready ? cri::SANDBOX_READY : cri::SANDBOX_NOTREADY;
  for (const ObservedContainer& container : observed.containers) {
    switch (container.state) {
      case RunState::kCreated:
        out[container.id] = cri::CONTAINER_CREATED;
        break;
      case RunState::kRunning:
        out[container.id] = cri::CONTAINER_RUNNING;
        break;
      case RunState::kExited:
        out[container.id] = cri::CONTAINER_EXITED;
        break;
      case RunState::kUnknown:
        out[container.id] = cri::CONTAINER_UNKNOWN;
        break;
    }
  }
  return out;
}

}  // namespace

PodReconciler::PodReconciler(EventLoop* loop, CriClient* cri, PodReconcilerOptions options,
                             Hooks hooks)
    : loop_(loop),
      cri_(cri),
      options_(std::move(options)),
      hooks_(std::move(hooks)),
      own_mounts_(options_.mounts == nullptr ? NewKernelMounts() : nullptr),
      volumes_(std::make_unique<Volumes>(
          options_.mounts == nullptr ? own_mounts_.get() : options_.mounts,
          options_.config.files_root, options_.volume_dir)),
      state_(std::make_shared<NodeState>()),
      connect_delay_(kConnectDelayFirst),
      probes_(loop, cri, options_.probe_client, ProbeHooks()),
      pod_hooks_(loop, cri, options_.probe_client, options_.config.files_root, HookCallbacks()),
      directory_(std::make_shared<PodDirectory>()) {}

PodReconciler::~PodReconciler() = default;

PodProbes::Hooks PodReconciler::ProbeHooks() {
  PodProbes::Hooks hooks;
  hooks.changed = [this](const std::string& uid) {
    if (Tracked* t = Find(uid)) Step(*t);
  };
  hooks.event = [this](const std::string& uid, const char* type, const char* reason,
                       std::string message) {
    Tracked* t = Find(uid);
    if (t != nullptr && t->desired) Emit(*t, type, reason, std::move(message));
  };
  return hooks;
}

PodHooks::Callbacks PodReconciler::HookCallbacks() {
  PodProbes::Hooks same = ProbeHooks();
  PodHooks::Callbacks hooks;
  hooks.changed = std::move(same.changed);
  hooks.event = std::move(same.event);
  hooks.post_start_failed = [this](const std::string& uid, const std::string& container,
                                   std::string why) {
    Tracked* t = Find(uid);
    if (t == nullptr) return;
    // Shown once the container has ended, until it is started again.
    Retry& start = t->memory.containers[container].start;
    start = Retry();
    start.reason = "PostStartHookError";
    start.message = std::move(why);
  };
  return hooks;
}

void PodReconciler::Start() { Connect(); }

// ---- the runtime as a whole

void PodReconciler::Connect() {
  auto done = [this](const absl::StatusOr<cri::VersionResponse>& version) {
    if (!version.ok()) return Disconnected(version.status());
    std::string number = version->runtime_version();  // with or without "v", by vendor
    if (number.starts_with("v")) number.erase(0, 1);
    Connected(fmt::format("{}://{}", version->runtime_name(), number));
  };
  cri_->Version(Posted(done));
}

void PodReconciler::Connected(const std::string& version) {
  connect_delay_ = kConnectDelayFirst;
  runtime_up_ = true;
  stalled_ = false;
  relists_ = 0;
  runtime_version_ = version;
  auto on_event = [this](const RuntimeEvent& event) {
    loop_->Post([this, event] { OnRuntimeEvent(event); });
  };
  cri_->Subscribe(on_event, Posted([this](const absl::Status& why) { Disconnected(why); }));
  hooks_.runtime(version);
  Relist();
  loop_->RunAfter(kSettle, [this] { Relist(); });
}

void PodReconciler::Disconnected(absl::Status why) {
  if (runtime_up_) spdlog::warn("container runtime went away: {}", Text(why));
  runtime_up_ = false;
  hooks_.runtime(why);
  loop_->RunAfter(connect_delay_, [this] { Connect(); });
  connect_delay_ = std::min(connect_delay_ * 2, kConnectDelayMax);
}

// The runtime holds its connection and does not answer (it is stopped, or its disk hangs). When it
// answers again, the next list says so.
void PodReconciler::Stalled(const absl::Status& why) {
  if (!runtime_up_) return;  // Disconnected() has said it
  if (!std::exchange(stalled_, true)) spdlog::warn("container runtime is stuck: {}", Text(why));
  hooks_.runtime(why);
}

void PodReconciler::ArmRelist() {
  loop_->Cancel(relist_timer_);
  relist_timer_ = loop_->RunAfter(options_.relist_every, [this] { Relist(); });
}

void PodReconciler::Relist() {
  ArmRelist();
  if (!runtime_up_) return;
  auto sandboxes = std::make_shared<std::vector<cri::PodSandbox>>();
  auto listed_containers = [this,
                            sandboxes](const absl::StatusOr<std::vector<cri::Container>>& list) {
    if (!list.ok()) return Stalled(list.status());
    Relisted(*sandboxes, *list);
  };
  auto listed_sandboxes = [this, sandboxes, listed_containers](
                              const absl::StatusOr<std::vector<cri::PodSandbox>>& list) {
    if (!list.ok()) return Stalled(list.status());
    *sandboxes = *list;
    cri_->ListContainers("", Posted(listed_containers));
  };
  cri_->ListSandboxes("", Posted(listed_sandboxes));
}

// Looks closer at the pods of which the lists say something new, and now and then at all.
void PodReconciler::Relisted(const std::vector<cri::PodSandbox>& sandboxes,
                             const std::vector<cri::Container>& containers) {
  if (std::exchange(stalled_, false)) hooks_.runtime(runtime_version_);
  std::map<std::string, RuntimeView> views;  // by uid
  for (const cri::PodSandbox& sandbox : sandboxes) {
    auto uid = sandbox.labels().find(kPodUidLabel);
    if (uid == sandbox.labels().end()) continue;  // made by somebody else
    Ensure(uid->second, sandbox.metadata().namespace_(), sandbox.metadata().name());
    owners_[sandbox.id()] = uid->second;
    views[uid->second][sandbox.id()] = sandbox.state();
  }
  for (const cri::Container& container : containers) {
    if (auto uid = container.labels().find(kPodUidLabel); uid != container.labels().end())
      views[uid->second][container.id()] = container.state();
  }
  const bool all = relists_++ % kRelistsOfAll == 0;
  std::vector<std::string> uids;
  for (const auto& [uid, t] : pods_) {
    if (all || !t->observed_once || ViewOf(t->observed) != views[uid]) uids.push_back(uid);
  }
  for (const std::string& uid : uids) Kick(uid);
  MeasureDisks();
  if (may_remove_) {
    SweepOnce();
    RemoveVolumes();
  }
}

void PodReconciler::OnRuntimeEvent(const RuntimeEvent& event) {
  if (event.kind != RuntimeEvent::Kind::kExit) return;
  auto owner = owners_.find(event.container_id);
  if (owner == owners_.end()) return;
  Tracked* t = Find(owner->second);
  if (t == nullptr) return;
  t->exits[event.container_id] = {
      .told_at = loop_->Now(), .exit_code = event.exit_code, .exited_at = event.exited_at};
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
  const NodeStatePtr before = std::exchange(state_, std::move(state));
  may_remove_ = may_remove_ || (live && state_->complete);
  std::vector<std::string> changed;
  for (const auto& [uid, pod] : state_->pods) {
    Tracked& t = Ensure(uid, pod->metadata().namespace_(), pod->metadata().name());
    if (t.desired && t.pod.SameAs(pod)) continue;
    t.desired = true;
    t.pod = pod;
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
    RemoveVolumes();
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
  NoteObjects(*before);
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

void PodReconciler::Step(Tracked& t) {
  if (!t.observed_once) return;
  if (!t.desired && !may_remove_) return;
  const absl::Time now = loop_->Now();
  if (t.must_stop() && t.stopping_since == absl::InfiniteFuture()) t.stopping_since = now;
  AddLastWords(t);
  NoteDeadline(t);
  WatchHealth(t);
  const PodPlan plan =
      ComputePodPlan(t.desired ? &*t.pod : nullptr, t.observed, t.memory, t.stopping_since, now);
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

void PodReconciler::NoteDeadline(Tracked& t) {
  if (!t.desired) return;
  const v1::PodStatus& known = t.reported.empty() ? t.pod->status() : t.status;
  t.memory.deadline_at = DeadlineOf(t.pod->spec(), known);
  if (t.past_deadline || loop_->Now() < t.memory.deadline_at) return;
  t.past_deadline = true;
  if (known.phase() != "Failed") Emit(t, "Normal", kDeadlineExceeded, kDeadlineMessage);
  if (t.cancel_pull) t.cancel_pull();
}

void PodReconciler::WatchHealth(Tracked& t) {
  pod_hooks_.Watch(*t.pod, t.observed, t.ending());
  if (t.desired) {
    probes_.Watch(t.pod, t.observed, t.reported.empty() ? t.pod->status() : t.status, t.ending(),
                  pod_hooks_.Held(t.uid));
  } else {
    probes_.Forget(t.uid);
  }
  t.memory.health = probes_.Health(t.uid);
  pod_hooks_.AddTo(t.uid, &t.memory.health);
}

void PodReconciler::Report(Tracked& t, const PodPlan& plan, absl::Time& look_again_at) {
  // Once its containers are removed there is nothing to see: the last words stand.
  const bool ended = t.pod->status().phase() == "Succeeded" || t.pod->status().phase() == "Failed";
  const bool silent = t.observed.containers.empty() && (t.must_stop() || ended);
  if (!silent) {
    StatusInput input;
    input.pod = &*t.pod;
    input.observed = &t.observed;
    input.memory = &t.memory;
    input.previous = t.reported.empty() ? &t.pod->status() : &t.status;
    input.node_ip = options_.node_ip;
    input.now = loop_->Now();
    StatusOutput output = ComputePodStatus(input);
    t.status = std::move(output.status);
    look_again_at = std::min(look_again_at, output.look_again_at);
  } else if (t.reported.empty()) {
    t.status = t.pod->status();
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
  std::error_code ignored;  // a folder that stays behind does no harm
  std::filesystem::remove_all(PodLogDirectory(options_.config, t.ns, t.name, t.uid), ignored);
  if (absl::Status removed = volumes_->Remove(t.uid); !removed.ok()) {
    spdlog::warn("pod {}/{}: its folder stays: {}", t.ns, t.name, Text(removed));
  }
  std::erase_if(owners_, [&](const auto& owner) { return owner.second == t.uid; });
  if (t.desired) return;  // until the control plane drops it, the report may have to be repeated
  hooks_.forget(t.uid);
  const std::string uid = t.uid;
  probes_.Forget(uid);
  pod_hooks_.Forget(uid);
  pods_.erase(uid);
  RemoveVolumes();
  Publish();
}

void PodReconciler::SweepOnce() {
  if (std::exchange(swept_, true)) return;
  std::set<std::string> uids;
  for (const auto& [uid, t] : pods_) uids.insert(uid);
  volumes_->RemoveOthers(uids);
}

void PodReconciler::ArmTimer(Tracked& t, absl::Time when) {
  loop_->Cancel(t.timer);
  t.timer = 0;
  if (when == absl::InfiniteFuture()) return;
  t.timer = loop_->RunAt(when, [this, uid = t.uid] {
    if (Tracked* found = Find(uid)) Step(*found);
  });
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
  if (std::string own = hooks_.name_server(); !own.empty()) {
    out.name_servers = PeerNameServers(state_->config.node_name(), state_->nodes);
    out.name_servers.insert(out.name_servers.begin(), std::move(own));
  }
  // The node's names may change while the agent runs.
  if (auto text = ReadWholeFile(kNodeResolvConf); text.ok())
    out.node_resolv_conf = *std::move(text);
  return out;
}

void PodReconciler::Publish() {
  auto directory = std::make_shared<PodDirectory>();
  for (const auto& [uid, t] : pods_) {
    if (!t->desired) continue;
    PodEntry entry;
    entry.uid = uid;
    entry.log_directory = PodLogDirectory(options_.config, t->ns, t->name, uid);
    entry.host_network = t->pod->spec().host_network();
    const auto add = [&](const v1::Container& spec, const auto& statuses) {
      ContainerEntry container;
      container.name = spec.name();
      container.image = spec.image();
      container.stdin = spec.stdin();
      container.tty = spec.tty();
      container.waiting = "ContainerCreating";
      for (const v1::ContainerStatus& status : statuses) {
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
    };
    for (const v1::Container& spec : t->pod->spec().containers())
      add(spec, t->status.container_statuses());
    for (const v1::Container& spec : t->pod->spec().init_containers())
      add(spec, t->status.init_container_statuses());
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
