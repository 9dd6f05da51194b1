// SPDX-License-Identifier: Apache-2.0
// Goal: each field of a Service becomes what this node must do, and what is not understood is named
// and admits nobody. Method: tables over one Service with backends on three nodes in two zones.
#include "agent/network/service_translation.h"

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

// Port 80 of shop/web with one backend per word: "n2/west", "n1/east!" (draining).
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
    const bool draining = word.back() == '!';
    if (draining) word.pop_back();
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
  out.service = TranslateService("shop/web", from, node, &out.skipped);
  return out;
}

// One character per backend of the first port: 'i' internal only, 'e' external only, 'b', '-'.
std::string Scopes(const Outcome& outcome) {
  std::string out;
  for (const auto& backend : outcome.service->ports.at(0).backends)
    out += "-ieb"[backend.scopes & dataplane::kScopeBoth];
  return out;
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

TEST(TranslateService, ANodeWithoutAZonePrefersNoZone) {
  v1::ServiceState web = Web({"n2/", "n3/west"});
  web.set_traffic_distribution("PreferSameZone");

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

    const auto out = TranslateHostPorts(PodWithHostPort(host_ip), kNode, &skipped);

    EXPECT_THAT(skipped, IsEmpty());
    ASSERT_TRUE(out.has_value());
    EXPECT_EQ(out->ns, "shop");
    EXPECT_EQ(out->name, "pod/web-1");
    EXPECT_EQ(out->identity, 300u);
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
  EXPECT_EQ(TranslateHostPorts(pod, kNode, &skipped)->ports[0].backends[0].scopes, 0)
      << "keeps its flows while it stops";

  for (const char* phase : {"Succeeded", "Failed"}) {
    pod.mutable_status()->set_phase(phase);
    EXPECT_EQ(TranslateHostPorts(pod, kNode, &skipped), std::nullopt);
  }
  pod = PodWithHostPort();
  pod.mutable_status()->clear_pod_ip();
  EXPECT_EQ(TranslateHostPorts(pod, kNode, &skipped), std::nullopt);
  EXPECT_THAT(skipped, IsEmpty());
}

TEST(TranslateHostPorts, NamesAnAddressThatIsNotTheNodes) {
  std::vector<std::string> skipped;

  EXPECT_EQ(TranslateHostPorts(PodWithHostPort("127.0.0.1"), kNode, &skipped), std::nullopt);

  EXPECT_THAT(skipped, ElementsAre("pod shop/web-1: hostPort 8080: hostIP 127.0.0.1 is not this "
                                   "node's address 192.168.9.1"));
}

TEST(CountLocalEndpoints, CountsActiveAddressesOfTheNode) {
  v1::ServiceState web = Web({"n1/east", "n1/east!", "n2/east", "n1/east"});
  *web.add_ports() = web.ports(0);

  EXPECT_EQ(CountLocalEndpoints(web, "n1"), 2);
  EXPECT_EQ(CountLocalEndpoints(web, "n3"), 0);
}

}  // namespace
}  // namespace mesh::agent
