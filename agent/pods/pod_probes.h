// SPDX-License-Identifier: Apache-2.0
// Startup, readiness and liveness probes of the node's containers.
//
// Kubernetes' rules: a container with a readiness probe begins unready; while its startup probe has
// not passed the other two wait; `failureThreshold` failures (`successThreshold` successes) in a
// row change what is held of it; a liveness or startup probe that fails so often gives it up.
// A try that could not be made (the runtime is away) says nothing.
//
// Beyond them: until a container has been ready (started) once it is also asked between the
// periods, soon after its start and less and less often. Such a try counts only when it succeeds,
// so that a pod serves milliseconds after it can; it is never told as a failure.
//
// One timer per probe on the loop; no thread waits. Restart of the agent: what was reported of a
// container stands until its next try, so that no endpoint comes and goes with the agent.
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
#include "common/shared_value.h"
#include "mesh/v1/core.pb.h"

namespace mesh::agent {

// The period of all probes of a pod, in milliseconds, at least kProbePeriodMin; instead of their
// periodSeconds.
inline constexpr char kProbePeriodAnnotation[] = "mesh.io/probe-period-ms";
inline constexpr absl::Duration kProbePeriodMin = absl::Milliseconds(50);

enum class ProbeKind : uint8_t { kStartup, kReadiness, kLiveness };

// Results in a row, and what is held true because of them. Pure.
struct ProbeCount {
  bool result = false;
  bool last = false;
  int in_row = 0;

  // True when enough of the same have come for `result` to be that (it may have been before).
  bool Note(bool success, const v1::Probe& probe);
};

class PodProbes {
 public:
  struct Hooks {
    // Health() of this pod is another. Not from within Watch().
    std::function<void(const std::string& uid)> changed;
    std::function<void(const std::string& uid, const char* type, const char* reason,
                       std::string message)>
        event;
  };
  // All pointers outlive this; `network` null: probes over the network cannot be made.
  PodProbes(EventLoop* loop, CriClient* cri, ProbeClient* network, Hooks hooks);
  ~PodProbes();

  // Probes from now on the containers of the pod that run. `known`: reported of it before.
  // `stopping`: only readiness is asked any more. `held`: ids of those that are not asked yet.
  void Watch(const Shared<v1::Pod>& pod, const ObservedPod& observed, const v1::PodStatus& known,
             bool stopping, const std::set<std::string>& held = {});
  void Forget(const std::string& uid);
  // By id, of the containers that are watched.
  std::map<std::string, ContainerHealth> Health(const std::string& uid) const;

 private:
  struct Worker;
  struct Watched;
  struct PodEntry;

  Watched* Find(const std::string& uid, const std::string& id);
  std::unique_ptr<Watched> Make(const v1::Pod& pod, const v1::Container& spec,
                                const ObservedContainer& container, const v1::PodStatus& known);
  // Sets the timer of every probe that is due one day and has none.
  void Arm(const std::string& uid, Watched& watched);
  void Try(const std::string& uid, const std::string& id, ProbeKind kind);
  void Answered(const std::string& uid, const std::string& id, ProbeKind kind, bool early,
                const HandlerAnswer& answer);
  void Tell(const std::string& uid, Worker& worker, const HandlerAnswer& answer);
  void Drop(Watched& watched);

  EventLoop* const loop_;
  CriClient* const cri_;
  ProbeClient* const network_;
  const Hooks hooks_;
  std::map<std::string, PodEntry> pods_;
};

}  // namespace mesh::agent
