// SPDX-License-Identifier: Apache-2.0
// NetworkPolicies that speak about the two pods of a measured flow, taken the whole way that those
// of a cluster go: objects, what meshd tells of them, the agent's state and its translation.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "dataplane/kernel_dataplane.h"
#include "dataplane/model/state.h"

namespace mesh::bench {

// Who is who for the policies.
inline constexpr uint32_t kClientIdentity = 300, kServerIdentity = 301, kBystanderIdentity = 302;

// Adds policies with `rules` rules for each direction that select client and server: about labels
// of pods and namespaces, ranges of addresses with exceptions, numbers of ports, ranges and names
// of them. One in the middle allows `port` (TCP and UDP) and the one after it between the two; no
// other rule is about them. With 0 rules no policy selects the two: 100 rules select the bystander.
absl::Status AddPairPolicies(int rules, uint16_t port, const dataplane::NodeConfig& config,
                             dataplane::DesiredState* desired);

struct PairRows {
  size_t peers = 0, blocks = 0, ports = 0;  // of all sets of the node
};

// Reads the node's maps. FAILED_PRECONDITION: they do not say that the pair may talk at `port` by
// the one rule that is about it; with 0 rules, that nobody judges it.
absl::StatusOr<PairRows> CheckPairPolicies(const dataplane::KernelDataplane& dataplane, int rules,
                                           const IpAddress& client, const IpAddress& server,
                                           uint16_t port);

}  // namespace mesh::bench
