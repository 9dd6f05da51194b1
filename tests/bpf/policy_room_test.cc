// SPDX-License-Identifier: Apache-2.0
// Goal: on a node that has no room for a change of the policies, packets meet all of what was in
// force before, new pods that need the change meet nothing, and all of it comes in force when there
// is room. Method: the world of policy_world.h with an agent that may use few rows of the maps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fmt/format.h"
#include "tests/bpf/policy_world.h"

namespace mesh::dataplane::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint8_t kTcp = 6;

class PolicyRoom : public PolicyWorld {
 protected:
  void SetUp() override {
    PolicyWorld::SetUp();
    may_refuse_policies_ = true;
    RestartAgent({.peers = 100, .blocks = 100, .ports = 10});
    PutPolicy("shop", "web", Admits({8080}));
    Settle();
    ASSERT_THAT(policies_->refused().text, IsEmpty());
  }

  // Of pod near: these ports, for everybody. A row each.
  static std::string Admits(const std::vector<int>& ports) {
    std::string out = R"(pod_selector { match_expressions { key: "app" operator: "In"
                                                             values: "near" values: "late" } }
                         ingress { )";
    for (const int port : ports) out += fmt::format("ports {{ port {{ int_value: {} }} }} ", port);
    return out + "}";
  }
  static std::vector<int> Many() {
    std::vector<int> out;
    for (int port = 9001; port <= 9031; port += 2) out.push_back(port);
    return out;
  }
  void ExpectWhatWasInForce() {
    EXPECT_EQ(Try("client", "near", kTcp, 8080), "forwarded");
    EXPECT_EQ(Try("far", "near", kTcp, 8080), "forwarded");
    EXPECT_EQ(Try("client", "near", kTcp, 9001), "policy_ingress");
    EXPECT_EQ(Try("client", "near", kTcp, 9031), "policy_ingress");
    EXPECT_EQ(Try("near", "client", kTcp, 80), "forwarded");
  }
};

TEST_F(PolicyRoom, WhatWasInForceStaysWholeUntilTheChangeFits) {
  PutPolicy("shop", "web", Admits(Many()));
  PutPolicy("shop", "deny", R"(pod_selector { match_labels { key: "app" value: "client" } })");
  Settle();

  EXPECT_THAT(policies_->refused().text, HasSubstr("rows for ports, more than 10"));
  EXPECT_THAT(policies_->refused().shut, IsEmpty()) << "nobody is new";
  ExpectWhatWasInForce();
  // It goes on so, whatever else happens.
  Label("far", {{"app", "farther"}});
  Settle();
  ExpectWhatWasInForce();

  PutPolicy("shop", "web", Admits({9001}));
  Settle();

  EXPECT_THAT(policies_->refused().text, IsEmpty());
  EXPECT_EQ(Try("client", "near", kTcp, 8080), "policy_ingress");
  EXPECT_EQ(Try("client", "near", kTcp, 9001), "forwarded");
  EXPECT_EQ(Try("near", "client", kTcp, 80), "policy_ingress") << "shop/deny";
}

TEST_F(PolicyRoom, ANewPodThatNeedsTheChangeIsShutUntilItFits) {
  PutPolicy("shop", "web", Admits(Many()));
  Come("late", "10.244.1.20", {"shop", {{"app", "late"}}, {}});
  Come("other", "10.244.1.21", {"shop", {{"app", "other"}}, {}});
  Settle();
  Attach(The("late"));
  Attach(The("other"));

  EXPECT_THAT(policies_->refused().shut, ::testing::ElementsAre(::testing::Key(Ip("10.244.1.20"))));
  for (const uint16_t port : {8080, 9001}) {
    EXPECT_EQ(Try("client", "late", kTcp, port), "policy_ingress") << port;
  }
  EXPECT_EQ(Try("late", "client", kTcp, 80), "policy_egress");
  EXPECT_EQ(Try("client", "other", kTcp, 80), "forwarded") << "no policy is about it";
  ExpectWhatWasInForce();

  RemovePolicy("shop", "web");
  Settle();

  EXPECT_THAT(policies_->refused().shut, IsEmpty());
  EXPECT_EQ(Try("client", "late", kTcp, 9001), "forwarded");
  EXPECT_EQ(Try("late", "client", kTcp, 80), "forwarded");
}

// What the maps held before is found there, and stays in force.
TEST_F(PolicyRoom, AnAgentThatFindsNoRoomLeavesWhatItFinds) {
  RestartAgent({.peers = 100, .blocks = 100, .ports = 0});

  EXPECT_THAT(policies_->refused().text, HasSubstr("more than 0"));
  EXPECT_THAT(policies_->refused().shut, IsEmpty());
  ExpectWhatWasInForce();
}

}  // namespace
}  // namespace mesh::dataplane::testing
