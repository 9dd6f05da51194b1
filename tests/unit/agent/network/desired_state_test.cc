// SPDX-License-Identifier: Apache-2.0
// Goal: what the control plane says arrives in the dataplane's terms; what cannot be programmed is
// left out by name and takes nothing else along.
#include "agent/network/desired_state.h"

#include "common/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/agent/network/named_state.h"

namespace mesh::agent {
namespace {

using dataplane::BackendState;
using dataplane::Isolation;
using dataplane::Protocol;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

dataplane::NodeConfig Ipv4Config() {
  dataplane::NodeConfig out;
  out.node_name = "node-1";
  out.node_ip = *IpAddress::Parse("192.168.9.1");
  return out;
}

// With both families, and packets that go as they are.
dataplane::NodeConfig DualConfig() {
  dataplane::NodeConfig out = Ipv4Config();
  out.node_ip6 = *IpAddress::Parse("fd00:9::1");
  out.pod_cidr6 = *IpPrefix::Parse("fd00:10:244:1::/64");
  out.cluster_cidr6 = *IpPrefix::Parse("fd00:10:244::/48");
  out.routing = dataplane::Routing::kNative;
  return out;
}

// From scratch.
Translation Translate(NodeStatePtr state, const dataplane::NodeConfig& config = Ipv4Config()) {
  return DesiredStateBuilder(config).Build(std::move(state));
}

TEST(BuildDesiredState, TakesRangesWithoutMasqueradeAsTheyAreNow) {
  auto state = std::make_shared<NodeState>(*NamedState());
  state->config.clear_non_masquerade_cidrs();
  state->config.add_non_masquerade_cidrs("192.168.0.0/16");
  DesiredStateBuilder builder(Ipv4Config());
  EXPECT_THAT(*builder.Build(state).desired.non_masquerade,
              ElementsAre(*IpPrefix::Parse("192.168.0.0/16")));

  auto next = std::make_shared<NodeState>(*state);
  next->config.clear_non_masquerade_cidrs();
  EXPECT_THAT(*builder.Build(next).desired.non_masquerade, IsEmpty());
}

TEST(BuildDesiredState, TranslatesServicesWithSortedBackends) {
  const Translation out = Translate(NamedState());

  EXPECT_THAT(out.skipped, IsEmpty());
  EXPECT_EQ(out.desired.revision, 7);
  EXPECT_TRUE(out.desired.complete);
  ASSERT_THAT(out.desired.services, SizeIs(1)) << "the headless one has nothing to program";
  const dataplane::Service& web = out.desired.services.at("shop/web");
  EXPECT_EQ(web.ns, "shop");
  EXPECT_EQ(web.name, "web");
  EXPECT_EQ(web.cluster_ip.ToString(), "10.96.0.10");
  EXPECT_EQ(web.identity, 300u);
  ASSERT_THAT(web.ports, SizeIs(2));
  EXPECT_EQ(web.ports[0].protocol, Protocol::kTcp);
  EXPECT_EQ(web.ports[0].port, 80);
  EXPECT_EQ(web.ports[1].protocol, Protocol::kUdp);
  ASSERT_THAT(web.ports[0].backends, SizeIs(2));
  EXPECT_EQ(web.ports[0].backends[0].ip.ToString(), "10.244.1.5");
  EXPECT_EQ(web.ports[0].backends[0].pod, "web-1");
  EXPECT_EQ(web.ports[0].backends[0].node, "node-1");
  EXPECT_EQ(web.ports[0].backends[1].ip.ToString(), "10.244.2.9");
}

TEST(BuildDesiredState, TranslatesPeersAndNamespaces) {
  const Translation out = Translate(NamedState());

  ASSERT_THAT(out.desired.peers, SizeIs(1));
  EXPECT_EQ(out.desired.peers.at("node-2").ip.ToString(), "192.168.9.2");
  EXPECT_EQ(out.desired.peers.at("node-2").pod_cidr.ToString(), "10.244.2.0/24");
  EXPECT_EQ(out.desired.namespaces.at(300).name, "shop");
  EXPECT_EQ(out.desired.namespaces.at(300).isolation, Isolation::kDefault);
  EXPECT_EQ(out.desired.namespaces.at(301).isolation, Isolation::kOpen);
}

TEST(BuildDesiredState, KeepsDrainingBackendsAsDraining) {
  auto state = NamedState();
  state->services["shop/web"].Mutable().mutable_ports(0)->mutable_backends(0)->set_state(
      v1::BackendState::DRAINING);

  const Translation out = Translate(state);

  const auto& backends = out.desired.services.at("shop/web").ports[0].backends;
  EXPECT_EQ(backends[0].state, BackendState::kActive);
  EXPECT_EQ(backends[1].state, BackendState::kDraining);
}

TEST(BuildDesiredState, AnActiveBackendWinsOverItsDrainingDouble) {
  auto state = NamedState();
  auto* port = state->services["shop/web"].Mutable().mutable_ports(0);
  *port->add_backends() = port->backends(0);
  port->mutable_backends(0)->set_state(v1::BackendState::DRAINING);

  const Translation out = Translate(state);

  const auto& backends = out.desired.services.at("shop/web").ports[0].backends;
  ASSERT_THAT(backends, SizeIs(2));
  EXPECT_EQ(backends[1].state, BackendState::kActive);
}

TEST(BuildDesiredState, LeavesOutWhatCannotBeProgrammedByName) {
  auto state = NamedState();
  v1::ServiceState broken;
  broken.set_cluster_ip("fd00::1");
  state->services["shop/v6"] = broken;
  auto* odd = state->services["shop/web"].Mutable().add_ports();
  odd->set_protocol(132);
  odd->set_port(9);
  state->services["shop/web"].Mutable().mutable_ports(0)->mutable_backends(0)->set_port(70000);
  state->nodes["node-3"].Mutable().set_ip("nowhere");
  state->nodes["node-3"].Mutable().set_pod_cidr("10.244.3.0/24");

  const Translation out = Translate(state);

  EXPECT_THAT(out.skipped,
              ElementsAre(HasSubstr("service shop/v6: IPv6 is left out: this node was not"),
                          HasSubstr("service shop/web: port 80: backend 10.244.2.9:70000"),
                          HasSubstr("service shop/web: port 9: protocol 132"),
                          HasSubstr("node node-3: \"nowhere\" is not an IPv4 address")));
  EXPECT_THAT(out.desired.services.at("shop/web").ports, SizeIs(2));
  EXPECT_THAT(out.desired.services.at("shop/web").ports[0].backends, SizeIs(1));
  EXPECT_THAT(out.desired.peers, SizeIs(1));
}

TEST(BuildDesiredState, AnUnknownIsolationOpensNothing) {
  auto state = NamedState();
  state->namespaces[301].Mutable().set_isolation("opne");

  const Translation out = Translate(state);

  EXPECT_EQ(out.desired.namespaces.at(301).isolation, Isolation::kDefault);
  EXPECT_THAT(out.skipped, ElementsAre(HasSubstr("\"opne\"")));
}

TEST(BuildDesiredState, WaitsSilentlyForAPeerWithoutARange) {
  auto state = NamedState();
  state->nodes["node-2"].Mutable().clear_pod_cidr();

  const Translation out = Translate(state);

  EXPECT_THAT(out.desired.peers, IsEmpty());
  EXPECT_THAT(out.skipped, IsEmpty());
}

TEST(BuildNodeConfig, TakesTheFirstAddressAsGateway) {
  const auto config = BuildNodeConfig(NamedState()->config, "node-1", "192.168.9.1", "fd00:9::1",
                                      {.name = "eth0", .mtu = 9000, .xdp = true});

  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->gateway.ToString(), "10.244.1.1");
  EXPECT_EQ(config->pod_cidr.ToString(), "10.244.1.0/24");
  EXPECT_EQ(config->service_cidr.ToString(), "10.96.0.0/16");
  EXPECT_EQ(config->node_ip.ToString(), "192.168.9.1");
  EXPECT_EQ(config->uplink, "eth0");
  EXPECT_EQ(config->uplink_mtu, 9000);
  EXPECT_TRUE(config->xdp);
}

TEST(BuildNodeConfig, TakesTheRangesThatSeePodsAsTheyAre) {
  v1::Welcome config = NamedState()->config;
  config.add_non_masquerade_cidrs("192.168.0.0/16");

  const auto out = BuildNodeConfig(config, "node-1", "192.168.9.1", "", {});

  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_THAT(out->non_masquerade, ElementsAre(*IpPrefix::Parse("192.168.0.0/16")));
  config.add_non_masquerade_cidrs("everywhere");
  EXPECT_THAT(
      std::string(BuildNodeConfig(config, "node-1", "192.168.9.1", "", {}).status().message()),
      HasSubstr("range without masquerade"));
}

v1::Welcome DualWelcome() {
  v1::Welcome out = NamedState()->config;
  out.set_pod_cidr6("fd00:10:244:1::/64");
  out.set_cluster_cidr6("fd00:10:244::/48");
  out.set_service_cidr6("fd00:10:96::/112");
  return out;
}

TEST(BuildNodeConfig, HasTheFirstAddressOfTheIpv6RangeAsSecondGateway) {
  v1::Welcome welcome = DualWelcome();
  welcome.set_routing(v1::Welcome::NATIVE);

  const auto out = BuildNodeConfig(welcome, "node-1", "192.168.9.1", "fd00:9::1", {});

  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ(out->node_ip6.ToString(), "fd00:9::1");
  EXPECT_EQ(out->pod_cidr6.ToString(), "fd00:10:244:1::/64");
  EXPECT_EQ(out->cluster_cidr6.ToString(), "fd00:10:244::/48");
  EXPECT_EQ(out->service_cidr6.ToString(), "fd00:10:96::/112");
  EXPECT_EQ(out->gateway6.ToString(), "fd00:10:244:1::1");
  EXPECT_EQ(out->routing, dataplane::Routing::kNative);
  EXPECT_EQ(BuildNodeConfig(welcome, "node-1", "192.168.9.1", "", {})->node_ip6, IpAddress())
      << "a node may have none of its own";
}

TEST(BuildNodeConfig, HasNothingOfIpv6WithoutRangesOfIt) {
  const auto out = BuildNodeConfig(NamedState()->config, "node-1", "192.168.9.1", "fd00:9::1", {});

  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ(out->node_ip6, IpAddress());
  EXPECT_FALSE(out->pod_cidr6.is_set());
  EXPECT_EQ(out->routing, dataplane::Routing::kVxlan);
}

TEST(BuildNodeConfig, NamesWhatOfIpv6IsWrong) {
  const struct {
    const char* what;
    void (*change)(v1::Welcome*);
    absl::StatusCode code;
    const char* want;
  } cases[] = {
      {"half of it", [](v1::Welcome* w) { w->clear_service_cidr6(); },
       absl::StatusCode::kUnavailable, "some of its IPv6 ranges only"},
      {"the other family", [](v1::Welcome* w) { w->set_cluster_cidr6("10.0.0.0/8"); },
       absl::StatusCode::kInvalidArgument, "10.0.0.0/8 is not an IPv6 range"},
      {"too small for the pods", [](v1::Welcome* w) { w->set_pod_cidr6("fd00:10:244:1::/126"); },
       absl::StatusCode::kInvalidArgument, "has fewer addresses than 10.244.1.0/24"},
      {"routing of a newer build",
       [](v1::Welcome* w) { w->set_routing(static_cast<v1::Welcome::Routing>(7)); },
       absl::StatusCode::kInvalidArgument, "routing 7 is not known"},
  };
  for (const auto& c : cases) {
    v1::Welcome welcome = DualWelcome();
    c.change(&welcome);
    const auto out = BuildNodeConfig(welcome, "node-1", "192.168.9.1", "", {});
    EXPECT_EQ(out.status().code(), c.code) << c.what;
    EXPECT_THAT(std::string(out.status().message()), HasSubstr(c.want)) << c.what;
  }
}

TEST(BuildDesiredState, MakesTwoServicesOfOneOfTwoFamilies) {
  auto state = NamedState();
  v1::ServiceState& web = state->services["shop/web"].Mutable();
  web.add_ip_families("IPv4");
  web.add_ip_families("IPv6");
  web.add_cluster_ips("10.96.0.10");
  web.add_cluster_ips("fd00:10:96::a");
  auto* backend = web.mutable_ports(0)->add_backends();
  *backend = web.ports(0).backends(0);
  backend->set_ip("fd00:10:244:2::9");

  const Translation out = Translate(state, DualConfig());

  EXPECT_THAT(out.skipped, IsEmpty());
  ASSERT_THAT(out.desired.services, SizeIs(2));
  const dataplane::Service& v6 = out.desired.services.at("shop/web#6");
  EXPECT_EQ(v6.family, dataplane::Family::kV6);
  EXPECT_EQ(v6.ns, "shop");
  EXPECT_EQ(v6.name, "web");
  EXPECT_EQ(v6.cluster_ip.ToString(), "fd00:10:96::a");
  ASSERT_THAT(v6.ports[0].backends, SizeIs(1));
  EXPECT_EQ(v6.ports[0].backends[0].ip.ToString(), "fd00:10:244:2::9");
  EXPECT_EQ(out.desired.services.at("shop/web").family, dataplane::Family::kV4);
  EXPECT_THAT(out.desired.services.at("shop/web").ports[0].backends, SizeIs(2));
}

TEST(BuildDesiredState, APeerHasBothFamiliesWhereTheClusterHas) {
  auto state = NamedState();
  state->nodes["node-2"].Mutable().set_ip6("fd00:9::2");
  state->nodes["node-2"].Mutable().set_pod_cidr6("fd00:10:244:2::/64");

  const dataplane::Peer dual = Translate(state, DualConfig()).desired.peers.at("node-2");
  EXPECT_EQ(dual.ip6.ToString(), "fd00:9::2");
  EXPECT_EQ(dual.pod_cidr6.ToString(), "fd00:10:244:2::/64");
  EXPECT_FALSE(Translate(state).desired.peers.at("node-2").pod_cidr6.is_set());

  state->nodes["node-2"].Mutable().set_pod_cidr6("10.0.0.0/8");
  const Translation half = Translate(state, DualConfig());
  EXPECT_THAT(half.skipped, ElementsAre("node node-2: IPv6 podCIDR: 10.0.0.0/8 is not an IPv6 "
                                        "range"));
  EXPECT_THAT(half.desired.peers, SizeIs(1)) << "its IPv4 half stands";
}

TEST(BuildDesiredState, KnowsThePodsOfOtherNodesWithNativeRouting) {
  auto state = NamedState();
  state->pod_identities["10.244.2.9"] = {.ip6 = "fd00:10:244:2::9", .identity = 300};
  state->pod_identities["x"] = {.ip6 = {}, .identity = 301};

  const Translation out = Translate(state, DualConfig());

  EXPECT_EQ(out.desired.pod_identities,
            (std::map<IpAddress, uint32_t>{{*IpAddress::Parse("10.244.2.9"), 300},
                                           {*IpAddress::Parse("fd00:10:244:2::9"), 300}}));
  EXPECT_THAT(out.skipped, ElementsAre("pod x of another node: \"x\" is not an IPv4 address"));
  EXPECT_THAT(Translate(state).desired.pod_identities, SizeIs(1)) << "with a tunnel as well";
}

TEST(BuildDesiredState, TellsWhatPoliciesSayAndShutsWhatItDoesNotUnderstand) {
  auto state = NamedState();
  state->policy_epoch = 7;
  v1::IdentityState identity;
  identity.set_identity(300);
  identity.set_namespace_number(256);
  identity.set_ingress(1);
  identity.add_selectors(4);
  state->identities[300] = identity;
  v1::PolicySetState good, bad;
  good.set_number(1);
  good.add_rules()->add_selectors(4);
  bad.set_number(2);
  bad.add_policies("shop/odd");
  bad.add_rules()->add_blocks()->set_cidr("10.0.0.0/33");
  state->policy_sets[1] = good;
  state->policy_sets[2] = bad;
  state->pods["uid"].Mutable().mutable_status()->set_pod_ip("10.244.1.5");
  state->pods["uid"].Mutable().mutable_status()->set_identity(300);

  const Translation out = Translate(state);

  EXPECT_EQ(out.desired.policy_epoch, 7u);
  EXPECT_EQ(out.desired.identities.at(300).ns, 256u);
  EXPECT_EQ(out.desired.identities.at(300).ingress, 1u);
  EXPECT_EQ(out.desired.identities.at(300).selectors, std::vector<uint32_t>{4});
  EXPECT_TRUE(out.desired.policy_sets.contains(1));
  EXPECT_FALSE(out.desired.policy_sets.contains(2));
  EXPECT_THAT(out.skipped, ElementsAre(::testing::HasSubstr("policy shop/odd")));
  EXPECT_EQ(out.desired.pods.at(*IpAddress::Parse("10.244.1.5")), 300u);
}

TEST(BuildNodeConfig, NamesTheRangeThatIsWrong) {
  v1::Welcome config = NamedState()->config;
  config.set_service_cidr("10.96.0.1/16");

  const auto out = BuildNodeConfig(config, "node-1", "192.168.9.1", "", {});

  EXPECT_TRUE(absl::IsInvalidArgument(out.status()));
  EXPECT_THAT(std::string(out.status().message()), HasSubstr("service range"));
}

TEST(BuildNodeConfig, IsNotThereBeforeTheFirstWelcome) {
  EXPECT_TRUE(absl::IsUnavailable(
      BuildNodeConfig(v1::Welcome(), "node-1", "192.168.9.1", "", {}).status()));
}

TEST(DesiredStateBuilder, NamesTheServicesThatMayDiffer) {
  DesiredStateBuilder builder(Ipv4Config());
  auto state = NamedState();
  state->services["shop/api"] = state->services["shop/web"];
  EXPECT_EQ(builder.Build(state).desired.changed_services, std::nullopt) << "any, at first";

  auto next = std::make_shared<NodeState>(*state);
  next->revision = 8;
  next->services["shop/web"].Mutable().mutable_ports(0)->mutable_backends()->RemoveLast();
  const Translation& out = builder.Build(next);

  EXPECT_EQ(out.desired.revision, 8);
  EXPECT_THAT(*out.desired.changed_services, ElementsAre("shop/web"));
  EXPECT_THAT(out.desired.services.at("shop/web").ports[0].backends, SizeIs(1));
  EXPECT_THAT(*builder.Build(next).desired.changed_services, IsEmpty());
}

TEST(DesiredStateBuilder, KnowsWhichExternalAddressesProcessesOfTheNodeHave) {
  DesiredStateBuilder builder(Ipv4Config());
  auto state = NamedState();
  builder.Build(state);
  EXPECT_FALSE(builder.AsksForListeners());
  auto next = std::make_shared<NodeState>(*state);
  next->services["shop/web"].Mutable().add_external_ips("192.168.9.1");
  const Translation& out = builder.Build(next);
  EXPECT_TRUE(builder.AsksForListeners());
  EXPECT_TRUE(builder.AsksForListenersAnew());
  EXPECT_THAT(out.desired.taken, IsEmpty());

  const dataplane::Frontend at = {*IpAddress::Parse("192.168.9.1"), 80, Protocol::kTcp};
  EXPECT_TRUE(builder.SetListeners({.addresses = {}, .sockets = {at}, .passing = {}}));
  EXPECT_FALSE(builder.SetListeners({.addresses = {}, .sockets = {at}, .passing = {}}));
  EXPECT_THAT(out.desired.taken,
              ElementsAre(testing::Pair(at, "a process of node node-1 listens on port 80/TCP")));
  builder.Build(next);
  EXPECT_FALSE(builder.AsksForListenersAnew());
  EXPECT_THAT(out.desired.taken, SizeIs(1)) << "nobody has said otherwise";

  auto health = std::make_shared<NodeState>(*next);
  auto& other = (health->services["shop/other"] = health->services["shop/web"]).Mutable();
  other.set_name("other");
  other.clear_external_ips();
  other.set_health_check_node_port(80);
  builder.Build(health);
  EXPECT_EQ(out.desired.taken.at(at), "it is the healthCheckNodePort of service shop/other");
  builder.Build(state);
  EXPECT_THAT(out.desired.taken, IsEmpty());
  EXPECT_FALSE(builder.AsksForListeners());
}

TEST(DesiredStateBuilder, AChangedZoneIsSeenByEveryService) {
  DesiredStateBuilder builder(Ipv4Config());
  auto state = NamedState();
  v1::ServiceState& web = state->services["shop/web"].Mutable();
  web.set_traffic_distribution("PreferSameZone");
  for (auto& backend : *web.mutable_ports(0)->mutable_backends())
    backend.set_zone(backend.node_name() == "node-1" ? "a" : "b");
  builder.Build(state);

  auto next = std::make_shared<NodeState>(*state);
  next->config.set_zone("b");
  const Translation& out = builder.Build(next);

  EXPECT_THAT(*out.desired.changed_services, ElementsAre("shop/web"));
  const auto& backends = out.desired.services.at("shop/web").ports[0].backends;
  EXPECT_EQ(backends[0].scopes, 0);
  EXPECT_EQ(backends[1].scopes, dataplane::kScopeBoth);
}

// Any change of any kind, one after the other.
class RandomLife {
 public:
  explicit RandomLife(uint64_t seed) : random_(seed) {}

