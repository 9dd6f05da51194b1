// SPDX-License-Identifier: Apache-2.0
#include "controlplane/snapshot/node_snapshot.h"

#include "controlplane/snapshot/cluster_view.h"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>

#include "common/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::controlplane {
namespace {

using ::testing::ElementsAre;

void AddNamespace(ClusterState& state, const std::string& name, uint32_t identity) {
  v1::Resource out;
  out.mutable_namespace_()->mutable_metadata()->set_name(name);
  out.mutable_namespace_()->mutable_status()->set_identity(identity);
  state.Put(out);
}

void AddNode(ClusterState& state, const std::string& name, const std::string& ip,
             const std::string& cidr) {
  v1::Resource out;
  out.mutable_node()->mutable_metadata()->set_name(name);
  out.mutable_node()->mutable_spec()->set_pod_cidr(cidr);
  v1::NodeAddress* address = out.mutable_node()->mutable_status()->add_addresses();
  address->set_type("InternalIP");
  address->set_address(ip);
  state.Put(out);
}

v1::Resource Pod(const std::string& name, const std::string& node) {
  v1::Resource out;
  out.mutable_pod()->mutable_metadata()->set_namespace_("shop");
  out.mutable_pod()->mutable_metadata()->set_name(name);
  out.mutable_pod()->mutable_metadata()->set_uid("uid-" + name);
  out.mutable_pod()->mutable_spec()->set_node_name(node);
  return out;
}

void AddService(ClusterState& state, const std::string& name, const std::string& ip) {
  v1::Resource out;
  v1::Service* service = out.mutable_service();
  service->mutable_metadata()->set_namespace_("shop");
  service->mutable_metadata()->set_name(name);
  service->mutable_spec()->set_cluster_ip(ip);
  v1::ServicePort* http = service->mutable_spec()->add_ports();
  http->set_name("http");
  http->set_port(80);
  v1::ServicePort* dns = service->mutable_spec()->add_ports();
  dns->set_name("dns");
  dns->set_port(53);
  dns->set_protocol("UDP");
  state.Put(out);
}

struct EndpointIs {
  std::string ip;
  bool ready;
  bool serving;
  bool terminating;
};

void AddSlice(ClusterState& state, const std::string& service, const std::string& slice,
              int http_port, const std::vector<EndpointIs>& endpoints) {
  v1::Resource out;
  v1::EndpointSlice* object = out.mutable_endpoint_slice();
  object->mutable_metadata()->set_namespace_("shop");
  object->mutable_metadata()->set_name(slice);
  (*object->mutable_metadata()->mutable_labels())["kubernetes.io/service-name"] = service;
  v1::EndpointPort* port = object->add_ports();
  port->set_name("http");
  port->set_protocol("TCP");
  port->set_port(http_port);
  for (const EndpointIs& is : endpoints) {
    v1::Endpoint* endpoint = object->add_endpoints();
    endpoint->add_addresses(is.ip);
    endpoint->mutable_conditions()->set_ready(is.ready);
    endpoint->mutable_conditions()->set_serving(is.serving);
    endpoint->mutable_conditions()->set_terminating(is.terminating);
    endpoint->set_node_name("n1");
    endpoint->mutable_target_ref()->set_name("pod-" + is.ip);
    endpoint->mutable_target_ref()->set_uid("uid-pod-" + is.ip);
  }
  state.Put(out);
}

std::vector<std::string> Backends(const v1::ServicePortState& port) {
  std::vector<std::string> out;
  for (const v1::BackendState& backend : port.backends()) {
    out.push_back(backend.ip() + ":" + std::to_string(backend.port()) + " " +
                  v1::BackendState::State_Name(backend.state()));
  }
  return out;
}

void Edit(ClusterState& state, const std::string& name,
          const std::function<void(v1::Service*)>& change) {
  v1::Resource service = *state.Find(v1::KIND_SERVICE, {"shop", name});
  change(service.mutable_service());
  state.Put(service);
}

TEST(NodeSnapshot, TurnsEndpointsIntoBackendsByTheirConditions) {
  ClusterState state;
  AddNamespace(state, "shop", 300);
  AddService(state, "web", "10.96.0.20");
  AddSlice(state, "web", "web", 8080,
           {{"10.244.0.3", true, true, false},
            {"10.244.0.4", false, true, true},
            {"10.244.0.5", false, false, true},
            {"10.244.0.6", false, false, false}});
  AddSlice(state, "web", "web-1", 9090, {{"10.244.1.3", true, true, false}});
  AddSlice(state, "other", "other", 1, {{"10.244.1.9", true, true, false}});

  const v1::NodeUpdate update = BuildNodeSnapshot(state, "n1");

  ASSERT_EQ(update.services_size(), 1);
  const v1::ServiceState& web = update.services(0);
  EXPECT_EQ(web.identity(), 300u);
  EXPECT_EQ(web.cluster_ip(), "10.96.0.20");
  EXPECT_THAT(Backends(web.ports(0)),
              ElementsAre("10.244.0.3:8080 ACTIVE", "10.244.0.4:8080 DRAINING",
                          "10.244.0.6:8080 DRAINING", "10.244.1.3:9090 ACTIVE"));
  std::vector<std::string> last;
  for (const v1::BackendState& backend : web.ports(0).backends()) {
    if (backend.serves_last()) last.push_back(backend.ip());
  }
  EXPECT_THAT(last, ElementsAre("10.244.0.4")) << "it stops and serves; the other is not ready";
  EXPECT_EQ(web.ports(0).protocol(), 6u);
  EXPECT_EQ(web.ports(1).protocol(), 17u);
  EXPECT_TRUE(web.ports(1).backends().empty()) << "no slice has the port dns";
  EXPECT_EQ(web.ports(0).backends(0).pod_name(), "pod-10.244.0.3");
}

// A pod that calls port `number` "http", as the target of AddSlice()'s endpoint.
v1::Resource Serving(const std::string& ip, int number) {
  v1::Resource out = Pod("pod-" + ip, "n1");
  v1::ContainerPort* port = out.mutable_pod()->mutable_spec()->add_containers()->add_ports();
  port->set_name("http");
  port->set_container_port(number);
  return out;
}

void MakeOurs(ClusterState& state, const std::string& name) {
  v1::Resource slice = *state.Find(v1::KIND_ENDPOINT_SLICE, {"shop", name});
  (*slice.mutable_endpoint_slice()
        ->mutable_metadata()
        ->mutable_labels())["endpointslice.kubernetes.io/managed-by"] =
      "endpointslice-controller.mesh.io";
  state.Put(slice);
}

TEST(BuildService, KeepsTheBackendsOfAPortThatIsRenamed) {
  ClusterState state;
  AddNamespace(state, "shop", 300);
  AddService(state, "web", "10.96.0.20");
  AddSlice(state, "web", "web", 8080, {{"10.244.0.3", true, true, false}});
  state.Put(Serving("10.244.0.3", 8080));
  v1::Resource service = *state.Find(v1::KIND_SERVICE, {"shop", "web"});
  v1::ServicePort* http = service.mutable_service()->mutable_spec()->mutable_ports(0);
  http->set_name("renamed");
  const auto backends = [&] {
    state.Put(service);
    return Backends(BuildService(state, {"shop", "web"})->ports(0));
  };

  http->mutable_target_port()->set_string_value("http");
  EXPECT_THAT(backends(), ElementsAre()) << "what people write is taken as it is";
  MakeOurs(state, "web");
  EXPECT_THAT(backends(), ElementsAre("10.244.0.3:8080 ACTIVE"));
  http->mutable_target_port()->set_int_value(8080);
  EXPECT_THAT(backends(), ElementsAre("10.244.0.3:8080 ACTIVE"));
  http->mutable_target_port()->set_int_value(9090);
  EXPECT_THAT(backends(), ElementsAre("10.244.0.3:8080 DRAINING", "10.244.0.3:9090 ACTIVE"))
      << "the controller will write 9090; who is connected to 8080 stays";

  v1::Resource slice = *state.Find(v1::KIND_ENDPOINT_SLICE, {"shop", "web"});
  v1::EndpointPort* second = slice.mutable_endpoint_slice()->add_ports();
  second->set_name("second");
  second->set_protocol("TCP");
  second->set_port(8081);
  state.Put(slice);
  http->mutable_target_port()->set_string_value("http");
  EXPECT_THAT(backends(), ElementsAre("10.244.0.3:8080 ACTIVE", "10.244.0.3:8081 DRAINING"))
      << "the pod says which of them it calls http";
}

// A named targetPort is each pod's own: in a rolling update that gives it another number old and
// new pods stand side by side, also while a port of the Service is renamed and another one goes.
TEST(BuildService, AsksEachPodWhatItCallsSo) {
  ClusterState state;
  AddNamespace(state, "shop", 300);
  AddService(state, "web", "10.96.0.20");
  AddSlice(state, "web", "old", 8080, {{"10.244.0.3", true, true, false}});
  AddSlice(state, "web", "new", 9090,
           {{"10.244.0.4", true, true, false}, {"10.244.0.5", true, true, false}});
  for (const char* name : {"old", "new"}) {
    v1::Resource slice = *state.Find(v1::KIND_ENDPOINT_SLICE, {"shop", name});
    v1::EndpointPort* admin = slice.mutable_endpoint_slice()->add_ports();
    admin->set_name("admin");
    admin->set_protocol("TCP");
    admin->set_port(9001);
    state.Put(slice);
    MakeOurs(state, name);
  }
  state.Put(Serving("10.244.0.3", 8080));
  state.Put(Serving("10.244.0.4", 9090));
  Edit(state, "web", [](v1::Service* service) {
    v1::ServicePort* http = service->mutable_spec()->mutable_ports(0);
    http->set_name("renamed");
    http->mutable_target_port()->set_string_value("http");
  });

  EXPECT_THAT(
      Backends(BuildService(state, {"shop", "web"})->ports(0)),
      ElementsAre("10.244.0.3:8080 ACTIVE", "10.244.0.3:9001 DRAINING", "10.244.0.4:9001 DRAINING",
                  "10.244.0.4:9090 ACTIVE", "10.244.0.5:9001 DRAINING", "10.244.0.5:9090 DRAINING"))
      << "the last is of a pod that is gone: its endpoint will follow";
}

// As with kube-proxy: what was sent to it is sent to another one, not into the void.
TEST(BuildService, LeavesNoDatagramsWithWhoIsNotReadyWhereAnotherIs) {
  ClusterState state;
  AddService(state, "web", "10.96.0.20");
  const auto udp = [&](const std::vector<EndpointIs>& endpoints) {
    AddSlice(state, "web", "web", 5353, endpoints);
    v1::Resource slice = *state.Find(v1::KIND_ENDPOINT_SLICE, {"shop", "web"});
    slice.mutable_endpoint_slice()->mutable_ports(0)->set_name("dns");
    slice.mutable_endpoint_slice()->mutable_ports(0)->set_protocol("UDP");
    state.Put(slice);
    return Backends(BuildService(state, {"shop", "web"})->ports(1));
  };
  const EndpointIs ready = {"10.244.0.3", true, true, false};
  const EndpointIs stops = {"10.244.0.4", false, true, true};
  const EndpointIs fails = {"10.244.0.5", false, false, false};
  const EndpointIs unselected = {"10.244.0.6", false, true, false};

  EXPECT_THAT(udp({ready, stops, fails, unselected}),
              ElementsAre("10.244.0.3:5353 ACTIVE", "10.244.0.4:5353 DRAINING"))
      << "who stops still answers";
  EXPECT_THAT(udp({stops, fails, unselected}),
              ElementsAre("10.244.0.4:5353 DRAINING", "10.244.0.5:5353 DRAINING",
                          "10.244.0.6:5353 DRAINING"))
      << "nobody would be better";
}

TEST(BuildService, TellsWhoMayLiveWhenItIsListedNoMore) {
  ClusterState state;
  AddService(state, "web", "10.96.0.20");
  AddSlice(state, "web", "ours", 8080, {{"10.244.0.3", true, true, false}});
  MakeOurs(state, "ours");
  AddSlice(state, "web", "by-hand", 8080, {{"10.244.0.4", true, true, false}});

  const v1::ServiceState web = *BuildService(state, {"shop", "web"});

  ASSERT_EQ(web.ports(0).backends_size(), 2);
  EXPECT_FALSE(web.ports(0).backends(0).may_outlive()) << "listed while its pod runs";
  EXPECT_TRUE(web.ports(0).backends(1).may_outlive());
}

void SetReady(ClusterState& state, const std::string& name, const std::string& ready) {
  v1::Resource node = *state.Find(v1::KIND_NODE, {"", name});
  node.mutable_node()->mutable_status()->clear_conditions();
  v1::Condition* condition = node.mutable_node()->mutable_status()->add_conditions();
  condition->set_type("Ready");
  condition->set_status(ready);
  state.Put(node);
}

TEST(BuildService, TellsHowTheServiceIsReached) {
  ClusterState state;
  AddService(state, "web", "10.96.0.20");
  Edit(state, "web", [](v1::Service* service) {
    v1::ServiceSpec* spec = service->mutable_spec();
    spec->set_type("LoadBalancer");
    spec->mutable_ports(0)->set_node_port(30080);
    spec->add_external_ips("203.0.113.7");
    spec->add_load_balancer_source_ranges("10.0.0.0/8");
    spec->set_internal_traffic_policy("Cluster");
    spec->set_external_traffic_policy("Local");
    spec->set_health_check_node_port(30999);
    spec->set_session_affinity("ClientIP");
    spec->set_traffic_distribution("PreferSameZone");
    service->mutable_status()->mutable_load_balancer()->add_ingress()->set_ip("192.168.1.9");
    (*service->mutable_metadata()->mutable_annotations())["mesh.io/load-balancing"] = "maglev";
    (*service->mutable_metadata()->mutable_annotations())["mesh.io/return-path"] = "direct";
  });

  const v1::ServiceState web = *BuildService(state, {"shop", "web"});

  EXPECT_EQ(web.ports(0).node_port(), 30080u);
  EXPECT_THAT(web.load_balancer_ips(), ElementsAre("192.168.1.9"));
  EXPECT_THAT(web.external_ips(), ElementsAre("203.0.113.7"));
  EXPECT_THAT(web.source_ranges(), ElementsAre("10.0.0.0/8"));
  EXPECT_FALSE(web.internal_traffic_local());
  EXPECT_TRUE(web.external_traffic_local());
  EXPECT_EQ(web.health_check_node_port(), 30999u);
  EXPECT_EQ(web.affinity_seconds(), 10800u);
  EXPECT_EQ(web.traffic_distribution(), "PreferSameZone");
  EXPECT_EQ(web.algorithm(), v1::ServiceState::MAGLEV);
  EXPECT_EQ(web.return_path(), v1::ServiceState::DIRECT);
  EXPECT_EQ(web.announcing_node(), "") << "no node is ready";
}

TEST(BuildService, TellsNamesWithoutAddresses) {
  ClusterState state;
  AddService(state, "db", "None");
  AddSlice(state, "db", "db", 5432, {{"10.244.0.3", true, true, false}});
  AddService(state, "portless", "None");
  Edit(state, "portless", [](v1::Service* s) { s->mutable_spec()->clear_ports(); });
  AddSlice(state, "portless", "by-hand", 1, {{"10.244.0.4", true, true, false}});
  AddService(state, "elsewhere", "");
  Edit(state, "elsewhere", [](v1::Service* s) {
    s->mutable_spec()->set_type("ExternalName");
    s->mutable_spec()->set_external_name("db.example.com");
  });

  EXPECT_EQ(BuildService(state, {"shop", "db"})->cluster_ip(), "None");
  EXPECT_THAT(Backends(BuildService(state, {"shop", "db"})->ports(0)),
              ElementsAre("10.244.0.3:5432 ACTIVE"));
  const v1::ServiceState portless = *BuildService(state, {"shop", "portless"});
  ASSERT_EQ(portless.ports_size(), 1);
  EXPECT_EQ(portless.ports(0).port(), 0u);
  EXPECT_THAT(Backends(portless.ports(0)), ElementsAre("10.244.0.4:0 ACTIVE"));
  EXPECT_EQ(BuildService(state, {"shop", "elsewhere"})->external_name(), "db.example.com");
}

TEST(BuildService, TakesWhatASliceWrittenByHandLeavesOutForReady) {
  ClusterState state;
  AddService(state, "db", "10.96.0.20");
  AddSlice(state, "db", "any-name", 5432, {{"203.0.113.7", true, true, false}});
  v1::Resource slice = *state.Find(v1::KIND_ENDPOINT_SLICE, {"shop", "any-name"});
  slice.mutable_endpoint_slice()->mutable_endpoints(0)->clear_conditions();
  (*slice.mutable_endpoint_slice()->mutable_metadata()->mutable_annotations())["mesh.io/weight"] =
      "5";
  state.Put(slice);

  const v1::ServiceState db = *BuildService(state, {"shop", "db"});

  EXPECT_THAT(Backends(db.ports(0)), ElementsAre("203.0.113.7:5432 ACTIVE"));
  EXPECT_EQ(db.ports(0).backends(0).weight(), 5u);
}

TEST(AnnouncingNode, MovesOnlyWhatADeadNodeHad) {
  ClusterState state;
  for (const char* name : {"n1", "n2", "n3"}) {
    AddNode(state, name, "192.168.0.1", "10.244.0.0/24");
    SetReady(state, name, "True");
  }
  std::map<std::string, std::string> before;
  std::map<std::string, int> load;
  for (int i = 0; i < 60; ++i) {
    v1::ServiceState service;
    service.set_name("web-" + std::to_string(i));
    ++load[before[service.name()] = AnnouncingNode(state, service)];
  }
  EXPECT_EQ(load.size(), 3u);
  EXPECT_GT(std::min({load["n1"], load["n2"], load["n3"]}), 8);

  SetReady(state, "n2", "Unknown");

  for (const auto& [name, node] : before) {
    v1::ServiceState service;
    service.set_name(name);
    const std::string now = AnnouncingNode(state, service);
    EXPECT_NE(now, "n2");
    EXPECT_TRUE(node == "n2" || now == node) << name;
  }
}

// Connections go through it: with a translated source they would end.
TEST(AnnouncingNode, StaysWhileItCanThoughABetterOneComes) {
  ClusterState state;
  for (const char* name : {"n1", "n2"}) {
    AddNode(state, name, "192.168.0.1", "10.244.0.0/24");
    SetReady(state, name, "True");
  }
  AddService(state, "web", "10.96.0.20");
  Edit(state, "web", [](v1::Service* service) {
    service->mutable_spec()->set_type("LoadBalancer");
    service->mutable_status()->mutable_load_balancer()->add_ingress()->set_ip("192.168.1.9");
  });
  const std::string best = BuildService(state, {"shop", "web"})->announcing_node();
  const std::string other = best == "n1" ? "n2" : "n1";

  Edit(state, "web", [&](v1::Service* service) {
    v1::Condition* kept = service->mutable_status()->add_conditions();
    kept->set_type(kAnnouncedCondition);
    kept->set_status("True");
    kept->set_message(other);
  });
  EXPECT_EQ(BuildService(state, {"shop", "web"})->announcing_node(), other);

  SetReady(state, other, "Unknown");
  EXPECT_EQ(BuildService(state, {"shop", "web"})->announcing_node(), best);
}

// The container runtime restarts: Ready is False, packets are forwarded as before.
TEST(AnnouncingNode, StaysWhileItsNetworkWorksThoughItCanStartNoContainer) {
  v1::Node node;
  const auto set = [&](const std::string& type, const std::string& status) {
    for (v1::Condition& condition : *node.mutable_status()->mutable_conditions()) {
      if (condition.type() == type) return condition.set_status(status);
    }
    v1::Condition* condition = node.mutable_status()->add_conditions();
    condition->set_type(type);
    condition->set_status(status);
  };
  EXPECT_FALSE(MayAnnounce(node)) << "it has not said anything";
  set("Ready", "True");
  EXPECT_TRUE(MayAnnounce(node));
  set("Ready", "False");
  EXPECT_FALSE(MayAnnounce(node)) << "of its network nothing is known";
  set("NetworkReady", "True");
  EXPECT_TRUE(MayAnnounce(node));
  set("NetworkReady", "False");
  EXPECT_FALSE(MayAnnounce(node));
  set("NetworkReady", "True");
  set("Ready", "Unknown");
  EXPECT_FALSE(MayAnnounce(node)) << "it is silent";
}

TEST(AnnouncingNode, IsOneWithAnEndpointWherePolicyIsLocal) {
  ClusterState state;
  for (const char* name : {"n1", "n2"}) {
    AddNode(state, name, "192.168.0.1", "10.244.0.0/24");
    SetReady(state, name, "True");
  }
  v1::ServiceState service;
  service.set_external_traffic_local(true);
  EXPECT_EQ(AnnouncingNode(state, service), "");
  v1::BackendState* backend = service.add_ports()->add_backends();
  backend->set_node_name("n2");
  backend->set_state(v1::BackendState::ACTIVE);
  EXPECT_EQ(AnnouncingNode(state, service), "n2");
  backend->set_state(v1::BackendState::DRAINING);
  EXPECT_EQ(AnnouncingNode(state, service), "");
  backend->set_serves_last(true);
  EXPECT_EQ(AnnouncingNode(state, service), "n2") << "nobody else serves";
  v1::BackendState* other = service.mutable_ports(0)->add_backends();
  other->set_node_name("n1");
  other->set_state(v1::BackendState::ACTIVE);
  EXPECT_EQ(AnnouncingNode(state, service), "n1");
  EXPECT_EQ(AnnouncingNode(state, service, "n2"), "n2") << "its connections go on there";
  backend->set_serves_last(false);
  EXPECT_EQ(AnnouncingNode(state, service, "n2"), "n1");
}

TEST(ClusterView, TellsANewAnnouncingNodeWhenOneDies) {
  ClusterState state;
  for (const char* name : {"n1", "n2"}) {
    AddNode(state, name, "192.168.0.1", "10.244.0.0/24");
    SetReady(state, name, "True");
  }
  AddService(state, "web", "10.96.0.20");
  Edit(state, "web", [](v1::Service* service) {
    service->mutable_spec()->set_type("LoadBalancer");
    service->mutable_status()->mutable_load_balancer()->add_ingress()->set_ip("192.168.1.9");
  });
  ClusterView view;
  view.Reset(state);
  const std::string first = view.Full().services(0).announcing_node();
  const auto before = state.Find(v1::KIND_NODE, {"", first});

  SetReady(state, first, "Unknown");
  view.Note({before, state.Find(v1::KIND_NODE, {"", first})});
  const v1::NodeUpdate update = view.Refresh(state);

  ASSERT_EQ(update.services_size(), 1);
  EXPECT_EQ(update.services(0).announcing_node(), first == "n1" ? "n2" : "n1");
}

TEST(NodeSnapshot, HasTheNodesOwnPodsAndOtherNodes) {
  ClusterState state;
  AddNode(state, "n1", "192.168.0.1", "10.244.0.0/24");
  AddNode(state, "n2", "192.168.0.2", "10.244.1.0/24");
  AddNode(state, "addressless", "", "10.244.2.0/24");
  state.Put(Pod("a", "n1"));
  state.Put(Pod("b", "n2"));
  state.Put(Pod("c", ""));

  const v1::NodeUpdate update = BuildNodeSnapshot(state, "n1");

  EXPECT_TRUE(update.full());
  ASSERT_EQ(update.pods_size(), 1);
  EXPECT_EQ(update.pods(0).metadata().name(), "a");
  ASSERT_EQ(update.nodes_size(), 1);
  EXPECT_EQ(update.nodes(0).name(), "n2");
  EXPECT_EQ(update.nodes(0).ip(), "192.168.0.2");
}

TEST(NodeSnapshot, TellsTheIsolationOfANamespace) {
  ClusterState state;
  v1::Resource ns;
  ns.mutable_namespace_()->mutable_metadata()->set_name("shop");
  (*ns.mutable_namespace_()->mutable_metadata()->mutable_annotations())["mesh.io/isolation"] =
      "open";
  ns.mutable_namespace_()->mutable_status()->set_identity(256);
  state.Put(ns);

  EXPECT_EQ(BuildClusterPart(state).namespaces(0).isolation(), "open");
}

TEST(Diff, IsEmptyBetweenEqualStatesAndAfterTheNodesOwnReport) {
  ClusterState state;
  state.Put(Pod("a", "n1"));
  const v1::NodeUpdate before = BuildNodeSnapshot(state, "n1");
  v1::Resource reported = Pod("a", "n1");
  reported.mutable_pod()->mutable_status()->set_phase("Running");
  reported.mutable_pod()->mutable_metadata()->set_resource_version("17");
  state.Put(reported);

  EXPECT_TRUE(IsEmpty(Diff(before, before)));
  EXPECT_TRUE(IsEmpty(Diff(before, BuildNodeSnapshot(state, "n1"))));
}

TEST(Diff, TellsThatAPodIsToStop) {
  ClusterState state;
  state.Put(Pod("a", "n1"));
  const v1::NodeUpdate before = BuildNodeSnapshot(state, "n1");
  v1::Resource going = Pod("a", "n1");
  going.mutable_pod()->mutable_metadata()->mutable_deletion_timestamp()->set_seconds(5);
  state.Put(going);

  const v1::NodeUpdate increment = Diff(before, BuildNodeSnapshot(state, "n1"));

  ASSERT_EQ(increment.pods_size(), 1);
  EXPECT_TRUE(increment.pods(0).metadata().has_deletion_timestamp());
}

// ---- Random histories: what a node holds after any grouping of increments is what it would get in
// full.

class History {
 public:
  explicit History(uint64_t seed) : random_(seed) {}

