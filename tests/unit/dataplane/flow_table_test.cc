// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/flow_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/bpf/fake_map.h"
#include "dataplane/tables/encode.h"
#include "dataplane/tables/flow_collector.h"
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
    return collector_.Collect(kNow, [](uint32_t id) { return id == 3; }).value_or(-1);
  }

  FakeMap<mesh_flow_key, mesh_flow_value> map_;
  FakeMap<mesh_owner_key, mesh_owner_value> owners_;
  FakeMap<mesh_backend_key, mesh_backend_load_value> loads_;
  FlowTable table_{map_};
  FlowCollector collector_{{map_, owners_, loads_}};
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

TEST_F(FlowTableTest, KeepsAFlowWithoutAnswersForItsTime) {
  Flow flow = Make(17, 29);
  flow.value.flags = MESH_FLOW_ONE_WAY;
  ASSERT_TRUE(map_.Upsert(flow.key, flow.value).ok());
  EXPECT_EQ(Collect(), 0);
  ASSERT_EQ(table_.Rows(kNow)->size(), 1u);
  EXPECT_EQ(table_.Rows(kNow)->at(0).packets, 5u);
  flow.value.last_seen_ns = kNow - 8001 * MESH_SECOND_NS;
  ASSERT_TRUE(map_.Upsert(flow.key, flow.value).ok());
  EXPECT_EQ(Collect(), 1);
  EXPECT_EQ(map_.size(), 0u);
}

// Flows of several owners, each with its own client port.
TEST_F(FlowTableTest, PutsTheBooksRight) {
  ASSERT_TRUE(collector_.Begin().ok());
  const auto put = [&](uint32_t owner, uint16_t port, uint64_t idle_s, uint8_t flags) {
    Flow flow = Established(idle_s);
    flow.key.sport = flow.value.sport = flow.reply.dport = flow.reply_key.dport = htons(port);
    flow.value.owner = flow.reply.owner = owner;
    flow.value.flags |= flags;
    Put(flow);
  };
  put(7, 1, 0, MESH_FLOW_COUNTED);
  put(7, 2, 5, 0);
  put(7, 3, 9000, MESH_FLOW_COUNTED);
  put(8, 4, 0, 0);
  ASSERT_TRUE(owners_.Upsert({7}, {3, 0}).ok());
  ASSERT_TRUE(owners_.Upsert({9}, {5, 0}).ok());  // a pod that is gone
  ASSERT_TRUE(loads_.Upsert({3}, {40}).ok());

  EXPECT_EQ(Collect(), 1);

  EXPECT_EQ(owners_.Lookup({7})->flows, 2u);
  EXPECT_EQ(owners_.Lookup({8})->flows, 1u);
  EXPECT_TRUE(absl::IsNotFound(owners_.Lookup({9}).status()));
  EXPECT_EQ(owners_.Lookup({MESH_OWNER_ALL})->flows, 3u);
  EXPECT_EQ(owners_.Lookup({MESH_OWNER_ALL})->capacity, 512u);
  EXPECT_EQ(loads_.Lookup({3})->flows, 1u);
  const FlowUsage usage = *collector_.Usage();
  EXPECT_EQ(usage.flows, 3u);
  ASSERT_EQ(usage.owners.size(), 2u);
  EXPECT_EQ(usage.owners[0].flows, 2u);
  EXPECT_EQ(usage.owners[0].limit, 512u - 3u);
}

TEST_F(FlowTableTest, GoesOnWhereTheLastCallEndedAndRestsWhenThereIsNothing) {
  FlowCollector collector({map_, owners_, loads_}, 2);
  ASSERT_TRUE(collector.Begin().ok());
  for (uint16_t port = 1; port <= 5; ++port) {
    Flow flow = Established(9000);
    flow.key.sport = flow.value.sport = flow.reply.dport = flow.reply_key.dport = htons(port);
    Put(flow);
  }
  const auto collect = [&] {
    return collector.Collect(kNow, [](uint32_t) { return true; }).value_or(-1);
  };
  int gone = 0, calls = 0;
  while (map_.size() > 0 && calls < 20) {
    gone += collect();
    ++calls;
  }
  EXPECT_EQ(gone, 5);
  EXPECT_GT(calls, 1);
  while (calls++ < 30) EXPECT_EQ(collect(), 0);
  const int writes = owners_.writes;
  EXPECT_EQ(collect(), 0);
  EXPECT_EQ(owners_.writes, writes);
}

TEST(OwnerLimit, LeavesRoomWhateverOneTakes) {
  EXPECT_EQ(mesh_owner_limit(262144, 0), 262144u);
  EXPECT_EQ(mesh_owner_limit(262144, 131072), 131072u);
  // Beyond that the small ones have their floor, though nothing is free.
  EXPECT_EQ(mesh_owner_limit(262144, 262144), 1024u);
  EXPECT_EQ(mesh_owner_limit(262144, 300000), 1024u);
  // Any number of greedy ones: equal shares, and one share stays free.
  for (uint32_t greedy = 1; greedy < 60; ++greedy) {
    std::vector<uint32_t> has(greedy, 0);
    uint32_t all = 0;
    for (bool more = true; more;) {
      more = false;
      for (uint32_t& flows : has) {
        if (flows >= mesh_owner_limit(262144, all)) continue;
        ++flows;
        ++all;
        more = true;
      }
    }
    for (const uint32_t flows : has) EXPECT_NEAR(flows, 262144 / (greedy + 1), greedy + 1);
  }
}

}  // namespace
}  // namespace mesh::dataplane
