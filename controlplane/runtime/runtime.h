// SPDX-License-Identifier: Apache-2.0
// All control loops of meshd, wired.
#pragma once

#include <memory>
#include <optional>

#include "common/cluster_ranges.h"
#include "common/event_loop.h"
#include "common/random.h"
#include "controlplane/controllers/node_life_controller.h"
#include "controlplane/runtime/controller_loop.h"
#include "controlplane/state/load_balancer_pools.h"
#include "controlplane/state/watch_cache.h"
#include "controlplane/state/writer.h"

namespace mesh::controlplane {

struct RuntimeOptions {
  // node_life.not_before is set to the start plus `startup_grace`.
  NodeLifeOptions node_life;
  // Time that agents get to find a control plane that was away before they count as silent.
  absl::Duration startup_grace = absl::Seconds(10);
  ControllerLoopOptions loops;
  // Seed of the jitter in back-offs.
  uint64_t seed = 1;
  // Addresses of pods; unset: nothing is said of endpoints outside.
  std::optional<DualRange> cluster_range;
  // The same that admission has.
  LoadBalancerPools load_balancer_pools;
};

// Destroying it stops everything; writes on their way still arrive in the store. Loop only.
class Runtime {
 public:
  virtual ~Runtime() = default;
  // Nothing to do and nothing on its way; timers (of heartbeats, deadlines) do not count.
  virtual bool idle() const = 0;
  // Of all loops together.
  virtual ControllerLoopStats stats() const = 0;
};

// Looks at everything there is, then follows the changes.
// REQUIRES: the cache has started, so it holds the whole state; all arguments outlive the result.
std::unique_ptr<Runtime> StartControllers(EventLoop* loop, WatchCache* cache, Writer* writer,
                                          RuntimeOptions options);

}  // namespace mesh::controlplane
