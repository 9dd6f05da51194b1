// SPDX-License-Identifier: Apache-2.0
#include "controlplane/runtime/scheduler_loop.h"

#include <string>
#include <utility>

#include "common/check.h"
#include "common/log.h"

namespace mesh::controlplane {

SchedulerLoop::SchedulerLoop(EventLoop& loop, const WatchCache& cache, Writer& writer,
                             Random random)
    : loop_(loop),
      cache_(cache),
      writer_(writer),
      random_(random),
      backoff_({.first = absl::Milliseconds(20), .cap = absl::Seconds(5)}) {}

SchedulerLoop::~SchedulerLoop() {
  *alive_ = false;
  if (timer_ != 0) loop_.Cancel(timer_);
}

void SchedulerLoop::OnChange(const Change& change) {
  if (Scheduler::Concerns(change)) MarkDirty();
}

void SchedulerLoop::MarkDirty() {
  dirty_ = true;
  if (open_ == 0 && timer_ == 0) Post();
}

void SchedulerLoop::Post() {
  if (posted_) return;
  posted_ = true;
  loop_.Post([this, alive = alive_] {
    if (*alive) Pass();
  });
}

void SchedulerLoop::Pass() {
  posted_ = false;
  dirty_ = false;
  failed_ = false;
  ReconcileResult result = scheduler_.Schedule(cache_.state(), loop_.Now());
  // Each write comes with the event that tells of it, which may be empty.
  MESH_CHECK(result.events.size() == result.writes.size());
  if (result.requeue_at.has_value()) dirty_ = true;
  open_ = static_cast<int>(result.writes.size());
  if (open_ == 0) backoff_.Reset();
  for (size_t i = 0; i < result.writes.size(); ++i) {
    writer_.Submit(std::move(result.writes[i]),
                   [this, alive = alive_, note = std::move(result.events[i])](auto written) {
                     if (*alive) OnWritten(&note, written.status());
                   });
  }
}

void SchedulerLoop::OnWritten(const EventNote* note, const absl::Status& status) {
  if (status.ok()) {
    if (!note->reason.empty()) writer_.Note(*note);
  } else {
    failed_ = true;
    // A pod that changed or went meanwhile is looked at again; anything else is worth a line.
    if (!absl::IsAborted(status) && !absl::IsNotFound(status))
      spdlog::warn("scheduler, pod {}/{}: {}", note->object.namespace_(), note->object.name(),
                   std::string(status.message()));
  }
  if (--open_ > 0) return;
  if (failed_) return RetryLater();
  backoff_.Reset();
  if (dirty_) Post();
}

void SchedulerLoop::RetryLater() {
  dirty_ = true;
  timer_ = loop_.RunAfter(backoff_.Next(random_), [this, alive = alive_] {
    if (!*alive) return;
    timer_ = 0;
    Post();
  });
}

}  // namespace mesh::controlplane
