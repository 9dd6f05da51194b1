// SPDX-License-Identifier: Apache-2.0
// The volumes of the node's pods: folders and mounts below "<root>/<uid>".
//
//   volumes/<name>               the volume; in memory where it has secrets or asks for it
//   subpaths/<container>/<n>     what a subPath leads to, for the n-th mount of a container
//
// All calls are idempotent: what is there is kept, over restarts of containers, of the agent and of
// the runtime. A hostPath is never below the root, and nothing that is mounted there is removed.
//
// Thread: the caller's; removal of what a pod has left goes on in a thread of its own.
#pragma once

#include <deque>
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
  Volumes(Mounts* mounts, std::string root);
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

 private:
  std::string FolderOf(const std::string& uid) const { return root_ + "/" + uid; }
  std::string PathOf(const v1::Pod& pod, const v1::Volume& volume) const;
  absl::Status SetUpOne(const v1::Pod& pod, const v1::Volume& volume, const NodeState& state,
                        const NodeFacts& node);
  void Sweep();
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !doomed_.empty() || ending_; }

  Mounts* const mounts_;
  const std::string root_;
  absl::Mutex mutex_;
  std::deque<std::string> doomed_ ABSL_GUARDED_BY(mutex_);
  int removed_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread sweeper_;
};

}  // namespace mesh::agent
