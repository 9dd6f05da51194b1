// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/pod_hooks.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "agent/network/files.h"
#include "common/log.h"
#include "common/utf8.h"

namespace mesh::agent {
namespace {

// Of an answer in the status of a pod.
constexpr size_t kAnswerMost = 1024;

// A hook is asked as a probe is.
v1::Probe AsProbe(const v1::LifecycleHandler& hook) {
  v1::Probe out;
  if (hook.has_exec()) *out.mutable_exec() = hook.exec();
  if (hook.has_http_get()) *out.mutable_http_get() = hook.http_get();
  return out;
}

// After the runtime has broken off what it ran.
constexpr absl::Duration kBrokenOffAgain = absl::Seconds(1);

std::string Describe(const v1::LifecycleHandler& hook, const HandlerTarget& target) {
  if (hook.has_sleep()) return fmt::format("sleep {}s", hook.sleep().seconds());
  return Describe(AsProbe(hook), target);
}

bool Succeeded(const HandlerAnswer& answer) {
  return answer.kind == HandlerAnswer::Kind::kSuccess || answer.answered;
}

}  // namespace

struct PodHooks::Entry {
  std::string pod;  // "namespace/name", for people
  std::string name;
  HandlerTarget target;
  absl::Duration grace;  // of the pod

  enum class Phase : uint8_t { kWaits, kRuns, kOver, kFailed };
  Phase start = Phase::kOver;
  std::string trouble;  // of postStart, for people
  absl::Time kill_by = absl::InfiniteFuture();
  TimerId slow_timer = 0;

  Phase stop = Phase::kWaits;
  Task stopped;  // told when it may be stopped
  TimerId stop_timer = 0;

