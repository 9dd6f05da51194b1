// SPDX-License-Identifier: Apache-2.0
// A whole control plane in virtual time, from a seed: the real store contract, watch cache, writer,
// node sessions, controllers and scheduler on a SimLoop, with simulated agents behind streams that
// delay and break. Control plane, agents and nodes can die at any moment; the control plane also
// between any two of its writes. Invariants are checked after every commit, by an observer of its
// own that never dies; the first breach is kept in violation(). With an even seed the cluster is
// dual stack, and its nodes are told the identities of each other's pods.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/random.h"
#include "common/sim_loop.h"
#include "controlplane/runtime/runtime.h"
#include "controlplane/state/watch_cache.h"
#include "controlplane/state/writer.h"
#include "controlplane/store/commit_queue.h"
#include "controlplane/store/memory_store.h"
#include "mesh/v1/node_sync.pb.h"

namespace mesh::sim {

namespace cp = ::mesh::controlplane;

class SimCluster {
 public:
  SimCluster(uint64_t seed, int nodes);
  ~SimCluster();
  SimCluster(const SimCluster&) = delete;
  SimCluster& operator=(const SimCluster&) = delete;

  using Message = std::function<void()>;

  // --- what a user does; tried again while the control plane is away ---
  void CreateDeployment(const std::string& name, int replicas, const std::string& strategy,
                        const std::string& max_surge, const std::string& max_unavailable);
  // Selects the pods of the Deployment of this name.
  void CreateService(const std::string& name);
  void Scale(const std::string& deployment, int replicas);
  void SetImage(const std::string& deployment, const std::string& image);
  void Delete(v1::Kind kind, const cp::ObjectKey& key);

  // --- faults ---
  // All memory of the control plane is gone; it comes back after `downtime` from the store.
  void CrashControl(absl::Duration downtime);
  // The same just before (or just after, as the seed has it) the `commits`-th commit from now.
  void CrashControlAfter(int commits, absl::Duration downtime);
  // The agent is silent; its pods live on.
  void KillAgent(int node, absl::Duration downtime);
  // The node's pods die with it.
  void KillNode(int node);
  void ReviveNode(int node);
  // One running pod of the node loses its container, which is started again.
  void CrashContainer(int node);

  // --- time and what can be seen ---
  SimLoop& loop() { return loop_; }
  Random& random() { return random_; }
  const cp::ClusterState& state() const { return observer_->state(); }
  bool RunUntil(const std::function<bool()>& done, absl::Duration limit);
  void RunFor(absl::Duration duration) { loop_.RunFor(duration); }
  // Every Deployment complete, every pod ready on a living node, every Service's endpoints right,
  // nothing terminating, nothing left of what was deleted.
  bool Converged() const;
  // Why not: for the message of a failed test.
  std::string Explain() const;
  const std::string& violation() const { return violation_; }
  // From now on a Deployment that was complete must keep its minimum of available pods.
  void RequireAvailability(bool on) { require_availability_ = on; }
  // Commits that changed anything but nodes (heartbeats) and events.
  int64_t meaningful_commits() const { return meaningful_commits_; }
  // Differs when anything happened in another order.
  uint64_t trace() const { return trace_; }

 private:
  class CrashingCommitQueue;
  struct Control;
  struct Agent;
  class Stream;

  void StartControl();
  void StopControl();
  // Calls `attempt` until it has called what it is given, which means done.
  void User(std::function<void(Message done)> attempt);
  void UpdateDeployment(const std::string& name, std::function<void(v1::Deployment*)> change);

  void AddNode(int index);
  void ConnectSoon(Agent* agent);
  void Connect(Agent* agent);
  void Heartbeat(Agent* agent, const std::shared_ptr<Stream>& stream);
  void Send(const std::shared_ptr<Stream>& stream, v1::AgentMessage message);
  void Receive(Agent* agent, const std::shared_ptr<Stream>& stream,
               const v1::ControlMessage& message);
  void OnUpdate(Agent* agent, const v1::NodeUpdate& update);
  void OnPod(Agent* agent, const v1::Pod& pod);
  void StartPod(Agent* agent, const std::string& uid);
  void StopPod(Agent* agent, const std::string& uid, int64_t grace_seconds);
  void Report(Agent* agent, const std::string& uid);
  absl::Duration Delay(int max_ms);
  void Die(Agent* agent);
  void Wake(Agent* agent);
  void ComeBack(Agent* agent);

  void Observe(const cp::ChangeBatch& batch);
  void CheckPods(const cp::ChangeBatch& batch);
  void CheckDeployments();
  void Violate(std::string what);

  SimLoop loop_;
  Random random_;
  const uint64_t seed_;
  const bool dual_stack_;
  cp::MemoryStore store_;
  std::unique_ptr<cp::WatchCache> observer_;
  cp::WatchCache::Subscription observation_;
  std::unique_ptr<Control> control_;
  uint64_t incarnation_ = 0;
  std::vector<std::unique_ptr<Agent>> agents_;

  std::string violation_;
  bool require_availability_ = false;
  int64_t meaningful_commits_ = 0;
  uint64_t trace_ = 0;
  // Largest replicas + maxSurge of each Deployment since it was last at rest.
  std::map<cp::ObjectKey, int> pod_limit_;
  std::set<cp::ObjectKey> was_complete_;
};

}  // namespace mesh::sim
