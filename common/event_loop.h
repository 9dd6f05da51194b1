// SPDX-License-Identifier: Apache-2.0
// Time, timers and file events come in through this interface, so that every component also runs
// under the simulator (sim_loop.h) with virtual time.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/time/time.h"

namespace mesh {

using Task = std::function<void()>;
using TimerId = uint64_t;

// One loop belongs to one thread; all methods but Post() are called on it only. `Now()` is wall
// time; it never goes back within one loop.
class EventLoop {
 public:
  virtual ~EventLoop() = default;

  virtual absl::Time Now() const = 0;
  // Runs `task` on the loop after the present task. Thread-safe. Tasks of one thread keep order.
  virtual void Post(Task task) = 0;
  // Runs `task` once, not before `when`. Never called for a cancelled id.
  virtual TimerId RunAt(absl::Time when, Task task) = 0;
  TimerId RunAfter(absl::Duration delay, Task task) {
    return RunAt(Now() + delay, std::move(task));
  }
  // Unknown and finished ids are ignored.
  virtual void Cancel(TimerId id) = 0;
  // Calls `task` whenever `fd` is readable, until Unwatch. The fd stays the caller's.
  virtual void WatchReadable(int fd, Task task) = 0;
  virtual void Unwatch(int fd) = 0;
  // True on the loop's own thread.
  virtual bool InLoop() const = 0;
};

}  // namespace mesh
