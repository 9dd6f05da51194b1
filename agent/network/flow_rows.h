// SPDX-License-Identifier: Apache-2.0
// Flows for people: what the kernel tells and holds, with names in place of numbers and addresses.
#pragma once

#include <array>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "agent/network/names.h"
#include "agent/state/node_state.h"
#include "common/ip_address.h"
#include "dataplane/dataplane.h"
#include "mesh/v1/flows.pb.h"

namespace mesh::agent {

// A value of one moment.
class FlowNamer {
 public:
  // `state` may be null. `own`: this node's addresses, the gateways of its pods among them.
  FlowNamer(const NodeState* state, const std::vector<dataplane::Endpoint>& endpoints,
            std::string node, const std::vector<IpAddress>& own);

  // `now`: the wall clock when CLOCK_MONOTONIC is `now_ns`.
  v1::Flow FromEvent(const dataplane::FlowEvent& event, absl::Time now, int64_t now_ns) const;
  v1::Flow FromConntrack(const dataplane::ConntrackRow& row, absl::Time now) const;
  // Whether an end without a name is a pod's address, of which another node knows more.
  bool MayHaveName(const v1::FlowEnd& end) const;

 private:
  void FillEnd(const IpAddress& ip, uint16_t port, uint32_t identity, v1::FlowEnd* out) const;
  // `dialled` is served by `server`.
  void FillServer(const IpAddress& dialled, uint16_t dialled_port, const IpAddress& server,
                  uint16_t server_port, uint32_t identity, v1::Flow* out) const;
  // Of a packet that was dropped by policies: which ones.
  void FillPolicy(const dataplane::FlowEvent& event, v1::Flow* out) const;
  void FillService(const IpAddress& dialled, uint16_t port, uint8_t protocol, v1::Flow* out) const;

  Names names_;
  const std::string node_;
  std::map<IpAddress, std::string> nodes_;  // their names
  std::vector<IpPrefix> pods_;              // of the cluster
  // Of the node's pods, "namespace/name": the names of the policies that select them, for ingress,
  // egress, and both of IPv6.
  std::map<std::string, std::array<std::string, 4>> policies_;
};

}  // namespace mesh::agent
