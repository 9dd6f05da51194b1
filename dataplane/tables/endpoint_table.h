// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "dataplane/bpf/map.h"
#include "dataplane/model/state.h"
#include "mesh/shared/endpoint_map.h"

namespace mesh::dataplane {

// An endpoint and the name of its interface in the pod.
struct EndpointRecord {
  Endpoint endpoint;
  std::string ifname;
};

// Pods of this node: mesh_endpoint for the programs, mesh_ep_name for people and restarts.
// Endpoint::interface is not stored; it follows from container and ifname.
class EndpointTable {
 public:
  EndpointTable(Map<mesh_endpoint_key, mesh_endpoint_value>& endpoint,
                Map<mesh_endpoint_key, mesh_endpoint_name>& name)
      : endpoint_(endpoint), name_(name) {}

  // INVALID_ARGUMENT when a name is longer than its field.
  absl::Status Put(const EndpointRecord& record);
  absl::Status Remove(const IpAddress& ip);
  // Ascending by address.
  absl::StatusOr<std::vector<EndpointRecord>> Dump() const;
  // By attachment; NOT_FOUND.
  absl::StatusOr<EndpointRecord> Find(const std::string& container_id,
                                      const std::string& ifname) const;

 private:
  Map<mesh_endpoint_key, mesh_endpoint_value>& endpoint_;
  Map<mesh_endpoint_key, mesh_endpoint_name>& name_;
};

// Deterministic: "mesh" and 10 hex digits of a hash (FNV-1a), below IFNAMSIZ.
std::string HostInterfaceName(const std::string& container_id, const std::string& ifname);

}  // namespace mesh::dataplane
