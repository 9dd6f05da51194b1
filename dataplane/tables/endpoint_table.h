// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "dataplane/bpf/map.h"
#include "dataplane/model/state.h"
#include "mesh/shared/endpoint_map.h"

namespace mesh::dataplane {

// Who an endpoint is to policies, and the sets that judge it, as mesh_endpoint has them.
struct EndpointPolicy {
  struct Sets {
    uint32_t ingress = 0, ingress_class = 0;
    uint32_t egress = 0, egress_class = 0;
    friend bool operator==(const Sets&, const Sets&) = default;
  };
  uint32_t identity = 0;
  uint32_t ns = 0;
  Sets v4, v6;
  friend bool operator==(const EndpointPolicy&, const EndpointPolicy&) = default;
};

// An endpoint and the name of its interface in the pod. The identity is that of `policy`.
struct EndpointRecord {
  Endpoint endpoint;
  std::string ifname;
  EndpointPolicy policy;
};

// Pods of this node: mesh_endpoint and mesh_endpoint6 for the programs, mesh_ep_name for people and
// restarts. What has no row in the first is no endpoint.
// Endpoint::interface is not stored; it follows from container and ifname.
class EndpointTable {
 public:
  using Map6 = Map<mesh_endpoint6_key, mesh_endpoint_value>;
  // `endpoint6`: null on a node without IPv6.
  EndpointTable(Map<mesh_endpoint_key, mesh_endpoint_value>& endpoint,
                Map<mesh_endpoint_key, mesh_endpoint_name>& name, Map6* endpoint6 = nullptr)
      : endpoint_(endpoint), name_(name), endpoint6_(endpoint6) {}

  // INVALID_ARGUMENT when a name is longer than its field; FAILED_PRECONDITION for an IPv6 address
  // on a node without.
  absl::Status Put(const EndpointRecord& record);
  // Of an endpoint that is there; NOT_FOUND.
  absl::Status SetPolicy(const IpAddress& ip, const IpAddress& ip6, const EndpointPolicy& policy);
  absl::Status Remove(const Endpoint& endpoint);
  // Rows of IPv6 that belong to no endpoint (an agent died between the two, or served without IPv6
  // when the pod went), and those outside of `range6`.
  absl::Status RemoveOrphans(const IpPrefix& range6);
  // Ascending by address.
  absl::StatusOr<std::vector<EndpointRecord>> Dump() const;
  // By attachment; NOT_FOUND.
  absl::StatusOr<EndpointRecord> Find(const std::string& container_id,
                                      const std::string& ifname) const;

 private:
  Map<mesh_endpoint_key, mesh_endpoint_value>& endpoint_;
  Map<mesh_endpoint_key, mesh_endpoint_name>& name_;
  Map6* endpoint6_;
};

// Deterministic: "mesh" and 10 hex digits of a hash (FNV-1a), below IFNAMSIZ.
std::string HostInterfaceName(const std::string& container_id, const std::string& ifname);

}  // namespace mesh::dataplane
