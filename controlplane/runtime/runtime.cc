// SPDX-License-Identifier: Apache-2.0
#include "controlplane/runtime/runtime.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "controlplane/controllers/announce_controller.h"
#include "controlplane/controllers/claim_controller.h"
#include "controlplane/controllers/deployment_controller.h"
#include "controlplane/controllers/endpoints_controller.h"
#include "controlplane/controllers/ephemeral_claim_controller.h"
#include "controlplane/controllers/garbage_controllers.h"
#include "controlplane/controllers/identity_controller.h"
#include "controlplane/controllers/load_balancer_controller.h"
#include "controlplane/controllers/namespace_controller.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/controllers/replica_set_controller.h"
#include "controlplane/controllers/service_account_controller.h"
#include "controlplane/controllers/taint_controller.h"
#include "controlplane/controllers/volume_controller.h"
#include "controlplane/runtime/scheduler_loop.h"

namespace mesh::controlplane {
namespace {

class Loops : public Runtime {
 public:
  Loops(EventLoop* loop, WatchCache* cache, Writer* writer, RuntimeOptions options)
      : loop_(*loop), cache_(*cache), scheduler_(*loop, *cache, *writer, Random(options.seed)) {
    options.node_life.not_before = loop->Now() + options.startup_grace;
    controllers_.push_back(std::make_unique<DeploymentController>());
    controllers_.push_back(std::make_unique<ReplicaSetController>());
    controllers_.push_back(std::make_unique<EndpointsController>(options.cluster_range));
    controllers_.push_back(std::make_unique<LoadBalancerController>(options.load_balancer_pools));
    controllers_.push_back(std::make_unique<AnnounceController>());
    controllers_.push_back(std::make_unique<NodeLifeController>(options.node_life));
    controllers_.push_back(std::make_unique<NamespaceController>());
    controllers_.push_back(std::make_unique<IdentityController>());
    controllers_.push_back(std::make_unique<ServiceAccountController>());
    controllers_.push_back(std::make_unique<TaintController>());
    controllers_.push_back(std::make_unique<EphemeralClaimController>());
    controllers_.push_back(std::make_unique<ClaimController>());
    controllers_.push_back(std::make_unique<VolumeController>());
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
    Tick();
  }
  ~Loops() override { loop_.Cancel(tick_); }

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
    NoteTime();
    for (const auto& loop : loops_) loop->OnChange(change);
    scheduler_.OnChange(change);
  }

  // Nodes are judged by silence: only what this loop was there to hear counts. A tick is shorter
  // than any timer of the controllers, so that after a standstill it comes first.
  void NoteTime() {
    const absl::Duration passed = loop_.Now() - ticked_;
    if (passed > 2 * kTick) cache_.NoteStandstill(passed - kTick);
    ticked_ = loop_.Now();
  }

  void Tick() {
    NoteTime();
    tick_ = loop_.RunAfter(kTick, [this] { Tick(); });
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
    for (const v1::Kind kind : {v1::KIND_PERSISTENT_VOLUME, v1::KIND_PERSISTENT_VOLUME_CLAIM}) {
      const auto objects = state.others.find(kind);
      if (objects == state.others.end()) continue;
      for (const auto& [key, object] : objects->second) OnChange({nullptr, object});
    }
  }

  static constexpr absl::Duration kTick = absl::Milliseconds(250);

  EventLoop& loop_;
  WatchCache& cache_;
  absl::Time ticked_ = loop_.Now();
  TimerId tick_ = 0;
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
