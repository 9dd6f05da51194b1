// SPDX-License-Identifier: Apache-2.0
// The address ranges of a cluster: of IPv4, and in a dual-stack cluster of IPv6 beside it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/ip_address.h"

namespace mesh {

// One range of each family.
struct DualRange {
  IpPrefix v4;
  std::optional<IpPrefix> v6;

  bool Contains(const IpAddress& address) const;
  // That of the family; nullptr when there is none.
  const IpPrefix* Of(bool is_v4) const { return is_v4 ? &v4 : v6 ? &*v6 : nullptr; }
  // "10.244.0.0/16,fd00:10:244::/56"
  std::string ToString() const;
};

// What one node gets of the pods' ranges. An address has the same place in both.
inline constexpr int kNodePrefixLength = 24;
inline constexpr int kNodePrefixLength6 = 64;

struct ClusterRanges {
  DualRange pods;
  DualRange services;
  bool dual_stack() const { return pods.v6.has_value(); }
};

// From the values of --cluster-cidr and --service-cidr, each "IPv4" or "IPv4,IPv6".
// INVALID_ARGUMENT names the flag: no range, too small a one, two of one family, IPv6 first, only
// one of the two flags has IPv6, fewer /64s than nodes, or two of them overlap.
absl::StatusOr<ClusterRanges> ParseClusterRanges(const std::string& cluster_cidr,
                                                 const std::string& service_cidr);
absl::Status CheckClusterRanges(const std::string& cluster_cidr, const std::string& service_cidr);

// The values of --non-masquerade-cidrs. INVALID_ARGUMENT names the flag and the first that is no
// range, or of IPv6 in a cluster without.
absl::Status CheckNonMasqueradeRanges(const std::vector<std::string>& ranges, bool dual_stack);

// Both inclusive.
struct PortRange {
  int first = 0;
  int last = 0;
};

// Source ports of connections that nodes masquerade (MESH_MASQUERADE_PORT_* of the kernel ABI).
inline constexpr int kMasqueradePortFirst = 10000;
inline constexpr int kMasqueradePortLast = 29999;

// The cluster's suffix of names, as --cluster-domain gives it: lower-case labels, and room for the
// longest name of a Service before it. INVALID_ARGUMENT names the flag.
absl::Status CheckClusterDomain(const std::string& text);

// "30000-32767", as --node-port-range gives it. INVALID_ARGUMENT names the flag.
absl::StatusOr<PortRange> ParseNodePortRange(const std::string& text);

}  // namespace mesh
