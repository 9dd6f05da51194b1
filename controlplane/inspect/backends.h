// SPDX-License-Identifier: Apache-2.0
// Who may answer behind a Service, and whether a program of theirs waits there; private to this
// folder.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "controlplane/inspect/report.h"
#include "controlplane/state/cluster_state.h"
#include "mesh/v1/node.pb.h"

namespace mesh::controlplane {

inline constexpr size_t kMostBackends = 8;  // looked into one by one

// Who may answer, and where.
struct Backend {
  const v1::Pod* pod = nullptr;  // null: an address that is no pod's
  std::string address;
  uint32_t port = 0;
};

// "TCP" where an object leaves it out.
std::string ProtocolOf(const std::string& protocol);
// "port 80 (http)".
std::string PortTitle(const v1::ServicePort& port);

// Those that may get new flows, by the Service's EndpointSlices: ready ones, or with none of them
// those that stop and still serve; a pod once. `families`: true:
// IPv6. Of any port when `port` is null.
std::vector<Backend> BackendsOf(const ClusterState& state, const v1::Service& service,
                                const v1::ServicePort* port, const std::string& protocol,
                                const std::set<bool>& families);

struct SocketQuestion {
  const v1::Pod& pod;
  std::string protocol;  // "TCP"
  uint32_t port = 0;
  std::set<bool> families;  // in one of which it has to be; true: IPv6
  // What the request came through; null: none. `service_port`: its port's title.
  const v1::Service* service = nullptr;
  std::string service_port;
};

struct SocketAnswer {
  bool listens = false;
  std::string text;  // "listens on TCP 8080", "nothing listens on TCP 8080; it listens on 80"
  Report::Remedies remedies;
};

// Whether a program waits at the port, by the sockets of the pod's network namespace.
SocketAnswer AskSocket(const ClusterState& state, const v1::ListListenersResponse& sockets,
                       const SocketQuestion& question);

// At this address only the pod itself gets to the program.
bool IsLoopback(const std::string& address);

}  // namespace mesh::controlplane
