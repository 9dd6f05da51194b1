// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/flow_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/bpf/fake_map.h"
#include "dataplane/tables/encode.h"
#include "mesh/shared/flow_state.h"

namespace mesh::dataplane {
namespace {

constexpr uint64_t kNow = 1'000'000 * MESH_SECOND_NS;

class FlowTableTest : public ::testing::Test {
 protected:
  // Client 10.244.1.10:40000 -> Service 10.96.0.10:80 -> backend 3, 10.244.1.11:8080.
  struct Flow {
    mesh_flow_key key{}, reply_key{};
    mesh_flow_value value{}, reply{};
  };
  static Flow Make(uint8_t protocol, uint64_t idle_s) {
    const uint32_t client = htonl(0x0af4010a), vip = htonl(0x0a60000a), pod = htonl(0x0af4010b);
    Flow out;
    out.key = {client, vip, htons(40000), htons(80), protocol, {}};
    out.reply_key = {pod, client, htons(8080), htons(40000), protocol, {}};
    out.value.saddr = client;
    out.value.daddr = pod;
    out.value.sport = htons(40000);
    out.value.dport = htons(8080);
    out.value.service_id = 1;
    out.value.backend_id = 3;
    out.value.last_seen_ns = kNow - idle_s * MESH_SECOND_NS;
    out.value.packets = 5;
    out.value.bytes = 500;
    out.reply = out.value;
    out.reply.saddr = vip;
    out.reply.daddr = client;
    out.reply.sport = htons(80);
    out.reply.dport = htons(40000);
    out.reply.flags = MESH_FLOW_REPLY;
    out.reply.packets = 4;
    out.reply.bytes = 4000;
    return out;
  }
  static Flow Established(uint64_t idle_s) {
    Flow out = Make(6, idle_s);
    out.value.tcp_data = 1;
    return out;
  }
  void Put(const Flow& flow) {
    ASSERT_TRUE(map_.Upsert(flow.key, flow.value).ok());
    ASSERT_TRUE(map_.Upsert(flow.reply_key, flow.reply).ok());
  }
  int Collect() {
    return table_.Collect(kNow, [](uint32_t id) { return id == 3; }).value_or(-1);
  }

  FakeMap<mesh_flow_key, mesh_flow_value> map_;
  FlowTable table_{map_};
};

TEST_F(FlowTableTest, ShowsAFlowAsItsClientDialledIt) {
  Put(Established(10));

  const std::vector<ConntrackRow> rows = *table_.Rows(kNow);

  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].source.ToString(), "10.244.1.10");
  EXPECT_EQ(rows[0].destination.ToString(), "10.96.0.10");
  EXPECT_EQ(rows[0].destination_port, 80);
  EXPECT_TRUE(rows[0].translated);
  EXPECT_EQ(rows[0].backend.ToString(), "10.244.1.11");
  EXPECT_EQ(rows[0].backend_port, 8080);
  EXPECT_EQ(rows[0].state, "established");
  EXPECT_EQ(rows[0].expires_in, absl::Seconds(7990));
  EXPECT_EQ(rows[0].packets, 9u);
  EXPECT_EQ(rows[0].bytes, 4500u);
}

TEST_F(FlowTableTest, KeepsEstablishedConnectionsForHours) {
  Put(Established(7999));
  EXPECT_EQ(Collect(), 0);
  Put(Established(8001));
  EXPECT_EQ(Collect(), 1);
  EXPECT_EQ(map_.size(), 0u);
}

TEST_F(FlowTableTest, ForgetsClosedConnectionsSoon) {
  Flow flow = Established(11);
  flow.value.tcp_fin = 1;
  Put(flow);
  EXPECT_EQ(Collect(), 0) << "one side may still send";
  flow.reply.tcp_fin = 1;
  Put(flow);
  EXPECT_EQ(Collect(), 1);
}

TEST_F(FlowTableTest, LooksAtTheYoungerDirection) {
  Flow flow = Make(17, 200);
  flow.reply.last_seen_ns = kNow - 5 * MESH_SECOND_NS;
  Put(flow);
  EXPECT_EQ(Collect(), 0);
}

TEST_F(FlowTableTest, ForgetsUnansweredDatagramsBeforeAnsweredOnes) {
  Put(Make(17, 31));
  EXPECT_EQ(Collect(), 0);
  Flow unanswered = Make(17, 31);
  unanswered.reply.packets = 0;
  Put(unanswered);
  EXPECT_EQ(Collect(), 1);
}

TEST_F(FlowTableTest, RemovesFlowsOfBackendsThatAreGone) {
  Flow flow = Established(0);
  flow.value.backend_id = flow.reply.backend_id = 4;
  Put(flow);
  EXPECT_EQ(Collect(), 1);
  EXPECT_EQ(map_.size(), 0u);
}

TEST_F(FlowTableTest, RemovesAHalfWithoutItsOther) {
  const Flow flow = Established(60);
  ASSERT_TRUE(map_.Upsert(flow.reply_key, flow.reply).ok());
  EXPECT_EQ(Collect(), 1);
  EXPECT_EQ(map_.size(), 0u);
}

TEST_F(FlowTableTest, RemovesBothDirectionsOfAnAddress) {
  Put(Established(0));
  ASSERT_TRUE(table_.RemoveAddress(*IpAddress::Parse("10.244.1.99")).ok());
  EXPECT_EQ(map_.size(), 2u);
  ASSERT_TRUE(table_.RemoveAddress(*IpAddress::Parse("10.244.1.11")).ok());
  EXPECT_EQ(map_.size(), 0u);
}

}  // namespace
}  // namespace mesh::dataplane
