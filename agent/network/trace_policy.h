// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "agent/state/node_state.h"
#include "common/ip_address.h"
#include "dataplane/policy/policy_set.h"
#include "mesh/v1/node.pb.h"

namespace mesh::agent {

// What the policies of a pod were asked, and said: a note of a traced packet.
struct PolicyAnswer {
  bool egress = false;
  bool ipv6 = false;
  // The pod that the policies select; empty: it is not known.
  std::string ns, pod;
  // Who is at the other end, and where the receiver is asked.
  uint32_t identity = 0;
  IpAddress peer;
  uint8_t protocol = 0;
  uint16_t port = 0;
  uint32_t verdict = 0;  // MESH_VERDICT_*; 0: no rule is about the packet
  uint32_t rule = 0;     // that decides
  bool shut = false;     // the pod has no set yet: see dataplane::RefusedPolicies
};

// Names the rule with this number, where its policy is still known; leaves `out` alone otherwise.
void NameRule(uint32_t id, const NodeState& state, std::string* policy, uint32_t* index);
// The policies that judge the pod for the direction and family of `answer`; null: not known.
const v1::PolicySetState* SetOf(const PolicyAnswer& answer, const NodeState& state);

// With the names of the policies where `state` (may be null) has them, and what keeps them from
// being in force.
v1::TracePolicy PolicyFacts(const PolicyAnswer& answer, const NodeState* state,
                            const dataplane::RefusedPolicies& refused);
// The same in words. `asked`: the packet was judged by what is in force for the pod.
std::string PolicyText(const PolicyAnswer& answer, const v1::TracePolicy& facts, bool asked);

}  // namespace mesh::agent