  bool held() const { return start == Phase::kWaits || start == Phase::kRuns; }
};

PodHooks::PodHooks(EventLoop* loop, CriClient* cri, ProbeClient* network, std::string files_root,
                   Callbacks callbacks)
    : loop_(loop),
      cri_(cri),
      network_(network),
      files_root_(std::move(files_root)),
      callbacks_(std::move(callbacks)) {}

PodHooks::~PodHooks() {
  while (!pods_.empty()) Forget(pods_.begin()->first);
}

std::string PodHooks::Marker(const std::string& uid, const std::string& container) const {
  return fmt::format("{}/{}/started/{}", files_root_, uid, container);
}

PodHooks::Entry* PodHooks::Find(const std::string& uid, const std::string& id) {
  const auto pod = pods_.find(uid);
  if (pod == pods_.end()) return nullptr;
  const auto it = pod->second.find(id);
  return it == pod->second.end() ? nullptr : it->second.get();
}

PodHooks::Entry& PodHooks::Ensure(const v1::Pod& pod, const v1::Container& spec,
                                  const std::string& id) {
  const v1::ObjectMeta& meta = pod.metadata();
  std::unique_ptr<Entry>& entry = pods_[meta.uid()][id];
  if (entry != nullptr) return *entry;
  entry = std::make_unique<Entry>();
  entry->pod = meta.namespace_() + "/" + meta.name();
  entry->name = spec.name();
  entry->target = {.container_id = id, .ip = pod.status().pod_ip(), .spec = spec};
  entry->grace = absl::Seconds(pod.spec().termination_grace_period_seconds());
  if (!spec.lifecycle().has_post_start()) return *entry;
  const auto done = ReadWholeFile(Marker(meta.uid(), spec.name()));
  if (!done.ok() || *done != id) entry->start = Entry::Phase::kWaits;
  return *entry;
}

void PodHooks::Drop(Entry& entry) {
  loop_->Cancel(entry.slow_timer);
  loop_->Cancel(entry.stop_timer);
}

void PodHooks::Forget(const std::string& uid) {
  const auto it = pods_.find(uid);
  if (it == pods_.end()) return;
  for (auto& [id, entry] : it->second) Drop(*entry);
  pods_.erase(it);
}

void PodHooks::Watch(const v1::Pod& pod, const ObservedPod& observed, bool stopping) {
  const std::string& uid = pod.metadata().uid();
  if (const auto it = pods_.find(uid); it != pods_.end()) {
    std::erase_if(it->second, [&](const auto& item) {
      const bool lives = std::any_of(observed.containers.begin(), observed.containers.end(),
                                     [&](const ObservedContainer& c) {
                                       return c.id == item.first && c.state != RunState::kExited;
                                     });
      if (lives) return false;
      Release(*item.second);
      Drop(*item.second);
      return true;
    });
    if (it->second.empty()) pods_.erase(it);
  }
  if (stopping) return;
  for (const auto* list : {&pod.spec().containers(), &pod.spec().init_containers()}) {
    for (const v1::Container& spec : *list) {
      if (!spec.lifecycle().has_post_start()) continue;
      const ObservedContainer* newest = observed.Newest(spec.name());
      if (newest == nullptr || newest->state != RunState::kRunning) continue;
      if (Ensure(pod, spec, newest->id).start == Entry::Phase::kWaits) Start(uid, newest->id);
    }
  }
}

std::set<std::string> PodHooks::Held(const std::string& uid) const {
  std::set<std::string> out;
  const auto pod = pods_.find(uid);
  if (pod == pods_.end()) return out;
  for (const auto& [id, entry] : pod->second) {
    if (entry->held()) out.insert(id);
  }
  return out;
}

void PodHooks::AddTo(const std::string& uid, std::map<std::string, ContainerHealth>* health) const {
  const auto pod = pods_.find(uid);
  if (pod == pods_.end()) return;
  for (const auto& [id, entry] : pod->second) {
    ContainerHealth& out = (*health)[id];  // somebody has looked at it
    if (entry->start == Entry::Phase::kOver) continue;
    out.started = out.ready = false;
    out.in_post_start = entry->held();
    out.failing = entry->trouble;
    if (entry->start != Entry::Phase::kFailed) continue;
    out.kill_by = std::min(out.kill_by, entry->kill_by);
    out.kill_why = "failed postStart hook";
  }
}

// ---- postStart

void PodHooks::Start(const std::string& uid, const std::string& id) {
  Entry& entry = *Find(uid, id);
  entry.start = Entry::Phase::kRuns;
  entry.slow_timer = loop_->RunAfter(kPostStartSlow, [this, uid, id] {
    Entry* slow = Find(uid, id);
    if (slow == nullptr || slow->start != Entry::Phase::kRuns) return;
    slow->trouble = fmt::format("postStart hook: {}: has not ended after {}",
                                Describe(slow->target.spec.lifecycle().post_start(), slow->target),
                                absl::FormatDuration(kPostStartSlow));
    callbacks_.changed(uid);
  });
  Run(entry.target.spec.lifecycle().post_start(), entry.target, kPostStartMost,
      [this, uid, id](const HandlerAnswer& answer) { Started(uid, id, answer); });
}

void PodHooks::Started(const std::string& uid, const std::string& id, const HandlerAnswer& answer) {
  Entry* entry = Find(uid, id);
  if (entry == nullptr || entry->start != Entry::Phase::kRuns) return;
  loop_->Cancel(entry->slow_timer);
  entry->trouble.clear();
  if (answer.gone) {
    // Again, unless the next look at the pod knows more.
    entry->start = Entry::Phase::kWaits;
    entry->slow_timer = loop_->RunAfter(kBrokenOffAgain, [this, uid] { callbacks_.changed(uid); });
    return;
  }
  if (Succeeded(answer)) {
    entry->start = Entry::Phase::kOver;
    const std::string marker = Marker(uid, entry->name);
    absl::Status written = MakeDirectories(marker.substr(0, marker.rfind('/')), 0750);
    if (written.ok()) written = ReplaceFile(marker, id, 0640);
    if (!written.ok()) {
      spdlog::warn("pod {}: container {}: an agent that is started again will repeat postStart: {}",
                   entry->pod, entry->name, std::string(written.message()));
    }
    return callbacks_.changed(uid);
  }
  entry->start = Entry::Phase::kFailed;
  entry->kill_by = loop_->Now() + entry->grace;
  entry->trouble = fmt::format("postStart hook: {}: {}",
                               Describe(entry->target.spec.lifecycle().post_start(), entry->target),
                               Utf8Prefix(answer.text, kAnswerMost));
  // Without what came, which may be a secret, as in Kubernetes.
  callbacks_.event(uid, "Warning", "FailedPostStartHook", "PostStartHook failed");
  callbacks_.post_start_failed(uid, entry->name, entry->trouble);
  callbacks_.changed(uid);
}

// ---- preStop

void PodHooks::BeforeStop(const v1::Pod& pod, const v1::Container& spec, const std::string& id,
                          absl::Time deadline, Task done) {
  const std::string uid = pod.metadata().uid();
  Entry& entry = Ensure(pod, spec, id);
  entry.stopped = std::move(done);
  loop_->Cancel(entry.stop_timer);
  if (!spec.lifecycle().has_pre_stop() || entry.stop == Entry::Phase::kOver ||
      deadline <= loop_->Now()) {
    return Release(entry);
  }
  entry.stop_timer = loop_->RunAt(deadline, [this, uid, id] {
    Entry* late = Find(uid, id);
    if (late == nullptr || late->stop != Entry::Phase::kRuns) return;
    late->stop = Entry::Phase::kOver;
    callbacks_.event(uid, "Warning", "FailedPreStopHook",
                     "PreStopHook not completed in grace period");
    Release(*late);
  });
  if (entry.stop == Entry::Phase::kRuns) return;
  entry.stop = Entry::Phase::kRuns;
  Run(spec.lifecycle().pre_stop(), entry.target, deadline - loop_->Now(),
      [this, uid, id](const HandlerAnswer& answer) { Stopped(uid, id, answer); });
}

void PodHooks::Stopped(const std::string& uid, const std::string& id, const HandlerAnswer& answer) {
  Entry* entry = Find(uid, id);
  if (entry == nullptr || entry->stop != Entry::Phase::kRuns) return;
  entry->stop = answer.gone ? Entry::Phase::kWaits : Entry::Phase::kOver;
  if (!answer.gone && !Succeeded(answer)) {
    spdlog::warn("pod {}: container {}: preStop hook: {}: {}", entry->pod, entry->name,
                 Describe(entry->target.spec.lifecycle().pre_stop(), entry->target), answer.text);
    callbacks_.event(uid, "Warning", "FailedPreStopHook", "PreStopHook failed");
  }
  Release(*entry);
}

void PodHooks::Release(Entry& entry) {
  loop_->Cancel(entry.stop_timer);
  if (entry.stopped) loop_->Post(std::exchange(entry.stopped, nullptr));
}

// `done` is called on the loop.
void PodHooks::Run(const v1::LifecycleHandler& hook, const HandlerTarget& target,
                   absl::Duration timeout, std::function<void(HandlerAnswer)> done) {
  if (hook.has_sleep()) {
    loop_->RunAfter(absl::Seconds(hook.sleep().seconds()),
                    [done] { done({.kind = HandlerAnswer::Kind::kSuccess, .text = ""}); });
    return;
  }
  auto posted = [loop = loop_, done = std::move(done)](HandlerAnswer answer) {
    loop->Post([done, answer = std::move(answer)] { done(answer); });
  };
  if (network_ == nullptr && !hook.has_exec())
    return posted({.kind = HandlerAnswer::Kind::kUnknown, .text = "no network"});
  Ask(cri_, network_, AsProbe(hook), target, timeout, std::move(posted));
}

}  // namespace mesh::agent
