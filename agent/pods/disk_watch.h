// SPDX-License-Identifier: Apache-2.0
// How much emptyDirs on the disk hold, against their sizeLimit. Nothing but looking holds a folder
// to a limit: a pod that is over it is found at the next look, and evicted.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "mesh/v1/pod.pb.h"

namespace mesh::agent {

struct DiskLimit {
  std::string uid;     // of the pod
  std::string volume;  // its name
  std::string folder;
  std::string limit;  // as the manifest has it
  int64_t limit_bytes = 0;
  friend bool operator==(const DiskLimit&, const DiskLimit&) = default;
};

// The emptyDirs of a pod that have a limit and are not in memory, which holds to its own.
std::vector<DiskLimit> DiskLimitsOf(const v1::Pod& pod, const std::string& files_root);

// Bytes that are allocated for the folder and all below it, a file with several names once. Neither
// links nor mounts are followed; what goes meanwhile is not counted. NOT_FOUND when there is no
// such folder.
absl::StatusOr<int64_t> MeasureFolder(const std::string& folder);

// Why the pod is evicted, in Kubernetes' words.
std::string EvictionMessage(const DiskLimit& limit);

// Thread: the caller's; the folders are walked in a thread of its own, one after the other.
class DiskWatch {
 public:
  using Done = std::function<void(std::vector<DiskLimit> over)>;

  DiskWatch() = default;
  // Waits for the folder that is being walked.
  ~DiskWatch();
  DiskWatch(const DiskWatch&) = delete;
  DiskWatch& operator=(const DiskWatch&) = delete;

  // False when it is still busy with the last. `done` comes in the other thread.
  bool Measure(std::vector<DiskLimit> limits, Done done);

 private:
  struct Work {
    std::vector<DiskLimit> limits;
    Done done;
  };
  void Run();
  bool ending() {
    absl::MutexLock lock(&mutex_);
    return ending_;
  }
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return ending_ || work_.has_value();
  }

  absl::Mutex mutex_;
  std::optional<Work> work_ ABSL_GUARDED_BY(mutex_);
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mesh::agent
