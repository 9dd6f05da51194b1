// SPDX-License-Identifier: Apache-2.0
// PodStatus as Kubernetes words it, from what the runtime shows. Pure.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "agent/pods/pod_model.h"
#include "mesh/v1/core.pb.h"

namespace mesh::agent {

struct StatusInput {
  const v1::Pod* pod = nullptr;
  const ObservedPod* observed = nullptr;
  const PodMemory* memory = nullptr;
  // Reported before (or by an agent before this one): keeps transition times, start time and exits
  // that the runtime has forgotten.
  const v1::PodStatus* previous = nullptr;
  std::string node_ip;
  absl::Time now;
};

// Also tells when the words change without an event ("ErrImagePull" to "ImagePullBackOff").
struct StatusOutput {
  v1::PodStatus status;
  absl::Time look_again_at = absl::InfiniteFuture();
};

StatusOutput ComputePodStatus(const StatusInput& input);

}  // namespace mesh::agent
