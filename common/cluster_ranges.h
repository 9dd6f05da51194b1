// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mesh {

// The address ranges of a cluster, as --cluster-cidr and --service-cidr give them. INVALID_ARGUMENT
// names the flag: no range, too small a one, or the two overlap.
absl::Status CheckClusterRanges(const std::string& cluster_cidr, const std::string& service_cidr);

// Both inclusive.
struct PortRange {
  int first = 0;
  int last = 0;
};

// Source ports of connections that nodes masquerade (MESH_MASQUERADE_PORT_* of the kernel ABI).
inline constexpr int kMasqueradePortFirst = 10000;
inline constexpr int kMasqueradePortLast = 29999;

// "30000-32767", as --node-port-range gives it. INVALID_ARGUMENT names the flag.
absl::StatusOr<PortRange> ParseNodePortRange(const std::string& text);

}  // namespace mesh
