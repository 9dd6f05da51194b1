// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <unordered_map>
#include <utility>

#include "common/event_loop.h"

namespace mesh {

// A deterministic loop on virtual time: tasks run in order of (time, sequence), and time jumps to
// the next one. Single-threaded.
class SimLoop : public EventLoop {
 public:
  explicit SimLoop(absl::Time start = absl::FromUnixSeconds(1'700'000'000)) : now_(start) {}

  // Runs the next task; false when there is none.
  bool Step();
  // Runs everything due in the next `duration`, and moves time there.
  void RunFor(absl::Duration duration);
  // Runs until `done` holds (checked after each task); false when `limit` of virtual time passed.
  bool RunUntil(const std::function<bool()>& done, absl::Duration limit);

  // Time passes and nothing runs: what comes due meanwhile is late.
  void StandStill(absl::Duration duration) { now_ += duration; }

  absl::Time Now() const override { return now_; }
  void Post(Task task) override;
  TimerId RunAt(absl::Time when, Task task) override;
  void Cancel(TimerId id) override;
  // File events do not exist in the simulation; calling these is a bug.
  void WatchReadable(int fd, Task task) override;
  void Unwatch(int fd) override;
  bool InLoop() const override { return true; }

 private:
  absl::Time now_;
  TimerId next_ = 1;
  std::map<std::pair<absl::Time, TimerId>, Task> tasks_;
  std::unordered_map<TimerId, absl::Time> times_;
};

}  // namespace mesh
