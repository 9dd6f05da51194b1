// SPDX-License-Identifier: Apache-2.0
// What an object must get, or must satisfy against the rest of the cluster, before it is stored:
// its namespace, a Service's addresses and ports (service_admission.h), a Namespace's number, a
// bound pod's identity, a Node's range of pod addresses.
//
// Addresses and identities handed to writes that are still on their way are remembered, so that two
// writes in flight never get the same one. Thread: loop only.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "common/cluster_ranges.h"
#include "common/ip_address.h"
#include "controlplane/state/cluster_state.h"
#include "controlplane/state/load_balancer_pools.h"
#include "controlplane/state/service_admission.h"

namespace mesh::controlplane {

// Of pods, and numbers of namespaces.
inline constexpr uint32_t kIdentityMin = 256;
inline constexpr uint32_t kIdentityMax = (1u << 22) - 1;

struct AdmissionOptions {
  // As ParseClusterRanges takes them: "IPv4" or "IPv4,IPv6".
  // The first address (API server) and the tenth (cluster DNS) of each range are never assigned.
  std::string service_cidr = "10.96.0.0/16";
  // Split into one /24 per node, and of IPv6 one /64.
  std::string cluster_cidr = "10.244.0.0/16";
  // Both inclusive.
  int32_t node_port_first = 30000;
  int32_t node_port_last = 32767;
  LoadBalancerPools load_balancer_pools;
};

// The ranges of nodes that `node` may not have: those of other nodes, and those of which pods of
// others still have addresses.
std::set<std::string> NodeRangesTaken(const ClusterState& state, const std::string& node);

class Admission {
 public:
  // REQUIRES: the ranges parse (main.cc checked them).
  explicit Admission(const AdmissionOptions& options);

  // Completes and checks `next` before it is created (`before` null) or replaced. What is taken is
  // held for `holder`, a number of the caller's, until Release().
  // NOT_FOUND `namespaces "x" not found`; FAILED_PRECONDITION when it is terminating or a range is
  // used up (RESOURCE_EXHAUSTED); INVALID_ARGUMENT for a cluster IP outside the range or in use.
  absl::Status Admit(const ClusterState& state, uint64_t holder, const v1::Resource* before,
                     v1::Resource* next);
  void Release(uint64_t holder);

  const ClusterRanges& ranges() const { return ranges_; }

 private:
  absl::Status AdmitEndpointSlice(const v1::EndpointSlice& slice) const;
  absl::Status AdmitNamespace(const ClusterState& state, uint64_t holder, v1::Namespace* ns);
  absl::Status AdmitPod(const ClusterState& state, uint64_t holder, const v1::Resource* before,
                        v1::Pod* pod);
  // One that nothing has; 0: all are in use.
  uint32_t TakeIdentity(const ClusterState& state);
  absl::Status AdmitNode(const ClusterState& state, uint64_t holder, bool is_new, v1::Node* node);
  // Of other nodes, also of those on their way.
  std::set<std::string> RangesTaken(const ClusterState& state, uint64_t holder,
                                    const std::string& node) const;
  absl::Status TakeNodeRange(const ClusterState& state, uint64_t holder, v1::Node* node);
  // Why an endpoint may not have this address; empty when it may.
  std::string WhyNotEndpoint(const IpAddress& address) const;

  const ClusterRanges ranges_;
  ServiceAdmission services_;
  uint32_t next_identity_ = kIdentityMin;
  // By holder.
  std::map<uint64_t, uint32_t> held_identities_;
  // Identities of pods on their way, by what they stand for, with their holders.
  struct HeldIdentity {
    uint32_t number = 0;
    std::set<uint64_t> holders;
  };
  std::map<std::string, HeldIdentity> held_pods_;
  std::map<uint64_t, std::string> held_texts_;
  std::map<uint64_t, std::string> held_cidrs_;
};

}  // namespace mesh::controlplane
