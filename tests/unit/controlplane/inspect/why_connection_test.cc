// SPDX-License-Identifier: Apache-2.0
// Goal: a request that fails is told with the hop that stops it.
#include "tests/unit/controlplane/inspect/why_connection_world.h"

namespace mesh::controlplane {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST_F(WhyConnectionTest, ABalancersSourceRangesAreForItsAddressAlone) {
  v1::Pod web = *FindObject(world.state.pods, InDefault("web"));
  web.mutable_status()->add_pod_ips()->set_ip("10.244.1.9");
  world.Put(Wrap(web));
  v1::Service service = Api();
  service.mutable_spec()->set_type("LoadBalancer");
  service.mutable_spec()->add_load_balancer_source_ranges("192.0.2.0/24");
  service.mutable_status()->mutable_load_balancer()->add_ingress()->set_ip("192.168.1.240");
  PutService(service);

  EXPECT_THAT(
      Problems(Ask("192.168.1.240", 80)),
      ElementsAre(
          "service pay/api: spec.loadBalancerSourceRanges 192.0.2.0/24 does not admit "
          "10.244.1.9, the address of pod default/web: its requests to 192.168.1.240 are "
          "dropped -> add 10.244.1.9/32 to spec.loadBalancerSourceRanges of service pay/api "
          "| ask its ClusterIP 10.96.0.7, where the ranges do not stand"));
  EXPECT_THAT(Problems(Ask("10.96.0.7", 80)), IsEmpty());
  service.mutable_spec()->add_load_balancer_source_ranges("10.244.0.0/16");
  PutService(service);
  EXPECT_THAT(Problems(Ask("192.168.1.240", 80)), IsEmpty());
}

TEST_F(WhyConnectionTest, PoliciesOfBothEndsDecide) {
  const auto put = [&](const std::string& ns, const std::string& name, bool egress, int port) {
    v1::Resource resource;
    v1::NetworkPolicy& policy = *resource.mutable_network_policy();
    policy.mutable_metadata()->set_namespace_(ns);
    policy.mutable_metadata()->set_name(name);
    (*policy.mutable_metadata()->mutable_annotations())["mesh.io/source"] =
        "p.yaml:1 ingress=7 egress=8";
    policy.mutable_spec()->add_policy_types(egress ? "Egress" : "Ingress");
    const auto add = [&](auto* rule) { rule->add_ports()->mutable_port()->set_int_value(port); };
    if (egress) {
      add(policy.mutable_spec()->add_egress());
    } else {
      add(policy.mutable_spec()->add_ingress());
    }
    world.Put(resource);
  };
  put("pay", "in", false, 8080);
  v1::WhyResponse told = Ask("10.96.0.7", 80);
  EXPECT_THAT(Problems(told), IsEmpty());
  EXPECT_THAT(Oks(told),
              Contains("pod pay/api-1: takes it by policy pay/in, rule ingress[0] (p.yaml:7)"));
  // The Service's port is not the pod's.
  put("pay", "in", false, 80);
  EXPECT_THAT(Problems(Ask("10.96.0.7", 80)),
              ElementsAre(AllOf(
                  HasSubstr("pod pay/api-1: is isolated for ingress by policy pay/in, no rule "
                            "of which admits it; the nearest is policy pay/in, rule "
                            "ingress[0] (p.yaml:7), but it is about TCP 80, not about TCP "
                            "8080 -> add TCP 8080 to the ports of rule ingress[0] of "
                            "networkpolicy pay/in"))));
  put("pay", "in", false, 8080);
  // A pod that is let out to the Service, and not to the names.
  put("default", "out", true, 8080);
  EXPECT_THAT(Problems(Ask("10.96.0.7", 80)), IsEmpty());
  EXPECT_THAT(Notes(Ask("10.96.0.7", 80)),
              Contains(HasSubstr("pod default/web: may not ask for names")));
  EXPECT_THAT(Problems(Ask("api.pay", 80)),
              ElementsAre(AllOf(HasSubstr("pod default/web: may not ask for names"),
                                HasSubstr("add UDP 53 to the ports of rule egress[0]"))));
  put("default", "out", true, 443);
  EXPECT_THAT(
      Problems(Ask("10.96.0.7", 80)),
      ElementsAre(HasSubstr("pod default/web: is isolated for egress by policy default/out")));

  // What a node has no room for does not decide.
  Refuse("n1", {"default/out", "pay/in"});
  told = Ask("10.96.0.7", 80);
  EXPECT_THAT(Problems(told),
              ElementsAre(HasSubstr("pod default/web: policy default/out selects it but is not in "
                                    "force on node n1: no room; what was in force")));
  EXPECT_THAT(Notes(told), Contains(HasSubstr("pod default/web: once its policies are in force: is "
                                              "isolated for egress by policy default/out")));
  EXPECT_THAT(Notes(told), Contains(HasSubstr("once its policies are in force: may not ask")));
  EXPECT_THAT(Oks(told), Contains(HasSubstr("pod pay/api-1: takes it by policy pay/in")))
      << "it is on another node";
  refusals.clear();
  put("default", "out", true, 8080);
  Refuse("n2", {"pay/in"}, {"pay/api-1"});
  told = Ask("10.96.0.7", 80);
  EXPECT_THAT(Problems(told), ElementsAre(HasSubstr(
                                  "pod pay/api-1: policy pay/in selects it but is not in force on "
                                  "node n2: no room; it is new there and shut")));
  EXPECT_THAT(Notes(told),
              Contains(HasSubstr("pod pay/api-1: once its policies are in force: takes "
                                 "it by policy pay/in")));
}

// A policy that selects the pod takes the place of its namespace's isolation.
TEST_F(WhyConnectionTest, APolicyOpensWhatIsIsolated) {
  AddNamespace("pay", "closed");
  EXPECT_THAT(Problems(Ask("10.96.0.7", 80)), ElementsAre(HasSubstr("namespace pay: is closed")));
  v1::Resource resource;
  v1::NetworkPolicy& policy = *resource.mutable_network_policy();
  policy.mutable_metadata()->set_namespace_("pay");
  policy.mutable_metadata()->set_name("open");
  policy.mutable_spec()->add_policy_types("Ingress");
  policy.mutable_spec()->add_ingress();
  world.Put(resource);
  EXPECT_THAT(Problems(Ask("10.96.0.7", 80)), IsEmpty());
}

TEST_F(WhyConnectionTest, WithoutAPortTheFirstOfTheProtocolIsMeant) {
  v1::Service service = Api();
  service.mutable_spec()->mutable_ports(0)->set_name("tcp");
  v1::ServicePort& udp = *service.mutable_spec()->add_ports();
  udp = service.spec().ports(0);
  udp.set_name("udp");
  udp.set_protocol("UDP");
  PutService(service);
  Listen("UDP", "0.0.0.0", 8080);

  EXPECT_THAT(Problems(Ask("pay/api", 0, "UDP")), IsEmpty());
  EXPECT_THAT(Problems(Ask("pay/api", 0, "SCTP")),
              ElementsAre(HasSubstr("does not serve SCTP; it serves TCP 80 (tcp), UDP 80 (udp)")));
}

TEST_F(WhyConnectionTest, ARequestThatWorksHasNoProblem) {
  for (const char* host :
       {"pay/api", "api.pay", "api.pay.svc", "api.pay.svc.cluster.local.", "10.96.0.7"}) {
    SCOPED_TRACE(host);
    const v1::WhyResponse response = Ask(host, 80);
    EXPECT_THAT(Problems(response), IsEmpty());
    EXPECT_EQ(Oks(response).back(), "pod pay/api-1: listens on TCP 8080");
  }
  EXPECT_THAT(Problems(Ask("pay/api", 0)), IsEmpty());
}

TEST_F(WhyConnectionTest, AsksForTheSocketsOfThePodsThatMatter) {
  listeners.clear();
  const WhyAnswer answer = Answer(Request("api.pay", 80));
  EXPECT_THAT(answer.wanted, ElementsAre(ObjectKey{"pay", "api-1"}));
  EXPECT_EQ(Of(answer.response, v1::Finding::UNKNOWN).size(), 1u);

  listeners.insert_or_assign({"pay", "api-1"}, absl::UnavailableError("node \"n2\": no answer"));
  const WhyAnswer after = Answer(Request("api.pay", 80));
  EXPECT_THAT(after.wanted, IsEmpty());
  EXPECT_THAT(Of(after.response, v1::Finding::UNKNOWN), ElementsAre(HasSubstr("no answer")));
}

TEST_F(WhyConnectionTest, NamesThePortThatIsListenedOn) {
  Listen("TCP", "0.0.0.0", 80);
  EXPECT_THAT(Problems(Ask("pay/api", 80)),
              ElementsAre("pod pay/api-1: nothing listens on TCP 8080; it listens on 80 -> set "
                          "targetPort of port 80 of service pay/api to 80 | let the program of pod "
                          "pay/api-1 listen on TCP 8080"));
  Listen("TCP", "127.0.0.1", 8080);
  EXPECT_THAT(Problems(Ask("pay/api", 80)),
              ElementsAre(HasSubstr("listens on TCP 8080 at 127.0.0.1 only")));
  Listen("UDP", "0.0.0.0", 8080);
  EXPECT_THAT(Problems(Ask("pay/api", 80)),
              ElementsAre(HasSubstr("it listens on no TCP port at all")));
}

TEST_F(WhyConnectionTest, APortThatTheServiceHasNotIsToldWithTheOneThatWasMeant) {
  EXPECT_THAT(Problems(Ask("pay/api", 8080)),
              ElementsAre("service pay/api: does not serve TCP 8080; it serves TCP 80 -> ask port "
                          "80: 8080 is its targetPort | add port 8080 to spec.ports of service "
                          "pay/api"));
  EXPECT_THAT(Problems(Ask("pay/api", 80, "UDP")),
              ElementsAre(HasSubstr("-> ask with TCP: port 80 is served for it")));
}

TEST_F(WhyConnectionTest, NamesThatDoNotResolve) {
  EXPECT_THAT(Problems(Ask("api", 80)),
              ElementsAre("pod default/web: asks for api, and there is no service default/api: the "
                          "name does not resolve -> ask for api.pay"));
  EXPECT_THAT(Problems(Ask("pay/apo", 80)), ElementsAre(HasSubstr("-> ask for api.pay")));
  EXPECT_THAT(Problems(Ask("pai/api", 80)),
              ElementsAre("pod default/web: asks for pai/api, and there is no namespace pai -> ask "
                          "for api.pay"));
  EXPECT_THAT(Problems(Ask("example.com", 443)), IsEmpty());
  EXPECT_THAT(Notes(Ask("example.com", 443)), ElementsAre(HasSubstr("is no name of the cluster")));
}

TEST_F(WhyConnectionTest, PodsBelowTheirHeadlessServiceAreFoundByShortNamesToo) {
  v1::Pod pod = *FindObject(world.state.pods, {"pay", "api-1"});
  pod.mutable_spec()->set_hostname("one");
  pod.mutable_spec()->set_subdomain("api");
  world.Put(Wrap(pod));
  v1::Service service = Api();
  service.mutable_spec()->set_cluster_ip("None");
  PutService(service);
  AddNamespace("pay", "open");

  const auto found = [&](const std::string& name) {
    return Contains(HasSubstr(name + " is pod pay/api-1"));
  };
  EXPECT_THAT(Oks(Ask("one.api.pay", 8080)), found("one.api.pay"));
  EXPECT_THAT(Oks(Ask("one.api.pay.svc.cluster.local", 8080)),
              found("one.api.pay.svc.cluster.local"));
  EXPECT_THAT(Problems(Ask("two.api.pay", 8080)),
              ElementsAre(HasSubstr("no endpoint of service pay/api has the hostname two")));

  v1::Pod web = *FindObject(world.state.pods, {"default", "web"});
  web.mutable_metadata()->set_namespace_("pay");
  world.Put(Wrap(web));
  v1::WhyRequest request = Request("one.api", 8080);
  request.mutable_connection()->mutable_from()->set_namespace_("pay");
  EXPECT_THAT(Oks(Answer(request).response), found("one.api"));
}

TEST_F(WhyConnectionTest, AnExternalNameIsFollowedWhileItIsTheClusters) {
  const auto another = [&](const std::string& name, const std::string& of) {
    v1::Service service = Api();
    service.mutable_metadata()->set_name(name);
    service.mutable_spec()->Clear();
    service.mutable_spec()->set_type("ExternalName");
    service.mutable_spec()->set_external_name(of);
    world.Put(Wrap(service));
  };
  another("first", "second.pay.svc.cluster.local");
  another("second", "api.pay.svc.cluster.local.");
  EXPECT_THAT(Problems(Ask("pay/first", 80)), IsEmpty());
  EXPECT_EQ(Oks(Ask("pay/first", 80)).back(), "pod pay/api-1: listens on TCP 8080");

  another("second", "apo.pay.svc.cluster.local");
  EXPECT_THAT(Problems(Ask("first.pay", 80)),
              ElementsAre("pod default/web: asks for apo.pay.svc.cluster.local, and there is no "
                          "service pay/apo: the name does not resolve -> ask for api.pay"));
  another("second", "first.pay.svc.cluster.local");
  EXPECT_THAT(Problems(Ask("pay/first", 80)),
              ElementsAre(HasSubstr("service pay/first: leads back to itself")));
  another("second", "mail.example.com");
  EXPECT_THAT(Problems(Ask("pay/first", 80)), IsEmpty());
  EXPECT_THAT(Notes(Ask("pay/first", 80)),
              Contains(HasSubstr("is another name of mail.example.com, outside")));
}

TEST_F(WhyConnectionTest, IsolationDropsWhatComesStraightToAPod) {
  EXPECT_THAT(Problems(Ask("pay/api-1", 8080)),
              ElementsAre(AllOf(HasSubstr("namespace pay: admits other namespaces through its "
                                          "Services only"),
                                HasSubstr("annotate namespace pay with mesh.io/isolation: open"))));
  const std::string ip = FindObject(world.state.pods, {"pay", "api-1"})->status().pod_ip();
  EXPECT_EQ(Problems(Ask(ip, 8080)).size(), 1u);

  AddNamespace("pay", "open");
  EXPECT_THAT(Problems(Ask(ip, 8080)), IsEmpty());

  AddNamespace("pay", "closed");
  EXPECT_THAT(Problems(Ask("pay/api", 80)), ElementsAre(HasSubstr("namespace pay: is closed")));
}

TEST_F(WhyConnectionTest, AServiceWithoutBackendsIsToldWithItsOwnReasons) {
  v1::Service service = Api();
  (*service.mutable_spec()->mutable_selector())["app"] = "apo";
  PutService(service);

  EXPECT_THAT(Problems(Ask("pay/api", 80)),
              ElementsAre(HasSubstr("no backend that may get requests"),
                          HasSubstr("selector app=apo matches no pod")));
}

TEST_F(WhyConnectionTest, LocalPolicyIsJudgedForTheNodeThatAsks) {
  v1::Service service = Api();
  service.mutable_spec()->set_internal_traffic_policy("Local");
  PutService(service);

  EXPECT_THAT(Problems(Ask("pay/api", 80)),
              ElementsAre(HasSubstr("internalTrafficPolicy is Local, and node n1 has no ready")));
}

TEST_F(WhyConnectionTest, APodThatStopsAnswersWhileNobodyElseDoes) {
  v1::Pod pod = *FindObject(world.state.pods, {"pay", "api-1"});
  pod.mutable_metadata()->mutable_deletion_timestamp()->set_seconds(absl::ToUnixSeconds(world.now));
  world.Put(Wrap(pod));
  PutService(Api());
  EXPECT_THAT(Oks(Ask("pay/api", 80)), Contains(HasSubstr("has 1 backend that may get requests")));
}

TEST_F(WhyConnectionTest, ASilentNodeOnTheWayIsNamed) {
  world.Silence("n1");
  EXPECT_THAT(Problems(Ask("pay/api", 80)),
              ElementsAre(HasSubstr("the pod that asks: node n1 is silent"),
                          HasSubstr("node n1: is silent")));
}

TEST_F(WhyConnectionTest, NodePortsStandForTheirService) {
  v1::Service service = ApiAtNodes();
  PutService(service);
  v1::Node node = world.node("n2");
  node.mutable_status()->add_addresses()->set_address("192.0.2.12");
  world.Put(Wrap(node));

  EXPECT_THAT(Problems(Ask("192.0.2.12", 30080)), IsEmpty());
  EXPECT_EQ(Oks(Ask("192.0.2.12", 30080)).back(), "pod pay/api-1: listens on TCP 8080");
  EXPECT_THAT(Notes(Ask("192.0.2.12", 22)), ElementsAre(HasSubstr("is node n2 itself")));
  EXPECT_THAT(Notes(Ask("192.0.2.12", 30081)),
              ElementsAre(HasSubstr("-> ask 30080: it is a node port of service pay/api")));

  service.mutable_spec()->set_ip_families(0, "IPv6");
  PutService(service);
  EXPECT_THAT(Problems(Ask("192.0.2.12", 30080)),
              ElementsAre("pod default/web: 30080 is a node port of service pay/api, which has no "
                          "IPv4: it is not served at 192.0.2.12 -> ask it at an IPv6 address of a "
                          "node | set spec.ipFamilyPolicy of service pay/api to PreferDualStack"));

  service.mutable_spec()->set_ip_families(0, "IPv4");
  PutService(service);
  world.Silence("n2");
  EXPECT_THAT(Problems(Ask("192.0.2.12", 30080)),
              Contains(AllOf(HasSubstr("192.0.2.12 is an address of node n2, which is silent"),
                             HasSubstr("| ask another node: each of them serves a node port"))));
  EXPECT_THAT(
      Problems(Ask("192.0.2.12", 22)),
      ElementsAre(AllOf(HasSubstr("node n2, which is silent"), Not(HasSubstr("another node")))));
}

TEST_F(WhyConnectionTest, ANodePortWithLocalPolicyIsJudgedForTheNodeThatIsAsked) {
  v1::Service service = ApiAtNodes();
  service.mutable_spec()->set_external_traffic_policy("Local");
  PutService(service);
  world.AddNode("n3");
  for (const auto& [name, ip] :
       {std::pair("n1", "192.0.2.11"), {"n2", "192.0.2.12"}, {"n3", "192.0.2.13"}}) {
    v1::Node node = world.node(name);
    node.mutable_status()->add_addresses()->set_address(ip);
    world.Put(Wrap(node));
  }

  EXPECT_THAT(Problems(Ask("192.0.2.12", 30080)), IsEmpty());
  EXPECT_THAT(Problems(Ask("192.0.2.11", 30080)), IsEmpty()) << "its own node does not leave";
  EXPECT_THAT(Problems(Ask("192.0.2.13", 30080)),
              ElementsAre(AllOf(HasSubstr("externalTrafficPolicy is Local, and node n3"),
                                HasSubstr("run one of its pods on node n3"))));
}

TEST_F(WhyConnectionTest, APodMayMeanItself) {
  for (const char* host : {"localhost", "127.0.0.1", "::1"}) {
    EXPECT_THAT(Notes(Ask(host, 80)), ElementsAre(HasSubstr("is the pod itself"))) << host;
    EXPECT_THAT(Problems(Ask(host, 80)), IsEmpty()) << host;
  }
}

TEST_F(WhyConnectionTest, RangesAndSocketsAreOfTheFamilyOfTheRequest) {
  const auto set_ips = [&](const ObjectKey& key, std::vector<std::string> ips) {
    v1::Pod pod = *FindObject(world.state.pods, key);
    pod.mutable_status()->set_pod_ip(ips[0]);
    pod.mutable_status()->clear_pod_ips();
    for (const std::string& ip : ips) pod.mutable_status()->add_pod_ips()->set_ip(ip);
    world.Put(Wrap(pod));
  };
  set_ips(InDefault("web"), {"10.244.1.9", "fd00:10:244:1::9"});
  set_ips({"pay", "api-1"}, {"10.244.2.9", "fd00:10:244:2::9"});
  v1::Resource resource;
  v1::NetworkPolicy& policy = *resource.mutable_network_policy();
  policy.mutable_metadata()->set_namespace_("pay");
  policy.mutable_metadata()->set_name("six");
  policy.mutable_spec()->add_policy_types("Ingress");
  policy.mutable_spec()->add_ingress()->add_from()->mutable_ip_block()->set_cidr("::/0");
  world.Put(resource);
  v1::Service service = Api();
  service.mutable_spec()->add_ip_families("IPv4");
  PutService(service);

  EXPECT_THAT(Problems(Ask("pay/api", 80)),
              ElementsAre(AllOf(HasSubstr("is isolated for ingress by policy pay/six"),
                                HasSubstr("10.244.1.9 is not in ::/0"))));
  EXPECT_THAT(Problems(Ask("10.244.2.9", 8080)), ElementsAre(HasSubstr("isolated for ingress")));
  EXPECT_THAT(Problems(Ask("fd00:10:244:2::9", 8080)),
              ElementsAre("pod pay/api-1: listens on TCP 8080 for IPv4 only, and is asked over "
                          "IPv6 -> let the program listen on ::"));
  Listen("TCP", "::", 8080);
  EXPECT_THAT(Problems(Ask("fd00:10:244:2::9", 8080)), IsEmpty());

  service.mutable_spec()->add_ip_families("IPv6");
  PutService(service);
  EXPECT_THAT(Problems(Ask("pay/api", 80)),
              ElementsAre(HasSubstr("pod pay/api-1: over IPv4 is isolated for ingress")));
  EXPECT_THAT(Oks(Ask("pay/api", 80)), Contains(HasSubstr("over IPv6 takes it by policy pay/six")));
}

TEST_F(WhyConnectionTest, WhatIsFoundOfSeveralBackendsAlikeIsToldOnce) {
  for (const char* name : {"api-2", "api-3"}) {
    v1::Pod pod = world.AddPod(name, "api", "n2", true);
    world.state.Remove(v1::KIND_POD, InDefault(name));
    pod.mutable_metadata()->set_namespace_("pay");
    world.Put(Wrap(pod));
  }
  PutService(Api());
  listeners.insert_or_assign({"pay", "api-2"}, *listeners.at({"pay", "api-1"}));
  listeners.insert_or_assign({"pay", "api-3"}, v1::ListListenersResponse());

  EXPECT_THAT(Oks(Ask("pay/api", 80)), Contains("pods pay/api-1, pay/api-2: listens on TCP 8080"));
  EXPECT_THAT(Problems(Ask("pay/api", 80)),
              ElementsAre(HasSubstr("pod pay/api-3: nothing listens on TCP 8080")));

  listeners.insert_or_assign({"pay", "api-3"}, *listeners.at({"pay", "api-1"}));
  v1::Resource deny;
  deny.mutable_network_policy()->mutable_metadata()->set_namespace_("pay");
  deny.mutable_network_policy()->mutable_metadata()->set_name("deny");
  deny.mutable_network_policy()->mutable_spec()->add_policy_types("Ingress");
  world.Put(deny);
  EXPECT_THAT(Problems(Ask("pay/api", 80)),
              ElementsAre(HasSubstr("pods pay/api-1, pay/api-2, pay/api-3: is isolated for ingress "
                                    "by policy pay/deny")));
}

TEST_F(WhyConnectionTest, WhatTheNetworkHasSaidOfThePodThatAsksIsTold) {
  Warn("a", "FlowQuotaReached", absl::Seconds(40));
  Warn("b", "FlowQuotaReached", absl::Seconds(9));
  Warn("c", "BackOff", absl::Seconds(2));
  EXPECT_THAT(Notes(Ask("pay/api", 80)),
              ElementsAre("pod default/web: warning, 9s ago: FlowQuotaReached: because"));
  // Each port has its own, told again and again.
  Warn("d", "HostPortNotServed", absl::Seconds(700), "hostPort 80/TCP");
  Warn("e", "HostPortNotServed", absl::Seconds(30), "hostPort 80/TCP");
  Warn("f", "HostPortNotServed", absl::Seconds(20), "hostPort 81/TCP");
  EXPECT_THAT(Notes(Ask("pay/api", 80)),
              ElementsAre("pod default/web: warning, 9s ago: FlowQuotaReached: because",
                          "pod default/web: warning, 30s ago: HostPortNotServed: hostPort 80/TCP",
                          "pod default/web: warning, 20s ago: HostPortNotServed: hostPort 81/TCP"));
  EXPECT_THAT(Problems(Ask("pay/api", 80)), IsEmpty());
}

TEST_F(WhyConnectionTest, AnAddressOutsideToWhichNoSourcePortIsFreeIsAProblem) {
  const std::string text = "connections to 198.51.100.1:443/TCP are refused: a pod may have 5000";
  Warn("a", "SourcePortsTaken", absl::Seconds(9), text);

  EXPECT_THAT(
      Problems(Ask("198.51.100.1", 443)),
      ElementsAre(AllOf(HasSubstr("pod default/web: found no free source port towards "
                                  "198.51.100.1:443/TCP, 9s ago: connections are refused at once"),
                        HasSubstr("keep connections open and use them again"))));
  EXPECT_THAT(Notes(Ask("198.51.100.1", 444)),
              Contains("pod default/web: warning, 9s ago: SourcePortsTaken: " + text));
  EXPECT_THAT(Problems(Ask("198.51.100.1", 444)), IsEmpty());
  EXPECT_THAT(Problems(Ask("198.51.100.10", 443)), IsEmpty());

  Warn("a", "SourcePortsTaken", absl::Minutes(3), text);
  EXPECT_THAT(Problems(Ask("198.51.100.1", 443)), IsEmpty());
}

TEST_F(WhyConnectionTest, AnAddressMayBeSeveralThingsByItsPort) {
  v1::Pod pod = *FindObject(world.state.pods, {"pay", "api-1"});
  v1::ContainerPort& port = *pod.mutable_spec()->mutable_containers(0)->add_ports();
  port.set_container_port(8080);
  port.set_host_port(8888);
  world.Put(Wrap(pod));
  v1::Node node = world.node("n2");
  node.mutable_status()->add_addresses()->set_address("192.0.2.12");
  world.Put(Wrap(node));
  v1::Service service = ApiAtNodes();
  service.mutable_spec()->add_external_ips("192.0.2.12");
  service.mutable_spec()->add_external_ips("192.168.1.240");
  PutService(service);
  v1::Service other = Api();
  other.mutable_metadata()->set_name("balanced");
  other.mutable_spec()->clear_external_ips();
  other.mutable_spec()->mutable_ports(0)->set_port(81);
  other.mutable_spec()->mutable_ports(0)->clear_node_port();
  other.mutable_status()->mutable_load_balancer()->add_ingress()->set_ip("192.168.1.240");
  PutService(other);

  const auto is = [&](const std::string& ip, uint32_t number) {
    const v1::WhyResponse answer = Ask(ip, number);
    EXPECT_THAT(Problems(answer), IsEmpty()) << ip << " " << number;
    EXPECT_EQ(Oks(answer).back(), "pod pay/api-1: listens on TCP 8080") << ip << " " << number;
    return Oks(answer);
  };
  EXPECT_THAT(is("192.0.2.12", 80), Contains(HasSubstr("an external address of service pay/api")));
  EXPECT_THAT(is("192.0.2.12", 30080), Contains(HasSubstr("a node port of service pay/api")));
  EXPECT_THAT(is("192.0.2.12", 8888), Contains(HasSubstr("a host port of pod pay/api-1")));
  EXPECT_THAT(is("192.168.1.240", 80), Contains(HasSubstr("external address of service pay/api")));
  EXPECT_THAT(is("192.168.1.240", 81), Contains(HasSubstr("address of service pay/balanced")));
  EXPECT_THAT(Notes(Ask("192.0.2.12", 8889)), ElementsAre(HasSubstr("and no pod's host port")));

  port.set_host_ip("192.0.2.99");
  *pod.mutable_spec()->mutable_containers(0)->mutable_ports(0) = port;
  world.Put(Wrap(pod));
  EXPECT_THAT(Notes(Ask("192.0.2.12", 8888)), ElementsAre(HasSubstr("and no pod's host port")));
}

TEST_F(WhyConnectionTest, WhatNoServiceServesAtAnExternalAddressIsItsOwners) {
  v1::Service service = Api();
  service.mutable_spec()->add_external_ips("198.51.100.7");
  PutService(service);

  EXPECT_THAT(Oks(Ask("198.51.100.7", 80)), Contains(HasSubstr("an external address of service")));
  const v1::WhyResponse beyond = Ask("198.51.100.7", 81);
  EXPECT_THAT(Problems(beyond), IsEmpty());
  EXPECT_THAT(Notes(beyond), Contains(HasSubstr("which has no port 81/TCP: the request leaves the "
                                                "cluster, from the address of node")));
}

TEST_F(WhyConnectionTest, WhatTheClusterGaveAtANodeComesBeforeExternalAddresses) {
  v1::Pod pod = *FindObject(world.state.pods, {"pay", "api-1"});
  v1::ContainerPort& port = *pod.mutable_spec()->mutable_containers(0)->add_ports();
  port.set_container_port(8080);
  port.set_host_port(8888);
  world.Put(Wrap(pod));
  v1::Node node = world.node("n2");
  node.mutable_status()->add_addresses()->set_address("192.0.2.12");
  node.mutable_status()->set_agent_endpoint("192.0.2.12:6441");
  world.Put(Wrap(node));
  v1::Service service = Api(), thief = service;
  service.mutable_spec()->set_type("LoadBalancer");
  service.mutable_spec()->add_ip_families("IPv4");
  service.mutable_spec()->mutable_ports(0)->set_node_port(30080);
  service.mutable_spec()->set_health_check_node_port(30090);
  service.mutable_status()->mutable_load_balancer()->add_ingress()->set_ip("192.168.1.240");
  PutService(service);
  thief.mutable_metadata()->set_name("thief");
  thief.mutable_spec()->add_external_ips("192.0.2.12");
  thief.mutable_spec()->clear_ports();
  for (const int number : {30080, 8888, 30090, 6441, 82}) {
    v1::ServicePort& own = *thief.mutable_spec()->add_ports();
    own.set_name(fmt::format("p{}", number));
    own.set_port(number);
    own.mutable_target_port()->set_int_value(8080);
  }
  PutService(thief);

  const auto oks = [&](uint32_t number) { return Oks(Ask("192.0.2.12", number)); };
  EXPECT_THAT(oks(30080), Contains(HasSubstr("a node port of service pay/api")));
  EXPECT_THAT(oks(8888), Contains(HasSubstr("a host port of pod pay/api-1")));
  EXPECT_THAT(oks(82), Contains(HasSubstr("an external address of service pay/thief")));
  EXPECT_THAT(Notes(Ask("192.0.2.12", 30090)),
              Contains(HasSubstr("the healthCheckNodePort of service pay/api")));
  EXPECT_THAT(Notes(Ask("192.0.2.12", 6441)), Contains(HasSubstr("is node n2 itself")));

  // What only the node knows it has told.
  v1::Resource resource;
  v1::Event& event = *resource.mutable_event();
  event.mutable_metadata()->set_namespace_("pay");
  event.mutable_metadata()->set_name("thief.1");
  event.set_type("Warning");
  event.set_reason("NotServed");
  event.set_message("a process listens");
  event.mutable_involved_object()->set_kind("Service");
  event.mutable_involved_object()->set_uid(
      FindObject(world.state.services, {"pay", "thief"})->metadata().uid());
  *event.mutable_last_timestamp() = ToTimestamp(world.now - absl::Seconds(20));
  world.Put(resource);
  const std::string note = "service pay/thief: warning, 20s ago: NotServed: a process listens";
  v1::WhyRequest about;
  about.mutable_service()->set_namespace_("pay");
  about.mutable_service()->set_name("thief");
  EXPECT_THAT(Notes(Answer(about).response), Contains(note));
  *event.mutable_last_timestamp() = ToTimestamp(world.now - absl::Minutes(20));
  world.Put(resource);
  EXPECT_THAT(Notes(Answer(about).response), Not(Contains(HasSubstr("NotServed"))));
}

TEST_F(WhyConnectionTest, AddressesOfTheClustersRangesThatNobodyHas) {
  EXPECT_THAT(Problems(Ask("10.96.9.9", 80)),
              ElementsAre("pod default/web: 10.96.9.9 is an address for Services (10.96.0.0/16), "
                          "and no Service has it: requests are refused at once -> ask the Service "
                          "by its name: one that is applied anew gets another address"));
  EXPECT_THAT(Problems(Ask("fd00:10:244:2::99", 80)),
              ElementsAre("pod default/web: fd00:10:244:2::99 is an address for pods "
                          "(fd00:10:244::/56), and no pod has it: nothing answers -> ask a "
                          "Service: a pod that is replaced gets another address"));
  EXPECT_THAT(Problems(Ask("198.51.100.7", 80)), IsEmpty());
}

TEST_F(WhyConnectionTest, APortMayBeNamed) {
  v1::Service service = Api();
  v1::ServicePort& dns = *service.mutable_spec()->add_ports();
  dns.set_name("dns");
  dns.set_port(53);
  dns.set_protocol("UDP");
  dns.mutable_target_port()->set_int_value(5353);
  PutService(service);
  Listen("UDP", "0.0.0.0", 5353);
  const auto named = [&](const std::string& name) {
    v1::WhyRequest request = Request("pay/api", 0);
    request.mutable_connection()->set_port_name(name);
    return Answer(request).response;
  };
  EXPECT_THAT(Problems(named("dns")), IsEmpty());
  EXPECT_EQ(Oks(named("dns")).back(), "pod pay/api-1: listens on UDP 5353");
  EXPECT_THAT(
      Problems(named("dnss")),
      ElementsAre(AllOf(HasSubstr("service pay/api: has no port named dnss; it serves TCP 80"),
                        HasSubstr("UDP 53 (dns) -> ask port 80"))));
}

}  // namespace
}  // namespace mesh::controlplane
