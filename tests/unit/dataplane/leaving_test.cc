// SPDX-License-Identifier: Apache-2.0
// Goal: who leaves a Service and may live keeps his row for his TCP flows, and no longer. Method:
// small worlds by hand; live in tests/cluster/endpoints_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <variant>
#include <vector>

#include "dataplane/plan/plan.h"
#include "tests/unit/dataplane/plan_world.h"

namespace mesh::dataplane {
namespace {

using ::testing::ElementsAre;

class LeavingTest : public ::testing::TestWithParam<Family> {
 protected:
  // A backend that somebody wrote down, or one that follows its pod.
  static Backend ByHand(const std::string& ip) {
    Backend out = At(ip);
    out.may_outlive = true;
    return out;
  }
  static Service WithPort(Protocol protocol, std::vector<Backend> backends) {
    Service service = Web(std::move(backends));
    service.ports[0].protocol = protocol;
    return GetParam() == Family::kV6 ? InIpv6(service) : service;
  }
  Plan Apply(const DesiredState& desired) {
    Plan plan = planner_.Compute(desired, observed_);
    for (const Action& action : plan.actions) {
      Perform(action, observed_);
      ExpectSound(observed_);
    }
    EXPECT_TRUE(plan.problem.ok()) << plan.problem;
    return plan;
  }
  static DesiredState Nothing() {
    DesiredState out;
    out.complete = true;
    return out;
  }
  // "1 active", by number.
  std::vector<std::string> Backends() const {
    std::vector<std::string> out;
    for (const auto& [id, entry] : observed_.backends) {
      out.push_back(fmt::format("{} {}", id,
                                entry.state == BackendState::kLeft       ? "left"
                                : entry.state == BackendState::kDraining ? "draining"
                                                                         : "active"));
    }
    return out;
  }

  Planner planner_{DualStackNode()};
  Observed observed_;
};

TEST_P(LeavingTest, OneWrittenByHandKeepsItsTcpFlowsWhenItIsListedNoMore) {
  Apply(With(WithPort(Protocol::kTcp, {ByHand("10.244.1.10"), ByHand("10.244.1.11")})));

  const Plan plan = Apply(With(WithPort(Protocol::kTcp, {ByHand("10.244.1.11")})));

  EXPECT_THAT(Backends(), ElementsAre("1 left", "2 active"));
  EXPECT_EQ(observed_.backends.at(1).scopes, 0);
  EXPECT_FALSE(plan.judge_flows_again) << "nothing was removed";
  EXPECT_TRUE(std::holds_alternative<PutBackend>(plan.actions.back()))
      << "when no set holds it any more";
}

TEST_P(LeavingTest, OneThatFollowsItsPodIsGoneWithIt) {
  Apply(With(WithPort(Protocol::kTcp, {At("10.244.1.10"), At("10.244.1.11")})));
  EXPECT_TRUE(Apply(With(WithPort(Protocol::kTcp, {At("10.244.1.11")}))).judge_flows_again);
  EXPECT_THAT(Backends(), ElementsAre("2 active"));
}

TEST_P(LeavingTest, DatagramsMoveToAnother) {
  Apply(With(WithPort(Protocol::kUdp, {ByHand("10.244.1.10"), ByHand("10.244.1.11")})));
  EXPECT_TRUE(Apply(With(WithPort(Protocol::kUdp, {ByHand("10.244.1.11")}))).judge_flows_again);
  EXPECT_THAT(Backends(), ElementsAre("2 active"));
}

TEST_P(LeavingTest, ThoseOfADeletedServiceOrPortKeepTheirTcpFlows) {
  Service both = WithPort(Protocol::kTcp, {At("10.244.1.10")});
  both.ports.push_back(both.ports[0]);
  both.ports[1].name = "admin";
  both.ports[1].port = 81;
  both.ports.push_back(both.ports[0]);
  both.ports[2].name = "dns";
  both.ports[2].protocol = Protocol::kUdp;
  Apply(With(both));
  EXPECT_THAT(Backends(), ElementsAre("1 active", "2 active", "3 active"));

  Service one = both;
  one.ports.resize(1);
  Apply(With(one));
  EXPECT_THAT(Backends(), ElementsAre("1 active", "2 left"));

  Apply(Nothing());
  EXPECT_THAT(Backends(), ElementsAre("1 left", "2 left"));
  EXPECT_TRUE(observed_.frontends.empty());
}

TEST_P(LeavingTest, OneThatComesBackIsTheSame) {
  const DesiredState both =
      With(WithPort(Protocol::kTcp, {ByHand("10.244.1.10"), ByHand("10.244.1.11")}));
  Apply(both);
  Apply(With(WithPort(Protocol::kTcp, {ByHand("10.244.1.11")})));

  Apply(both);

  EXPECT_THAT(Backends(), ElementsAre("1 active", "2 active"));
  EXPECT_TRUE(observed_.Left(GetParam()).empty());
}

TEST_P(LeavingTest, IsRememberedByTheMapsWhenAnAgentStarts) {
  Apply(With(WithPort(Protocol::kTcp, {ByHand("10.244.1.10"), ByHand("10.244.1.11")})));
  const DesiredState one = With(WithPort(Protocol::kTcp, {ByHand("10.244.1.11")}));
  Apply(one);

  NextIds next;
  DesiredState partial = one;
  partial.complete = false;
  EXPECT_TRUE(ComputePlan(DualStackNode(), partial, observed_, next).actions.empty());
  EXPECT_TRUE(ComputePlan(DualStackNode(), one, observed_, next).actions.empty());
  planner_.Forget();
  Apply(Nothing());
  EXPECT_THAT(Backends(), ElementsAre("1 left", "2 left"));
}

TEST_P(LeavingTest, EndsWithItsFlowsUnlessItIsBack) {
  const DesiredState both =
      With(WithPort(Protocol::kTcp, {ByHand("10.244.1.10"), ByHand("10.244.1.11")}));
  Apply(both);
  Apply(Nothing());
  EXPECT_THAT(Backends(), ElementsAre("1 left", "2 left"));

  for (const Action& action : GiveBack({1, 9}, observed_)) Perform(action, observed_);
  EXPECT_THAT(Backends(), ElementsAre("2 left"));
  for (const Action& action : GiveBack({2}, observed_)) Perform(action, observed_);
  EXPECT_EQ(observed_, Observed());

  Apply(both);
  EXPECT_TRUE(GiveBack({3, 4}, observed_).empty());
}

INSTANTIATE_TEST_SUITE_P(Families, LeavingTest, ::testing::Values(Family::kV4, Family::kV6),
                         [](const auto& family) { return NameOf(family.param); });

}  // namespace
}  // namespace mesh::dataplane
