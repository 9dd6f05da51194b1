// SPDX-License-Identifier: Apache-2.0
// Runs one controller: changes mark keys dirty, each dirty key is reconciled from the state of that
// moment, its writes are committed, and the key is looked at again when they have arrived.
//
// - One step per key at a time. The next one of a key sees the writes of the last: the writer
//   reports success only after the cache has them.
// - Status writes of a step go last, and only when all its other writes succeeded: they tell
//   counts that are true after those.
// - A step with a failed or stale write is repeated after a back-off of its key; what it had to
//   say as events is dropped with it.
// - At most `keys_per_turn` keys per turn of the loop.
//
// Thread: loop only.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>

#include "common/backoff.h"
#include "common/event_loop.h"
#include "common/random.h"
#include "controlplane/controllers/controller.h"
#include "controlplane/state/watch_cache.h"
#include "controlplane/state/writer.h"

namespace mesh::controlplane {

struct ControllerLoopOptions {
  int keys_per_turn = 32;
  // Steps with writes on their way. What waits behind them is looked at once however often it
  // changes, and others' writes (heartbeats!) do not wait behind thousands of ours.
  int running_max = 64;
  BackoffPolicy backoff{.first = absl::Milliseconds(20), .cap = absl::Seconds(5)};
  // A timer that fires later than this finds a loop that stood still, and gives it as long as it
  // was late (at most catch_up_max), once, to catch up before it judges by the clock.
  absl::Duration late = absl::Milliseconds(200);
  absl::Duration catch_up_max = absl::Seconds(3);
};

struct ControllerLoopStats {
  int64_t steps = 0;
  int64_t writes = 0;
  int64_t failed_steps = 0;
};

class ControllerLoop {
 public:
  // All outlive this.
  ControllerLoop(EventLoop& loop, const WatchCache& cache, Writer& writer,
                 const Controller& controller, Random random, ControllerLoopOptions options);
  ~ControllerLoop();
  ControllerLoop(const ControllerLoop&) = delete;
  ControllerLoop& operator=(const ControllerLoop&) = delete;

  void OnChange(const Change& change);
  void MarkDirty(const ObjectKey& key);
  // Nothing queued and nothing on its way; timers do not count.
  bool idle() const { return queue_.empty() && running_ == 0; }
  const ControllerLoopStats& stats() const { return stats_; }

 private:
  struct KeyState {
    explicit KeyState(BackoffPolicy policy) : backoff(policy) {}
    bool queued = false;
    bool running = false;
    bool dirty = false;  // changed while running
    TimerId timer = 0;
    Backoff backoff;
  };
  struct StepState;

  bool HasRoom() const { return running_ < options_.running_max; }
  void Schedule();
  void Turn();
  void Step(const ObjectKey& key, KeyState* key_state);
  void SubmitAll(const std::shared_ptr<StepState>& step, std::vector<Write> writes);
  void OnWritten(const std::shared_ptr<StepState>& step, const absl::Status& status);
  void Finish(const std::shared_ptr<StepState>& step);
  void LookAgain(const ObjectKey& key, KeyState* key_state, absl::Time when,
                 bool caught_up = false);
  void Forget(const ObjectKey& key);

  EventLoop& loop_;
  const WatchCache& cache_;
  Writer& writer_;
  const Controller& controller_;
  Random random_;
  const ControllerLoopOptions options_;
  std::map<ObjectKey, KeyState> keys_;
  std::deque<ObjectKey> queue_;
  bool scheduled_ = false;
  int running_ = 0;
  ControllerLoopStats stats_;
  // Results that come after our end find it false.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace mesh::controlplane
