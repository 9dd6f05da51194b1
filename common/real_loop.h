// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <map>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/event_loop.h"
#include "common/unique_fd.h"

namespace mesh {

// epoll, timerfd-less (epoll timeout) and eventfd. Run() takes the calling thread until Stop().
class RealLoop : public EventLoop {
 public:
  RealLoop();
  ~RealLoop() override;

  // Returns after Stop(). Tasks still queued then are dropped.
  void Run();
  // Thread-safe and async-signal-unsafe.
  void Stop();

  absl::Time Now() const override;
  void Post(Task task) override;
  TimerId RunAt(absl::Time when, Task task) override;
  void Cancel(TimerId id) override;
  void WatchReadable(int fd, Task task) override;
  void Unwatch(int fd) override;
  bool InLoop() const override;

 private:
  void Wake();
  void RunPosted();
  void RunTimers();
  int TimeoutMs() const;

  UniqueFd epoll_;
  UniqueFd wake_;
  std::atomic<bool> stop_ = false;
  std::atomic<std::thread::id> thread_;
  absl::Time start_wall_;
  int64_t start_mono_ns_;
  TimerId next_timer_ = 1;
  std::map<std::pair<absl::Time, TimerId>, Task> timers_;
  std::unordered_map<TimerId, absl::Time> timer_times_;
  std::unordered_map<int, Task> watches_;
  absl::Mutex mutex_;
  std::vector<Task> posted_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mesh
