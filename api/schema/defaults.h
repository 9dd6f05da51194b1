// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "mesh/v1/resource.pb.h"

namespace mesh::schema {

// Fills in what the manifest may leave out, as Kubernetes does: every (default_value) option, and
//   - metadata.namespace "default" for namespaced kinds (cleared for the others),
//   - imagePullPolicy by the image's tag,
//   - targetPort = port, clusterIPs from clusterIP,
//   - rollingUpdate 25% / 25% for a Deployment of type RollingUpdate,
//   - the update strategies, Job sizes, metrics, routes ... of the other kinds (rules_kinds.h),
//   - stringData of a Secret, which becomes data,
//   - resources.requests from limits where only a limit is given.
// Nothing that is set changes; applying twice is applying once.
void ApplyDefaults(v1::Resource* resource);

}  // namespace mesh::schema