  NodeStatePtr Next(const NodeState& before) {
    auto next = std::make_shared<NodeState>(before);
    ++next->revision;
    for (uint64_t n = random_.Below(4); n > 0; --n) Change(next.get());
    return next;
  }

 private:
  std::string Pick(std::initializer_list<const char*> words) {
    return *(words.begin() + random_.Below(words.size()));
  }

  void Change(NodeState* state) {
    const std::string name = Pick({"a", "b", "c", "d"});
    switch (random_.Below(10)) {
      case 0:
        state->services.erase("shop/" + name);
        break;
      case 1:
        state->config.set_zone(Pick({"", "east", "west"}));
        break;
      case 2: {
        v1::Pod& pod = state->pods[name].Mutable();
        pod.mutable_metadata()->set_namespace_("shop");
        pod.mutable_metadata()->set_name(name);
        pod.mutable_status()->set_pod_ip(Pick({"10.244.1.7", "10.244.1.8", ""}));
        pod.mutable_status()->clear_pod_ips();
        for (const char* ip : {"10.244.1.7", "fd00:1::7"})
          if (random_.Below(2) == 0) pod.mutable_status()->add_pod_ips()->set_ip(ip);
        pod.mutable_status()->set_phase(Pick({"Running", "Succeeded"}));
        auto* container = pod.mutable_spec()->add_containers();
        auto* port = container->add_ports();
        port->set_container_port(80);
        port->set_host_port(static_cast<int>(random_.Below(3)) * 8080);
        port->set_host_ip(Pick({"", "192.168.9.1", "192.168.9.7", "::", "fd00:9::1"}));
        break;
      }
      case 3:
        state->pods.erase(name);
        break;
      case 4:
        state->nodes["node-2"].Mutable().set_pod_cidr(
            Pick({"10.244.2.0/24", "10.244.3.0/24", "x", ""}));
        break;
      case 5: {
        state->nodes["node-2"].Mutable().set_pod_cidr6(
            Pick({"fd00:2::/64", "fd00:3::/64", "x", ""}));
        state->nodes["node-2"].Mutable().set_ip6(Pick({"fd00:9::2", "fd00:9::3", "x", ""}));
        break;
      }
      case 6: {
        v1::NodeUpdate update;
        update.set_revision(state->revision);
        const std::string ip = Pick({"10.244.2.5", "10.244.2.6", "10.244.3.5", "x"});
        if (random_.Below(2) == 0) {
          update.add_removed_pod_ips(ip);
        } else {
          auto* pod = update.add_pod_identities();
          pod->set_ip(ip);
          // No two pods have the same one.
          if (random_.Below(3) != 0)
            pod->set_ip6(ip == "x" ? "y" : "fd00:" + ip.substr(7, 1) + "::" + ip.substr(9));
          pod->set_identity(300 + static_cast<uint32_t>(random_.Below(2)));
        }
        ASSERT_TRUE(state->Merge(update).ok());
        break;
      }
      default: {
        v1::ServiceState& service = state->services["shop/" + name].Mutable();
        service.set_namespace_("shop");
        service.set_name(name);
        service.set_cluster_ip(Pick({"10.96.0.1", "10.96.0.2", "None", "", "x"}));
        service.clear_ip_families();
        service.clear_cluster_ips();
        for (const char* family : {"IPv4", "IPv6"})
          if (random_.Below(2) == 0) service.add_ip_families(family);
        for (const char* ip : {"10.96.0.1", "fd00:96::1"})
          if (random_.Below(2) == 0) service.add_cluster_ips(ip);
        service.set_internal_traffic_local(random_.Below(2) == 0);
        service.set_traffic_distribution(Pick({"", "PreferClose", "PreferSameNode", "x"}));
        service.clear_ports();
        auto* port = service.add_ports();
        port->set_protocol(random_.Below(5) == 0 ? 132 : 6);
        port->set_port(80);
        for (uint64_t n = random_.Below(4); n > 0; --n) {
          auto* backend = port->add_backends();
          backend->set_ip(Pick({"10.244.1.5", "10.244.2.5", "10.244.2.6", "fd00:2::5", "x"}));
          backend->set_port(8080);
          backend->set_node_name(Pick({"node-1", "node-2"}));
          backend->set_zone(Pick({"east", "west"}));
        }
      }
    }
  }

