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

// From scratch.
Translation Translate(NodeStatePtr state) {
  return DesiredStateBuilder(*IpAddress::Parse("192.168.9.1")).Build(std::move(state));
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
  state->nodes["node-3"].set_ip("nowhere");
  state->nodes["node-3"].set_pod_cidr("10.244.3.0/24");

  const Translation out = Translate(state);

  EXPECT_THAT(out.skipped,
              ElementsAre(HasSubstr("service shop/v6: \"fd00::1\" is not an IPv4 address"),
                          HasSubstr("service shop/web: port 80: backend 10.244.2.9:70000"),
                          HasSubstr("service shop/web: port 9: protocol 132"),
                          HasSubstr("node node-3: \"nowhere\" is not an IPv4 address")));
  EXPECT_THAT(out.desired.services.at("shop/web").ports, SizeIs(2));
  EXPECT_THAT(out.desired.services.at("shop/web").ports[0].backends, SizeIs(1));
  EXPECT_THAT(out.desired.peers, SizeIs(1));
}

TEST(BuildDesiredState, AnUnknownIsolationOpensNothing) {
  auto state = NamedState();
  state->namespaces[301].set_isolation("opne");

  const Translation out = Translate(state);

  EXPECT_EQ(out.desired.namespaces.at(301).isolation, Isolation::kDefault);
  EXPECT_THAT(out.skipped, ElementsAre(HasSubstr("\"opne\"")));
}

TEST(BuildDesiredState, WaitsSilentlyForAPeerWithoutARange) {
  auto state = NamedState();
  state->nodes["node-2"].clear_pod_cidr();

  const Translation out = Translate(state);

  EXPECT_THAT(out.desired.peers, IsEmpty());
  EXPECT_THAT(out.skipped, IsEmpty());
}

TEST(BuildNodeConfig, TakesTheFirstAddressAsGateway) {
  const auto config = BuildNodeConfig(NamedState()->config, "node-1", "192.168.9.1",
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

  const auto out = BuildNodeConfig(config, "node-1", "192.168.9.1", {});

  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_THAT(out->non_masquerade, ElementsAre(*IpPrefix::Parse("192.168.0.0/16")));
  config.add_non_masquerade_cidrs("everywhere");
  EXPECT_THAT(std::string(BuildNodeConfig(config, "node-1", "192.168.9.1", {}).status().message()),
              HasSubstr("range without masquerade"));
}

TEST(BuildNodeConfig, NamesTheRangeThatIsWrong) {
  v1::Welcome config = NamedState()->config;
  config.set_service_cidr("10.96.0.1/16");

  const auto out = BuildNodeConfig(config, "node-1", "192.168.9.1", {});

  EXPECT_TRUE(absl::IsInvalidArgument(out.status()));
  EXPECT_THAT(std::string(out.status().message()), HasSubstr("service range"));
}

TEST(BuildNodeConfig, IsNotThereBeforeTheFirstWelcome) {
  EXPECT_TRUE(
      absl::IsUnavailable(BuildNodeConfig(v1::Welcome(), "node-1", "192.168.9.1", {}).status()));
}

TEST(DesiredStateBuilder, NamesTheServicesThatMayDiffer) {
  DesiredStateBuilder builder(*IpAddress::Parse("192.168.9.1"));
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

TEST(DesiredStateBuilder, AChangedZoneIsSeenByEveryService) {
  DesiredStateBuilder builder(*IpAddress::Parse("192.168.9.1"));
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
    switch (random_.Below(8)) {
      case 0:
        state->services.erase("shop/" + name);
        break;
      case 1:
        state->config.set_zone(Pick({"", "east", "west"}));
        break;
      case 2: {
        v1::Pod& pod = state->pods[name];
        pod.mutable_metadata()->set_namespace_("shop");
        pod.mutable_metadata()->set_name(name);
        pod.mutable_status()->set_pod_ip(Pick({"10.244.1.7", "10.244.1.8", ""}));
        pod.mutable_status()->set_phase(Pick({"Running", "Succeeded"}));
        auto* container = pod.mutable_spec()->add_containers();
        auto* port = container->add_ports();
        port->set_container_port(80);
        port->set_host_port(static_cast<int>(random_.Below(3)) * 8080);
        port->set_host_ip(Pick({"", "192.168.9.1", "192.168.9.7"}));
        break;
      }
      case 3:
        state->pods.erase(name);
        break;
      case 4:
        state->nodes["node-2"].set_pod_cidr(Pick({"10.244.2.0/24", "10.244.3.0/24", "x", ""}));
        break;
      default: {
        v1::ServiceState& service = state->services["shop/" + name].Mutable();
        service.set_namespace_("shop");
        service.set_name(name);
        service.set_cluster_ip(Pick({"10.96.0.1", "10.96.0.2", "None", "", "x"}));
        service.set_internal_traffic_local(random_.Below(2) == 0);
        service.set_traffic_distribution(Pick({"", "PreferClose", "PreferSameNode", "x"}));
        service.clear_ports();
        auto* port = service.add_ports();
        port->set_protocol(random_.Below(5) == 0 ? 132 : 6);
        port->set_port(80);
        for (uint64_t n = random_.Below(4); n > 0; --n) {
          auto* backend = port->add_backends();
          backend->set_ip(Pick({"10.244.1.5", "10.244.2.5", "10.244.2.6", "x"}));
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
    DesiredStateBuilder builder(*IpAddress::Parse("192.168.9.1"));
    NodeStatePtr state = NamedState();
    std::map<std::string, dataplane::Service> before;
    for (int step = 0; step < 50; ++step) {
      const Translation& out = builder.Build(state);
      const Translation want = Translate(state);
      ASSERT_EQ(out.desired.services, want.desired.services) << step;
      ASSERT_EQ(out.desired.peers, want.desired.peers) << step;
      ASSERT_EQ(out.desired.namespaces, want.desired.namespaces) << step;
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
      state = life.Next(*state);
    }
  }
}

}  // namespace
}  // namespace mesh::agent
