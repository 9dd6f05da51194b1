// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/pod_probes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <optional>
#include <utility>

namespace mesh::agent {
namespace {

constexpr absl::Duration kEarlyNetwork = absl::Milliseconds(20);
constexpr absl::Duration kEarlyCommand = absl::Milliseconds(200);  // a process each time
// The first try that counts: what has just started is not at fault.
constexpr absl::Duration kFirstMost = absl::Seconds(1);
constexpr absl::Duration kEventEvery = absl::Seconds(1);
constexpr char kContainerIdPrefix[] = "containerd://";

const char* Word(ProbeKind kind) {
  switch (kind) {
    case ProbeKind::kStartup:
      return "Startup";
    case ProbeKind::kReadiness:
      return "Readiness";
    case ProbeKind::kLiveness:
      break;
  }
  return "Liveness";
}

absl::Duration PeriodOf(const v1::Pod& pod, const v1::Probe& probe) {
  const auto& annotations = pod.metadata().annotations();
  if (auto it = annotations.find(kProbePeriodAnnotation); it != annotations.end()) {
    int64_t ms = 0;
    const std::string& text = it->second;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), ms);
    if (error == std::errc() && end == text.data() + text.size())
      return std::max(absl::Milliseconds(ms), kProbePeriodMin);
  }
  return absl::Seconds(std::max(1, probe.period_seconds()));
}

const v1::ContainerStatus* Reported(const v1::PodStatus& known, const std::string& id) {
  for (const auto* list : {&known.container_statuses(), &known.init_container_statuses()}) {
    for (const v1::ContainerStatus& status : *list) {
      if (status.state().has_running() && status.container_id() == kContainerIdPrefix + id)
        return &status;
    }
  }
  return nullptr;
}

}  // namespace

bool ProbeCount::Note(bool success, const v1::Probe& probe) {
  in_row = in_row > 0 && last == success ? in_row + 1 : 1;
  last = success;
  const int needed = std::max(1, success ? probe.success_threshold() : probe.failure_threshold());
  if (in_row < needed) return false;
  result = success;
  return true;
}

struct PodProbes::Worker {
  ProbeKind kind = ProbeKind::kReadiness;
  v1::Probe probe;
  absl::Duration period;
  ProbeCount count;
  absl::Time begin;                             // no try before
  absl::Time next_at;                           // that counts
  absl::Duration early = absl::ZeroDuration();  // zero: no tries between the periods
  bool asking = false;
  TimerId timer = 0;
  absl::Time told_at = absl::InfinitePast();
  std::string failing;
};

struct PodProbes::Watched {
  std::string name;
  HandlerTarget target;
  absl::Duration grace;  // of the pod
  bool stopping = false;
  std::array<std::optional<Worker>, 3> workers;  // by ProbeKind
  absl::Time kill_by = absl::InfiniteFuture();
  std::string kill_why;

  Worker* Of(ProbeKind kind) {
    auto& worker = workers[static_cast<size_t>(kind)];
    return worker ? &*worker : nullptr;
  }
  bool started() const { return !workers[0] || workers[0]->count.result; }
  bool ready() const { return started() && (!workers[1] || workers[1]->count.result); }
  bool Waits(const Worker& worker) const {
    if (kill_by != absl::InfiniteFuture()) return true;
    if (stopping && worker.kind != ProbeKind::kReadiness) return true;
    return worker.kind == ProbeKind::kStartup ? started() : !started();
  }
};

struct PodProbes::PodEntry {
  std::map<std::string, std::unique_ptr<Watched>> containers;  // by id
};

PodProbes::PodProbes(EventLoop* loop, CriClient* cri, ProbeClient* network, Hooks hooks)
    : loop_(loop), cri_(cri), network_(network), hooks_(std::move(hooks)) {}

PodProbes::~PodProbes() {
  while (!pods_.empty()) Forget(pods_.begin()->first);
}

void PodProbes::Drop(Watched& watched) {
  for (auto& worker : watched.workers) {
    if (worker) loop_->Cancel(worker->timer);
  }
}

void PodProbes::Forget(const std::string& uid) {
  const auto it = pods_.find(uid);
  if (it == pods_.end()) return;
  for (auto& [id, watched] : it->second.containers) Drop(*watched);
  pods_.erase(it);
}

PodProbes::Watched* PodProbes::Find(const std::string& uid, const std::string& id) {
  const auto pod = pods_.find(uid);
  if (pod == pods_.end()) return nullptr;
  const auto it = pod->second.containers.find(id);
  return it == pod->second.containers.end() ? nullptr : it->second.get();
}

