// SPDX-License-Identifier: Apache-2.0
// What the NetworkPolicies say about a connection, read from the objects: which rule admits it, or
// what the nearest one misses on. For people who ask why; the datapath's own rules are compiled by
// controlplane/policy.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/ip_address.h"
#include "controlplane/policy/pod_traits.h"
#include "controlplane/state/cluster_state.h"
#include "mesh/v1/node.pb.h"

namespace mesh::controlplane {

// Who is at the other end.
struct PolicyPeer {
  std::string title;  // "pod shop/web", "198.51.100.7"
  bool is_pod = false;
  PodTraits traits;  // of a pod
  std::vector<IpAddress> addresses;
};

// What a traced packet's peer is called when it is the resolver of the pod's node.
inline constexpr char kResolverTitle[] = "the resolver";

PolicyPeer PeerOf(const v1::Pod& pod);
// Selected like a pod; in no range.
PolicyPeer ResolverPeer();

struct PolicyQuestion {
  bool egress = false;
  const v1::Pod& pod;  // that the policies select
  PolicyPeer peer;
  uint8_t protocol = 0;
  uint16_t port = 0;  // of the receiver
  // Of the packets; unset: of either. Ranges are asked about the addresses of that family.
  std::optional<bool> ipv6;
};

struct PolicyAnswer {
  // `policies` empty: none selects the pod, everything is allowed.
  v1::TracePolicy facts;
  // Where nothing admits it: "the nearest is policy pay/api, rule ingress[0] (web.yaml:12), but it
  // is about TCP 80, not about TCP 81", or that there is no rule.
  std::string nearest;
  // Changes of which one is enough, the smallest first.
  std::vector<std::string> remedies;
};

// Whether it was applied without policyTypes, which then follow from its rules.
bool LeftTypesOut(const v1::NetworkPolicy& policy);

PolicyAnswer AskPolicies(const ClusterState& state, const PolicyQuestion& question);

// "policy pay/api, rule ingress[0] (web.yaml:12)"
std::string RuleTitle(const v1::TracePolicy& facts);

// Adds to the steps of a traced packet where the rules stand that have decided, and for one that no
// rule admits the nearest.
void ExplainPolicies(const ClusterState& state, v1::TraceHopResponse* hop);

}  // namespace mesh::controlplane
