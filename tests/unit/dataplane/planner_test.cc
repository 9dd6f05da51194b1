// SPDX-License-Identifier: Apache-2.0
// Goal: a planner that is told only what changes knows who has what, and who waits for it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "dataplane/plan/plan.h"
#include "tests/unit/dataplane/plan_world.h"

namespace mesh::dataplane {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Planner, KnowsANodePortWhoseClusterIpStandsApart) {
  Service service{
      "shop", "web", IpAddress(), 0, {{"http", Protocol::kTcp, 80, {At("10.244.1.10")}}}};
  service.ports[0].node_port = 30080;
  service.outside = true;
  DesiredState desired;
  desired.complete = true;
  desired.services["shop/web#out"] = service;
  desired.services["shop/web"] = Web({At("10.244.1.10")});
  Planner planner(ThisNode());
  Observed observed;

  const Plan plan = planner.Compute(desired, observed);

  EXPECT_TRUE(plan.problem.ok()) << plan.problem;
  EXPECT_EQ(planner.Kind({IpAddress::V4(0), 30080, Protocol::kTcp}), FrontendKind::kNodePort);
  for (const Action& action : plan.actions) Perform(action, observed);
  EXPECT_NE(observed.frontends.at(kWeb).service_id,
            observed.frontends.at({IpAddress::V4(0), 30080, Protocol::kTcp}).service_id);
}

TEST(Planner, FollowsRangesWithoutMasqueradeThatChange) {
  NodeConfig node = ThisNode();
  node.non_masquerade = {Range("10.0.0.0/8")};
  Planner planner(node);
  Observed observed;
  DesiredState desired;
  desired.complete = true;
  const auto run = [&](std::vector<IpPrefix> ranges) {
    desired.non_masquerade = std::move(ranges);
    for (const Action& action : planner.Compute(desired, observed).actions) {
      Perform(action, observed);
    }
    desired.changed_services.emplace();
    desired.changed_pod_identities.emplace();
  };

  run({Range("10.0.0.0/8")});
  EXPECT_THAT(observed.outside,
              ElementsAre(OutsidePlace{Outside::kNoMasquerade, Range("10.0.0.0/8")}));
  run({Range("172.16.0.0/12")});
  EXPECT_THAT(observed.outside,
              ElementsAre(OutsidePlace{Outside::kNoMasquerade, Range("172.16.0.0/12")}));
  run({});
  EXPECT_TRUE(observed.outside.empty());
}

TEST(Planner, TellsWhosePodsThoseOfOtherNodesAreWhenPacketsDoNot) {
  NodeConfig node = ThisNode();
  node.routing = Routing::kNative;
  Planner planner(node);
  Observed observed;
  DesiredState desired;
  desired.complete = true;
  desired.peers["node2"] = {"node2", Ip("192.0.2.2"), Range("10.244.2.0/24")};
  desired.pod_identities = {{Ip("10.244.2.10"), 300}, {Ip("10.244.2.11"), 301}};
  const auto apply = [&] {
    const Plan plan = planner.Compute(desired, observed);
    EXPECT_TRUE(plan.problem.ok()) << plan.problem;
    for (const Action& action : plan.actions) Perform(action, observed);
    return plan;
  };

  apply();
  // Processes of the other node send with the first address of its range.
  const std::pair<const IpAddress, IdentityEntry> gateway = {Ip("10.244.2.1"), {kIdentityHost}};
  EXPECT_THAT(observed.identities,
              ElementsAre(gateway, ::testing::Pair(Ip("10.244.2.10"), IdentityEntry{300}),
                          ::testing::Pair(Ip("10.244.2.11"), IdentityEntry{301})));

  // One is told to have gone, the other is not looked at.
  desired.changed_services.emplace();
  desired.changed_pod_identities = {Ip("10.244.2.10")};
  desired.pod_identities.clear();
  EXPECT_EQ(apply().actions.size(), 1u);
  EXPECT_THAT(observed.identities,
              ElementsAre(gateway, ::testing::Pair(Ip("10.244.2.11"), IdentityEntry{301})));

  desired.peers.clear();
  desired.changed_pod_identities.reset();
  apply();
  EXPECT_TRUE(observed.identities.empty());
}

