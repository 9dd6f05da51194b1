// SPDX-License-Identifier: Apache-2.0
// What a Service gets from the cluster before it is stored: its cluster IPs, node ports, health
// check port, load balancer addresses. Values, no I/O: what is taken is what the state says, and
// what writes that are still on their way hold.
//
// Thread: loop only.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/cluster_ranges.h"
#include "common/ip_address.h"
#include "controlplane/state/cluster_state.h"
#include "controlplane/state/load_balancer_pools.h"
#include "controlplane/state/service_families.h"

namespace mesh::controlplane {

// Addresses of IPv6 that are given out, from the beginning of the range; others of the range can be
// asked for. A search that finds nothing ends.
inline constexpr uint64_t kServiceAddresses6 = 1 << 20;

struct ServiceRanges {
  DualRange services;
  DualRange pods;
  // Both inclusive.
  int32_t node_port_first = 30000;
  int32_t node_port_last = 32767;
  LoadBalancerPools load_balancer_pools;
};

class ServiceAdmission {
 public:
  explicit ServiceAdmission(ServiceRanges ranges);

  // As Admission::Admit. What `holder` held before is given back first.
  absl::Status Admit(const ClusterState& state, uint64_t holder, const v1::Service* before,
                     v1::Service* service);
  void Release(uint64_t holder);

  const ServiceRanges& ranges() const { return ranges_; }

 private:
  // A resource of one kind: who of the writes on their way has what.
  template <typename What>
  using Held = std::map<What, std::pair<uint64_t, ObjectKey>>;
  struct Request {  // one call of Admit
    const ClusterState& state;
    uint64_t holder;
    ObjectKey key;
  };

  absl::Status AdmitClusterIps(const Request& request, const v1::Service* before,
                               v1::ServiceSpec* spec);
  // Any free one of the family.
  absl::StatusOr<std::string> TakeClusterIp(const Request& request, bool is_v4);
  // No address of the cluster's own ranges, and no port of one that another Service has.
  absl::Status AdmitExternalIps(const Request& request, const v1::Service* before,
                                const v1::ServiceSpec& spec);
  absl::Status AdmitNodePorts(const Request& request, v1::ServiceSpec* spec);
  // A port that is added to an address given before, and that another Service serves there.
  absl::Status CheckBalancerPorts(const Request& request, const v1::Service* before,
                                  const v1::Service& service) const;
  void AdmitBalancer(const Request& request, v1::Service* service);
  std::string WhyNotClusterIp(const Request& request, bool is_v4, const std::string& text) const;
  // Takes a node port: the given one, which `path` names, or any for 0.
  absl::Status TakeNodePort(const Request& request, const std::string& path, int32_t wanted,
                            int32_t* port);

  const ServiceRanges ranges_;
  // Of IPv4, of IPv6.
  std::array<uint64_t, 2> next_ip_index_ = {16, 16};
  int32_t next_node_port_;
  std::array<uint64_t, 2> next_balancer_ = {0, 0};
  Held<std::string> held_ips_;
  Held<int32_t> held_node_ports_;
  Held<std::string> held_balancer_ips_;
  Held<ExternalPort> held_external_ports_;
};

}  // namespace mesh::controlplane
