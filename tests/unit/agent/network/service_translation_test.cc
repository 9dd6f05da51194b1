// SPDX-License-Identifier: Apache-2.0
// Goal: each field of a Service becomes what this node must do, and what is not understood is named
// and admits nobody. Method: tables over one Service with backends on three nodes in two zones.
#include "agent/network/service_translation.h"

#include <set>

#include "common/rendezvous.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::agent {
namespace {

using dataplane::Algorithm;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const NodeView kNode{.name = "n1", .zone = "east", .ip = *IpAddress::Parse("192.168.9.1")};

// Port 80 of shop/web with one backend per word: "n2/west", "n1/east!" (draining), "n1/east?" (it
// stops and still serves).
v1::ServiceState Web(const std::vector<std::string>& backends) {
  v1::ServiceState out;
  out.set_namespace_("shop");
  out.set_name("web");
  out.set_cluster_ip("10.96.0.10");
  out.set_identity(300);
  auto* port = out.add_ports();
  port->set_name("http");
  port->set_protocol(6);
  port->set_port(80);
  int number = 0;
  for (std::string word : backends) {
    auto* backend = port->add_backends();
    const bool stops = word.back() == '?';
    const bool draining = stops || word.back() == '!';
    if (draining) word.pop_back();
    backend->set_serves_last(stops);
    backend->set_state(draining ? v1::BackendState::DRAINING : v1::BackendState::ACTIVE);
    backend->set_ip(fmt::format("10.244.0.{}", ++number));
    backend->set_port(8080);
    backend->set_node_name(word.substr(0, word.find('/')));
    backend->set_zone(word.substr(word.find('/') + 1));
  }
  return out;
}

struct Outcome {
  std::optional<dataplane::Service> service;
  std::vector<std::string> skipped;
};
Outcome Translate(const v1::ServiceState& from, const NodeView& node = kNode) {
  Outcome out;
  Translated both = TranslateService("shop/web", from, node, &out.skipped);
  EXPECT_EQ(both.v6, std::nullopt);
  out.service = std::move(both.v4);
  return out;
}

NodeView DualNode() {
  NodeView out = kNode;
  out.ip6 = *IpAddress::Parse("fd00:9::1");
  out.ipv6 = true;
  return out;
}

// The one above with both families.
v1::ServiceState DualWeb(const std::vector<std::string>& backends) {
  v1::ServiceState out = Web(backends);
  out.add_ip_families("IPv6");
  out.add_ip_families("IPv4");
  out.set_cluster_ip("fd00:96::a");
  out.add_cluster_ips("fd00:96::a");
  out.add_cluster_ips("10.96.0.10");
  auto* list = out.mutable_ports(0)->mutable_backends();
  for (int i = 0, n = list->size(); i < n; ++i) {
    auto* backend = list->Add();
    *backend = (*list)[i];
    backend->set_ip(fmt::format("fd00:244::{}", i + 1));
  }
  return out;
}

// One character per backend of the first port: 'i' internal only, 'e' external only, 'b', '-'.
std::string Scopes(const Outcome& outcome) {
  std::string out;
  for (const auto& backend : outcome.service->ports.at(0).backends)
    out += "-ieb"[backend.scopes & dataplane::kScopeBoth];
  return out;
}

TEST(TranslateService, KnowsWhichBackendsMayLiveWhenTheyAreListedNoMore) {
  v1::ServiceState web = Web({"n1/east", "n2/east"});
  web.mutable_ports(0)->mutable_backends(1)->set_may_outlive(true);

  const Outcome outcome = Translate(web);

  EXPECT_FALSE(outcome.service->ports[0].backends[0].may_outlive);
  EXPECT_TRUE(outcome.service->ports[0].backends[1].may_outlive);
}

// Scopes of the backends of the balancer's addresses, as Scopes().
std::string OfBalancer(const v1::ServiceState& from) {
  std::vector<std::string> skipped;
  Translated out = TranslateService("shop/web", from, kNode, &skipped);
  EXPECT_THAT(skipped, IsEmpty());
  EXPECT_TRUE(out.v4_balancer);
  if (!out.v4_balancer) return "";
  EXPECT_THAT(out.v4->load_balancer_ips, IsEmpty());
  const std::string scopes = Scopes({out.v4_balancer, {}});
  bool here = false;
  for (const auto& backend : out.v4_balancer->ports[0].backends)
    here |= backend.node == "n1" && backend.state == dataplane::BackendState::kActive;
  EXPECT_EQ(out.v4_balancer->direct_return, !here);
  return scopes;
}

TEST(TranslateService, ABalancersAddressLeadsToTheNodeThatAnswersOrWillAnswer) {
  v1::ServiceState web = Web({"n1/east?", "n2/east", "n3/west"});
  web.set_external_traffic_local(true);
  web.add_load_balancer_ips("10.89.0.200");

  // "b": also what is led on to it; the first stops, and gets none while another is ready.
  web.set_announcing_node("n3");
  EXPECT_EQ(OfBalancer(web), "bib") << "a client that has not heard of it yet";
  web.set_announcing_node("n1");
  const bool second = RendezvousWeight("shop/web", "n2") > RendezvousWeight("shop/web", "n3");
  EXPECT_EQ(OfBalancer(web), second ? "bbi" : "bib") << "whom the control plane will choose";
  web.mutable_ports(0)->mutable_backends(0)->set_state(v1::BackendState::ACTIVE);
  web.mutable_ports(0)->mutable_backends(0)->set_serves_last(false);
  EXPECT_EQ(OfBalancer(web), "bii");
  web.mutable_ports(0)->mutable_backends(0)->set_node_name("");
  EXPECT_EQ(OfBalancer(web), second ? "ibi" : "iib") << "of no node";
}

TEST(TranslateService, ABalancersAddressIsServedByThePodsThatStopWhereNoneIsReady) {
  v1::ServiceState web = Web({"n1/east?", "n2/east?"});
  web.set_external_traffic_local(true);
  web.add_load_balancer_ips("10.89.0.200");
  web.set_announcing_node("n1");
  std::vector<std::string> skipped;

  const Translated out = TranslateService("shop/web", web, kNode, &skipped);

  EXPECT_EQ(Scopes({out.v4_balancer, {}}), "bi");
  EXPECT_FALSE(out.v4_balancer->direct_return);
  EXPECT_TRUE(out.v4_balancer->announced);
}

TEST(TranslateService, ChoosesTheBackendsOfEachKindOfClient) {
  struct Case {
    const char* what;
    std::vector<std::string> backends;
    bool internal_local, external_local;
    const char* distribution;
    const char* want;
  };
  const Case cases[] = {
      {"all, by default", {"n1/east", "n2/east", "n3/west"}, false, false, "", "bbb"},
      {"draining ones get nothing", {"n1/east", "n2/east!", "n3/west"}, false, false, "", "b-b"},
      {"internal Local", {"n1/east", "n2/east", "n3/west"}, true, false, "", "bee"},
      {"external Local", {"n1/east", "n2/east", "n3/west"}, false, true, "", "bii"},
      {"both Local", {"n1/east", "n2/east", "n3/west"}, true, true, "", "b--"},
      {"Local does not fall back", {"n2/east", "n3/west"}, true, true, "", "--"},
      {"Local, only a draining one here", {"n1/east!", "n3/west"}, false, true, "", "-i"},
      {"Local, only one that stops here", {"n1/east?", "n3/west"}, false, true, "", "bi"},
      {"one that stops elsewhere is none of Local", {"n2/east?", "n3/west?"}, true, true, "", "--"},
      {"ones that stop, near and far", {"n2/east?", "n3/west?"}, false, false, "PreferClose", "bb"},
      {"PreferClose is the zone",
       {"n1/east", "n2/east", "n3/west"},
       false,
       false,
       "PreferClose",
       "bb-"},
      {"PreferSameZone", {"n1/east", "n2/east", "n3/west"}, false, false, "PreferSameZone", "bb-"},
      {"another zone is better than none",
       {"n3/west", "n4/west"},
       false,
       false,
       "PreferSameZone",
       "bb"},
      {"a draining one is none", {"n2/east!", "n3/west"}, false, false, "PreferSameZone", "-b"},
      {"PreferSameNode", {"n1/east", "n2/east", "n3/west"}, false, false, "PreferSameNode", "b--"},
      {"then the zone", {"n2/east", "n3/west"}, false, false, "PreferSameNode", "b-"},
      {"then all", {"n3/west", "n4/west"}, false, false, "PreferSameNode", "bb"},
      {"Local is stronger than near",
       {"n1/east", "n2/east", "n3/west"},
       false,
       true,
       "PreferClose",
       "bi-"},
      {"no backends", {}, true, true, "PreferClose", ""},
  };
  for (const Case& c : cases) {
    v1::ServiceState web = Web(c.backends);
    web.set_internal_traffic_local(c.internal_local);
    web.set_external_traffic_local(c.external_local);
    web.set_traffic_distribution(c.distribution);
    const Outcome out = Translate(web);
    EXPECT_EQ(Scopes(out), c.want) << c.what;
    EXPECT_THAT(out.skipped, IsEmpty()) << c.what;
  }
}

TEST(TranslateService, InternalPolicyIsAboutTheClusterIpAlone) {
  v1::ServiceState web = Web({"n1/east", "n2/east"});
  web.set_internal_traffic_local(true);
  web.add_load_balancer_ips("10.89.0.200");
  web.mutable_ports(0)->set_node_port(30080);
  auto* bare = web.add_ports();
  bare->set_name("metrics");
  bare->set_protocol(6);
  bare->set_port(9090);

  std::vector<std::string> skipped;
  Translated out = TranslateService("shop/web", web, kNode, &skipped);

  ASSERT_TRUE(out.v4 && out.v4_outside);
  EXPECT_EQ(Scopes({out.v4, {}}), "i-");
  EXPECT_EQ(out.v4->cluster_ip.ToString(), "10.96.0.10");
  EXPECT_EQ(out.v4->ports[0].node_port, 0);
  EXPECT_THAT(out.v4->load_balancer_ips, IsEmpty());
  EXPECT_FALSE(out.v4->outside);
  // Pods dial the other addresses as everybody does.
  EXPECT_EQ(Scopes({out.v4_outside, {}}), "ee");
  EXPECT_TRUE(out.v4_outside->outside);
  EXPECT_EQ(out.v4_outside->cluster_ip, IpAddress());
  EXPECT_EQ(out.v4_outside->ports[0].node_port, 30080);
  EXPECT_EQ(out.v4_outside->ports.size(), 2u);
  EXPECT_EQ(out.v4_outside->load_balancer_ips.size(), 1u);
  EXPECT_EQ(out.v4_outside->name, "web");

  // Both policies Local: clients outside get this node's, clients inside all.
  web.set_external_traffic_local(true);
  out = TranslateService("shop/web", web, kNode, &skipped);
  EXPECT_EQ(Scopes({out.v4, {}}), "i-");
  EXPECT_EQ(Scopes({out.v4_outside, {}}), "bi");
  EXPECT_EQ(Scopes({out.v4_balancer, {}}), "bi");
  EXPECT_EQ(out.v4_balancer->ports.size(), 2u);
  EXPECT_EQ(out.v4_outside->ports.size(), 1u) << "the second has no frontend there any more";
  web.set_traffic_distribution("PreferSameNode");
  out = TranslateService("shop/web", web, kNode, &skipped);
  EXPECT_EQ(Scopes({out.v4_outside, {}}), "b-") << "what they prefer holds";
  web.clear_traffic_distribution();
  web.set_external_traffic_local(false);

  web.clear_load_balancer_ips();  // the second port has no frontend outside any more
  out = TranslateService("shop/web", web, kNode, &skipped);
  EXPECT_EQ(out.v4_outside->ports.size(), 1u);
  web.mutable_ports(0)->set_node_port(0);
  out = TranslateService("shop/web", web, kNode, &skipped);
  EXPECT_EQ(out.v4_outside, std::nullopt);
  EXPECT_EQ(out.v4->ports.size(), 2u);
  EXPECT_THAT(skipped, IsEmpty());
}

TEST(TranslateService, ANodeWithoutAZonePrefersNoZone) {
  v1::ServiceState web = Web({"n2/", "n3/west"});
  web.set_traffic_distribution("PreferSameNode");

  NodeView nowhere = kNode;
  nowhere.zone = "";
  EXPECT_EQ(Scopes(Translate(web, nowhere)), "bb");
}

TEST(TranslateService, TakesOverAddressesPortsAndTimes) {
  v1::ServiceState web = Web({"n1/east"});
  web.mutable_ports(0)->set_node_port(30080);
  web.mutable_ports(0)->mutable_backends(0)->set_weight(7);
  web.add_load_balancer_ips("10.89.0.200");
  web.add_external_ips("203.0.113.9");
  web.add_external_ips("203.0.113.8");
  web.add_source_ranges("198.51.100.0/24");
  web.set_affinity_seconds(10800);
  web.set_announcing_node("n1");

  const Outcome out = Translate(web);

  EXPECT_THAT(out.skipped, IsEmpty());
  const dataplane::Service& service = *out.service;
  EXPECT_EQ(service.cluster_ip.ToString(), "10.96.0.10");
  EXPECT_EQ(service.ports[0].node_port, 30080);
  EXPECT_EQ(service.ports[0].backends[0].weight, 7);
  EXPECT_THAT(service.load_balancer_ips, ElementsAre(*IpAddress::Parse("10.89.0.200")));
  EXPECT_THAT(service.external_ips,
              ElementsAre(*IpAddress::Parse("203.0.113.8"), *IpAddress::Parse("203.0.113.9")));
  EXPECT_THAT(service.source_ranges, ElementsAre(*IpPrefix::Parse("198.51.100.0/24")));
  EXPECT_EQ(service.affinity_seconds, 10800u);
  EXPECT_TRUE(service.announced);
}

TEST(TranslateService, OnlyTheNamedNodeAnnounces) {
  v1::ServiceState web = Web({});
  web.set_announcing_node("n1");
  EXPECT_FALSE(Translate(web).service->announced) << "nothing to announce";
  web.add_load_balancer_ips("10.89.0.200");
  EXPECT_TRUE(Translate(web).service->announced);
  web.set_announcing_node("n2");
  EXPECT_FALSE(Translate(web).service->announced);
}

TEST(TranslateService, UsesTheAlgorithmOfTheAnnotationForBothKinds) {
  v1::ServiceState web = Web({});
  EXPECT_EQ(Translate(web).service->internal_algorithm, Algorithm::kRandom);
  EXPECT_EQ(Translate(web).service->external_algorithm, Algorithm::kMaglev);

  for (const auto& [from, want] : {std::pair{v1::ServiceState::RANDOM, Algorithm::kRandom},
                                   {v1::ServiceState::MAGLEV, Algorithm::kMaglev},
                                   {v1::ServiceState::LEAST_LOADED, Algorithm::kLeastLoaded}}) {
    web.set_algorithm(from);
    EXPECT_EQ(Translate(web).service->internal_algorithm, want);
    EXPECT_EQ(Translate(web).service->external_algorithm, want);
  }
}

TEST(TranslateService, TheReturnPathIsTheServicesOrTheClusters) {
  NodeView direct = kNode;
  direct.direct_return = true;
  v1::ServiceState web = Web({});
  EXPECT_FALSE(Translate(web).service->direct_return);
  EXPECT_TRUE(Translate(web, direct).service->direct_return);
  web.set_return_path(v1::ServiceState::SNAT);
  EXPECT_FALSE(Translate(web, direct).service->direct_return);
  web.set_return_path(v1::ServiceState::DIRECT);
  EXPECT_TRUE(Translate(web).service->direct_return);
}

TEST(TranslateService, LeavesHeadlessAndExternalNamesToTheResolver) {
  v1::ServiceState web = Web({"n1/east"});
  for (const char* ip : {"None", ""}) {
    web.set_cluster_ip(ip);
    const Outcome out = Translate(web);
    EXPECT_EQ(out.service, std::nullopt);
    EXPECT_THAT(out.skipped, IsEmpty());
  }
}

TEST(TranslateService, NamesWhatItCannotDo) {
  v1::ServiceState web = Web({"n1/east"});
  web.add_load_balancer_ips("fd00::1");
  web.add_external_ips("somewhere");
  web.set_algorithm(static_cast<v1::ServiceState::Algorithm>(9));
  web.set_return_path(static_cast<v1::ServiceState::ReturnPath>(9));
  web.set_affinity_seconds(100000);
  web.set_traffic_distribution("PreferCheap");
  web.mutable_ports(0)->set_node_port(70000);
  web.mutable_ports(0)->mutable_backends(0)->set_weight(5000);

  const Outcome out = Translate(web);

  EXPECT_THAT(
      out.skipped,
      ElementsAre(HasSubstr("service shop/web: load balancer address \"fd00::1\""),
                  HasSubstr("external address \"somewhere\""),
                  HasSubstr("algorithm 9 is not known"), HasSubstr("return path 9 is not known"),
                  HasSubstr("100000 s is more than a day; 86400 s"),
                  HasSubstr("trafficDistribution \"PreferCheap\""),
                  HasSubstr("port 80: node port 70000"),
                  HasSubstr("10.244.0.1:8080 has weight 5000; 1000 is used")));
  EXPECT_EQ(Scopes(out), "b") << "the rest holds";
  EXPECT_EQ(out.service->ports[0].node_port, 0);
  EXPECT_EQ(out.service->ports[0].backends[0].weight, 1000);
}

TEST(TranslateService, ASourceRangeThatIsNotUnderstoodAdmitsNobody) {
  v1::ServiceState web = Web({});
  web.add_source_ranges("10.0.0.0/33");

  const Outcome out = Translate(web);

  EXPECT_THAT(out.service->source_ranges, ElementsAre(*IpPrefix::Parse("0.0.0.0/32")));
  EXPECT_THAT(out.skipped, ElementsAre(HasSubstr("loadBalancerSourceRanges: \"10.0.0.0/33\"")));
}

TEST(TranslateService, EachFamilyHasItsOwnAddressesAndBackends) {
  v1::ServiceState web = DualWeb({"n1/east", "n2/east!", "n3/west"});
  web.set_external_traffic_local(true);
  web.mutable_ports(0)->set_node_port(30080);
  web.add_load_balancer_ips("10.89.0.200");
  web.add_load_balancer_ips("fd00:89::200");
  web.add_external_ips("fd00:88::1");
  web.set_announcing_node("n1");
  std::vector<std::string> skipped;

  const Translated out = TranslateService("shop/web", web, DualNode(), &skipped);

  EXPECT_THAT(skipped, IsEmpty());
  ASSERT_TRUE(out.v4 && out.v6);
  EXPECT_EQ(out.v4->family, dataplane::Family::kV4);
  EXPECT_EQ(out.v6->family, dataplane::Family::kV6);
  EXPECT_EQ(out.v4->cluster_ip.ToString(), "10.96.0.10");
  EXPECT_EQ(out.v6->cluster_ip.ToString(), "fd00:96::a");
  EXPECT_THAT(out.v4_balancer->load_balancer_ips, ElementsAre(*IpAddress::Parse("10.89.0.200")));
  EXPECT_THAT(out.v6_balancer->load_balancer_ips, ElementsAre(*IpAddress::Parse("fd00:89::200")));
  EXPECT_THAT(out.v4->external_ips, IsEmpty());
  EXPECT_THAT(out.v6->external_ips, ElementsAre(*IpAddress::Parse("fd00:88::1")));
  EXPECT_TRUE(out.v4_balancer->announced && out.v6_balancer->announced);
  EXPECT_EQ(out.v4_balancer->ports[0].node_port, 0);
  EXPECT_EQ(Scopes({out.v4, {}}), "b-i");
  EXPECT_EQ(Scopes({out.v6, {}}), "b-i");
  EXPECT_EQ(out.v6->ports[0].backends[0].ip.ToString(), "fd00:244::1");
  EXPECT_EQ(out.v6->ports[0].node_port, 30080);
}

TEST(TranslateService, OneOfIpv6HasNothingOfIpv4) {
  v1::ServiceState web = DualWeb({"n1/east"});
  web.mutable_ip_families()->RemoveLast();
  web.mutable_cluster_ips()->RemoveLast();
  std::vector<std::string> skipped;

  const Translated out = TranslateService("shop/web", web, DualNode(), &skipped);

  EXPECT_EQ(out.v4, std::nullopt);
  ASSERT_TRUE(out.v6.has_value());
  EXPECT_EQ(Scopes({out.v6, {}}), "b");
  EXPECT_THAT(skipped, ElementsAre("service shop/web: port 80: backend 10.244.0.1:8080 is not an "
                                   "IPv6 address and port"));
}

TEST(TranslateService, TellsOnceWhatBothFamiliesShare) {
  v1::ServiceState web = DualWeb({});
  web.set_traffic_distribution("PreferCheap");
  web.add_external_ips("somewhere");
  std::vector<std::string> skipped;

  TranslateService("shop/web", web, DualNode(), &skipped);

  EXPECT_THAT(skipped, ElementsAre("service shop/web: external address \"somewhere\" is not an "
                                   "IPv4 or IPv6 address",
                                   HasSubstr("PreferCheap")));
}

TEST(TranslateService, SourceRangesOfOneFamilyAdmitNobodyOfTheOther) {
  v1::ServiceState web = DualWeb({});
  web.add_source_ranges("10.0.0.0/8");
  std::vector<std::string> skipped;

  Translated out = TranslateService("shop/web", web, DualNode(), &skipped);
  EXPECT_THAT(out.v4->source_ranges, ElementsAre(*IpPrefix::Parse("10.0.0.0/8")));
  EXPECT_THAT(out.v6->source_ranges, ElementsAre(*IpPrefix::Parse("::/128")));

  web.set_source_ranges(0, "fd00:7::/64");
  out = TranslateService("shop/web", web, DualNode(), &skipped);
  EXPECT_THAT(out.v4->source_ranges, ElementsAre(*IpPrefix::Parse("0.0.0.0/32")));
  EXPECT_THAT(out.v6->source_ranges, ElementsAre(*IpPrefix::Parse("fd00:7::/64")));
  EXPECT_THAT(skipped, IsEmpty());
}

TEST(TranslateService, WaitsSilentlyForASecondAddress) {
  v1::ServiceState web = DualWeb({});
  web.mutable_cluster_ips()->DeleteSubrange(0, 1);
  std::vector<std::string> skipped;

  const Translated out = TranslateService("shop/web", web, DualNode(), &skipped);

  EXPECT_TRUE(out.v4.has_value());
  EXPECT_EQ(out.v6, std::nullopt);
  EXPECT_THAT(skipped, IsEmpty());
}

TEST(TranslateService, WithoutIpv6OnTheNodeOnlyTheOtherHalfStands) {
  std::vector<std::string> skipped;

  const Translated out = TranslateService("shop/web", DualWeb({"n1/east"}), kNode, &skipped);

  EXPECT_TRUE(out.v4.has_value());
  EXPECT_EQ(out.v6, std::nullopt);
  EXPECT_THAT(skipped, ElementsAre("service shop/web: IPv6 is left out: this node was not given "
                                   "ranges of it"));
}

v1::Pod PodWithHostPort(const std::string& host_ip = "") {
  v1::Pod pod;
  pod.mutable_metadata()->set_namespace_("shop");
  pod.mutable_metadata()->set_name("web-1");
  pod.mutable_status()->set_phase("Running");
  pod.mutable_status()->set_pod_ip("10.244.1.5");
  pod.mutable_status()->set_identity(300);
  auto* container = pod.mutable_spec()->add_containers();
  container->add_ports()->set_container_port(9090);
  auto* port = container->add_ports();
  port->set_container_port(80);
  port->set_protocol("UDP");
  port->set_host_port(8080);
  port->set_host_ip(host_ip);
  return pod;
}

TEST(TranslateHostPorts, LeadsFromThePortOfTheNodeToThePod) {
  for (const char* host_ip : {"", "0.0.0.0", "192.168.9.1"}) {
    std::vector<std::string> skipped;

    const auto out = TranslateHostPorts(PodWithHostPort(host_ip), kNode, &skipped).v4;

    EXPECT_THAT(skipped, IsEmpty());
    ASSERT_TRUE(out.has_value());
    EXPECT_EQ(out->ns, "shop");
    EXPECT_EQ(out->name, "pod/web-1");
    EXPECT_EQ(out->identity, 0u) << "of the pod's own namespace, whichever that is";
    EXPECT_EQ(out->cluster_ip, IpAddress());
    ASSERT_EQ(out->ports.size(), 1u);
    EXPECT_EQ(out->ports[0].protocol, dataplane::Protocol::kUdp);
    EXPECT_EQ(out->ports[0].node_port, 8080);
    ASSERT_EQ(out->ports[0].backends.size(), 1u);
    EXPECT_EQ(out->ports[0].backends[0].ip.ToString(), "10.244.1.5");
    EXPECT_EQ(out->ports[0].backends[0].port, 80);
    EXPECT_EQ(out->ports[0].backends[0].scopes, dataplane::kScopeExternal);
  }
}

TEST(TranslateHostPorts, OnlyForAPodThatLives) {
  std::vector<std::string> skipped;
  v1::Pod pod = PodWithHostPort();
  pod.mutable_metadata()->mutable_deletion_timestamp()->set_seconds(1);
  const dataplane::Backend stops =
      TranslateHostPorts(pod, kNode, &skipped).v4->ports[0].backends[0];
  EXPECT_EQ(stops.state, dataplane::BackendState::kDraining);
  EXPECT_TRUE(stops.serves_last) << "it has the port until another pod does";
  EXPECT_EQ(stops.scopes, dataplane::kScopeExternal);

  for (const char* phase : {"Succeeded", "Failed"}) {
    pod.mutable_status()->set_phase(phase);
    EXPECT_EQ(TranslateHostPorts(pod, kNode, &skipped).v4, std::nullopt);
  }
  pod = PodWithHostPort();
  pod.mutable_status()->clear_pod_ip();
  EXPECT_EQ(TranslateHostPorts(pod, kNode, &skipped).v4, std::nullopt);
  EXPECT_THAT(skipped, IsEmpty());
}

TEST(TranslateHostPorts, NamesAnAddressThatIsNotTheNodes) {
  std::vector<std::string> skipped;

  EXPECT_EQ(TranslateHostPorts(PodWithHostPort("127.0.0.1"), kNode, &skipped).v4, std::nullopt);

  EXPECT_THAT(skipped, ElementsAre("pod shop/web-1: hostPort 8080: hostIP 127.0.0.1 is not this "
                                   "node's address 192.168.9.1"));
}

TEST(TranslateHostPorts, HasTheFamiliesThatPodAndAddressHave) {
  const struct {
    const char* host_ip;
    bool v4, v6;
  } cases[] = {{"", true, true},
               {"0.0.0.0", true, false},
               {"::", false, true},
               {"fd00:9::1", false, true},
               {"192.168.9.1", true, false}};
  for (const auto& c : cases) {
    v1::Pod pod = PodWithHostPort(c.host_ip);
    pod.mutable_status()->add_pod_ips()->set_ip("10.244.1.5");
    pod.mutable_status()->add_pod_ips()->set_ip("fd00:244:1::5");
    std::vector<std::string> skipped;

    const Translated out = TranslateHostPorts(pod, DualNode(), &skipped);

    EXPECT_THAT(skipped, IsEmpty()) << c.host_ip;
    EXPECT_EQ(out.v4.has_value(), c.v4) << c.host_ip;
    ASSERT_EQ(out.v6.has_value(), c.v6) << c.host_ip;
    if (!c.v6) continue;
    EXPECT_EQ(out.v6->family, dataplane::Family::kV6);
    EXPECT_EQ(out.v6->ports[0].backends[0].ip.ToString(), "fd00:244:1::5");
    EXPECT_EQ(TranslateHostPorts(pod, kNode, &skipped).v6, std::nullopt) << "no IPv6 here";
  }
}

TEST(CountLocalEndpoints, CountsAPodOfTwoFamiliesOnce) {
  EXPECT_EQ(CountLocalEndpoints(DualWeb({"n1/east", "n1/east", "n2/east"}), "n1"), 2);
}

TEST(CountLocalEndpoints, CountsActiveAddressesOfTheNode) {
  v1::ServiceState web = Web({"n1/east", "n1/east!", "n2/east", "n1/east"});
  *web.add_ports() = web.ports(0);

  EXPECT_EQ(CountLocalEndpoints(web, "n1"), 2);
  EXPECT_EQ(CountLocalEndpoints(web, "n3"), 0);
}

}  // namespace
}  // namespace mesh::agent