  // One random change.
  void Step() {
    ++state_.revision;
    const std::string number = std::to_string(random_.Below(6));
    switch (random_.Below(8)) {
      case 0:
        return AddNamespace(state_, "ns" + number,
                            256 + static_cast<uint32_t>(random_.Below(3)) * 10 +
                                static_cast<uint32_t>(number[0] - '0'));
      case 1:
        return AddNode(state_, "n" + number, "192.168.0." + number + "1",
                       "10.244." + std::to_string(random_.Below(9)) + ".0/24");
      case 2:
        return state_.Put(Pod("p" + number, random_.Below(2) == 0 ? "n1" : "n2"));
      case 3:
        return AddService(state_, "s" + number, "10.96.0." + std::to_string(random_.Below(99)));
      case 4:
        return AddSlice(state_, "s" + number, "s" + number, 80,
                        {{"10.244.0." + std::to_string(random_.Below(9)), random_.Below(2) == 0,
                          true, random_.Below(2) == 0}});
      case 5:
        return state_.Remove(v1::KIND_SERVICE, {"shop", "s" + number});
      case 6:
        return state_.Remove(v1::KIND_POD, {"shop", "p" + number});
      default:
        state_.Remove(random_.Below(2) == 0 ? v1::KIND_NODE : v1::KIND_NAMESPACE,
                      {"", (random_.Below(2) == 0 ? "n" : "ns") + number});
    }
  }
  const ClusterState& state() const { return state_; }
  v1::NodeUpdate Snapshot() const { return BuildNodeSnapshot(state_, "n1"); }
  Random& random() { return random_; }

