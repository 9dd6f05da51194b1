// SPDX-License-Identifier: Apache-2.0
// Goal: what the control plane says arrives in the dataplane's terms; what cannot be programmed is
// left out by name and takes nothing else along.
#include "agent/network/desired_state.h"

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

TEST(BuildDesiredState, TranslatesServicesWithSortedBackends) {
  const Translation out = BuildDesiredState(*NamedState());

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
  const Translation out = BuildDesiredState(*NamedState());

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

  const Translation out = BuildDesiredState(*state);

  const auto& backends = out.desired.services.at("shop/web").ports[0].backends;
  EXPECT_EQ(backends[0].state, BackendState::kActive);
  EXPECT_EQ(backends[1].state, BackendState::kDraining);
}

TEST(BuildDesiredState, AnActiveBackendWinsOverItsDrainingDouble) {
  auto state = NamedState();
  auto* port = state->services["shop/web"].Mutable().mutable_ports(0);
  *port->add_backends() = port->backends(0);
  port->mutable_backends(0)->set_state(v1::BackendState::DRAINING);

  const Translation out = BuildDesiredState(*state);

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

  const Translation out = BuildDesiredState(*state);

  EXPECT_THAT(out.skipped,
              ElementsAre(HasSubstr("service shop/v6: \"fd00::1\" is not an IPv4 address"),
                          HasSubstr("service shop/web port 80: backend 10.244.2.9:70000"),
                          HasSubstr("service shop/web port 9: protocol 132"),
                          HasSubstr("node node-3: \"nowhere\" is not an IPv4 address")));
  EXPECT_THAT(out.desired.services.at("shop/web").ports, SizeIs(2));
  EXPECT_THAT(out.desired.services.at("shop/web").ports[0].backends, SizeIs(1));
  EXPECT_THAT(out.desired.peers, SizeIs(1));
}

TEST(BuildDesiredState, AnUnknownIsolationOpensNothing) {
  auto state = NamedState();
  state->namespaces[301].set_isolation("opne");

  const Translation out = BuildDesiredState(*state);

  EXPECT_EQ(out.desired.namespaces.at(301).isolation, Isolation::kDefault);
  EXPECT_THAT(out.skipped, ElementsAre(HasSubstr("\"opne\"")));
}

TEST(BuildDesiredState, WaitsSilentlyForAPeerWithoutARange) {
  auto state = NamedState();
  state->nodes["node-2"].clear_pod_cidr();

  const Translation out = BuildDesiredState(*state);

  EXPECT_THAT(out.desired.peers, IsEmpty());
  EXPECT_THAT(out.skipped, IsEmpty());
}

TEST(BuildNodeConfig, TakesTheFirstAddressAsGateway) {
  const auto config = BuildNodeConfig(NamedState()->config, "node-1", "192.168.9.1", 9000);

  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->gateway.ToString(), "10.244.1.1");
  EXPECT_EQ(config->pod_cidr.ToString(), "10.244.1.0/24");
  EXPECT_EQ(config->service_cidr.ToString(), "10.96.0.0/16");
  EXPECT_EQ(config->node_ip.ToString(), "192.168.9.1");
  EXPECT_EQ(config->uplink_mtu, 9000);
}

TEST(BuildNodeConfig, NamesTheRangeThatIsWrong) {
  v1::Welcome config = NamedState()->config;
  config.set_service_cidr("10.96.0.1/16");

  const auto out = BuildNodeConfig(config, "node-1", "192.168.9.1", 1500);

  EXPECT_TRUE(absl::IsInvalidArgument(out.status()));
  EXPECT_THAT(std::string(out.status().message()), HasSubstr("service range"));
}

TEST(BuildNodeConfig, IsNotThereBeforeTheFirstWelcome) {
  EXPECT_TRUE(
      absl::IsUnavailable(BuildNodeConfig(v1::Welcome(), "node-1", "192.168.9.1", 1500).status()));
}

}  // namespace
}  // namespace mesh::agent
