// SPDX-License-Identifier: Apache-2.0
// meshd's figures for Prometheus: mesh_control_*. Labels: kinds of objects, phases of pods.
//
// Thread: loop only.
#pragma once

#include <cstdint>
#include <memory>

#include "common/event_loop.h"
#include "common/metrics.h"
#include "controlplane/runtime/controller_loop.h"
#include "controlplane/state/watch_cache.h"
#include "controlplane/store/commit_queue.h"

namespace mesh::controlplane {

// A queue that counts what goes through it.
class CountedCommits : public CommitQueue {
 public:
  CountedCommits(EventLoop& loop, std::unique_ptr<CommitQueue> queue);
  void Commit(Transaction transaction, Done done) override;

  uint64_t conflicts() const { return counts_->conflicts; }  // somebody else was first
  uint64_t failures() const { return counts_->failures; }    // the store said no
  // Of all, with the time in the queue.
  const DurationHistogram& time() const { return counts_->time; }

 private:
  struct Counts {
    uint64_t conflicts = 0, failures = 0;
    DurationHistogram time;
  };
  EventLoop& loop_;
  std::shared_ptr<Counts> counts_;
  std::unique_ptr<CommitQueue> queue_;
};

// Follows what the cache shows.
class ControlFigures {
 public:
  // What others know, at the time of the call.
  struct Others {
    uint64_t watches = 0;
    uint64_t connected_nodes = 0;
    // As NodeSessions::Lag has them.
    uint64_t nodes_behind = 0;
    Revision revisions_behind_max = 0;
    ControllerLoopStats controllers;
  };

  // Both outlive this.
  ControlFigures(EventLoop& loop, WatchCache& cache);
  void Write(const CountedCommits& commits, const Others& others, MetricsWriter& out) const;

 private:
  void OnChange(const Change& change);
  void WriteObjects(MetricsWriter& out) const;

  EventLoop& loop_;
  WatchCache& cache_;
  DurationHistogram scheduling_;
  WatchCache::Subscription subscription_;
};

}  // namespace mesh::controlplane