std::unique_ptr<PodProbes::Watched> PodProbes::Make(const v1::Pod& pod, const v1::Container& spec,
                                                    const ObservedContainer& container,
                                                    const v1::PodStatus& known) {
  auto out = std::make_unique<Watched>();
  out->name = spec.name();
  out->target = {.container_id = container.id, .ip = pod.status().pod_ip(), .spec = spec};
  out->grace = absl::Seconds(pod.spec().termination_grace_period_seconds());
  const v1::ContainerStatus* reported = Reported(known, container.id);
  const auto add = [&](ProbeKind kind, const v1::Probe& probe) {
    Worker worker;
    worker.kind = kind;
    worker.probe = probe;
    worker.period = PeriodOf(pod, probe);
    worker.begin =
        std::max(loop_->Now(), container.started_at + absl::Seconds(probe.initial_delay_seconds()));
    worker.next_at = worker.begin + std::min(worker.period, kFirstMost);
    if (kind == ProbeKind::kLiveness) {
      worker.count.result = true;
    } else if (probe.success_threshold() <= 1) {
      worker.early = probe.has_exec() ? kEarlyCommand : kEarlyNetwork;
    }
    if (reported != nullptr) {
      if (kind == ProbeKind::kStartup) worker.count.result = reported->started();
      if (kind == ProbeKind::kReadiness) worker.count.result = reported->ready();
      // Those of an agent before this one: not all at one moment.
      if (worker.count.result) {
        worker.early = absl::ZeroDuration();
        const auto spread = std::hash<std::string>()(container.id + Word(kind)) % 1024;
        worker.next_at = worker.begin + worker.period * (static_cast<double>(spread) / 1024);
      }
    }
    out->workers[static_cast<size_t>(kind)] = std::move(worker);
  };
  if (spec.has_startup_probe()) add(ProbeKind::kStartup, spec.startup_probe());
  if (spec.has_readiness_probe()) add(ProbeKind::kReadiness, spec.readiness_probe());
  if (spec.has_liveness_probe()) add(ProbeKind::kLiveness, spec.liveness_probe());
  return out;
}

void PodProbes::Watch(const Shared<v1::Pod>& pod, const ObservedPod& observed,
                      const v1::PodStatus& known, bool stopping,
                      const std::set<std::string>& held) {
  const std::string& uid = pod->metadata().uid();
  std::map<std::string, std::unique_ptr<Watched>> next;
  const auto entry = pods_.find(uid);
  const auto look = [&](const v1::Container& spec) {
    if (!spec.has_startup_probe() && !spec.has_readiness_probe() && !spec.has_liveness_probe())
      return;
    const ObservedContainer* newest = observed.Newest(spec.name());
    if (newest == nullptr || newest->state != RunState::kRunning) return;
    if (held.contains(newest->id)) return;
    std::unique_ptr<Watched>& watched = next[newest->id];
    if (entry != pods_.end()) {
      if (auto it = entry->second.containers.find(newest->id);
          it != entry->second.containers.end()) {
        watched = std::move(it->second);
        entry->second.containers.erase(it);
      }
    }
    if (watched == nullptr) watched = Make(*pod, spec, *newest, known);
    watched->stopping = stopping;
    for (auto& worker : watched->workers) {
      if (worker) worker->period = PeriodOf(*pod, worker->probe);  // annotations may change
    }
  };
  for (const v1::Container& spec : pod->spec().containers()) look(spec);
  for (const v1::Container& spec : pod->spec().init_containers()) look(spec);
  if (entry != pods_.end()) {
    for (auto& [id, watched] : entry->second.containers) Drop(*watched);
  }
  if (next.empty()) {
    if (entry != pods_.end()) pods_.erase(entry);
    return;
  }
  PodEntry& kept = entry == pods_.end() ? pods_[uid] : entry->second;
  kept.containers = std::move(next);
  for (auto& [id, watched] : kept.containers) Arm(uid, *watched);
}

std::map<std::string, ContainerHealth> PodProbes::Health(const std::string& uid) const {
  std::map<std::string, ContainerHealth> out;
  const auto pod = pods_.find(uid);
  if (pod == pods_.end()) return out;
  for (const auto& [id, watched] : pod->second.containers) {
    ContainerHealth health;
    health.started = watched->started();
    health.ready = watched->ready();
    health.kill_by = watched->kill_by;
    health.kill_why = watched->kill_why;
    for (const auto& worker : watched->workers) {
      if (worker && !worker->failing.empty()) health.failing = worker->failing;
    }
    out[id] = std::move(health);
  }
  return out;
}

