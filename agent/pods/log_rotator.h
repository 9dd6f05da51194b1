// SPDX-License-Identifier: Apache-2.0
// Keeps the logs of containers within bounds: a file that has grown beyond `max_bytes` is renamed
// and the runtime begins a new one; of the renamed ones the newest `max_files - 1` are kept.
//
// Between two looks a log grows as fast as it is written. A runtime that does not begin a new file
// leaves the log as it was, and is asked again at the next look.
//
// Thread: the loop's.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "agent/cri/cri_client.h"
#include "agent/pods/pod_reconciler.h"
#include "common/event_loop.h"

namespace mesh::agent {

struct LogRotation {
  int64_t max_bytes = 10 << 20;
  int max_files = 5;  // with the one that is written to; at least 2
  absl::Duration every = absl::Seconds(10);
};

class LogRotator {
 public:
  // All outlive this; when it is destroyed the loop has stopped.
  LogRotator(EventLoop* loop, CriClient* cri,
             std::function<std::shared_ptr<const PodDirectory>()> directory, LogRotation options);
  void Start() { Look(); }

 private:
  void Look();
  void Rotate(const std::string& id, const std::string& path);

  EventLoop* const loop_;
  CriClient* const cri_;
  const std::function<std::shared_ptr<const PodDirectory>()> directory_;
  const LogRotation options_;
  std::set<std::string> busy_;  // paths for which the runtime is asked
};

}  // namespace mesh::agent