 private:
  Random random_;
  ClusterState state_;
};

template <typename T>
std::vector<std::string> Lines(const T& list) {
  std::vector<std::string> out;
  for (const auto& item : list) out.push_back(item.ShortDebugString());
  std::sort(out.begin(), out.end());
  return out;
}

template <typename T>
std::vector<std::string> Sorted(const T& list) {
  std::vector<std::string> out;
  for (const auto& item : list) {
    if constexpr (std::is_same_v<std::decay_t<decltype(item)>, std::string>) {
      out.push_back(item);
    } else {
      out.push_back(std::to_string(item));
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

void ExpectSame(const v1::NodeUpdate& a, const v1::NodeUpdate& b, uint64_t seed) {
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  EXPECT_EQ(a.full(), b.full());
  EXPECT_EQ(a.revision(), b.revision());
  EXPECT_EQ(Lines(a.pods()), Lines(b.pods()));
  EXPECT_EQ(Lines(a.services()), Lines(b.services()));
  EXPECT_EQ(Lines(a.nodes()), Lines(b.nodes()));
  EXPECT_EQ(Lines(a.namespaces()), Lines(b.namespaces()));
  EXPECT_EQ(Sorted(a.removed_pod_uids()), Sorted(b.removed_pod_uids()));
  EXPECT_EQ(Sorted(a.removed_services()), Sorted(b.removed_services()));
  EXPECT_EQ(Sorted(a.removed_nodes()), Sorted(b.removed_nodes()));
  EXPECT_EQ(Sorted(a.removed_identities()), Sorted(b.removed_identities()));
}

TEST(Merge, GivesTheFullStateWhateverTheGrouping) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    History history(seed);
    v1::NodeUpdate node = history.Snapshot();
    v1::NodeUpdate sent = node;
    std::optional<v1::NodeUpdate> pending;
    for (int step = 0; step < 60; ++step) {
      history.Step();
      const v1::NodeUpdate next = history.Snapshot();
      const v1::NodeUpdate increment = Diff(sent, next);
      sent = next;
      pending = pending ? Merge(*pending, increment) : increment;
      if (history.random().Below(3) == 0) {
        node = Merge(node, *pending);
        pending.reset();
      }
    }
    if (pending) node = Merge(node, *pending);

    ExpectSame(node, history.Snapshot(), seed);
    if (HasFailure()) return;
  }
}

TEST(Merge, IsAssociative) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    History history(seed);
    std::vector<v1::NodeUpdate> increments;
    v1::NodeUpdate last = history.Snapshot();
    for (int i = 0; i < 3; ++i) {
      for (int step = 0; step < 10; ++step) history.Step();
      const v1::NodeUpdate next = history.Snapshot();
      increments.push_back(Diff(last, next));
      last = next;
    }

    ExpectSame(Merge(Merge(increments[0], increments[1]), increments[2]),
               Merge(increments[0], Merge(increments[1], increments[2])), seed);
    if (HasFailure()) return;
  }
}

