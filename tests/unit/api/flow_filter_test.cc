// SPDX-License-Identifier: Apache-2.0
#include "api/flows/flow_filter.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>

namespace mesh {
namespace {

using Match = FlowFilter::Match;
using ::testing::StartsWith;

template <typename Message>
Message Parse(const std::string& text) {
  Message out;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &out)) << text;
  return out;
}

// shop/web-1 dials pay/api, and gets pay/api-0 on another node.
v1::Flow ToApi() {
  return Parse<v1::Flow>(
      "event: 'opened' verdict: 'forwarded' protocol: 'TCP' "
      "source { address: '10.244.1.5' port: 40000 namespace: 'shop' pod: 'web-1' } "
      "destination { address: '10.244.2.7' port: 9000 namespace: 'pay' pod: 'api-0' } "
      "dialled_address: '10.96.0.9' dialled_port: 8080 service_namespace: 'pay' service: 'api'");
}

Match Of(const std::string& filter, const v1::Flow& flow) {
  const auto parsed = FlowFilter::Parse(Parse<v1::FlowFilter>(filter));
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return parsed.ok() ? parsed->Matches(flow) : Match::kNo;
}

TEST(FlowFilter, EachFieldChooses) {
  const struct {
    const char* filter;
    Match match;
  } rows[] = {
      {"", Match::kYes},
      {"namespace: 'shop'", Match::kYes},
      {"namespace: 'pay'", Match::kYes},
      {"namespace: 'other'", Match::kNo},
      {"pods: 'web-1'", Match::kYes},
      {"pods: 'shop/api-0'", Match::kNo},
      {"pods: 'pay/api-0'", Match::kYes},
      {"pods: 'web'", Match::kNo},
      {"pods: 'shop/web-*'", Match::kYes},
      {"pods: 'pay/*'", Match::kYes},
      {"pods: 'other/*'", Match::kNo},
      {"pods: 'none' pods: 'web-1'", Match::kYes},
      {"services: 'api'", Match::kYes},
      {"services: 'shop/api'", Match::kNo},
      {"verdicts: 'dropped'", Match::kNo},
      {"verdicts: 'dropped' verdicts: 'forwarded'", Match::kYes},
      {"reasons: 'isolation'", Match::kNo},
      {"protocols: 'UDP'", Match::kNo},
      {"ports: 8080", Match::kYes},
      {"ports: 9000", Match::kYes},
      {"ports: 40000", Match::kYes},
      {"ports: 80", Match::kNo},
      {"ips: '10.96.0.9'", Match::kYes},
      {"ips: '10.244.2.0/24'", Match::kYes},
      {"ips: '10.244.3.0/24'", Match::kNo},
      {"from: 'shop/web-1' to: 'pay/api-0'", Match::kYes},
      {"from: 'pay/api-0'", Match::kNo},
      {"from: '10.244.1.5'", Match::kYes},
      {"to: '10.244.0.0/16'", Match::kYes},
      {"to: '10.96.0.9'", Match::kNo},
      {"from: 'outside'", Match::kNo},
      {"from: 'node/n1'", Match::kNo},
      {"namespace: 'shop' pods: 'web-1'", Match::kYes},
      {"namespace: 'pay' pods: 'web-1'", Match::kNo},
      {"from: 'shop/web-1' ports: 80", Match::kNo},
  };
  for (const auto& row : rows) EXPECT_EQ(Of(row.filter, ToApi()), row.match) << row.filter;
}

TEST(FlowFilter, TellsNodesAndTheOutside) {
  v1::Flow flow = ToApi();
  flow.mutable_source()->clear_pod();
  flow.mutable_source()->clear_namespace_();
  EXPECT_EQ(Of("from: 'outside'", flow), Match::kYes);
  EXPECT_EQ(Of("from: 'node/n1'", flow), Match::kNo);
  flow.mutable_source()->set_node("n1");
  EXPECT_EQ(Of("from: 'outside'", flow), Match::kNo);
  EXPECT_EQ(Of("from: 'node/n1'", flow), Match::kYes);
  EXPECT_EQ(Of("from: 'node/n2'", flow), Match::kNo);
}

