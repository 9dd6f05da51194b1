// SPDX-License-Identifier: Apache-2.0
// Where a Service's port leads in a pod. Pure.
#pragma once

#include <cstdint>

#include "mesh/v1/core.pb.h"

namespace mesh::controlplane {

// The number that the Service's port has in the pod; 0 when it is asked for by a name that no port
// of the pod has. Pods of one Service may differ: each says itself what it calls by that name.
int32_t ResolvePort(const v1::ServicePort& port, const v1::Pod& pod);

}  // namespace mesh::controlplane
