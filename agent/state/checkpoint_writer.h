// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/state/node_state.h"

namespace mesh::agent {

// Writes checkpoints on a thread of its own, because fsync may take long. Only the newest state
// waits; one that is overtaken is never written. Thread-safe.
class CheckpointWriter {
 public:
  explicit CheckpointWriter(std::string path);
  // Writes what waits, then returns.
  ~CheckpointWriter();

  void Save(NodeStatePtr state);

 private:
  void Run();
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return next_ != nullptr || ending_; }

  const std::string path_;
  absl::Mutex mutex_;
  NodeStatePtr next_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mesh::agent
