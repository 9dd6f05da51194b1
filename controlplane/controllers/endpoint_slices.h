// SPDX-License-Identifier: Apache-2.0
// How the endpoints of a Service lie in its EndpointSlices. Pure.
//
// At most kMaxEndpointsPerSlice in one. An endpoint stays in the slice where it is, so that a
// change of one pod writes one slice; new ones fill what has room.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "controlplane/controllers/controller.h"

namespace mesh::controlplane {

inline constexpr int kMaxEndpointsPerSlice = 100;

// Name, protocol, number of each port of a slice, in the order of the Service.
using PortSet = std::vector<std::tuple<std::string, std::string, int32_t>>;
// Endpoints by the ports they resolve to, each list by pod name.
using EndpointGroups = std::map<PortSet, std::vector<v1::Endpoint>>;

// The writes that turn `existing` (the Service's slices of one family, as the controller made them)
// into slices that hold `groups`. `address_type` is the family: "IPv4" or "IPv6". One slice remains
// at least, so that an empty Service reads as empty rather than unknown; all go when `service` is
// null.
std::vector<Write> PlanSlices(const ClusterState& state, const ObjectKey& key,
                              const v1::Service* service, const std::string& address_type,
                              const EndpointGroups& groups,
                              const std::vector<const v1::EndpointSlice*>& existing);

}  // namespace mesh::controlplane
