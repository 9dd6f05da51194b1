// SPDX-License-Identifier: Apache-2.0
// The way from an event loop to the blocking store: transactions go in on the loop, results come
// back on it.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "common/event_loop.h"
#include "controlplane/store/store.h"

namespace mesh::controlplane {

class CommitQueue {
 public:
  using Done = std::function<void(absl::StatusOr<CommitResult>)>;
  virtual ~CommitQueue() = default;
  // Loop only. Transactions commit in the order of the calls; `done` runs on the loop, never inside
  // this call, and never after this is destroyed.
  virtual void Commit(Transaction transaction, Done done) = 0;
};

// Commits on the loop itself, as a task: for MemoryStore, in tests and in the simulator.
std::unique_ptr<CommitQueue> NewLoopCommitQueue(EventLoop& loop, Store& store);

// Commits on a thread of its own, everything that has queued up in one Store::CommitAll. The
// destructor commits what is queued, then ends.
std::unique_ptr<CommitQueue> NewThreadCommitQueue(EventLoop& loop, Store& store);

}  // namespace mesh::controlplane