// A node does not know the names of all pods: it must not decide about them.
TEST(FlowFilter, LeavesOpenWhatDependsOnANameThatIsNotKnown) {
  v1::Flow flow = ToApi();
  flow.mutable_destination()->clear_pod();
  flow.mutable_destination()->clear_namespace_();
  flow.clear_service();
  flow.clear_service_namespace();
  const auto inside = [](const v1::FlowEnd& end) { return end.address().starts_with("10.244."); };
  const struct {
    const char* filter;
    Match match;
  } rows[] = {
      {"to: 'pay/api-0'", Match::kUnknown},
      {"pods: 'api-0'", Match::kUnknown},
      {"pods: 'web-1'", Match::kYes},
      {"namespace: 'pay'", Match::kUnknown},
      {"namespace: 'shop'", Match::kYes},
      {"to: 'outside'", Match::kUnknown},
      {"to: '10.244.2.7'", Match::kYes},
      {"from: 'shop/web-2' to: 'pay/api-0'", Match::kNo},
      {"to: 'pay/api-0' protocols: 'UDP'", Match::kNo},
  };
  for (const auto& row : rows) {
    const auto filter = FlowFilter::Parse(Parse<v1::FlowFilter>(row.filter));
    ASSERT_TRUE(filter.ok()) << filter.status();
    EXPECT_EQ(filter->Matches(flow, inside), row.match) << row.filter;
  }
}

TEST(FlowFilter, WhatCanMatchNothingIsNamed) {
  const struct {
    const char *filter, *begin;
  } rows[] = {
      {"namespace: 'Shop'", "namespace: \"Shop\" "},
      {"pods: ''", "pod: \"\" is no pod"},
      {"pods: 'a/b/c'", "pod: \"a/b/c\" is no pod"},
      {"pods: '/web'", "pod: \"/web\" "},
      {"services: 'pay/'", "service: \"pay/\" is no Service"},
      {"verdicts: 'denied'", "verdict: \"denied\" is none of forwarded, dropped, refused"},
      {"protocols: 'SCTP'", "proto: \"SCTP\" is none of TCP, UDP, ICMP"},
      {"ports: 0", "port: \"0\" is no port"},
      {"ports: 70000", "port: \"70000\" is no port"},
      {"ips: '10.244.1'", "ip: \"10.244.1\" is no address"},
      {"ips: '10.244.1.5/16'", "ip: \"10.244.1.5/16\" is no range"},
      {"from: 'node/'", "from: \"node/\" names no node"},
      {"to: 'web_1'", "to: \"web_1\" is no end of a flow"},
      {"to: '10.244.1.0/33'", "to: \"10.244.1.0/33\" is no range"},
      // What was meant as an address is none of a pod "8" in a namespace "10.0.0".
      {"from: '10.0.0/8'", "from: \"10.0.0/8\" is no address and no range (10.244.1.0/24)"},
      {"from: '10.0.0'", "from: \"10.0.0\" is no address and no range"},
      {"to: '10.0.0.256'", "to: \"10.0.0.256\" is no address and no range"},
      {"to: 'fd00::/x'", "to: \"fd00::/x\" is no range"},
      {"to: 'fd00:/64'", "to: \"fd00:/64\" is no address and no range"},
      {"ips: '10.0.0/8'", "ip: \"10.0.0/8\" is no address and no range"},
      {"pods: '10.0.0/8'", "pod: \"10.0.0/8\" is no pod"},
      {"pods: 'shop/-web'", "pod: \"shop/-web\" is no pod"},
      {"pods: 'web..1'", "pod: \"web..1\" is no pod"},
      {"pods: 'shop/.*'", "pod: \"shop/.*\" is no pod"},
      {"services: 'a.b'", "service: \"a.b\" is no Service"},
      {"namespace: 'a.b'", "namespace: \"a.b\" is no name of a namespace"},
  };
  for (const auto& row : rows) {
    const absl::Status status = FlowFilter::Parse(Parse<v1::FlowFilter>(row.filter)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << row.filter;
    EXPECT_THAT(std::string(status.message()), StartsWith(row.begin));
  }
}

TEST(FlowFilter, TellsWhichNodesItIsAbout) {
  const auto filter = FlowFilter::Parse(
      Parse<v1::FlowFilter>("from: 'node/n1' from: 'shop/web' to: 'outside' to: 'node/n2'"));
  ASSERT_TRUE(filter.ok()) << filter.status();
  const std::vector<FlowFilter::NamedNode> nodes = filter->Nodes();
  ASSERT_EQ(nodes.size(), 2u);
  EXPECT_EQ(nodes[0].field + " " + nodes[0].node, "from n1");
  EXPECT_EQ(nodes[1].field + " " + nodes[1].node, "to n2");
}

TEST(FlowFilter, TakesBeginningsOfNames) {
  for (const char* pods : {"shop/*", "shop/web-*", "shop/web.*", "shop/w*", "*", "10*"})
    EXPECT_TRUE(FlowFilter::Parse(Parse<v1::FlowFilter>(std::string("pods: '") + pods + "'")).ok())
        << pods;
}

}  // namespace
}  // namespace mesh