TEST(Planner, HasFlowsJudgedAgainWhenAnAddressGoesToAnotherNamespace) {
  NodeConfig node = ThisNode();
  node.routing = Routing::kNative;
  DesiredState desired;
  desired.complete = true;
  desired.pod_identities = {{Ip("10.244.2.10"), 300}};
  Observed observed;
  NextIds next;
  Plan plan = ComputePlan(node, desired, observed, next);
  EXPECT_FALSE(plan.judge_flows_again) << "nothing was judged of an address that was unknown";
  for (const Action& action : plan.actions) Perform(action, observed);

  desired.pod_identities[Ip("10.244.2.10")] = 301;

  EXPECT_TRUE(ComputePlan(node, desired, observed, next).judge_flows_again);
}

TEST(Planner, KeepsIdentitiesWhoseNodesHaveNotBeenToldYet) {
  NodeConfig node = ThisNode();
  node.routing = Routing::kNative;
  Observed observed;
  observed.identities[Ip("10.244.2.10")] = {300};
  NextIds next;

  EXPECT_TRUE(ComputePlan(node, DesiredState(), observed, next).actions.empty());
}

TEST(Planner, TellsWithATunnelOnlyThePodsThatPoliciesAskAboutNoGateways) {
  Observed observed;
  observed.identities[Ip("10.244.2.10")] = {300};
  DesiredState desired;
  desired.complete = true;
  desired.peers["node2"] = {"node2", Ip("192.0.2.2"), Range("10.244.2.0/24")};
  desired.pod_identities = {{Ip("10.244.2.11"), 301}};
  desired.identities[301].ns = 256;
  NextIds next;

  for (const Action& action : ComputePlan(ThisNode(), desired, observed, next).actions) {
    Perform(action, observed);
  }

  EXPECT_THAT(observed.identities,
              ElementsAre(::testing::Pair(Ip("10.244.2.11"), IdentityEntry{301, 256})));
}

TEST(Planner, LooksOnlyAtServicesThatAreNamed) {
  Planner planner(ThisNode());
  DesiredState desired = With(Web({At("10.244.1.10")}));
  Observed observed;
  for (const Action& action : planner.Compute(desired, observed).actions) {
    Perform(action, observed);
  }
  desired.services["shop/web"].ports[0].backends.push_back(At("10.244.1.11"));

  desired.changed_services = {"shop/other"};
  EXPECT_TRUE(planner.Compute(desired, observed).actions.empty());
  desired.changed_services = {"shop/web"};
  EXPECT_EQ(planner.Compute(desired, observed).actions.size(), 2u);
}

TEST(Planner, NamesEachServiceThatIsNotServedUntilItIs) {
  Planner planner(ThisNode());
  DesiredState desired = With(Everywhere({At("10.244.1.10")}));
  for (const char* name : {"yak", "zebra"}) {
    Service other = Web({At("10.244.1.11")});
    other.name = name;
    other.cluster_ip = IpAddress();
    other.ports[0].node_port = 30080;
    desired.services[std::string("shop/") + name] = other;
  }
  Observed observed;
  const auto named = [&] {
    const Plan plan = planner.Compute(desired, observed);
    for (const Action& action : plan.actions) Perform(action, observed);
    std::vector<std::string> out;
    planner.ForEachServiceProblem([&](const Service& service, const std::string& problem) {
      EXPECT_THAT(problem, HasSubstr("service shop/" + service.name));
      EXPECT_THAT(problem, HasSubstr("belongs to service shop/web"));
      out.push_back(service.name);
    });
    return out;
  };
  EXPECT_THAT(named(), ElementsAre("yak", "zebra"));

  desired.services["shop/yak"].ports[0].node_port = 30081;
  desired.changed_services = {"shop/yak"};
  EXPECT_THAT(named(), ElementsAre("zebra"));
}

