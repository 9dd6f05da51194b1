// SPDX-License-Identifier: Apache-2.0
// Goal: plans lead to the desired state, in an order that is safe at every step. Method: small
// worlds by hand, and random pairs of worlds for the properties.
#include "dataplane/plan/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>

#include "common/random.h"
#include "fmt/format.h"

namespace mesh::dataplane {
namespace {

IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }
IpPrefix Range(const std::string& text) { return *IpPrefix::Parse(text); }

NodeConfig ThisNode() {
  return {"node1",
          Ip("192.0.2.1"),
          Range("10.244.1.0/24"),
          Range("10.244.0.0/16"),
          Range("10.96.0.0/16"),
          Ip("10.244.1.1"),
          1500};
}

NodeConfig DualStackNode() {
  NodeConfig out = ThisNode();
  out.node_ip6 = Ip("2001:db8::1");
  out.pod_cidr6 = Range("fd00:10:244:1::/64");
  out.cluster_cidr6 = Range("fd00:10:244::/48");
  out.service_cidr6 = Range("fd00:10:96::/112");
  out.gateway6 = Ip("fd00:10:244:1::1");
  return out;
}

Backend At(const std::string& ip, BackendState state = BackendState::kActive) {
  return {Ip(ip), 8080, state, "node1", "pod"};
}

Service Web(std::vector<Backend> backends) {
  return {
      "shop", "web", Ip("10.96.0.10"), 256, {{"http", Protocol::kTcp, 80, std::move(backends)}}};
}

DesiredState With(Service service) {
  DesiredState desired;
  desired.complete = true;
  desired.services[service.ns + "/" + service.name] = std::move(service);
  return desired;
}

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// What a packet may rely on at any moment: a frontend's set is there, and a set's backends are.
void ExpectSound(const Observed& observed) {
  for (const auto& [frontend, entry] : observed.frontends) {
    ASSERT_NE(observed.FindSet(entry.service_id, entry.scope), nullptr)
        << "a frontend names a set that is not there";
  }
  for (const auto& [id, service] : observed.services) {
    for (const auto& set : service.sets) {
      if (!set.has_value()) continue;
      for (const uint32_t backend : set->slots) {
        ASSERT_TRUE(observed.backends.contains(backend)) << "a set holds backend " << backend;
      }
    }
  }
}

const Frontend kWeb = {IpAddress::V4(0x0a60000a), 80, Protocol::kTcp};

// Plans and carries out; checks after each action that no reference dangles.
Observed Converge(const DesiredState& desired, Observed observed, NextIds& next,
                  const NodeConfig& node = ThisNode()) {
  const Plan plan = ComputePlan(node, desired, observed, next);
  for (const Action& action : plan.actions) {
    Perform(action, observed);
    ExpectSound(observed);
  }
  return observed;
}

std::vector<uint32_t> Slots(const Observed& observed, const Frontend& frontend) {
  const FrontendEntry& entry = observed.frontends.at(frontend);
  return observed.FindSet(entry.service_id, entry.scope)->slots;
}

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
  EXPECT_EQ(Converge(unknown, before, next), Observed());
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

// A Service with every kind of frontend.
Service Everywhere(std::vector<Backend> backends) {
  Service service = Web(std::move(backends));
  service.ports[0].node_port = 30080;
  service.load_balancer_ips = {Ip("192.0.2.200")};
  service.external_ips = {Ip("198.51.100.7")};
  service.source_ranges = {Range("203.0.113.0/24")};
  service.announced = true;
  service.direct_return = true;
  service.affinity_seconds = 60;
  return service;
}

const Frontend kNodePort = {IpAddress::V4(0), 30080, Protocol::kTcp};
const Frontend kBalanced = {IpAddress::V4(0xc00002c8), 80, Protocol::kTcp};
const Frontend kExternal = {IpAddress::V4(0xc6336407), 80, Protocol::kTcp};

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
  EXPECT_TRUE(after.outside.contains({Outside::kRoute, Range("198.51.100.7/32")}));
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
              ElementsAre(std::pair(Outside::kNode, Range("192.0.2.2/32")),
                          std::pair(Outside::kNoMasquerade, Range("10.0.0.0/8"))));
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
              ElementsAre(std::pair(Outside::kNoMasquerade, Range("10.0.0.0/8"))));
  run({Range("172.16.0.0/12")});
  EXPECT_THAT(observed.outside,
              ElementsAre(std::pair(Outside::kNoMasquerade, Range("172.16.0.0/12"))));
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
  const std::pair<const IpAddress, uint32_t> gateway = {Ip("10.244.2.1"), kIdentityHost};
  EXPECT_THAT(observed.identities, ElementsAre(gateway, ::testing::Pair(Ip("10.244.2.10"), 300),
                                               ::testing::Pair(Ip("10.244.2.11"), 301)));

  // One is told to have gone, the other is not looked at.
  desired.changed_services.emplace();
  desired.changed_pod_identities = {Ip("10.244.2.10")};
  desired.pod_identities.clear();
  EXPECT_EQ(apply().actions.size(), 1u);
  EXPECT_THAT(observed.identities, ElementsAre(gateway, ::testing::Pair(Ip("10.244.2.11"), 301)));

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
  observed.identities = {{Ip("10.244.2.10"), 300}};
  NextIds next;

  EXPECT_TRUE(ComputePlan(node, DesiredState(), observed, next).actions.empty());
}

