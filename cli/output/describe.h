// SPDX-License-Identifier: Apache-2.0
// Objects told in full: the text of `meshctl describe`. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::cli {

// What else a description tells, as the command fetched it.
struct Related {
  std::vector<v1::Event> events;             // about the object, oldest first
  std::vector<v1::EndpointSlice> slices;     // of a Service
  std::vector<v1::ReplicaSet> replica_sets;  // owned by a Deployment
  std::vector<v1::Pod> pods;                 // owned by a ReplicaSet; on a Node
};

std::string Describe(const v1::Resource& object, const Related& related, absl::Time now);
// `describe endpoints`: the slices of one Service.
std::string DescribeEndpoints(const std::vector<v1::EndpointSlice>& slices, const Related& related,
                              absl::Time now);

}  // namespace mesh::cli
