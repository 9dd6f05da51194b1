// SPDX-License-Identifier: Apache-2.0
// Names of what the kernel knows by number and address.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "agent/state/node_state.h"
#include "common/ip_address.h"
#include "dataplane/dataplane.h"

namespace mesh::agent {

// MESH_IDENTITY_* of bpf/include/mesh/shared/base.h.
extern const std::map<uint32_t, std::string> kReservedIdentities;

struct ServiceName {
  std::string ns, name;
};

class Names {
 public:
  // `state` may be null: nothing has a name.
  explicit Names(const NodeState* state);

  void AddPods(const std::vector<dataplane::Endpoint>& endpoints);
  ServiceName Frontend(const IpAddress& vip, uint32_t port, dataplane::Protocol protocol) const;
  const std::map<uint32_t, std::string>& namespaces() const { return namespaces_; }
  // Of the identity; empty: of none, or not known.
  std::string Namespace(uint32_t identity) const;
  // "namespace/name"; empty: not known.
  std::string Pod(const IpAddress& ip) const;
  // Node and pod.
  std::pair<std::string, std::string> Backend(const IpAddress& ip, uint32_t port,
                                              dataplane::Protocol protocol) const;
  // `fields` with names of namespaces and pods behind numbers and addresses:
  // "identity=256(shop) ip=10.244.1.5(shop/web-1)".
  std::string Named(const std::string& fields) const;

 private:
  using Key = std::tuple<IpAddress, uint32_t, dataplane::Protocol>;

  std::string NameOf(const std::string& field) const;

  std::map<uint32_t, std::string> namespaces_;
  std::map<IpAddress, std::string> pods_;
  std::map<Key, ServiceName> frontends_;
  std::map<Key, std::pair<std::string, std::string>> backends_;
};

}  // namespace mesh::agent