TEST(Planner, KeepsNoIdentitiesWherePacketsCarryThem) {
  Observed observed;
  observed.identities = {{Ip("10.244.2.10"), 300}};
  DesiredState desired;
  desired.complete = true;
  desired.peers["node2"] = {"node2", Ip("192.0.2.2"), Range("10.244.2.0/24")};
  desired.pod_identities = {{Ip("10.244.2.10"), 300}};
  NextIds next;

  for (const Action& action : ComputePlan(ThisNode(), desired, observed, next).actions) {
    Perform(action, observed);
  }

  EXPECT_TRUE(observed.identities.empty());
}

// The same in IPv6: 10.244.1.10 becomes fd00::10.244.1.10.
IpAddress InIpv6(const IpAddress& ip) { return Ip("fd00::" + ip.ToString()); }
Service InIpv6(Service service) {
  service.family = Family::kV6;
  if (service.cluster_ip != IpAddress()) service.cluster_ip = InIpv6(service.cluster_ip);
  for (IpAddress& ip : service.load_balancer_ips) ip = InIpv6(ip);
  for (IpAddress& ip : service.external_ips) ip = InIpv6(ip);
  for (IpPrefix& range : service.source_ranges) {
    range = Range(fmt::format("fd00::{}/{}", range.base().ToString(), 96 + range.length()));
  }
  for (ServicePort& port : service.ports) {
    for (Backend& backend : port.backends) backend.ip = InIpv6(backend.ip);
  }
  return service;
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
  EXPECT_THAT(after.outside,
              ::testing::UnorderedElementsAre(std::pair(Outside::kNode, Range("192.0.2.2/32")),
                                              std::pair(Outside::kNode, Range("2001:db8::2/128"))));
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

Service RandomService(const std::string& name, Random& random) {
  Service service{"ns", name, IpAddress(), static_cast<uint32_t>(256 + random.Below(2)), {}};
  // A few have the address of another, so that they clash and change places.
  service.cluster_ip = IpAddress::V4(0x0a600000 + static_cast<uint32_t>(name[1] / 2));
  if (random.Below(8) == 0) service.cluster_ip = IpAddress();
  const auto algorithm = [&] { return static_cast<Algorithm>(random.Below(3)); };
  service.internal_algorithm = algorithm();
  service.external_algorithm = algorithm();
  service.affinity_seconds = static_cast<uint32_t>(random.Below(2) * 60);
  service.direct_return = random.Below(2) == 0;
  service.announced = random.Below(2) == 0;
  if (random.Below(3) == 0) {
    service.load_balancer_ips = {
        IpAddress::V4(0xc0000200 + static_cast<uint32_t>(random.Below(3)))};
  }
  if (random.Below(3) == 0) {
    service.external_ips = {IpAddress::V4(0xc6336400 + static_cast<uint32_t>(random.Below(3)))};
  }
  for (uint64_t r = random.Below(3); r > 0; --r) {
    service.source_ranges.push_back(Range(fmt::format("203.0.{}.0/24", random.Below(3))));
  }
  for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
    ServicePort port{"", protocol, static_cast<uint16_t>(80 + random.Below(2)), {}};
    if (random.Below(3) == 0) port.node_port = static_cast<uint16_t>(30000 + random.Below(3));
    for (uint64_t b = random.Below(5); b > 0; --b) {
      Backend backend = At(fmt::format("10.244.1.{}", 10 + random.Below(6)));
      if (random.Below(3) == 0) backend.state = BackendState::kDraining;
      backend.scopes = static_cast<uint8_t>(random.Below(4));
      backend.weight = static_cast<uint16_t>(1 + random.Below(3));
      const bool twice = std::any_of(port.backends.begin(), port.backends.end(),
                                     [&](const Backend& other) { return other.ip == backend.ip; });
      if (!twice) port.backends.push_back(backend);
    }
    service.ports.push_back(std::move(port));
  }
  return service;
}

