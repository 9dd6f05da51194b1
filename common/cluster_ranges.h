// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"

namespace mesh {

// The address ranges of a cluster, as --cluster-cidr and --service-cidr give them. INVALID_ARGUMENT
// names the flag: no range, too small a one, or the two overlap.
absl::Status CheckClusterRanges(const std::string& cluster_cidr, const std::string& service_cidr);

}  // namespace mesh
