// SPDX-License-Identifier: Apache-2.0
// What processes of the node have of the addresses that Services name as external ones. Whoever
// may write a Service must not get it: it may be the node's ssh. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/ip_address.h"
#include "dataplane/model/state.h"

namespace mesh::agent {

// The node's network namespace at one moment.
struct NodeListeners {
  std::set<IpAddress> addresses;  // of its interfaces
  // Sockets that wait for peers. AnyAddress(): at every address; that of IPv6 takes IPv4 too, as
  // most do.
  std::set<dataplane::Frontend> sockets;
  // UDP sockets at ports that the kernel gives to clients.
  std::set<dataplane::Frontend> passing;
};

class TakenPorts {
 public:
  // node_ip6 unset: none.
  TakenPorts(std::string node, const IpAddress& node_ip, const IpAddress& node_ip6);

  // What was known under `key` is forgotten. Null: it is gone.
  void SetService(const std::string& key, const dataplane::Service* service);
  // 0: none.
  void SetHealthPort(const std::string& service, uint32_t port);
  // Of `passing` what was there at the last look too: a client's socket seldom is.
  void SetListeners(const NodeListeners& now);

  // Whether Services name external addresses: else it does not matter who listens.
  bool AnyNamed() const { return !named_.empty(); }
  // As DesiredState::taken. Cost: by the external addresses that Services name.
  std::map<dataplane::Frontend, std::string> Compute() const;

 private:
  bool IsHere(const IpAddress& ip) const { return own_.contains(ip) || addresses_.contains(ip); }
  bool Listens(const dataplane::Frontend& at) const;

  const std::string node_;
  std::set<IpAddress> own_;
  std::map<std::string, std::vector<dataplane::Frontend>> named_;  // by key of the Service
  std::map<std::string, uint16_t> health_ports_;                   // by Service
  std::set<IpAddress> addresses_;
  std::set<dataplane::Frontend> sockets_, passing_;
};

}  // namespace mesh::agent
