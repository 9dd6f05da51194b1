// SPDX-License-Identifier: Apache-2.0
// What a pod asks of a node, as numbers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mesh/v1/core.pb.h"

namespace mesh::controlplane {

struct Request {
  int64_t cpu_milli = 0;
  int64_t memory_bytes = 0;
};

// Sum over the containers and sidecars, or what an init container needs with the sidecars before it
// where that is more; one without request counts with its limit. Quantities that do
// not parse count as 0 (admission refuses them).
Request RequestOf(const v1::PodSpec& spec);

// A port of the node that a pod takes. An empty address is every address.
struct HostPort {
  // Empty: all addresses of the node; "0.0.0.0", "::": all of one family.
  std::string ip;
  std::string protocol;
  int32_t port = 0;
  bool Conflicts(const HostPort& other) const;
};

std::vector<HostPort> HostPortsOf(const v1::PodSpec& spec);

}  // namespace mesh::controlplane
