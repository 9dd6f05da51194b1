// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "mesh/v1/pod.pb.h"

namespace mesh::schema {

// status.qosClass of a pod, by Kubernetes' rule: "Guaranteed" when each container limits cpu and
// memory and requests as much, "BestEffort" when none asks for either, else "Burstable".
std::string_view QosClass(const v1::PodSpec& spec);

}  // namespace mesh::schema
