// SPDX-License-Identifier: Apache-2.0
// The rules that a node with kube-proxy would hold, from the structure its documentation describes:
// the peers that a ClusterIP is compared with.
#pragma once

#include <cstdint>
#include <string>

namespace mesh::bench {

struct ProxyRules {
  int services = 1;          // the real one is the last, so that a linear walk sees them all
  int endpoints = 1;         // of each of the others
  std::string vip, backend;  // of the real one
  uint16_t port = 0, backend_port = 0;
};

// For iptables-restore.
std::string IptablesRules(const ProxyRules& rules);
// For nft -f.
std::string NftablesRules(const ProxyRules& rules);

}  // namespace mesh::bench
