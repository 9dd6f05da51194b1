// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/state/node_state.h"

namespace mesh::agent {

// Writes checkpoints on a thread of its own, because fsync may take long. Only the newest state
// waits; one that is overtaken is never written. What could not be written is tried again after
// `retry`. Thread-safe.
class CheckpointWriter {
 public:
  explicit CheckpointWriter(std::string path, absl::Duration retry = absl::Seconds(5));
  // Writes what waits, once, then returns.
  ~CheckpointWriter();

  void Save(NodeStatePtr state);
  // Of the last write; OK before the first.
  absl::Status status() const;

 private:
  void Run();
  void Note(const absl::Status& saved);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return next_ != nullptr || ending_; }

  const std::string path_;
  const absl::Duration retry_;
  mutable absl::Mutex mutex_;
  NodeStatePtr next_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace mesh::agent