  Random random_;
};

TEST(DesiredStateBuilder, StepByStepItIsAsFromScratch) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    RandomLife life(seed);
    const dataplane::NodeConfig config = seed % 4 == 0 ? Ipv4Config() : DualConfig();
    DesiredStateBuilder builder(config);
    NodeStatePtr state = NamedState();
    std::map<std::string, dataplane::Service> before;
    std::map<IpAddress, uint32_t> identities;
    for (int step = 0; step < 50; ++step) {
      const Translation& out = builder.Build(state);
      const Translation want = Translate(state, config);
      ASSERT_EQ(out.desired.services, want.desired.services) << step;
      ASSERT_EQ(out.desired.peers, want.desired.peers) << step;
      ASSERT_EQ(out.desired.namespaces, want.desired.namespaces) << step;
      ASSERT_EQ(out.desired.pod_identities, want.desired.pod_identities) << step;
      ASSERT_EQ(out.skipped, want.skipped) << step;
      // What is not named is as it was.
      if (out.desired.changed_services.has_value()) {
        for (const std::string& key : *out.desired.changed_services) {
          before.erase(key);
          if (const auto it = out.desired.services.find(key); it != out.desired.services.end())
            before.insert(*it);
        }
        ASSERT_EQ(before, out.desired.services) << step;
      }
      before = out.desired.services;
      for (const IpAddress& ip :
           out.desired.changed_pod_identities.value_or(std::vector<IpAddress>())) {
        identities.erase(ip);
        if (const auto it = out.desired.pod_identities.find(ip);
            it != out.desired.pod_identities.end())
          identities.insert(*it);
      }
      ASSERT_EQ(identities, out.desired.pod_identities) << step;
      state = life.Next(*state);
    }
  }
}

}  // namespace
}  // namespace mesh::agent