DesiredState RandomState(Random& random) {
  DesiredState out;
  out.complete = true;
  for (uint64_t s = random.Below(6); s > 0; --s) {
    const std::string name = fmt::format("s{}", random.Below(6));
    out.services["ns/" + name] = RandomService(name, random);
    if (random.Below(2) == 0)
      out.services["ns/" + name + "#6"] = InIpv6(RandomService(name, random));
  }
  for (uint64_t p = random.Below(4); p > 0; --p) {
    const uint64_t n = 2 + random.Below(5);
    const std::string name = fmt::format("node{}", n);
    out.peers[name] = {name, Ip(fmt::format("192.0.2.{}", n + random.Below(2) * 100)),
                       Range(fmt::format("10.244.{}.0/24", n))};
    if (random.Below(3) == 0) continue;
    out.peers[name].pod_cidr6 = Range(fmt::format("fd00:10:244:{}::/64", n));
    out.peers[name].ip6 = Ip(fmt::format("2001:db8::{}", n + random.Below(2)));
  }
  for (uint64_t i = random.Below(4); i > 0; --i) {
    const auto identity = static_cast<uint32_t>(256 + random.Below(4));
    out.namespaces[identity] = {"ns", static_cast<Isolation>(random.Below(3))};
  }
  return out;
}

TEST(ComputePlan, IsDoneAfterOneRoundFromAnyStateToAnyOther) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(fmt::format("seed={}", seed));
    Random random(seed);
    NextIds next;
    const DesiredState from = RandomState(random), to = RandomState(random);
    const Observed observed =
        Converge(to, Converge(from, Observed(), next, DualStackNode()), next, DualStackNode());

    const Plan again = ComputePlan(DualStackNode(), to, observed, next);

    ASSERT_TRUE(again.actions.empty());
    ASSERT_FALSE(again.judge_flows_again);
  }
}

