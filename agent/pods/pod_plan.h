// SPDX-License-Identifier: Apache-2.0
// The pure core of the pod reconciler: what to do next for one pod.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "agent/pods/pod_model.h"
#include "mesh/v1/core.pb.h"

namespace mesh::agent {

// Restarts: at once, then 0.2 s, 0.4 s, ... after each exit; forgotten after ten minutes of health.
inline constexpr absl::Duration kRestartDelayFirst = absl::Milliseconds(200);
inline constexpr absl::Duration kRestartDelayMax = absl::Minutes(5);
inline constexpr absl::Duration kHealthyAfter = absl::Minutes(10);
// Image pulls that failed, as in Kubernetes.
inline constexpr absl::Duration kPullDelayFirst = absl::Seconds(10);
inline constexpr absl::Duration kPullDelayMax = absl::Minutes(5);
// "ErrImagePull" is shown that long, then "ImagePullBackOff".
inline constexpr absl::Duration kFreshFailure = absl::Seconds(1);
// For pods that the control plane has dropped without a deletion.
inline constexpr absl::Duration kOrphanGrace = absl::Seconds(2);

// For the containers of a pod that is evicted, as in Kubernetes.
inline constexpr absl::Duration kEvictionGrace = absl::Seconds(1);

struct RunSandbox {
  uint32_t attempt = 0;
  friend bool operator==(const RunSandbox&, const RunSandbox&) = default;
};
struct StopSandbox {
  std::string id;
  friend bool operator==(const StopSandbox&, const StopSandbox&) = default;
};
// REQUIRES: stopped.
struct RemoveSandbox {
  std::string id;
  friend bool operator==(const RemoveSandbox&, const RemoveSandbox&) = default;
};
// Image, create, start.
struct RunContainer {
  std::string name;
  uint32_t attempt = 0;
  std::string sandbox_id;
  friend bool operator==(const RunContainer&, const RunContainer&) = default;
};
// One that was created before and not started.
struct StartContainer {
  std::string name;
  std::string id;
  friend bool operator==(const StartContainer&, const StartContainer&) = default;
};
struct StopContainer {
  std::string name;
  std::string id;
  absl::Time deadline;  // killed then
  friend bool operator==(const StopContainer&, const StopContainer&) = default;
};
struct RemoveContainer {
  std::string name;
  std::string id;
  uint32_t attempt = 0;
  friend bool operator==(const RemoveContainer&, const RemoveContainer&) = default;
};
// Whatever may run of one that the runtime takes for exited.
struct EndTask {
  std::string name;
  std::string id;
  friend bool operator==(const EndTask&, const EndTask&) = default;
};

using PodAction = std::variant<RunSandbox, StopSandbox, RemoveSandbox, RunContainer, StartContainer,
                               StopContainer, RemoveContainer, EndTask>;

struct PodPlan {
  // All may run at the same time.
  std::vector<PodAction> actions;
  std::optional<absl::Time> look_again_at;
  // The pod is to stop, and nothing of it is left in the runtime.
  bool gone = false;
  // Every container has finished for good, or the pod's deadline has passed.
  bool finished = false;
};

// Pure. `pod` null: unknown to the control plane, to be removed.
// `stopping_since`: when the agent first saw that the pod must stop; InfiniteFuture otherwise.
// Applying the actions and planning again converges: at rest the plan is empty.
PodPlan ComputePodPlan(const v1::Pod* pod, const ObservedPod& observed, const PodMemory& memory,
                       absl::Time stopping_since, absl::Time now);

// Of init containers: one that goes on running beside the containers.
bool IsSidecar(const v1::Container& init_container);
// Of the containers and the init containers; null: none of that name.
const v1::Container* FindContainer(const v1::Pod& pod, const std::string& name);
// Every init container has ended well in the present sandbox (a sidecar: has started), or the
// containers have begun there.
bool IsInitialized(const v1::Pod& pod, const ObservedPod& observed, const PodMemory& memory);
// Whether the policy lets this exited container run again.
bool ShouldRestart(const v1::Pod& pod, const ObservedContainer& exited);
// When the exited container may be started again.
absl::Time RestartAt(const ObservedContainer& exited, const PodMemory& memory);
// The delay to remember when a container is started after `exited`.
absl::Duration NextRestartDelay(const ObservedContainer& exited, absl::Duration delay);
// Changes when a running container must be replaced.
std::string SpecHash(const v1::Container& container);
// The moment by which the containers of a pod that must stop are killed.
absl::Time KillDeadline(const v1::Pod* pod, absl::Time stopping_since);

}  // namespace mesh::agent
