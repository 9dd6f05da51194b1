// SPDX-License-Identifier: Apache-2.0
// Which families of addresses a Service has in this cluster. Pure.
//
// What can be said without knowing the cluster (values, duplicates, what may change) is checked by
// api/schema; this is the rest, as Kubernetes' allocator decides it.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/cluster_ranges.h"
#include "controlplane/state/state_index.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::controlplane {

inline constexpr char kIpv4[] = "IPv4";
inline constexpr char kIpv6[] = "IPv6";

inline const char* FamilyName(bool is_v4) { return is_v4 ? kIpv4 : kIpv6; }

// Payload of an INVALID_ARGUMENT that is about one field: its path, a line feed, what is wrong.
inline constexpr char kFieldPayload[] = "mesh.field";
// "<head><path>: <problem>" with that payload.
absl::Status InvalidField(const std::string& head, const std::string& path,
                          const std::string& problem);
// "Service \"<name>\" is invalid: <path>: <problem>"
absl::Status InvalidService(const ObjectKey& key, const std::string& path,
                            const std::string& problem);

// Fills in spec.ipFamilyPolicy and spec.ipFamilies. An ExternalName Service has neither.
//   - no policy: SingleStack (RequireDualStack for a headless Service without selector, whose
//     endpoints are somebody else's)
//   - no families: those of the clusterIPs, else IPv4
//   - PreferDualStack and RequireDualStack: the other family too, where the cluster has it
// INVALID_ARGUMENT: a family that the cluster has not, RequireDualStack in a cluster with one.
absl::Status CompleteFamilies(const DualRange& services, const ObjectKey& key,
                              v1::ServiceSpec* spec);

// OK when the Service has the family of each of its externalIPs.
// REQUIRES: CompleteFamilies succeeded.
absl::Status CheckExternalIps(const ObjectKey& key, const v1::ServiceSpec& spec);

bool HasFamily(const v1::ServiceSpec& spec, bool is_v4);

// `["a", "b"]`
std::string QuotedList(const google::protobuf::RepeatedPtrField<std::string>& items);

}  // namespace mesh::controlplane
