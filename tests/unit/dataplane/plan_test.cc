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

const Frontend kWeb = {IpAddress::V4(0x0a60000a), 80, Protocol::kTcp};

// Plans and carries out, until nothing is left; checks after each action that no reference dangles.
Observed Converge(const DesiredState& desired, Observed observed, NextIds& next) {
  const Plan plan = ComputePlan(ThisNode(), desired, observed, next);
  for (const Action& action : plan.actions) {
    Perform(action, observed);
    for (const auto& [frontend, entry] : observed.services) {
      for (const uint32_t id : entry.backend_ids) {
        EXPECT_TRUE(observed.backends.contains(id)) << "a Service names backend " << id;
      }
    }
  }
  return observed;
}

TEST(ComputePlan, PutsBackendsBeforeTheServiceThatNamesThem) {
  NextIds next;

  const Plan plan =
      ComputePlan(ThisNode(), With(Web({At("10.244.1.10"), At("10.244.2.10")})), Observed(), next);

  ASSERT_EQ(plan.actions.size(), 3u);
  EXPECT_TRUE(std::holds_alternative<PutBackend>(plan.actions[0]));
  EXPECT_TRUE(std::holds_alternative<PutBackend>(plan.actions[1]));
  const auto* put = std::get_if<PutService>(&plan.actions[2]);
  ASSERT_NE(put, nullptr);
  EXPECT_EQ(put->frontend, kWeb);
  EXPECT_THAT(put->entry.backend_ids, ::testing::ElementsAre(1u, 2u));
  EXPECT_FALSE(plan.judge_flows_again);
}

TEST(ComputePlan, TakesADrainingBackendOutOfTheServiceAndKeepsItsRow) {
  NextIds next;
  const Observed before =
      Converge(With(Web({At("10.244.1.10"), At("10.244.2.10")})), Observed(), next);

  const Observed after = Converge(
      With(Web({At("10.244.1.10", BackendState::kDraining), At("10.244.2.10")})), before, next);

  EXPECT_THAT(after.services.at(kWeb).backend_ids, ::testing::ElementsAre(2u));
  EXPECT_EQ(after.backends.at(1).state, BackendState::kDraining);
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

  EXPECT_EQ(after.services.at(kWeb).service_id, before.services.at(kWeb).service_id);
  std::set<uint32_t> ids;
  for (const auto& [frontend, entry] : after.services) ids.insert(entry.service_id);
  EXPECT_EQ(ids.size(), 2u);
  // The pod stands behind both, once for each.
  EXPECT_EQ(after.backends.size(), 3u);
}

TEST(ComputePlan, NamesTheServiceThatClaimsATakenAddressAndPlansTheRest) {
  NextIds next;
  DesiredState desired = With(Web({At("10.244.1.10")}));
  Service other = Web({At("10.244.1.11")});
  other.name = "zebra";
  desired.services["shop/zebra"] = other;

  const Plan plan = ComputePlan(ThisNode(), desired, Observed(), next);

  EXPECT_EQ(plan.problem.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(plan.problem.message()), ::testing::HasSubstr("shop/zebra"));
  EXPECT_EQ(plan.actions.size(), 2u);
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

DesiredState RandomState(Random& random) {
  DesiredState out;
  out.complete = true;
  for (uint64_t s = random.Below(5); s > 0; --s) {
    Service service{"ns", fmt::format("s{}", random.Below(6)), IpAddress(), 256, {}};
    service.cluster_ip = IpAddress::V4(0x0a600000 + static_cast<uint32_t>(service.name[1]));
    for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
      ServicePort port{"", protocol, static_cast<uint16_t>(80 + random.Below(2)), {}};
      for (uint64_t b = random.Below(5); b > 0; --b) {
        Backend backend = At(fmt::format("10.244.1.{}", 10 + random.Below(6)));
        if (random.Below(3) == 0) backend.state = BackendState::kDraining;
        const bool twice =
            std::any_of(port.backends.begin(), port.backends.end(),
                        [&](const Backend& other) { return other.ip == backend.ip; });
        if (!twice) port.backends.push_back(backend);
      }
      service.ports.push_back(std::move(port));
    }
    out.services[service.ns + "/" + service.name] = std::move(service);
  }
  for (uint64_t p = random.Below(4); p > 0; --p) {
    const uint64_t n = 2 + random.Below(5);
    const std::string name = fmt::format("node{}", n);
    out.peers[name] = {name, Ip(fmt::format("192.0.2.{}", n + random.Below(2) * 100)),
                       Range(fmt::format("10.244.{}.0/24", n))};
  }
  for (uint64_t i = random.Below(4); i > 0; --i) {
    const auto identity = static_cast<uint32_t>(256 + random.Below(4));
    out.namespaces[identity] = {"ns", static_cast<Isolation>(random.Below(3))};
  }
  return out;
}

TEST(ComputePlan, IsDoneAfterOneRoundFromAnyStateToAnyOther) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(fmt::format("seed={}", seed));
    Random random(seed);
    NextIds next;
    const DesiredState from = RandomState(random), to = RandomState(random);
    const Observed observed = Converge(to, Converge(from, Observed(), next), next);

    const Plan again = ComputePlan(ThisNode(), to, observed, next);

    ASSERT_TRUE(again.actions.empty());
    ASSERT_FALSE(again.judge_flows_again);
    ASSERT_TRUE(again.problem.ok());
  }
}

TEST(ComputePlan, NeverGivesOneBackendNumberToTwoPlaces) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
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
