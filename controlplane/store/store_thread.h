// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <thread>

#include "common/event_loop.h"
#include "common/real_loop.h"

namespace mesh::controlplane {

// Where a store delivers watches and ends leases: a loop given by the simulator, or one of its own
// on a thread of its own.
class StoreThread {
 public:
  explicit StoreThread(EventLoop* given) : loop_(given) {
    if (given != nullptr) return;
    own_ = std::make_unique<RealLoop>();
    loop_ = own_.get();
    thread_ = std::thread([this] { own_->Run(); });
  }
  ~StoreThread() { Stop(); }
  StoreThread(const StoreThread&) = delete;
  StoreThread& operator=(const StoreThread&) = delete;

  // Nothing runs on the own thread afterwards.
  void Stop() {
    if (!thread_.joinable()) return;
    own_->Stop();
    thread_.join();
  }
  EventLoop& loop() { return *loop_; }

 private:
  EventLoop* loop_;
  std::unique_ptr<RealLoop> own_;
  std::thread thread_;
};

}  // namespace mesh::controlplane
