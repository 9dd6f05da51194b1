// SPDX-License-Identifier: Apache-2.0
// Goal: a drop by policies is told with who was judged. Method: the world of policy_world.h; the
// ring is read as the agent reads it.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "dataplane/kernel_flow_events.h"
#include "dataplane/reasons.h"
#include "tests/bpf/policy_world.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::At;
using mesh::testing::kAck;
using mesh::testing::kSyn;
using mesh::testing::Tcp;

constexpr uint8_t kTcp = 6;

class PolicyEvents : public PolicyWorld {
 protected:
  void SetUp() override {
    PolicyWorld::SetUp();
    auto opened = OpenFlowEvents(*programs_->CopyMaps());
    ASSERT_TRUE(opened.ok()) << opened.status();
    events_ = *std::move(opened);
    ASSERT_TRUE(events_->Listen(/*drops=*/true, /*flows=*/false).ok());
  }

  FlowEvent Told() {
    std::vector<FlowEvent> out;
    events_->Wake();
    const absl::Status status =
        events_->Read(absl::ZeroDuration(), [&](const FlowEvent& event) { out.push_back(event); });
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(out.size(), 1u);
    return out.empty() ? FlowEvent{} : out.front();
  }
  void ExpectJudged(const FlowEvent& told, const std::string& reason, const std::string& server) {
    EXPECT_EQ(ReasonName(told.reason), reason);
    EXPECT_EQ(told.source, Own(Ip("10.244.1.10")));
    EXPECT_EQ(told.destination, Own(Ip("10.96.0.10"))) << "as it was dialled";
    EXPECT_EQ(told.destination_port, 80);
    EXPECT_EQ(told.server, Own(Ip(server))) << "who was judged";
    EXPECT_EQ(told.server_port, 8080);
    EXPECT_EQ(told.translated_source, told.source);
    EXPECT_EQ(told.translated_source_port, told.source_port);
    EXPECT_NE(told.service_id, 0u);
  }

  std::unique_ptr<FlowEvents> events_;
};

TEST_F(PolicyEvents, ADropOfARequestToAServiceNamesTheBackendThatWasJudged) {
  Serve({"10.244.2.10:8080"});
  PutPolicy("shop", "out", R"(
    pod_selector { match_labels { key: "app" value: "client" } } policy_types: "Egress")");
  Settle();

  EXPECT_EQ(TryAddress("client", "10.96.0.10", kTcp, 80), "policy_egress");
  ExpectJudged(Told(), "policy_egress", "10.244.2.10");

  RemovePolicy("shop", "out");
  Serve({"10.244.1.11:8080"});
  PutPolicy("shop", "in", R"(pod_selector { match_labels { key: "app" value: "near" } })");
  Settle();
  EXPECT_EQ(TryAddress("client", "10.96.0.10", kTcp, 80), "policy_ingress");
  ExpectJudged(Told(), "policy_ingress", "10.244.1.11");
}

TEST_F(PolicyEvents, SoDoesTheDropThatEndsAFlow) {
  Serve({"10.244.2.10:8080"});
  const auto request = Tcp(At("10.244.1.10:41000"), At("10.96.0.10:80"), kSyn);
  ASSERT_EQ(FromPod(client_, request).reason, "forwarded");
  PutPolicy("shop", "out", R"(
    pod_selector { match_labels { key: "app" value: "client" } } policy_types: "Egress")");
  Settle();

  EXPECT_EQ(FromPod(client_, request).reason, "policy_egress");

  ExpectJudged(Told(), "policy_egress", "10.244.2.10");
}

TEST_F(PolicyEvents, ADroppedAnswerIsToldAsItWasSent) {
  ASSERT_EQ(FromPod(client_, Tcp(At("10.244.1.10:41000"), At("10.244.1.11:8080"), kSyn)).reason,
            "forwarded");
  PutPolicy("shop", "in", R"(pod_selector { match_labels { key: "app" value: "near" } })");
  Settle();

  EXPECT_EQ(
      FromPod(near_, Tcp(At("10.244.1.11:8080"), At("10.244.1.10:41000"), kSyn | kAck)).reason,
      "policy_ingress");

  const FlowEvent told = Told();
  EXPECT_EQ(told.source, Own(Ip("10.244.1.11")));
  EXPECT_EQ(told.destination, Own(Ip("10.244.1.10")));
  EXPECT_EQ(told.server, IpAddress());
}

}  // namespace
}  // namespace mesh::dataplane::testing
