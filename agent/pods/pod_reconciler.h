// SPDX-License-Identifier: Apache-2.0
// Brings the containers of this node to what the control plane wants: observes pods through the
// CRI, asks the pure core (pod_plan.h) what to do, does it, and reports what it sees.
//
// Level-triggered: container exits, desired states and finished actions only mark a pod to be
// looked at. One step at a time per pod (stops of its containers run side by side); at most
// `parallel_starts` sandboxes and containers start at once on the node. Nothing of a pod that the
// control plane does not know is touched before a complete live state has come.
//
// Thread: the loop's, except Directory(). Restart: pods are found again by the labels the runtime
// keeps; only back-offs are forgotten.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/cri/cri_client.h"
#include "agent/pods/disk_watch.h"
#include "agent/pods/pod_config.h"
#include "agent/pods/pod_fields.h"
#include "agent/pods/pod_hooks.h"
#include "agent/pods/pod_model.h"
#include "agent/pods/pod_plan.h"
#include "agent/pods/pod_probes.h"
#include "agent/pods/volumes.h"
#include "agent/state/node_state.h"
#include "common/event_loop.h"
#include "mesh/v1/node_sync.pb.h"

namespace mesh::agent {

// What logs and exec need of a pod.
struct ContainerEntry {
  std::string name;
  std::string id;  // of the newest; empty: not created yet
  uint32_t attempt = 0;
  bool running = false;
  std::string image;  // as the spec names it
  bool stdin = false, tty = false;
  std::string waiting;  // why it does not run, for people
};
struct PodEntry {
  std::string uid;
  std::string log_directory;
  bool host_network = false;
  std::vector<ContainerEntry> containers;  // in the order of the spec; init containers last
};
using PodDirectory = std::map<std::string, PodEntry>;  // by "namespace/name"

struct PodReconcilerOptions {
  std::string node_ip;
  NodeFacts node;
  Mounts* mounts = nullptr;  // null: the kernel's
  // Folder of the persistent volumes; empty: none are made here.
  std::string volume_dir;
  PodConfigOptions config;  // cluster_domain and name_servers come from state and network
  int parallel_starts = 4;
  absl::Duration relist_every = absl::Seconds(10);
  // Outlives the reconciler. Null: what asks containers over the network learns nothing.
  ProbeClient* probe_client = nullptr;
};

class PodReconciler {
 public:
  struct Hooks {
    std::function<void(const v1::PodReport&)> report;
    std::function<void(const std::string& uid)> forget;  // nothing more to report about it
    std::function<void(const v1::NodeEvent&)> event;
    // Of a volume that is to be removed: it is, or why not.
    std::function<void(const v1::VolumeReport&)> volume;
    std::function<void(const std::string& name)> forget_volume;  // nothing more to report about it
    std::function<bool()> network_ready;
    std::function<std::string()> name_server;
    // "containerd://1.6.20" when the container runtime answers, or why it does not.
    std::function<void(const absl::StatusOr<std::string>&)> runtime;
  };

  // `loop` and `cri` outlive this; when it is destroyed no call may be in flight or the loop must
  // have stopped.
  PodReconciler(EventLoop* loop, CriClient* cri, PodReconcilerOptions options, Hooks hooks);
  ~PodReconciler();

  void Start();
  // `live`: from the control plane in this life of the process, not from the checkpoint.
  void SetDesired(NodeStatePtr state, bool live);
  // Pods that have something in the runtime.
  std::vector<std::string> RunningUids() const;
  // Thread-safe.
  std::shared_ptr<const PodDirectory> Directory() const;

 private:
  struct Tracked;
  struct Observation;
  struct Pull;
  using Done = std::function<void(absl::Status)>;

  template <typename F>
  auto Posted(F f) {
    return [loop = loop_, f = std::move(f)](auto value) {
      loop->Post([f, value = std::move(value)] { f(value); });
    };
  }

  // The runtime as a whole.
  void Connect();
  void Connected(const std::string& version);
  void Disconnected(absl::Status why);
  void Relist();
  void Relisted(const std::vector<cri::PodSandbox>& sandboxes,
                const std::vector<cri::Container>& containers);
  void ArmRelist();
  void Stalled(const absl::Status& why);
  void OnRuntimeEvent(const RuntimeEvent& event);

