// SPDX-License-Identifier: Apache-2.0
// A request that is asked about, and the little that it needs to succeed.
#pragma once

#include <string>

#include "controlplane/controllers/objects.h"
#include "tests/unit/controlplane/inspect/why_world.h"

namespace mesh::controlplane {

// Pod "web" of "default" asks; "api" of "pay" answers on 8080, behind a Service at port 80.
class WhyConnectionTest : public WhyTest {
 protected:
  WhyConnectionTest() {
    world.AddNode("n1");
    world.AddNode("n2");
    world.AddPod("web", "web", "n1", true);
    AddNamespace("pay", "");
    v1::Pod api = world.AddPod("api-1", "api", "n2", true);
    world.state.Remove(v1::KIND_POD, InDefault("api-1"));
    api.mutable_metadata()->set_namespace_("pay");
    world.Put(Wrap(api));
    v1::Service service = world.AddService("api", "api");
    world.state.Remove(v1::KIND_SERVICE, InDefault("api"));
    service.mutable_metadata()->set_namespace_("pay");
    service.mutable_spec()->set_cluster_ip("10.96.0.7");
    service.mutable_spec()->mutable_ports(0)->mutable_target_port()->set_int_value(8080);
    PutService(service);
    Listen("TCP", "0.0.0.0", 8080);
  }

  void AddNamespace(const std::string& name, const std::string& isolation) {
    v1::Resource ns;
    ns.mutable_namespace_()->mutable_metadata()->set_name(name);
    ns.mutable_namespace_()->mutable_status()->set_identity(300);
    if (!isolation.empty())
      (*ns.mutable_namespace_()->mutable_metadata()->mutable_annotations())["mesh.io/isolation"] =
          isolation;
    world.Put(ns);
  }
  void PutService(const v1::Service& service) {
    world.Put(Wrap(service));
    world.Settle(EndpointsController(), {"pay", service.metadata().name()});
  }
  v1::Service Api() { return *FindObject(world.state.services, {"pay", "api"}); }
  // At node port 30080, over IPv4.
  v1::Service ApiAtNodes() {
    v1::Service service = Api();
    service.mutable_spec()->set_type("NodePort");
    service.mutable_spec()->mutable_ports(0)->set_node_port(30080);
    service.mutable_spec()->add_ip_families("IPv4");
    return service;
  }
  // All that the pod listens on.
  void Listen(const std::string& protocol, const std::string& address, uint32_t port) {
    v1::ListListenersResponse response;
    v1::Listener& listener = *response.add_listeners();
    listener.set_protocol(protocol);
    listener.set_address(address);
    listener.set_port(port);
    listeners.insert_or_assign({"pay", "api-1"}, response);
  }
  // A warning about the pod that asks.
  void Warn(const std::string& name, const std::string& reason, absl::Duration ago,
            const std::string& message = "because") {
    v1::Resource resource;
    v1::Event& event = *resource.mutable_event();
    event.mutable_metadata()->set_namespace_("default");
    event.mutable_metadata()->set_name(name);
    event.set_type("Warning");
    event.set_reason(reason);
    event.set_message(message);
    event.mutable_involved_object()->set_kind("Pod");
    event.mutable_involved_object()->set_name("web");
    event.mutable_involved_object()->set_uid(world.pod("web").metadata().uid());
    *event.mutable_last_timestamp() = ToTimestamp(world.now - ago);
    world.Put(resource);
  }
  v1::WhyRequest Request(const std::string& host, uint32_t port,
                         const std::string& protocol = "TCP") {
    v1::WhyRequest request;
    v1::WhyConnection& connection = *request.mutable_connection();
    connection.mutable_from()->set_namespace_("default");
    connection.mutable_from()->set_name("web");
    if (const size_t slash = host.find('/'); slash != std::string::npos) {
      connection.mutable_to()->set_namespace_(host.substr(0, slash));
      connection.mutable_to()->set_name(host.substr(slash + 1));
    } else {
      connection.set_host(host);
    }
    connection.set_port(port);
    connection.set_protocol(protocol);
    return request;
  }
  v1::WhyResponse Ask(const std::string& host, uint32_t port, const std::string& protocol = "TCP") {
    return Answer(Request(host, port, protocol)).response;
  }
};

}  // namespace mesh::controlplane
