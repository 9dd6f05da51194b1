// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "controlplane/state/cluster_state.h"

namespace mesh::controlplane {

// Completes a pod before it is created: status.qosClass, spec.serviceAccountName ("default" where
// none is named), and spec.priority by its PriorityClass or the one that is the default of all.
// PERMISSION_DENIED, in Kubernetes' words, when its service account or its class does not exist, or
// when it names another priority than that of its class. The account "default" of a namespace
// counts as there from the start (ServiceAccountController makes it).
absl::Status AdmitNewPod(const ClusterState& state, v1::Pod* pod);

}  // namespace mesh::controlplane