// What turned `a` into `b`, as the watch cache would tell it.
template <typename T, typename Wrap>
void AddChanges(const ObjectMap<T>& a, const ObjectMap<T>& b, Wrap wrap, std::vector<Change>* out) {
  const auto shared = [&](const T& object) {
    auto resource = std::make_shared<v1::Resource>();
    *wrap(resource.get()) = object;
    return resource;
  };
  for (const auto& [key, object] : b) {
    auto before = a.find(key);
    if (before != a.end() && before->second == object) continue;
    out->push_back({before == a.end() ? nullptr : shared(*before->second), shared(*object)});
  }
  for (const auto& [key, object] : a) {
    if (!b.contains(key)) out->push_back({shared(*object), nullptr});
  }
}

std::vector<Change> ChangesBetween(const ClusterState& a, const ClusterState& b) {
  using R = v1::Resource;
  std::vector<Change> out;
  AddChanges(
      a.services, b.services, [](R* r) { return r->mutable_service(); }, &out);
  AddChanges(
      a.endpoint_slices, b.endpoint_slices, [](R* r) { return r->mutable_endpoint_slice(); }, &out);
  AddChanges(
      a.nodes, b.nodes, [](R* r) { return r->mutable_node(); }, &out);
  AddChanges(
      a.namespaces, b.namespaces, [](R* r) { return r->mutable_namespace_(); }, &out);
  return out;
}

TEST(ClusterView, FollowsChangesToWhatIsBuiltAnew) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    History history(seed);
    ClusterView view;
    view.Reset(history.state());
    v1::NodeUpdate node = view.Full();
    for (int round = 0; round < 15; ++round) {
      for (int step = 0; step < 4; ++step) {
        const ClusterState last = history.state();
        history.Step();
        for (const Change& change : ChangesBetween(last, history.state())) view.Note(change);
      }
      node = Merge(node, view.Refresh(history.state()));

      v1::NodeUpdate wanted = BuildClusterPart(history.state());
      node.set_revision(0);
      wanted.set_revision(0);
      ExpectSame(view.Full(), wanted, seed);
      ExpectSame(node, wanted, seed);
      for (int i = 0; i < 9; ++i) {
        const std::string ip = "10.244.0." + std::to_string(i);
        bool active = false;
        for (const auto& service : wanted.services()) {
          for (const auto& backend : service.ports(0).backends()) {
            active |= backend.ip() == ip && backend.state() == v1::BackendState::ACTIVE;
          }
        }
        EXPECT_EQ(view.IsActive(ip), active) << ip << " seed " << seed;
      }
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace mesh::controlplane
