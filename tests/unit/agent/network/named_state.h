// SPDX-License-Identifier: Apache-2.0
// The node state that these tests speak about: node-1 with 10.244.1.0/24, the services shop/web
// (10.96.0.10, http 80/TCP and 53/UDP, two backends) and shop/headless, and the pod shop/web-1.
#pragma once

#include <memory>

#include "agent/state/node_state.h"

namespace mesh::agent {

inline std::shared_ptr<NodeState> NamedState() {
  auto state = std::make_shared<NodeState>();
  state->revision = 7;
  state->complete = true;
  state->config.set_node_name("node-1");
  state->config.set_pod_cidr("10.244.1.0/24");
  state->config.set_cluster_cidr("10.244.0.0/16");
  state->config.set_service_cidr("10.96.0.0/16");
  state->config.set_cluster_domain("cluster.local");

  v1::Pod pod;
  pod.mutable_metadata()->set_namespace_("shop");
  pod.mutable_metadata()->set_name("web-1");
  pod.mutable_metadata()->set_uid("uid-1");
  pod.mutable_status()->set_pod_ip("10.244.1.5");
  pod.mutable_status()->set_identity(300);
  state->pods["uid-1"] = pod;

  v1::ServiceState web;
  web.set_namespace_("shop");
  web.set_name("web");
  web.set_cluster_ip("10.96.0.10");
  web.set_identity(300);
  v1::ServicePortState* http = web.add_ports();
  http->set_name("http");
  http->set_protocol(6);
  http->set_port(80);
  for (const char* ip : {"10.244.2.9", "10.244.1.5"}) {
    v1::BackendState* backend = http->add_backends();
    backend->set_ip(ip);
    backend->set_port(8080);
    backend->set_state(v1::BackendState::ACTIVE);
    backend->set_node_name(ip[7] == '1' ? "node-1" : "node-2");
    backend->set_pod_name(ip[7] == '1' ? "web-1" : "web-2");
  }
  v1::ServicePortState* dns = web.add_ports();
  dns->set_name("dns");
  dns->set_protocol(17);
  dns->set_port(53);
  state->services["shop/web"] = web;

  v1::ServiceState headless;
  headless.set_namespace_("shop");
  headless.set_name("headless");
  headless.set_cluster_ip("None");
  *headless.add_ports() = *http;
  headless.mutable_ports(0)->mutable_backends(0)->set_state(v1::BackendState::DRAINING);
  state->services["shop/headless"] = headless;

  v1::PeerNode peer;
  peer.set_name("node-2");
  peer.set_ip("192.168.9.2");
  peer.set_pod_cidr("10.244.2.0/24");
  state->nodes["node-2"] = peer;

  v1::NamespaceState shop;
  shop.set_identity(300);
  shop.set_name("shop");
  state->namespaces[300] = shop;
  v1::NamespaceState empty;
  empty.set_identity(301);
  empty.set_name("empty");
  empty.set_isolation("open");
  state->namespaces[301] = empty;
  return state;
}

}  // namespace mesh::agent
