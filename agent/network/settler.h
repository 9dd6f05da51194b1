// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "absl/status/statusor.h"
#include "common/event_loop.h"

namespace mesh::agent {

// When Dataplane::Settle() is called: for each new pod once, while no pod comes or goes, because
// the kernel keeps them waiting meanwhile. Many that have come together are settled one after the
// other, with room for others in between. Thread: the loop's.
class Settler {
 public:
  // After the last ADD or DEL.
  static constexpr absl::Duration kQuiet = absl::Milliseconds(500);
  // Where ADDs and DELs never end.
  static constexpr absl::Duration kLatest = absl::Seconds(10);
  static constexpr absl::Duration kPause = absl::Milliseconds(100);
  static constexpr absl::Duration kRetry = absl::Seconds(10);

  using Done = std::function<void(absl::StatusOr<bool>)>;
  // `settle` is Dataplane::Settle(), anywhere; it calls `done` on the loop. `loop` outlives this.
  Settler(EventLoop* loop, std::function<void(Done done)> settle)
      : loop_(loop), settle_(std::move(settle)) {}
  // REQUIRES: what `settle` has begun is over, or its `done` is not called any more.
  ~Settler() { loop_->Cancel(timer_); }
  Settler(const Settler&) = delete;
  Settler& operator=(const Settler&) = delete;

  // A pod has come, or may have.
  void Attached();
  // One comes or goes.
  void Touch();

 private:
  void Plan();
  void Settle();
  void Settled(const absl::StatusOr<bool>& more);

  EventLoop* loop_;
  std::function<void(Done)> settle_;
  TimerId timer_ = 0;
  bool due_ = false;      // there may be pods to settle
  bool running_ = false;  // one is being settled
  absl::Time since_;      // when `due_` became true
  absl::Time touched_ = absl::InfinitePast();
  absl::Time not_before_ = absl::InfinitePast();
  absl::Status last_status_;
};

}  // namespace mesh::agent
