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
  IpAddress ip6;               // unset: none
  bool ipv6 = false;           // the cluster has IPv6
  bool direct_return = false;  // of Services without a wish of their own
  friend bool operator==(const NodeView&, const NodeView&) = default;
};

// What becomes of one thing of the control plane: one Service per family that has something to
// program. Of one with internalTrafficPolicy Local the frontends for clients outside stand apart:
// the policy is about the ClusterIP alone, and pods may dial the other addresses too. Of one with
// externalTrafficPolicy Local its balancer's addresses do: they are the whole cluster's, and what
// comes to a node without a backend is led on to the right one.
struct Translated {
  std::optional<dataplane::Service> v4, v6;
  std::optional<dataplane::Service> v4_outside, v6_outside;
  std::optional<dataplane::Service> v4_balancer, v6_balancer;
};

// The key of the IPv6 half in DesiredState::services; the IPv4 one has `key` itself. No namespace
// or name holds a '#'.
std::string Ipv6Key(const std::string& key);
// Those of the frontends that stand apart.
std::string OutsideKey(const std::string& key);
std::string BalancerKey(const std::string& key);

// Nothing for what has nothing to program (headless, ExternalName) and what cannot be programmed at
// all. Each thing left out gets a line in `skipped`, with its reason; what a line takes away never
// admits more clients than the whole would. A list of source ranges that has none of a family
// admits nobody of it.
//
// The scopes of a backend, of those that are active and of one port and family:
//   internal  all; internalTrafficPolicy Local: those of this node, be there none
//   external  all; externalTrafficPolicy Local: those of this node, be there none. At a balancer's
//             address of a node without any: those of the node that answers for it, or that will
//             when this one does and its last ones stop, with direct return
// Pods and nodes of the cluster that dial an address for the outside get all, whatever the policies
// say, as if they had gone out and come in again at a node with a backend.
//   "all" with a trafficDistribution: the nearest that are there - PreferSameNode: this node, then
//   its zone, then all; PreferSameZone and PreferClose: the zone, then all.
Translated TranslateService(const std::string& key, const v1::ServiceState& from,
                            const NodeView& node, std::vector<std::string>* skipped);

// The host ports of a pod of this node: a Service without address, named "pod/NAME" (no Service can
// be), in each family the pod has an address of. Nothing when it has none or has no address yet or
// any more. hostIP "0.0.0.0" is all of IPv4, "::" all of IPv6.
Translated TranslateHostPorts(const v1::Pod& pod, const NodeView& node,
                              std::vector<std::string>* skipped);

// How many backends of the Service on this node take external clients: what healthCheckNodePort
// tells. Different addresses count; those of the two families are the same pods.
int CountLocalEndpoints(const v1::ServiceState& service, const std::string& node);

}  // namespace mesh::agent