TEST(Planner, GivesAFreedNodePortToTheOneThatWaited) {
  Planner planner(ThisNode());
  DesiredState desired = With(Everywhere({At("10.244.1.10")}));
  Service other = Web({At("10.244.1.11")});
  other.name = "zebra";
  other.cluster_ip = Ip("10.96.0.12");
  other.ports[0].node_port = 30080;
  desired.services["shop/zebra"] = other;
  Observed observed;
  const auto plan = [&] {
    const Plan out = planner.Compute(desired, observed);
    for (const Action& action : out.actions) Perform(action, observed);
    return out.problem;
  };
  EXPECT_FALSE(plan().ok());
  desired.changed_services.emplace();
  EXPECT_FALSE(plan().ok()) << "still told while it holds";
  const uint32_t zebra = observed.frontends.at({other.cluster_ip, 80, Protocol::kTcp}).service_id;

  desired.services.erase("shop/web");
  desired.changed_services = {"shop/web"};

  EXPECT_TRUE(plan().ok());
  EXPECT_EQ(observed.frontends.at(kNodePort).service_id, zebra);
  EXPECT_EQ(observed.frontends.size(), 2u);
}

TEST(Planner, LeavesItsNumberToAServiceThatLosesAFrontend) {
  Planner planner(ThisNode());
  Service zebra = Everywhere({At("10.244.1.10")});
  zebra.name = "zebra";
  DesiredState desired = With(zebra);
  Observed observed;
  for (const Action& action : planner.Compute(desired, observed).actions) {
    Perform(action, observed);
  }
  const uint32_t before = observed.frontends.at(kWeb).service_id;

  Service ant = Web({At("10.244.1.11")});
  ant.name = "ant";
  ant.cluster_ip = Ip("10.96.0.9");
  ant.ports[0].node_port = 30080;
  desired.services["shop/ant"] = ant;
  desired.changed_services = {"shop/ant"};
  const Plan plan = planner.Compute(desired, observed);
  for (const Action& action : plan.actions) Perform(action, observed);

  EXPECT_THAT(std::string(plan.problem.message()), HasSubstr("shop/zebra"));
  EXPECT_EQ(observed.frontends.at(kWeb).service_id, before);
  EXPECT_NE(observed.frontends.at(kNodePort).service_id, before);
  EXPECT_TRUE(observed.backends.contains(1)) << "its flows go on";
}

TEST(Planner, NeverLeadsTheWayToANodeIntoItsServices) {
  Planner planner(ThisNode());
  Service service = Web({At("10.244.1.10")});
  service.external_ips = {Ip("192.0.2.1"), Ip("192.0.2.2")};
  DesiredState desired = With(service);
  Observed observed;
  const auto plan = [&] {
    for (const Action& action : planner.Compute(desired, observed).actions) {
      Perform(action, observed);
    }
    return observed.outside.contains({Outside::kPortRoute, Range("192.0.2.2/32"), 80});
  };
  EXPECT_TRUE(plan()) << "nobody's yet";
  desired.changed_services.emplace();
  desired.peers["node2"] = {"node2", Ip("192.0.2.2"), Range("10.244.2.0/24")};

  EXPECT_FALSE(plan());

  EXPECT_EQ(observed.frontends.size(), 2u) << "that node serves it";
  EXPECT_FALSE(observed.outside.contains({Outside::kPortRoute, Range("192.0.2.1/32"), 80}));
  desired.peers.clear();
  EXPECT_TRUE(plan());
}

TEST(Planner, RemovesWhatWentWhileTheStateWasIncomplete) {
  Planner planner(ThisNode());
  DesiredState desired = With(Everywhere({At("10.244.1.10")}));
  Observed observed;
  const auto plan = [&] {
    for (const Action& action : planner.Compute(desired, observed).actions) {
      Perform(action, observed);
    }
  };
  plan();
  desired.complete = false;
  desired.services.clear();
  desired.changed_services = {"shop/web"};
  plan();
  EXPECT_EQ(observed.frontends.size(), 4u);

  desired.complete = true;
  desired.changed_services.emplace();
  plan();

  EXPECT_EQ(AfterTheirFlows(observed), Observed());
}

}  // namespace
}  // namespace mesh::dataplane
