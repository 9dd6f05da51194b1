// SPDX-License-Identifier: Apache-2.0
// Channels to the agents, dialled when first used and kept.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "controlplane/state/watch_cache.h"
#include "mesh/v1/node.grpc.pb.h"

namespace mesh::controlplane {

// Thread-safe.
class NodeChannels {
 public:
  explicit NodeChannels(const WatchCache& cache) : cache_(cache) {}

  struct Target {
    std::string node;
    std::shared_ptr<v1::NodeService::Stub> stub;
    std::shared_ptr<grpc::Channel> channel;  // of it, for other services of the agent
  };
  // NOT_FOUND for an unknown node, UNAVAILABLE when its agent has not told where it listens.
  absl::StatusOr<Target> ForNode(const std::string& node);
  // The agent of the node that the pod is bound to. NOT_FOUND `pods "x" not found`;
  // FAILED_PRECONDITION while it is not scheduled.
  absl::StatusOr<Target> ForPod(const std::string& ns, const std::string& pod);

 private:
  const WatchCache& cache_;
  absl::Mutex mutex_;
  // By endpoint: a node that came back elsewhere gets another channel.
  struct Dialled {
    std::shared_ptr<grpc::Channel> channel;
    std::shared_ptr<v1::NodeService::Stub> stub;
  };
  std::map<std::string, Dialled> dialled_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mesh::controlplane
