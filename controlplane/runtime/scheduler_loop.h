// SPDX-License-Identifier: Apache-2.0
// Runs the scheduler: one pass places everything that waits; the next one begins when the writes
// of the last have arrived, so that no room and no address is given away twice.
//
// Thread: loop only.
#pragma once

#include <memory>

#include "common/backoff.h"
#include "common/event_loop.h"
#include "common/random.h"
#include "controlplane/scheduler/scheduler.h"
#include "controlplane/state/watch_cache.h"
#include "controlplane/state/writer.h"

namespace mesh::controlplane {

class SchedulerLoop {
 public:
  // All outlive this.
  SchedulerLoop(EventLoop& loop, const WatchCache& cache, Writer& writer, Random random);
  ~SchedulerLoop();
  SchedulerLoop(const SchedulerLoop&) = delete;
  SchedulerLoop& operator=(const SchedulerLoop&) = delete;

  void OnChange(const Change& change);
  void MarkDirty();
  bool idle() const { return !dirty_ && open_ == 0; }

 private:
  void Post();
  void Pass();
  void OnWritten(const EventNote* note, const absl::Status& status);
  void RetryLater();

  EventLoop& loop_;
  const WatchCache& cache_;
  Writer& writer_;
  Random random_;
  Scheduler scheduler_;
  Backoff backoff_;
  bool dirty_ = false;
  bool posted_ = false;
  int open_ = 0;
  bool failed_ = false;
  TimerId timer_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace mesh::controlplane
