// SPDX-License-Identifier: Apache-2.0
#include "controlplane/runtime/runtime.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "controlplane/controllers/announce_controller.h"
#include "controlplane/controllers/deployment_controller.h"
#include "controlplane/controllers/endpoints_controller.h"
#include "controlplane/controllers/garbage_controllers.h"
#include "controlplane/controllers/load_balancer_controller.h"
#include "controlplane/controllers/namespace_controller.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/controllers/replica_set_controller.h"
#include "controlplane/runtime/scheduler_loop.h"

namespace mesh::controlplane {
namespace {

class Loops : public Runtime {
 public:
  Loops(EventLoop* loop, WatchCache* cache, Writer* writer, RuntimeOptions options)
      : cache_(*cache), scheduler_(*loop, *cache, *writer, Random(options.seed)) {
    options.node_life.not_before = loop->Now() + options.startup_grace;
    controllers_.push_back(std::make_unique<DeploymentController>());
    controllers_.push_back(std::make_unique<ReplicaSetController>());
    controllers_.push_back(std::make_unique<EndpointsController>(options.cluster_range));
    controllers_.push_back(std::make_unique<LoadBalancerController>(options.load_balancer_pools));
    controllers_.push_back(std::make_unique<AnnounceController>());
    controllers_.push_back(std::make_unique<NodeLifeController>(options.node_life));
    controllers_.push_back(std::make_unique<NamespaceController>());
    controllers_.push_back(std::make_unique<GarbageController>());
    controllers_.push_back(std::make_unique<PodGarbageController>());
    Random random(options.seed);
    for (const auto& controller : controllers_)
      loops_.push_back(std::make_unique<ControllerLoop>(*loop, *cache, *writer, *controller,
                                                        Random(random.Next()), options.loops));
    subscription_ = cache->Subscribe([this](const ChangeBatch& batch) {
      for (const Change& change : batch.changes) OnChange(change);
    });
    LookAtEverything();
  }

  bool idle() const override {
    return scheduler_.idle() &&
           std::all_of(loops_.begin(), loops_.end(), [](const auto& loop) { return loop->idle(); });
  }

  ControllerLoopStats stats() const override {
    ControllerLoopStats sum;
    for (const auto& loop : loops_) {
      sum.steps += loop->stats().steps;
      sum.writes += loop->stats().writes;
      sum.failed_steps += loop->stats().failed_steps;
    }
    return sum;
  }

 private:
  void OnChange(const Change& change) {
    for (const auto& loop : loops_) loop->OnChange(change);
    scheduler_.OnChange(change);
  }

  template <typename T>
  void Announce(const ObjectMap<T>& objects) {
    for (const auto& [key, object] : objects)
      OnChange({nullptr, std::make_shared<const v1::Resource>(Wrap(*object))});
  }

  void LookAtEverything() {
    const ClusterState& state = cache_.state();
    Announce(state.namespaces);
    Announce(state.nodes);
    Announce(state.deployments);
    Announce(state.replica_sets);
    Announce(state.services);
    Announce(state.endpoint_slices);
    Announce(state.pods);
  }

  const WatchCache& cache_;
  std::vector<std::unique_ptr<Controller>> controllers_;
  std::vector<std::unique_ptr<ControllerLoop>> loops_;
  SchedulerLoop scheduler_;
  WatchCache::Subscription subscription_;
};

}  // namespace

std::unique_ptr<Runtime> StartControllers(EventLoop* loop, WatchCache* cache, Writer* writer,
                                          RuntimeOptions options) {
  return std::make_unique<Loops>(loop, cache, writer, std::move(options));
}

}  // namespace mesh::controlplane
