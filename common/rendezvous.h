// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace mesh {

// How much a node is the one for a Service ("namespace/name"): the one with the most is, among
// those that can, so that a node's end moves only what it had. The control plane and every agent
// must choose alike: fixed for good.
uint64_t RendezvousWeight(const std::string& service, const std::string& node);

}  // namespace mesh
