// SPDX-License-Identifier: Apache-2.0
// Goal: plans lead to the desired state, in an order that is safe at every step. Method: small
// worlds by hand; random ones in plan_random_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>

#include "dataplane/plan/plan.h"
#include "dataplane/plan/port_plan.h"
#include "fmt/format.h"
#include "tests/unit/dataplane/plan_world.h"

namespace mesh::dataplane {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

TEST(ComputePlan, PutsBackendsBeforeTheSetThatHoldsThemAndTheFrontendLast) {
  NextIds next;

  const Plan plan =
      ComputePlan(ThisNode(), With(Web({At("10.244.1.10"), At("10.244.2.10")})), Observed(), next);

  ASSERT_EQ(plan.actions.size(), 4u);
  EXPECT_TRUE(std::holds_alternative<PutBackend>(plan.actions[0]));
  EXPECT_TRUE(std::holds_alternative<PutBackend>(plan.actions[1]));
  const auto* set = std::get_if<PutSet>(&plan.actions[2]);
  ASSERT_NE(set, nullptr);
  EXPECT_EQ(set->scope, Scope::kInternal);
  EXPECT_THAT(set->entry.slots, ElementsAre(1u, 2u));
  const auto* put = std::get_if<PutFrontend>(&plan.actions[3]);
  ASSERT_NE(put, nullptr);
  EXPECT_EQ(put->frontend, kWeb);
  EXPECT_FALSE(plan.judge_flows_again);
}

TEST(ComputePlan, TakesADrainingBackendOutOfTheSetAndKeepsItsRow) {
  NextIds next;
  const Observed before =
      Converge(With(Web({At("10.244.1.10"), At("10.244.2.10")})), Observed(), next);

  const Observed after = Converge(
      With(Web({At("10.244.1.10", BackendState::kDraining), At("10.244.2.10")})), before, next);

  EXPECT_THAT(Slots(after, kWeb), ElementsAre(2u));
  EXPECT_EQ(after.backends.at(1).state, BackendState::kDraining);
  EXPECT_EQ(after.backends.at(1).scopes, 0);
}

Backend Stops(const std::string& ip, uint8_t scopes = kScopeBoth) {
  Backend out = At(ip, BackendState::kDraining);
  out.scopes = scopes;
  out.serves_last = true;
  return out;
}

TEST(ComputePlan, OnesThatStopServeWhereNobodyIsActive) {
  NextIds next;
  const Observed before =
      Converge(With(Web({At("10.244.1.10"), At("10.244.2.10")})), Observed(), next);

  Observed after = Converge(With(Web({Stops("10.244.1.10"), At("10.244.2.10")})), before, next);
  EXPECT_THAT(Slots(after, kWeb), ElementsAre(2u));
  EXPECT_EQ(after.backends.at(1).scopes, 0);

  after = Converge(With(Web({Stops("10.244.1.10"), Stops("10.244.2.10")})), after, next);
  EXPECT_THAT(Slots(after, kWeb), UnorderedElementsAre(1u, 2u));
  EXPECT_EQ(after.backends.at(1).state, BackendState::kDraining);
  EXPECT_EQ(after.backends.at(1).scopes, kScopeInternal) << "there is no set for the outside";

  // One that runs and is not ready does not.
  after = Converge(With(Web({Stops("10.244.1.10"), At("10.244.2.10", BackendState::kDraining)})),
                   after, next);
  EXPECT_THAT(Slots(after, kWeb), ElementsAre(1u));

  after = Converge(With(Web({Stops("10.244.1.10"), At("10.244.3.10")})), after, next);
  EXPECT_THAT(Slots(after, kWeb), ElementsAre(3u));
}

TEST(ServedScopes, AreThoseInWhichNobodyIsActiveForOnesThatStop) {
  Backend here = At("10.244.1.10");
  here.scopes = kScopeInternal;
  const Backend stops = Stops("10.244.1.11");
  EXPECT_THAT(ServedScopes({&here, &stops}), ElementsAre(kScopeInternal, kScopeExternal));
  const Backend inside = Stops("10.244.1.12", kScopeInternal);
  EXPECT_THAT(ServedScopes({&here, &inside}), ElementsAre(kScopeInternal, 0));
  EXPECT_THAT(ServedScopes({&inside}), ElementsAre(kScopeInternal));
}

TEST(ComputePlan, HasFlowsJudgedAgainOnceWhenABackendBeginsToDrain) {
  NextIds next;
  const Observed before =
      Converge(With(Web({At("10.244.1.10"), At("10.244.2.10")})), Observed(), next);
  const DesiredState drains =
      With(Web({At("10.244.1.10", BackendState::kDraining), At("10.244.2.10")}));

  EXPECT_TRUE(ComputePlan(ThisNode(), drains, before, next).judge_flows_again);
  const Observed after = Converge(drains, before, next);
  EXPECT_FALSE(ComputePlan(ThisNode(), drains, after, next).judge_flows_again);
}

TEST(ComputePlan, HasFlowsJudgedAgainWhenDatagramsGetAFrontend) {
  NextIds next;
  Service names = Web({At("10.244.1.10")});
  names.ports[0].protocol = Protocol::kUdp;
  EXPECT_TRUE(ComputePlan(ThisNode(), With(names), Observed(), next).judge_flows_again);
  const Observed before = Converge(With(names), Observed(), next);
  names.affinity_seconds = 5;
  EXPECT_FALSE(ComputePlan(ThisNode(), With(names), before, next).judge_flows_again);
}

TEST(ComputePlan, HasFlowsJudgedAgainWhenABackendLeaves) {
  NextIds next;
  const Observed before =
      Converge(With(Web({At("10.244.1.10"), At("10.244.2.10")})), Observed(), next);

  const Plan plan = ComputePlan(ThisNode(), With(Web({At("10.244.2.10")})), before, next);

  EXPECT_TRUE(plan.judge_flows_again);
  ASSERT_FALSE(plan.actions.empty());
  EXPECT_TRUE(std::holds_alternative<RemoveBackend>(plan.actions.back()));
}

TEST(ComputePlan, KeepsTheRowAndTheFlowsOfABackendThatOnlyLeavesItsSets) {
  NextIds next;
  const Observed before =
      Converge(With(Web({At("10.244.1.10"), At("10.244.2.10")})), Observed(), next);
  Backend elsewhere = At("10.244.2.10");
  elsewhere.scopes = 0;
  const DesiredState desired = With(Web({At("10.244.1.10"), elsewhere}));

  EXPECT_FALSE(ComputePlan(ThisNode(), desired, before, next).judge_flows_again);
  const Observed after = Converge(desired, before, next);
  EXPECT_THAT(Slots(after, kWeb), ElementsAre(1u));
  EXPECT_EQ(after.backends.at(2).state, BackendState::kActive);
}

TEST(ComputePlan, RemovesNothingOnTheWordOfAnIncompleteState) {
  NextIds next;
  const Observed before = Converge(With(Web({At("10.244.1.10")})), Observed(), next);
  DesiredState unknown;
  unknown.complete = false;

  EXPECT_TRUE(ComputePlan(ThisNode(), unknown, before, next).actions.empty());
  unknown.complete = true;
  EXPECT_EQ(AfterTheirFlows(Converge(unknown, before, next)), Observed());
}

TEST(ComputePlan, GivesTheSameServiceTheSameNumberAndANewOneAnother) {
  NextIds next;
  const Observed before = Converge(With(Web({At("10.244.1.10")})), Observed(), next);
  DesiredState both = With(Web({At("10.244.1.10"), At("10.244.1.11")}));
  both.services["shop/api"] = {
      "shop", "api", Ip("10.96.0.11"), 256, {{"", Protocol::kTcp, 80, {At("10.244.1.10")}}}};

  const Observed after = Converge(both, before, next);

  EXPECT_EQ(after.frontends.at(kWeb).service_id, before.frontends.at(kWeb).service_id);
  std::set<uint32_t> ids;
  for (const auto& [frontend, entry] : after.frontends) ids.insert(entry.service_id);
  EXPECT_EQ(ids.size(), 2u);
  // The pod stands behind both, once for each.
  EXPECT_EQ(after.backends.size(), 3u);
}

TEST(ComputePlan, GivesAllFrontendsOfAPortOneNumberAndTwoSets) {
  NextIds next;
  Backend far = At("10.244.2.10");
  far.scopes = kScopeInternal;

  const Observed after = Converge(With(Everywhere({At("10.244.1.10"), far})), Observed(), next);

  ASSERT_EQ(after.frontends.size(), 4u);
  const uint32_t id = after.frontends.at(kWeb).service_id;
  for (const Frontend& frontend : {kNodePort, kBalanced, kExternal}) {
    EXPECT_EQ(after.frontends.at(frontend).service_id, id);
    EXPECT_EQ(after.frontends.at(frontend).scope, Scope::kExternal);
    EXPECT_TRUE(after.frontends.at(frontend).direct_return);
    EXPECT_EQ(after.frontends.at(frontend).affinity_seconds, 60u);
    EXPECT_THAT(Slots(after, frontend), ElementsAre(1u));
    // Only what a load balancer would filter.
    EXPECT_EQ(after.frontends.at(frontend).source_ranges, frontend == kBalanced);
  }
  EXPECT_EQ(after.frontends.at(kWeb).scope, Scope::kInternal);
  EXPECT_FALSE(after.frontends.at(kWeb).direct_return);
  EXPECT_THAT(Slots(after, kWeb), ElementsAre(1u, 2u));
  EXPECT_EQ(after.FindSet(id, Scope::kExternal)->algorithm, Algorithm::kMaglev);
  EXPECT_EQ(after.FindSet(id, Scope::kExternal)->table_size, 1021u);
  EXPECT_EQ(after.services.at(id).source_ranges.size(), 1u);
  EXPECT_TRUE(after.outside.contains({Outside::kAnnounced, Range("192.0.2.200/32")}));
  EXPECT_TRUE(after.outside.contains({Outside::kRoute, Range("192.0.2.200/32")}));
  EXPECT_TRUE(after.outside.contains({Outside::kPortRoute, Range("198.51.100.7/32"), 80}));
  EXPECT_EQ(after.outside.size(), 3u);
}

TEST(ComputePlan, TakesTheOutsideAwayAndLeavesTheClusterIp) {
  NextIds next;
  const Observed before = Converge(With(Everywhere({At("10.244.1.10")})), Observed(), next);

  const Observed after = Converge(With(Web({At("10.244.1.10")})), before, next);

  NextIds other;
  Observed fresh = Converge(With(Web({At("10.244.1.10")})), Observed(), other);
  // It has been changed once more or less; nothing else tells its history.
  EXPECT_EQ(after, fresh);
}

TEST(ComputePlan, WithdrawsAnAddressThatAnotherNodeAnnouncesNow) {
  NextIds next;
  Service service = Everywhere({At("10.244.1.10")});
  const Observed before = Converge(With(service), Observed(), next);
  service.announced = false;

  const Observed after = Converge(With(service), before, next);

  EXPECT_FALSE(after.outside.contains({Outside::kAnnounced, Range("192.0.2.200/32")}));
  EXPECT_TRUE(after.outside.contains({Outside::kRoute, Range("192.0.2.200/32")}));
}

TEST(ComputePlan, ServesAHostPortThatHasNoClusterIp) {
  NextIds next;
  Service service{
      "shop", "pod-web", IpAddress(), 0, {{"", Protocol::kTcp, 0, {At("10.244.1.10")}}}};
  service.ports[0].node_port = 8080;

  const Plan plan = ComputePlan(ThisNode(), With(service), Observed(), next);

  EXPECT_TRUE(plan.problem.ok()) << plan.problem;
  const auto* put = std::get_if<PutFrontend>(&plan.actions.back());
  ASSERT_NE(put, nullptr);
  EXPECT_EQ(put->frontend, (Frontend{IpAddress::V4(0), 8080, Protocol::kTcp}));
  EXPECT_EQ(put->entry.scope, Scope::kExternal);
}

TEST(ComputePlan, GivesAServiceForTheOutsideASetForThoseInsideWhenABackendIsThereForThem) {
  Service service = Web({At("10.244.1.10"), At("10.244.2.10")});
  service.cluster_ip = IpAddress();
  service.outside = true;
  service.ports[0].node_port = 30080;
  service.ports[0].backends[1].scopes = kScopeInternal;
  NextIds next;

  const Observed both = Converge(With(service), Observed(), next);

  const uint32_t id = both.frontends.at(kNodePort).service_id;
  EXPECT_EQ(both.frontends.size(), 1u);
  EXPECT_THAT(Slots(both, kNodePort), ElementsAre(1u));
  ASSERT_NE(both.FindSet(id, Scope::kInternal), nullptr);
  EXPECT_THAT(both.FindSet(id, Scope::kInternal)->slots, ElementsAre(1u, 2u));
  EXPECT_TRUE(ComputePlan(ThisNode(), With(service), both, next).actions.empty());

  for (Backend& backend : service.ports[0].backends) backend.scopes = kScopeExternal;
  const Observed one = Converge(With(service), both, next);
  EXPECT_EQ(one.FindSet(id, Scope::kInternal), nullptr);
  EXPECT_EQ(one.backends.at(1).scopes, kScopeExternal);
}

TEST(ComputePlan, RepeatsABackendInItsSetAsOftenAsItsShare) {
  NextIds next;
  Backend heavy = At("10.244.1.10"), light = At("10.244.1.11");
  heavy.weight = 300;
  light.weight = 100;

  const Observed after = Converge(With(Web({heavy, light})), Observed(), next);

  EXPECT_THAT(Slots(after, kWeb), ElementsAre(1u, 1u, 1u, 2u));
}

TEST(ComputePlan, BoundsTheSlotsOfWeightsThatHaveNothingInCommon) {
  NextIds next;
  std::vector<Backend> backends;
  for (int i = 0; i < 20; ++i) {
    backends.push_back(At(fmt::format("10.244.1.{}", 10 + i)));
    backends.back().weight = i == 0 ? 1 : 997;
  }

  const std::vector<uint32_t> slots = Slots(Converge(With(Web(backends)), Observed(), next), kWeb);

  EXPECT_LE(slots.size(), 1100u);
  EXPECT_EQ(std::count(slots.begin(), slots.end(), 1), 1) << "light, but there";
  EXPECT_NEAR(std::count(slots.begin(), slots.end(), 2), slots.size() / 19.0, 2);
}

TEST(ComputePlan, CountsTheFlowsOfBackendsThatAreChosenByTheirLoad) {
  NextIds next;
  Service service = Web({At("10.244.1.10")});
  service.internal_algorithm = Algorithm::kLeastLoaded;
  const Observed counted = Converge(With(service), Observed(), next);
  service.internal_algorithm = Algorithm::kRandom;

  const Observed after = Converge(With(service), counted, next);

  EXPECT_TRUE(counted.backends.at(1).counted);
  EXPECT_FALSE(after.backends.at(1).counted);
}

TEST(ComputePlan, NamesBothServicesThatClaimOneNodePortAndPlansTheRest) {
  NextIds next;
  DesiredState desired = With(Everywhere({At("10.244.1.10")}));
  Service other = Web({At("10.244.1.11")});
  other.name = "zebra";
  other.cluster_ip = Ip("10.96.0.12");
  other.ports[0].node_port = 30080;
  desired.services["shop/zebra"] = other;

  const Plan plan = ComputePlan(ThisNode(), desired, Observed(), next);

  EXPECT_EQ(plan.problem.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(plan.problem.message()),
              AllOf(HasSubstr("shop/zebra"), HasSubstr("shop/web"), HasSubstr("NodePort 30080")));
  NextIds again;
  const Observed after = Converge(desired, Observed(), again);
  EXPECT_EQ(after.frontends.size(), 5u);
  EXPECT_EQ(after.frontends.at(kNodePort).service_id, after.frontends.at(kWeb).service_id);
}

TEST(ComputePlan, LeavesAGivenAddressToItsServiceWhateverOthersWrite) {
  NextIds next;
  DesiredState desired = With(Web({At("10.244.1.10")}));
  desired.services["shop/web"].load_balancer_ips = {Ip("192.0.2.240")};
  Service taker{"shop", "a", Ip("10.96.0.11"), 256, {{"http", Protocol::kTcp, 80, {}}}};
  taker.external_ips = {Ip("10.96.0.10"), Ip("192.0.2.240"), Ip("192.0.2.99")};
  desired.services["shop/a"] = taker;

  const Plan plan = ComputePlan(ThisNode(), desired, Observed(), next);
  const Observed after = Converge(desired, Observed(), next);

  const uint32_t web = after.frontends.at(kWeb).service_id;
  const auto at = [&](const char* ip) {
    return after.frontends.at({Ip(ip), 80, Protocol::kTcp}).service_id;
  };
  EXPECT_EQ(Slots(after, kWeb).size(), 1u);
  EXPECT_EQ(at("192.0.2.240"), web);
  EXPECT_NE(at("192.0.2.99"), web);
  EXPECT_EQ(at("192.0.2.99"), at("10.96.0.11"));
  EXPECT_THAT(std::string(plan.problem.message()),
              HasSubstr("service shop/a port 80: 10.96.0.10:80/TCP belongs to service shop/web"));
}

TEST(ComputePlan, KeepsThePortsOfTheNodesOwnProcessesFromServices) {
  NodeConfig node = DualStackNode();
  node.own_ports = {6441};
  NextIds next;
  DesiredState desired = With(Web({At("10.244.1.10")}));
  Service& web = desired.services["shop/web"];
  web.ports[0].port = 6441;
  web.external_ips = {node.node_ip, Ip("192.0.2.2")};
  web.ports.push_back({"dns", Protocol::kUdp, 6441, {}});
  desired.services["host/db"] = {
      "host", "db", IpAddress(), 256, {{"http", Protocol::kTcp, 6441, {}, 6441}}};

  const Plan plan = ComputePlan(node, desired, Observed(), next);
  const Observed after = Converge(desired, Observed(), next, node);

  EXPECT_FALSE(after.frontends.contains({node.node_ip, 6441, Protocol::kTcp}));
  EXPECT_FALSE(after.frontends.contains({AnyAddress(Family::kV4), 6441, Protocol::kTcp}));
  EXPECT_TRUE(after.frontends.contains({node.node_ip, 6441, Protocol::kUdp}));
  EXPECT_TRUE(after.frontends.contains({Ip("192.0.2.2"), 6441, Protocol::kTcp}))
      << "another node's address is that node's to keep";
  EXPECT_TRUE(after.frontends.contains({Ip("10.96.0.10"), 6441, Protocol::kTcp}));
  EXPECT_EQ(std::string(plan.problem.message()),
            "service host/db port 6441: NodePort 6441/TCP is not served here: this node's own "
            "processes listen there (and 1 more)");
}

TEST(ComputePlan, TellsOthersThatTheyAreNodesAndWhomNotToMasquerade) {
  NextIds next;
  NodeConfig node = ThisNode();
  node.non_masquerade = {Range("10.0.0.0/8")};
  DesiredState desired;
  desired.complete = true;
  desired.peers["node2"] = {"node2", Ip("192.0.2.2"), Range("10.244.2.0/24")};
  Observed observed;

  for (const Action& action : ComputePlan(node, desired, observed, next).actions) {
    Perform(action, observed);
  }

  EXPECT_THAT(observed.outside,
              ElementsAre(OutsidePlace{Outside::kNode, Range("192.0.2.2/32")},
                          OutsidePlace{Outside::kNoMasquerade, Range("10.0.0.0/8")}));
}

TEST(ComputePlan, ServesBothFamiliesOfAServiceAtOneNodePort) {
  NextIds next;
  const Service web = Everywhere({At("10.244.1.10")});
  DesiredState desired = With(web);
  desired.services["shop/web#6"] = InIpv6(web);

  const Plan plan = ComputePlan(DualStackNode(), desired, Observed(), next);
  Observed observed;
  for (const Action& action : plan.actions) Perform(action, observed);

  EXPECT_TRUE(plan.problem.ok()) << plan.problem;
  const Frontend node_port6 = {IpAddress(), 30080, Protocol::kTcp};
  ASSERT_TRUE(observed.frontends.contains(kNodePort));
  ASSERT_TRUE(observed.frontends.contains(node_port6));
  EXPECT_NE(observed.frontends.at(kNodePort).service_id,
            observed.frontends.at(node_port6).service_id);
  const std::vector<uint32_t> slots = Slots(observed, node_port6);
  ASSERT_EQ(slots.size(), 1u);
  EXPECT_EQ(observed.backends.at(slots[0]).ip, Ip("fd00::10.244.1.10"));
}

TEST(ComputePlan, RefusesIpv6WhereTheNodeHasNoRangesOfIt) {
  NextIds next;
  DesiredState desired = With(InIpv6(Web({At("10.244.1.10")})));
  desired.peers["node2"] = {"node2", Ip("192.0.2.2"), Range("10.244.2.0/24"), Ip("2001:db8::2"),
                            Range("fd00:10:244:2::/64")};

  const Plan plan = ComputePlan(ThisNode(), desired, Observed(), next);

  EXPECT_THAT(std::string(plan.problem.message()), HasSubstr("fd00:10:244:2::/64"));
  EXPECT_THAT(std::string(plan.problem.message()), HasSubstr("1 more"));
  EXPECT_EQ(plan.actions.size(), 2u) << "the peer's IPv4";
}

TEST(ComputePlan, RefusesAnAddressOfTheOtherFamily) {
  NextIds next;
  Service service = Web({At("10.244.1.10"), At("fd00::10.244.1.11")});
  service.external_ips = {Ip("2001:db8::5")};

  const Plan plan = ComputePlan(DualStackNode(), With(service), Observed(), next);

  EXPECT_THAT(std::string(plan.problem.message()),
              AllOf(HasSubstr("shop/web"), HasSubstr("2001:db8::5"), HasSubstr("1 more")));
  const Observed after = Converge(With(service), Observed(), next, DualStackNode());
  EXPECT_EQ(after.backends.size(), 1u);
  EXPECT_EQ(after.frontends.size(), 1u);
  EXPECT_TRUE(after.outside.empty());
}

TEST(ComputePlan, ReachesTheIpv6PodsOfPeersByTheirIpv4Address) {
  NextIds next;
  DesiredState desired;
  desired.complete = true;
  desired.peers["node2"] = {"node2", Ip("192.0.2.2"), Range("10.244.2.0/24"), Ip("2001:db8::2"),
                            Range("fd00:10:244:2::/64")};

  const Observed after = Converge(desired, Observed(), next, DualStackNode());

  EXPECT_EQ(after.peers.at(Range("10.244.2.0/24")), (PeerEntry{Ip("192.0.2.2"), IpAddress()}));
  EXPECT_EQ(after.peers.at(Range("fd00:10:244:2::/64")),
            (PeerEntry{Ip("192.0.2.2"), Ip("2001:db8::2")}));
  EXPECT_THAT(after.outside, ::testing::UnorderedElementsAre(
                                 OutsidePlace{Outside::kNode, Range("192.0.2.2/32")},
                                 OutsidePlace{Outside::kNode, Range("2001:db8::2/128")}));
  desired.peers.clear();
  EXPECT_EQ(Converge(desired, after, next, DualStackNode()), Observed());
}

TEST(ComputePlan, RefusesAPeerThatClaimsThisNodesPods) {
  NextIds next;
  DesiredState desired;
  desired.complete = true;
  desired.peers["rogue"] = {"rogue", Ip("192.0.2.66"), Range("10.244.1.0/24")};

  const Plan plan = ComputePlan(ThisNode(), desired, Observed(), next);

  EXPECT_TRUE(plan.actions.empty());
  EXPECT_THAT(std::string(plan.problem.message()), ::testing::HasSubstr("rogue"));
}

TEST(ComputePlan, KeepsNoRowForANamespaceWithTheDefault) {
  NextIds next;
  DesiredState desired;
  desired.complete = true;
  desired.namespaces[300] = {"bank", Isolation::kClosed};
  const Observed closed = Converge(desired, Observed(), next);
  EXPECT_EQ(closed.namespaces.at(300), Isolation::kClosed);

  desired.namespaces[300].isolation = Isolation::kDefault;
  EXPECT_TRUE(Converge(desired, closed, next).namespaces.empty());
}

TEST(UnwrittenNamespaces, AreThoseThatHaveAnotherIsolationInTheMaps) {
  DesiredState desired;
  desired.namespaces = {{300, {"bank", Isolation::kClosed}},
                        {301, {"shop", Isolation::kDefault}},
                        {302, {"lab", Isolation::kOpen}},
                        {303, {"web", Isolation::kDefault}}};
  Observed observed;
  observed.namespaces = {{302, Isolation::kOpen}, {303, Isolation::kOpen}};

  EXPECT_THAT(UnwrittenNamespaces(desired, observed), ::testing::ElementsAre("bank", "web"));
}

}  // namespace
}  // namespace mesh::dataplane
