// SPDX-License-Identifier: Apache-2.0
// Goal: a Service without backends is told with what it lacks.
#include "controlplane/controllers/objects.h"
#include "tests/unit/controlplane/inspect/why_world.h"

namespace mesh::controlplane {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(WhyTest, ASelectorThatMatchesNothingIsShownTheNearestLabels) {
  world.AddNode("n1");
  v1::Pod pod = world.AddPod("web-1", "web", "n1", true);
  (*pod.mutable_metadata()->mutable_labels())["tier"] = "frontend";
  world.Put(Wrap(pod));
  world.AddPod("db-1", "db", "n1", true);
  (*world.AddService("web", "web").mutable_spec()->mutable_selector())["tier"] = "front";

  EXPECT_THAT(Problems(OfService("web")),
              ElementsAre("service default/web: selector app=web,tier=front matches no pod of "
                          "namespace default; nearest: pod web-1 has tier=frontend, not tier=front "
                          "-> set spec.selector of service default/web to app=web,tier=frontend | "
                          "label the pods of pod default/web-1 tier=front"));
}

TEST_F(WhyTest, AMisspelledLabelIsNearerThanAnother) {
  world.AddNode("n1");
  world.AddPod("client", "client", "n1", true);
  world.AddPod("echo-1", "echo", "n1", true);
  world.AddService("lost", "ecco");

  EXPECT_THAT(Problems(OfService("lost")),
              ElementsAre(HasSubstr("nearest: pod echo-1 has app=echo, not app=ecco")));
}

TEST_F(WhyTest, ADeploymentWithoutPodsIsNamed) {
  world.AddDeployment("web", 0);
  world.AddService("web", "web");

  EXPECT_THAT(Problems(OfService("web")),
              ElementsAre(AllOf(HasSubstr("deployment default/web would make such pods"),
                                HasSubstr("-> scale deployment default/web up"))));
}

TEST_F(WhyTest, PodsThatStopServeWhileNobodyElseDoes) {
  world.AddNode("n1");
  world.AddService("web", "web");
  world.AddPod("web-1", "web", "n1", true);
  world.Terminate("web-1");
  EXPECT_THAT(Problems(OfService("web")), IsEmpty());
  EXPECT_THAT(Notes(OfService("web")),
              Contains(HasSubstr("none of its pods is ready for more, but web-1, which stops")));
}

TEST_F(WhyTest, PodsOfAnotherNamespaceAreNamed) {
  v1::Resource ns;
  ns.mutable_namespace_()->mutable_metadata()->set_name("pay");
  world.Put(ns);
  v1::Pod pod = world.AddPod("api-1", "api");
  world.state.Remove(v1::KIND_POD, InDefault("api-1"));
  pod.mutable_metadata()->set_namespace_("pay");
  world.Put(Wrap(pod));
  world.AddService("api", "api");

  EXPECT_THAT(Notes(OfService("api")),
              ElementsAre(HasSubstr("pods elsewhere would match (1 in namespace pay)")));
}

TEST_F(WhyTest, ATargetPortThatNoContainerHasIsNamed) {
  world.AddNode("n1");
  v1::ContainerPort* port =
      world.AddPod("web-1", "web", "n1", true).mutable_spec()->mutable_containers(0)->add_ports();
  port->set_name("web");
  port->set_container_port(8080);
  world.AddService("web", "web", "http");

  EXPECT_THAT(Problems(OfService("web")),
              ElementsAre("service default/web: port 80: targetPort \"http\" (TCP) is the name of "
                          "no container port in web-1; pod web-1 has TCP 8080 named web -> set "
                          "targetPort of port 80 of service default/web to web | name a container "
                          "port of pod default/web-1 http"));
}

TEST_F(WhyTest, WhetherThePodsOfAServiceListenIsTold) {
  world.AddNode("n1");
  world.AddPod("web-1", "web", "n1", true);
  world.AddPod("web-2", "web", "n1", true);
  world.AddService("web", "web")
      .mutable_spec()
      ->mutable_ports(0)
      ->mutable_target_port()
      ->set_int_value(8080);
  OfService("web");  // its slices
  v1::WhyRequest request;
  request.mutable_service()->set_namespace_("default");
  request.mutable_service()->set_name("web");
  EXPECT_THAT(Answer(request).wanted, ElementsAre(InDefault("web-1"), InDefault("web-2")));

  const auto listen = [&](const std::string& pod, const std::string& address, uint32_t port) {
    v1::ListListenersResponse sockets;
    sockets.add_listeners()->set_protocol("TCP");
    sockets.mutable_listeners(0)->set_address(address);
    sockets.mutable_listeners(0)->set_port(port);
    listeners.insert_or_assign(InDefault(pod), sockets);
  };
  listen("web-1", "0.0.0.0", 8080);
  listen("web-2", "::", 8080);
  EXPECT_THAT(Answer(request).wanted, IsEmpty());
  EXPECT_THAT(Oks(OfService("web")),
              Contains("service default/web: port 80: programs listen on TCP 8080"));
  EXPECT_THAT(Problems(OfService("web")), IsEmpty());

  listen("web-1", "127.0.0.1", 8080);
  listen("web-2", "0.0.0.0", 9000);
  EXPECT_THAT(Problems(OfService("web")),
              ElementsAre("pod default/web-1: port 80: listens on TCP 8080 at 127.0.0.1 only: "
                          "nobody but the pod itself gets there -> let the program listen on "
                          "0.0.0.0 or ::",
                          "pod default/web-2: port 80: nothing listens on TCP 8080; it listens on "
                          "9000 -> set targetPort of port 80 of service default/web to 9000 | let "
                          "the program of pod default/web-2 listen on TCP 8080"));

  // What is wrong with several pods is told once.
  listen("web-1", "127.0.0.1", 8080);
  listen("web-2", "127.0.0.1", 8080);
  EXPECT_THAT(Problems(OfService("web")),
              ElementsAre(HasSubstr("pods default/web-1, default/web-2: port 80: listens on TCP "
                                    "8080 at 127.0.0.1 only")));

  listen("web-1", "0.0.0.0", 8080);
  listeners.insert_or_assign(InDefault("web-2"), absl::UnavailableError("node \"n1\": no answer"));
  EXPECT_THAT(Problems(OfService("web")), IsEmpty());
  EXPECT_THAT(Of(OfService("web"), v1::Finding::UNKNOWN),
              ElementsAre("pod default/web-2: its sockets could not be looked at: node \"n1\": no "
                          "answer"));
  EXPECT_THAT(Oks(OfService("web")), Contains("service default/web: port 80: programs listen on "
                                              "TCP 8080 (1 of 2 pods were looked into)"));
}

TEST_F(WhyTest, ATargetPortThatNoContainerHasWrittenDownIsAHint) {
  world.AddNode("n1");
  v1::ContainerPort* port =
      world.AddPod("web-1", "web", "n1", true).mutable_spec()->mutable_containers(0)->add_ports();
  port->set_name("http");
  port->set_container_port(9000);
  world.AddService("web", "web")
      .mutable_spec()
      ->mutable_ports(0)
      ->mutable_target_port()
      ->set_int_value(8080);

  EXPECT_THAT(Problems(OfService("web")), IsEmpty());
  EXPECT_THAT(Notes(OfService("web")),
              ElementsAre("service default/web: port 80: no container of its pods has written down "
                          "TCP 8080, its targetPort; they have TCP 9000 (http) -> set targetPort "
                          "of port 80 of service default/web to 9000"));

  port->set_container_port(8080);
  EXPECT_THAT(Notes(OfService("web")), IsEmpty());
}

TEST_F(WhyTest, PodsThatAreNotReadyAreToldWithTheirReason) {
  world.AddNode("n1", "1");
  world.AddPod("web-1", "web");
  Ask("web-1", "2");
  world.AddService("web", "web");

  EXPECT_THAT(Problems(OfService("web")),
              ElementsAre("service default/web: none of its 1 pod may get requests",
                          HasSubstr("pod default/web-1: pending: 0/1 nodes")));

  world.AddPod("web-2", "web", "n1", true);
  const v1::WhyResponse better = OfService("web");
  EXPECT_THAT(Problems(better), IsEmpty());
  EXPECT_THAT(Notes(better), ElementsAre(HasSubstr("pod default/web-1: pending")));
  EXPECT_THAT(Oks(better),
              ElementsAre("service default/web: selector app=web matches 2 pods",
                          "service default/web: has 1 backend that may get requests: 1 on n1"));
}

TEST_F(WhyTest, EndpointsThatSomebodyWroteAreToldByTheirAddresses) {
  world.AddNode("n1");
  v1::Node node = world.node("n1");
  node.mutable_status()->add_addresses()->set_address("192.0.2.11");
  world.Put(Wrap(node));
  world.AddService("web", "");
  v1::EndpointSlice manual;
  manual.mutable_metadata()->set_name("manual");
  manual.mutable_metadata()->set_namespace_("default");
  (*manual.mutable_metadata()->mutable_labels())[kServiceNameLabel] = "web";
  manual.set_address_type("IPv4");
  v1::EndpointPort& port = *manual.add_ports();
  port.set_port(8080);
  port.set_protocol("TCP");
  for (const char* address : {"192.0.2.11", "203.0.113.7"})
    manual.add_endpoints()->add_addresses(address);
  world.Put(Wrap(manual));

  EXPECT_THAT(Oks(OfService("web")), Contains(AllOf(HasSubstr("1 on an address of node n1"),
                                                    HasSubstr("1 on no node of the cluster"))));
}

TEST_F(WhyTest, LocalPoliciesNameTheNodesWithoutBackends) {
  world.AddNode("n1");
  world.AddNode("n2");
  world.AddPod("web-1", "web", "n1", true);
  world.AddService("web", "web").mutable_spec()->set_internal_traffic_policy("Local");

  EXPECT_THAT(Problems(OfService("web")),
              ElementsAre(AllOf(HasSubstr("internalTrafficPolicy is Local, and node n2 has no"),
                                HasSubstr("-> set spec.internalTrafficPolicy to Cluster"))));

  world.service("web").mutable_spec()->set_internal_traffic_policy("Cluster");
  world.service("web").mutable_spec()->set_external_traffic_policy("Local");
  EXPECT_THAT(Problems(OfService("web")), IsEmpty());
  EXPECT_THAT(Notes(OfService("web")), ElementsAre(HasSubstr("externalTrafficPolicy is Local")));
}

TEST_F(WhyTest, AServiceWithoutSelectorNeedsSlices) {
  world.AddService("ext", "");
  EXPECT_THAT(Problems(OfService("ext")),
              ElementsAre(HasSubstr("has no selector, and no EndpointSlice names it")));

  v1::Resource slice;
  slice.mutable_endpoint_slice()->mutable_metadata()->set_namespace_("default");
  slice.mutable_endpoint_slice()->mutable_metadata()->set_name("ext-1");
  (*slice.mutable_endpoint_slice()->mutable_metadata()->mutable_labels())[kServiceNameLabel] =
      "ext";
  slice.mutable_endpoint_slice()->set_address_type("IPv4");
  slice.mutable_endpoint_slice()->add_endpoints()->add_addresses("192.0.2.1");
  slice.mutable_endpoint_slice()->add_ports()->set_name("http");
  world.Put(slice);
  EXPECT_THAT(Problems(OfService("ext")),
              ElementsAre("service default/ext: port 80: no EndpointSlice has a TCP port without a "
                          "name, as that port; they have TCP named http -> take the name of the "
                          "TCP port of the EndpointSlice out | name port 80 of service default/ext "
                          "http"));

  slice.mutable_endpoint_slice()->mutable_ports(0)->set_name("");
  slice.mutable_endpoint_slice()->mutable_ports(0)->set_protocol("UDP");
  world.Put(slice);
  EXPECT_THAT(Problems(OfService("ext")), ElementsAre(HasSubstr("they have UDP without a name")));

  slice.mutable_endpoint_slice()->mutable_ports(0)->set_protocol("TCP");
  world.Put(slice);
  EXPECT_THAT(Problems(OfService("ext")), IsEmpty());
  EXPECT_THAT(Oks(OfService("ext")), ElementsAre(HasSubstr("1 backend")));
}

TEST_F(WhyTest, ABalancerWithoutAddressIsAProblem) {
  world.AddNode("n1");
  world.AddPod("web-1", "web", "n1", true);
  world.AddService("web", "web").mutable_spec()->set_type("LoadBalancer");

  EXPECT_THAT(Problems(OfService("web")), ElementsAre(HasSubstr("has no load balancer address")));
}

TEST_F(WhyTest, ABalancersSourceRangesAreTold) {
  world.AddNode("n1");
  world.AddPod("web-1", "web", "n1", true);
  v1::Service service = world.AddService("web", "web");
  service.mutable_spec()->set_type("LoadBalancer");
  service.mutable_spec()->add_load_balancer_source_ranges("203.0.113.0/24");
  service.mutable_status()->mutable_load_balancer()->add_ingress()->set_ip("10.89.0.200");
  world.Put(Wrap(service));

  EXPECT_THAT(Problems(OfService("web")), IsEmpty());
  EXPECT_THAT(Notes(OfService("web")),
              ElementsAre(HasSubstr("spec.loadBalancerSourceRanges admits 203.0.113.0/24 alone")));
}

TEST_F(WhyTest, ABalancerAddressThatIsNotGivenIsTheManifestsToMend) {
  world.AddNode("n1");
  world.AddPod("web-1", "web", "n1", true);
  v1::Service service = world.AddService("web", "web");
  service.mutable_metadata()->set_uid("u-web");
  service.mutable_spec()->set_type("LoadBalancer");
  service.mutable_spec()->set_load_balancer_ip("10.89.0.99");
  world.Put(Wrap(service));
  v1::Resource event;
  event.mutable_event()->mutable_metadata()->set_namespace_("default");
  event.mutable_event()->mutable_metadata()->set_name("web.1");
  event.mutable_event()->mutable_involved_object()->set_kind("Service");
  event.mutable_event()->mutable_involved_object()->set_uid("u-web");
  event.mutable_event()->set_type("Warning");
  event.mutable_event()->set_reason("AddressOutsidePool");
  event.mutable_event()->set_message("spec.loadBalancerIP 10.89.0.99 is outside of the pool");
  world.Put(event);

  EXPECT_THAT(Problems(OfService("web")),
              ElementsAre(HasSubstr(
                  "10.89.0.99 is outside of the pool -> take spec.loadBalancerIP out, or set it to "
                  "a free address of the pool | give meshd a pool with 10.89.0.99 "
                  "(--load-balancer-pool)")));
}

}  // namespace
}  // namespace mesh::controlplane
