// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <thread>

#include "absl/synchronization/notification.h"
#include "common/real_loop.h"

namespace mesh::agent {

// A real loop on a thread of its own. What is made on it with Call() must be destroyed on it too.
class LoopThread {
 public:
  LoopThread() : thread_([this] { loop_.Run(); }) {}
  ~LoopThread() {
    loop_.Stop();
    thread_.join();
  }
  EventLoop* loop() { return &loop_; }
  void Call(const std::function<void()>& task) {
    absl::Notification done;
    loop_.Post([&] {
      task();
      done.Notify();
    });
    done.WaitForNotification();
  }

 private:
  RealLoop loop_;
  std::thread thread_;
};

}  // namespace mesh::agent