// What differs between two equal worlds of different histories: numbers, and how often a set
// changed. Everything else, by what packets see.
std::string Seen(const Observed& observed) {
  std::string out;
  for (const auto& [frontend, entry] : observed.frontends) {
    out += fmt::format("{}:{}/{} scope {} identity {} affinity {} ranges {} direct {}",
                       frontend.vip.ToString(), frontend.port, static_cast<int>(frontend.protocol),
                       static_cast<int>(entry.scope), entry.identity, entry.affinity_seconds,
                       entry.source_ranges, entry.direct_return);
    const SetEntry& set = *observed.FindSet(entry.service_id, entry.scope);
    out += fmt::format(" algorithm {} table {}:", static_cast<int>(set.algorithm), set.table_size);
    for (const uint32_t id : set.slots) out += " " + observed.backends.at(id).ip.ToString();
    for (const IpPrefix& range : observed.services.at(entry.service_id).source_ranges) {
      out += " from " + range.ToString();
    }
    for (const auto& [address, id] : observed.services.at(entry.service_id).backend_ids) {
      const BackendEntry& backend = observed.backends.at(id);
      out += fmt::format(" {}/{}/{}/{}/{}", backend.ip.ToString(), static_cast<int>(backend.state),
                         backend.weight, backend.scopes, backend.counted);
    }
    out += "\n";
  }
  for (const auto& [kind, range] : observed.outside) {
    out += fmt::format("outside {} {}\n", static_cast<int>(kind), range.ToString());
  }
  return out +
         fmt::format("{} backends, {} numbers", observed.backends.size(), observed.services.size());
}

// An endless life of one planner, told only what changes, against a new one at every step.
TEST(Planner, ToldOnlyWhatChangesReachesTheSameAsOneThatLooksAtEverything) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    Random random(seed);
    Planner planner(DualStackNode());
    DesiredState desired = RandomState(random);
    Observed observed;
    for (int step = 0; step < 12; ++step) {
      SCOPED_TRACE(fmt::format("seed={} step={}", seed, step));
      const Plan plan = planner.Compute(desired, observed);
      for (const Action& action : plan.actions) {
        Perform(action, observed);
        ExpectSound(observed);
      }
      NextIds other;
      const Observed fresh = Converge(desired, Observed(), other, DualStackNode());
      ASSERT_EQ(Seen(observed), Seen(fresh));
      ASSERT_EQ(plan.problem, ComputePlan(DualStackNode(), desired, Observed(), other).problem);
      Observed copy = observed;
      desired.changed_services.emplace();
      ASSERT_TRUE(planner.Compute(desired, copy).actions.empty());

      for (uint64_t n = random.Below(3); n > 0; --n) {
        const std::string name = fmt::format("s{}", random.Below(6));
        const bool is_ipv6 = random.Below(2) == 0;
        const std::string key = "ns/" + name + (is_ipv6 ? "#6" : "");
        desired.changed_services->push_back(key);
        if (random.Below(3) == 0) {
          desired.services.erase(key);
        } else {
          desired.services[key] = RandomService(name, random);
          if (is_ipv6) desired.services[key] = InIpv6(desired.services[key]);
        }
      }
      if (random.Below(4) == 0) {
        desired.peers = RandomState(random).peers;
        desired.namespaces = RandomState(random).namespaces;
      }
      if (random.Below(6) == 0) planner.Forget();
    }
  }
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
    return observed.outside.contains({Outside::kRoute, Range("192.0.2.2/32")});
  };
  EXPECT_TRUE(plan()) << "nobody's yet";
  desired.changed_services.emplace();
  desired.peers["node2"] = {"node2", Ip("192.0.2.2"), Range("10.244.2.0/24")};

  EXPECT_FALSE(plan());

  EXPECT_EQ(observed.frontends.size(), 3u) << "it is served there all the same";
  EXPECT_FALSE(observed.outside.contains({Outside::kRoute, Range("192.0.2.1/32")}));
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

  EXPECT_EQ(observed, Observed());
}

TEST(ComputePlan, NeverGivesOneBackendNumberToTwoPlaces) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(fmt::format("seed={}", seed));
    Random random(seed);
    NextIds next;
    Observed observed;
    std::map<uint32_t, std::pair<uint32_t, IpAddress>> given;
    for (int round = 0; round < 6; ++round) {
      observed = Converge(RandomState(random), observed, next);
      for (const auto& [id, entry] : observed.backends) {
        const auto [it, is_new] = given.try_emplace(id, entry.service_id, entry.ip);
        ASSERT_EQ(it->second, std::pair(entry.service_id, entry.ip)) << "backend " << id;
      }
    }
  }
}

}  // namespace
}  // namespace mesh::dataplane
