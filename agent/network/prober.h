// SPDX-License-Identifier: Apache-2.0
// Steps of a test of the network, done in the network namespaces of pods: who is asked sees the
// pod's own packets, and the pod's image needs no tools.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "mesh/v1/node.pb.h"

namespace mesh::agent {

inline constexpr uint32_t kProbeLeaseSecondsMax = 600;
inline constexpr uint32_t kProbeTimeoutMsMax = 10'000;
// Servers of one node at a time.
inline constexpr size_t kProbeServersMax = 64;

// Thread-safe. Each call blocks for its timeout at most; a server has a thread of its own, which
// ends with its lease or with this.
class Prober {
 public:
  struct Hooks {
    // Path of a pod's network namespace.
    std::function<absl::StatusOr<std::string>(const std::string& ns, const std::string& pod)> netns;
    std::function<std::string()> name_server;
  };
  explicit Prober(Hooks hooks);
  ~Prober();
  Prober(const Prober&) = delete;
  Prober& operator=(const Prober&) = delete;

  // serve, dial and resolve. NOT_FOUND when the pod has no network here; INVALID_ARGUMENT names the
  // field and the limit; RESOURCE_EXHAUSTED at kProbeServersMax. That nobody answers is no error.
  absl::StatusOr<v1::ProbeResponse> Run(const v1::ProbeRequest& request);

 private:
  class Server;
  absl::StatusOr<v1::ProbeResponse> Serve(const v1::ProbeRequest& request);

  const Hooks hooks_;
  absl::Mutex mutex_;
  std::map<std::pair<std::string, std::string>, std::unique_ptr<Server>> servers_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace mesh::agent