  // One pod.
  Tracked* Find(const std::string& uid);
  Tracked& Ensure(const std::string& uid, const std::string& ns, const std::string& name);
  void Kick(const std::string& uid);
  void Observe(Tracked& t);
  void ObserveDetails(const std::string& uid, std::shared_ptr<Observation> seen);
  void ObserveSandbox(const std::string& uid, std::shared_ptr<Observation> seen, size_t index);
  void ObserveContainer(Tracked& t, std::shared_ptr<Observation> seen, size_t index);
  void AddLastWords(Tracked& t);
  void ObservationDone(const std::string& uid, std::shared_ptr<Observation> seen);
  void ObservationFailed(const std::string& uid, const absl::Status& status);
  static void ShowEnds(Tracked& t);
  void NoteExits(Tracked& t, const ObservedPod& before);
  void Recheck(Tracked& t);
  void Step(Tracked& t);
  PodProbes::Hooks ProbeHooks();
  PodHooks::Callbacks HookCallbacks();
  void WatchHealth(Tracked& t);
  void NoteDeadline(Tracked& t);
  void Report(Tracked& t, const PodPlan& plan, absl::Time& look_again_at);
  void Gone(Tracked& t);
  // REQUIRES: every pod of the node is known.
  void SweepOnce();
  void ArmTimer(Tracked& t, absl::Time when);

  // Actions. Each ends in Finish().
  void Run(Tracked& t, const PodAction& action);
  void Begin(Tracked& t, const std::string& key);
  void Finish(const std::string& uid, const std::string& key);
  void Do(Tracked& t, const RunSandbox& action);
  void Do(Tracked& t, const StopSandbox& action);
  void Do(Tracked& t, const RemoveSandbox& action);
  void Do(Tracked& t, const RunContainer& action);
  void Do(Tracked& t, const StartContainer& action);
  void Do(Tracked& t, const StopContainer& action);
  void StopNow(const std::string& uid, const StopContainer& action);
  void Do(Tracked& t, const RemoveContainer& action);
  void Do(Tracked& t, const EndTask& action);
  void SandboxMade(const std::string& uid, const absl::StatusOr<std::string>& id);
  void Cleaned(const std::string& uid, const std::string& what, const absl::Status& status);

  // The steps of RunContainer.
  void CheckImage(const std::string& uid, const RunContainer& action);
  void PullImage(const std::string& uid, const RunContainer& action, const std::string& image);
  void NextTry(std::shared_ptr<Pull> pull);
  void PullFailed(const Pull& pull, const std::string& why);
  void CreateContainer(const std::string& uid, const RunContainer& action,
                       const std::string& image_ref);
  void ImagePresent(const std::string& uid, const RunContainer& action, const std::string& image,
                    const std::string& image_ref);
  // Failed in a way that people are told: see environment.h.
  absl::StatusOr<PodInputs> InputsOf(const Tracked& t, const v1::Container& spec);
  // Of the state before this one: pods that wait for an object that has changed try again.
  void NoteObjects(const NodeState& before);
  // Looks what emptyDirs with a limit hold, and evicts the pods of those that are over it.
  void MeasureDisks();
  // Ends a pod for good: Failed, with the reason Evicted.
  void Evict(const std::string& uid, const std::string& why);
  // Removes what is to be removed of volumes that no pod has any more, and tells of it.
  void RemoveVolumes();
  void CreateFrom(const std::string& uid, const RunContainer& action, const std::string& image_ref,
                  const cri::Image& image);
  void ContainerMade(const std::string& uid, const RunContainer& action,
                     const absl::StatusOr<std::string>& id);
  void StartCreated(const std::string& uid, const std::string& container, const std::string& id);
  void StartFailed(const std::string& uid, const std::string& container, const std::string& reason,
                   const std::string& message, absl::Duration first, absl::Duration cap);

  // A bounded number of starts at once; `task` must end in ReleaseSlot().
  void WithSlot(Task task);
  void ReleaseSlot();

  void Emit(const Tracked& t, const char* type, const char* reason, std::string message);
  PodConfigOptions ConfigOptions() const;
  void Publish();

  EventLoop* const loop_;
  CriClient* const cri_;
  const PodReconcilerOptions options_;
  const Hooks hooks_;

  const std::unique_ptr<Mounts> own_mounts_;
  const std::unique_ptr<Volumes> volumes_;
  DiskWatch disks_;
  bool swept_ = false;  // what pods of another agent have left
  // What was told last of volumes that are to be removed, by name.
  std::map<std::string, std::string> volumes_told_;

  NodeStatePtr state_;
  bool may_remove_ = false;  // a complete live state has come
  bool runtime_up_ = false;
  bool stalled_ = false;  // connected, but the last list failed
  std::string runtime_version_;
  bool listed_ = false;  // since the runtime came up
  absl::Duration connect_delay_;
  TimerId relist_timer_ = 0;
  int relists_ = 0;                                       // since the runtime came up
  std::map<std::string, std::unique_ptr<Tracked>> pods_;  // by uid
  std::map<std::string, std::string> owners_;             // container or sandbox id -> uid

  PodProbes probes_;
  PodHooks pod_hooks_;

  int busy_slots_ = 0;
  std::deque<Task> waiting_;

  mutable absl::Mutex directory_mutex_;
  std::shared_ptr<const PodDirectory> directory_ ABSL_GUARDED_BY(directory_mutex_);
};

}  // namespace mesh::agent
