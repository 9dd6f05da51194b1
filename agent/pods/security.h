// SPDX-License-Identifier: Apache-2.0
// What a container may do: from the securityContexts of a pod and of its container, and the host
// namespaces of the pod, to what the runtime is asked for. Pure.
//
// What a container says wins over what its pod says. Where neither says anything, a container runs
// as its image wants, with the runtime's capabilities and its seccomp profile.
#pragma once

#include "absl/status/status.h"
#include "agent/cri/runtime_v1.pb.h"
#include "mesh/v1/core.pb.h"

namespace mesh::agent {

// Whether FillContainerSecurity and CheckImageUser need to know whom the image runs as.
bool NeedsImageUser(const v1::PodSpec& pod, const v1::Container& container);

// INVALID_ARGUMENT, in Kubernetes' words, when runAsNonRoot forbids the user that the container
// would run as. `image` is looked at only where NeedsImageUser.
absl::Status CheckImageUser(const v1::Pod& pod, const v1::Container& container,
                            const runtime::v1::Image& image);

// User, groups, capabilities, namespaces, seccomp, what of /proc is hidden.
void FillContainerSecurity(const v1::PodSpec& pod, const v1::Container& container,
                           const runtime::v1::Image& image,
                           runtime::v1::LinuxContainerSecurityContext* out);

// Namespaces and sysctls of the sandbox.
void FillSandboxSecurity(const v1::PodSpec& pod, runtime::v1::LinuxPodSandboxConfig* out);

}  // namespace mesh::agent
