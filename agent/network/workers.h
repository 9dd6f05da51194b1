// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace mesh::agent {

// Threads for calls that block in the kernel. The queue has no limit of its own: who feeds it has
// (here the connections of the CNI server).
class Workers {
 public:
  // `name`: at most 15 characters.
  Workers(std::string name, int threads);
  // Waits for tasks that run; those in the queue are dropped.
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  // Thread-safe. Tasks may run side by side and in any order.
  void Run(std::function<void()> task);

 private:
  void Work();

  absl::Mutex mutex_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace mesh::agent
