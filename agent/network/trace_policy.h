// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "agent/state/node_state.h"

namespace mesh::agent {

// What the policies of a pod were asked, and said: a note of a traced packet.
struct PolicyAnswer {
  bool egress = false;
  bool ipv6 = false;
  // The pod that the policies select; empty: it is not known.
  std::string ns, pod;
  uint32_t verdict = 0;  // MESH_VERDICT_*; 0: no rule is about the packet
  uint32_t rule = 0;     // that decides
};

// In words, with the names of the policies where `state` (may be null) has them.
std::string PolicyText(const PolicyAnswer& answer, const NodeState* state);

}  // namespace mesh::agent
