// SPDX-License-Identifier: Apache-2.0
// lifecycle.postStart and preStop of the node's containers (exec, httpGet, sleep).
//
// postStart runs once a container runs. Until it is over the container is neither started nor
// ready, its probes do not begin and the containers after it do not start; one that fails gives the
// container up. There is no time limit but kPostStartMost. That it is over stands in a file of the
// pod, "started/<container>" with the container's id: an agent that is started again does not run
// it again. One that was under way then is run from the beginning, as Kubernetes may do.
//
// preStop runs before a container is told to stop, within its grace period, once per agent: one
// that is started again runs it again with the time that is left. A hook that fails or is late
// delays nothing.
//
// Of httpGet any answer is a success, whatever its status, as in Kubernetes. What could not be
// asked because the runtime is away is asked again when it is back.
//
// Thread: the loop's; nothing waits.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/time/time.h"
#include "agent/pods/handler.h"
#include "agent/pods/pod_model.h"
#include "common/event_loop.h"
#include "mesh/v1/core.pb.h"

namespace mesh::agent {

// A hook that takes longer has failed.
inline constexpr absl::Duration kPostStartMost = absl::Hours(24);
// A postStart that takes longer is told to people.
inline constexpr absl::Duration kPostStartSlow = absl::Seconds(10);

class PodHooks {
 public:
  struct Callbacks {
    // AddTo() or Held() of this pod says something else. Not from within Watch().
    std::function<void(const std::string& uid)> changed;
    std::function<void(const std::string& uid, const char* type, const char* reason,
                       std::string message)>
        event;
    // A postStart has failed. `why`: what was asked, and what came.
    std::function<void(const std::string& uid, const std::string& container, std::string why)>
        post_start_failed;
  };
  // All pointers outlive this; `network` null: httpGet fails. `files_root`: of pods.
  PodHooks(EventLoop* loop, CriClient* cri, ProbeClient* network, std::string files_root,
           Callbacks callbacks);
  ~PodHooks();

  // Runs postStart of the containers that run and have not had it; drops what runs for containers
  // that have ended. `stopping`: none is begun any more.
  void Watch(const v1::Pod& pod, const ObservedPod& observed, bool stopping);
  // Of a pod that the control plane does not know any more: no container is held up.
  void Forget(const std::string& uid);

  // Ids of containers whose postStart is not over.
  std::set<std::string> Held(const std::string& uid) const;
  // What hooks say of containers, on top of their probes.
  void AddTo(const std::string& uid, std::map<std::string, ContainerHealth>* health) const;

  // `done` follows when the container may be told to stop: at once when there is nothing to run,
  // and at `deadline` at the latest. Never from within. A second call for the same container takes
  // the place of the first, whose `done` is dropped; the hook goes on.
  void BeforeStop(const v1::Pod& pod, const v1::Container& spec, const std::string& id,
                  absl::Time deadline, Task done);

 private:
  struct Entry;

  Entry* Find(const std::string& uid, const std::string& id);
  Entry& Ensure(const v1::Pod& pod, const v1::Container& spec, const std::string& id);
  void Start(const std::string& uid, const std::string& id);
  void Started(const std::string& uid, const std::string& id, const HandlerAnswer& answer);
  void Stopped(const std::string& uid, const std::string& id, const HandlerAnswer& answer);
  // The end of a preStop, by whatever came first.
  void Release(Entry& entry);
  void Drop(Entry& entry);
  void Run(const v1::LifecycleHandler& hook, const HandlerTarget& target, absl::Duration timeout,
           std::function<void(HandlerAnswer)> done);
  std::string Marker(const std::string& uid, const std::string& container) const;

  EventLoop* const loop_;
  CriClient* const cri_;
  ProbeClient* const network_;
  const std::string files_root_;
  const Callbacks callbacks_;
  // By uid of the pod, by id of the container.
  std::map<std::string, std::map<std::string, std::unique_ptr<Entry>>> pods_;
};

}  // namespace mesh::agent
