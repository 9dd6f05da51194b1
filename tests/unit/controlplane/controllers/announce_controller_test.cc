// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/announce_controller.h"

#include "controlplane/controllers/objects.h"
#include "controlplane/snapshot/node_snapshot.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/controlplane/controllers/cluster_world.h"

namespace mesh::controlplane {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class AnnounceControllerTest : public ::testing::Test {
 protected:
  AnnounceControllerTest() {
    for (const char* node : {"n1", "n2", "n3"}) world.AddNode(node);
    v1::Service service = world.AddService("web", "web");
    service.mutable_spec()->set_type("LoadBalancer");
    service.mutable_spec()->set_cluster_ip("10.96.0.20");
    service.mutable_spec()->set_external_traffic_policy("Local");
    service.mutable_status()->mutable_load_balancer()->add_ingress()->set_ip("192.168.1.9");
    world.Put(Wrap(service));
  }
  // The Service's ready endpoints: one on each of these nodes.
  void PutEndpoints(const std::vector<std::string>& nodes) {
    v1::EndpointSlice slice;
    slice.mutable_metadata()->set_namespace_("default");
    slice.mutable_metadata()->set_name("web");
    (*slice.mutable_metadata()->mutable_labels())["kubernetes.io/service-name"] = "web";
    slice.set_address_type("IPv4");
    slice.add_ports()->set_port(80);
    for (const std::string& node : nodes) {
      v1::Endpoint* endpoint = slice.add_endpoints();
      endpoint->add_addresses("10.244.0." + node.substr(1));
      endpoint->set_node_name(node);
    }
    world.Put(Wrap(slice));
  }
  void Settle() { world.Settle(controller, InDefault("web")); }
  std::string Announcer() { return BuildService(world.state, InDefault("web"))->announcing_node(); }
  std::string Condition() {
    const auto* condition =
        FindCondition(world.service("web").status().conditions(), kAnnouncedCondition);
    return condition == nullptr ? "" : condition->status() + " " + condition->message();
  }

  ClusterWorld world;
  AnnounceController controller;
};

TEST_F(AnnounceControllerTest, ANodeStaysWhenPodsComeUpElsewhere) {
  for (const std::string node : {"n1", "n2", "n3"}) {
    PutEndpoints({node});
    Settle();
    EXPECT_EQ(Condition(), "True " + node);

    PutEndpoints({"n1", "n2", "n3"});
    Settle();
    EXPECT_EQ(Announcer(), node);
  }
}

TEST_F(AnnounceControllerTest, ANodeThatComesBackTakesNothingBack) {
  PutEndpoints({"n1", "n2", "n3"});
  Settle();
  const std::string first = Announcer();

  world.Silence(first);
  EXPECT_NE(Announcer(), first) << "at once, before anything is written";
  Settle();
  const std::string second = Announcer();
  SetCondition(world.node(first).mutable_status()->mutable_conditions(), "Ready", "True",
               "AgentReady", "", world.now);
  Settle();

  EXPECT_EQ(Announcer(), second);
  EXPECT_EQ(Condition(), "True " + second);
}

TEST_F(AnnounceControllerTest, SaysThatNobodyAnswers) {
  PutEndpoints({});
  Settle();

  EXPECT_EQ(Condition(), "False no ready node can take new connections");
}

TEST_F(AnnounceControllerTest, TakesTheConditionBackWithTheAddresses) {
  PutEndpoints({"n1"});
  Settle();
  v1::Service service = world.service("web");
  service.mutable_spec()->set_type("ClusterIP");
  service.mutable_status()->clear_load_balancer();
  world.Put(Wrap(service));
  Settle();

  EXPECT_EQ(Condition(), "");
}

TEST_F(AnnounceControllerTest, LooksWhenEndpointsOrReadinessChange) {
  PutEndpoints({"n1"});
  const auto slice = world.state.Find(v1::KIND_ENDPOINT_SLICE, InDefault("web"));
  EXPECT_THAT(controller.Affected(world.state, {slice, slice}), ElementsAre(InDefault("web")));

  const auto before = std::make_shared<const v1::Resource>(Wrap(world.node("n2")));
  EXPECT_THAT(controller.Affected(world.state, {before, before}), IsEmpty());
  world.Silence("n2");
  const auto after = std::make_shared<const v1::Resource>(Wrap(world.node("n2")));
  EXPECT_THAT(controller.Affected(world.state, {before, after}), ElementsAre(InDefault("web")));
}

}  // namespace
}  // namespace mesh::controlplane
