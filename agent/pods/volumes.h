// SPDX-License-Identifier: Apache-2.0
// The volumes of the node's pods: folders and mounts below "<root>/<uid>".
//
//   volumes/<name>               the volume; in memory where it has secrets or asks for it
//   subpaths/<container>/<n>     what a subPath leads to, for the n-th mount of a container
//
// All calls are idempotent: what is there is kept, over restarts of containers, of the agent and of
// the runtime. A hostPath is never below the root, and nothing that is mounted there is removed.
//
// A claim's volume is elsewhere, and outlives the pods: a folder below `claims_root` that the first
// pod makes (mode 0777, with its fsGroup), or what a PersistentVolume names. It goes by
// RemoveClaimed alone.
//
// Thread: the caller's; removal of what a pod has left goes on in a thread of its own.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "agent/cri/runtime_v1.pb.h"
#include "agent/pods/environment.h"
#include "agent/pods/mounts.h"

namespace mesh::agent {

class Volumes {
 public:
  // Goes on with what an agent before this did not finish removing. `mounts` outlives this.
  // `claims_root` empty: no claim can have a folder here.
  Volumes(Mounts* mounts, std::string root, std::string claims_root = "");
  // Finishes the folder that is being removed.
  ~Volumes();

  // Before a container is created. NOT_FOUND for an object that is required and missing; messages
  // name the volume.
  absl::Status SetUp(const v1::Pod& pod, const NodeState& state, const NodeFacts& node);
  // REQUIRES: SetUp() succeeded. `environment`: resolved, for subPathExpr.
  absl::StatusOr<std::vector<runtime::v1::Mount>> MountsOf(const v1::Pod& pod,
                                                           const v1::Container& container,
                                                           const Variables& environment);
  // Brings files that are there already to what the objects say now. The first failure; where an
  // object is missing the files stay.
  absl::Status Refresh(const v1::Pod& pod, const NodeState& state, const NodeFacts& node);
  // Takes away the pod's folder, at once by name and then its content.
  absl::Status Remove(const std::string& uid);
  // Removes folders of all other pods.
  void RemoveOthers(const std::set<std::string>& uids);
  // Takes away the folder of a volume, at once by name and then its content; OK when there is none.
  // INVALID_ARGUMENT for one that is not directly below the folder of such volumes,
  // FAILED_PRECONDITION when that is not there (its disk may be missing).
  absl::Status RemoveClaimed(const v1::VolumeState& volume);

 private:
  std::string FolderOf(const std::string& uid) const { return root_ + "/" + uid; }
  std::string PathOf(const v1::Pod& pod, const v1::Volume& volume) const;
  absl::Status SetUpOne(const v1::Pod& pod, const v1::Volume& volume, const NodeState& state,
                        const NodeFacts& node);
  absl::Status SetUpClaim(const v1::Pod& pod, const v1::Volume& volume, const NodeState& state);
  absl::Status CheckClaimed(const v1::VolumeState& volume) const;
  void FindRemoved(const std::string& folder);
  void Sweep();
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !doomed_.empty() || ending_; }

  Mounts* const mounts_;
  const std::string root_;
  const std::string claims_root_;
  // Of pods that are set up: what their claims have, by uid and name of the volume.
  std::map<std::string, std::map<std::string, std::string>> claimed_;
  absl::Mutex mutex_;
  std::deque<std::string> doomed_ ABSL_GUARDED_BY(mutex_);
  int removed_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread sweeper_;
};

}  // namespace mesh::agent
