// SPDX-License-Identifier: Apache-2.0
// One Service, or the host ports of one pod, in the dataplane's terms, as this node must serve it:
// which backends take clients of which kind is decided here. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/ip_address.h"
#include "dataplane/model/state.h"
#include "mesh/v1/core.pb.h"
#include "mesh/v1/node_sync.pb.h"

namespace mesh::agent {

// What a translation depends on beside the Service itself.
struct NodeView {
  std::string name;
  std::string zone;  // empty: unknown
  IpAddress ip;
  bool direct_return = false;  // of Services without a wish of their own
  friend bool operator==(const NodeView&, const NodeView&) = default;
};

// nullopt for what has nothing to program (headless, ExternalName) and what cannot be programmed at
// all. Each thing left out gets a line in `skipped`, with its reason; what a line takes away never
// admits more clients than the whole would.
//
// The scopes of a backend, of those that are active and of one port:
//   internal  all; internalTrafficPolicy Local: those of this node, be there none
//   external  all; externalTrafficPolicy Local: those of this node, be there none
//   "all" with a trafficDistribution: the nearest that are there - PreferSameNode: this node, then
//   its zone, then all; PreferSameZone and PreferClose: the zone, then all.
std::optional<dataplane::Service> TranslateService(const std::string& key,
                                                   const v1::ServiceState& from,
                                                   const NodeView& node,
                                                   std::vector<std::string>* skipped);

// The host ports of a pod of this node: a Service without address, named "pod/NAME" (no Service can
// be). nullopt when it has none or has no address yet or any more.
std::optional<dataplane::Service> TranslateHostPorts(const v1::Pod& pod, const NodeView& node,
                                                     std::vector<std::string>* skipped);

// How many backends of the Service on this node take external clients: what healthCheckNodePort
// tells. Different addresses count.
int CountLocalEndpoints(const v1::ServiceState& service, const std::string& node);

}  // namespace mesh::agent