void PodProbes::Arm(const std::string& uid, Watched& watched) {
  for (auto& slot : watched.workers) {
    if (!slot || slot->timer != 0 || slot->asking || watched.Waits(*slot)) continue;
    Worker& worker = *slot;
    absl::Time when = worker.next_at;
    if (worker.early > absl::ZeroDuration() && !worker.count.result) {
      when = std::min(when, std::max(loop_->Now() + worker.early, worker.begin));
      worker.early = std::min(worker.early * 2, worker.period);
    }
    worker.timer = loop_->RunAt(when, [this, uid, id = watched.target.container_id,
                                       kind = worker.kind] { Try(uid, id, kind); });
  }
}

void PodProbes::Try(const std::string& uid, const std::string& id, ProbeKind kind) {
  Watched* watched = Find(uid, id);
  Worker* worker = watched == nullptr ? nullptr : watched->Of(kind);
  if (worker == nullptr) return;
  worker->timer = 0;
  if (watched->Waits(*worker)) return;
  const bool early = loop_->Now() < worker->next_at;
  worker->asking = true;
  if (!early) worker->next_at = loop_->Now() + worker->period;
  auto done = [this, uid, id, kind, early](HandlerAnswer answer) {
    loop_->Post([this, uid, id, kind, early, answer = std::move(answer)] {
      Answered(uid, id, kind, early, answer);
    });
  };
  if (network_ == nullptr && !worker->probe.has_exec()) {
    return done({.kind = HandlerAnswer::Kind::kUnknown, .text = "no network", .gone = true});
  }
  Ask(cri_, network_, worker->probe, watched->target,
      absl::Seconds(std::max(1, worker->probe.timeout_seconds())), std::move(done));
}

void PodProbes::Tell(const std::string& uid, Worker& worker, const HandlerAnswer& answer) {
  const absl::Time now = loop_->Now();
  if (now - worker.told_at < kEventEvery) return;
  worker.told_at = now;
  const char* word = Word(worker.kind);
  switch (answer.kind) {
    case HandlerAnswer::Kind::kFailure:
      return hooks_.event(uid, "Warning", "Unhealthy",
                          fmt::format("{} probe failed: {}", word, answer.text));
    case HandlerAnswer::Kind::kUnknown:
      return hooks_.event(
          uid, "Warning", "Unhealthy",
          fmt::format("{} probe errored and resulted in unknown state: {}", word, answer.text));
    case HandlerAnswer::Kind::kSuccess:
      return hooks_.event(uid, "Warning", "ProbeWarning",
                          fmt::format("{} probe warning: {}", word, answer.text));
  }
}

void PodProbes::Answered(const std::string& uid, const std::string& id, ProbeKind kind, bool early,
                         const HandlerAnswer& answer) {
  Watched* watched = Find(uid, id);
  Worker* worker = watched == nullptr ? nullptr : watched->Of(kind);
  if (worker == nullptr) return;
  worker->asking = false;
  if (watched->Waits(*worker)) return Arm(uid, *watched);
  worker->next_at = std::max(worker->next_at, loop_->Now());
  const bool success = answer.kind == HandlerAnswer::Kind::kSuccess;
  if (early && !success) return Arm(uid, *watched);
  const std::string failing_before = worker->failing;
  const bool result_before = worker->count.result;
  if (!success && !answer.gone) {
    worker->failing = fmt::format("{} probe: {}: {}", Word(kind),
                                  Describe(worker->probe, watched->target), answer.text);
  }
  if (answer.warn || (!success && !answer.gone)) Tell(uid, *worker, answer);
  if (answer.kind != HandlerAnswer::Kind::kUnknown) {
    if (success) {
      worker->failing.clear();
      worker->early = absl::ZeroDuration();
    }
    const bool held = worker->count.Note(success, worker->probe);
    if (held && !success && kind != ProbeKind::kReadiness) {
      const absl::Duration grace =
          worker->probe.has_termination_grace_period_seconds()
              ? absl::Seconds(worker->probe.termination_grace_period_seconds())
              : watched->grace;
      watched->kill_by = loop_->Now() + grace;
      watched->kill_why =
          kind == ProbeKind::kLiveness ? "failed liveness probe" : "failed startup probe";
      return hooks_.changed(uid);
    }
    if (kind == ProbeKind::kStartup && success && watched->started()) {
      // The others begin now, not a period after.
      for (ProbeKind other : {ProbeKind::kReadiness, ProbeKind::kLiveness}) {
        Worker* waiting = watched->Of(other);
        if (waiting == nullptr) continue;
        waiting->begin = std::max(waiting->begin, loop_->Now());
        waiting->next_at =
            std::max(waiting->next_at, waiting->begin + std::min(waiting->period, kFirstMost));
      }
    }
  }
  Arm(uid, *watched);
  if (worker->count.result != result_before || worker->failing != failing_before)
    hooks_.changed(uid);
}

}  // namespace mesh::agent
