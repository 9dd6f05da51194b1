// SPDX-License-Identifier: Apache-2.0
// What a pod means by a name or an address; private to this folder.
#pragma once

#include <string>

#include "common/cluster_ranges.h"
#include "controlplane/inspect/report.h"

namespace mesh::controlplane {

struct Destination {
  enum class Kind : uint8_t {
    kNothing,  // the report says why
    kService,
    kPod,
    kOutside,  // of the cluster
  };
  Kind kind = Kind::kNothing;
  const v1::Service* service = nullptr;
  const v1::Pod* pod = nullptr;
  // The port of the pod that its host port, which was named, stands for; 0: the pod itself was
  // named.
  uint32_t host_port_of = 0;
  // Address of the Service that was named: one of its own, or one for clients outside.
  bool external = false;
  // The load balancer address that was named; empty: another one.
  std::string balancer_ip;
  // Whose address was named, with a node port, a host port or as an external address; empty: no
  // node's.
  std::string node;
  // The port of the Service that a node port stands for; 0: none was asked for.
  uint32_t service_port = 0;
};

// Finds it as the resolver and the dataplane of the pod's node would, and tells how.
Destination FindDestination(const ClusterState& state, const ClusterRanges& ranges,
                            const v1::Pod& from, const v1::WhyConnection& connection,
                            Report* report);

}  // namespace mesh::controlplane
