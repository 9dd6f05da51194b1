// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/flow_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/bpf/fake_map.h"
#include "dataplane/tables/flow_collector.h"
#include "dataplane/tables/flow_rows.h"

namespace mesh::dataplane {
namespace {

constexpr uint64_t kNow = 1'000'000 * MESH_SECOND_NS;

// In IPv6: fd00::10.244.1.10.
template <typename F>
IpAddress Ip(const std::string& text) {
  return *IpAddress::Parse(F::kFamily == Family::kV4 ? text : "fd00::" + text);
}

template <typename F>
class FlowTableTest : public ::testing::Test {
 protected:
  using OwnerKey = typename F::OwnerKey;
  // Client 10.244.1.10:40000 -> Service 10.96.0.10:80 -> backend 3, 10.244.1.11:8080.
  struct Flow {
    typename F::FlowKey key{}, reply_key{};
    typename F::FlowValue value{}, reply{};
  };
  static Flow Make(uint8_t protocol, uint64_t idle_s) {
    const auto client = F::Encode(Ip<F>("10.244.1.10")), vip = F::Encode(Ip<F>("10.96.0.10")),
               pod = F::Encode(Ip<F>("10.244.1.11"));
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

  static OwnerKey Owner(const std::string& ip) { return {F::Encode(Ip<F>(ip))}; }

  FakeMap<typename F::FlowKey, typename F::FlowValue> map_;
  FakeMap<OwnerKey, mesh_owner_value> owners_;
  FakeMap<mesh_backend_key, mesh_backend_load_value> loads_;
  FlowTable<F> table_{map_};
  FlowCollector<F> collector_{{map_, owners_, loads_}};
};

struct FamilyName {
  template <typename F>
  static std::string GetName(int) {
    return NameOf(F::kFamily);
  }
};
using Families = ::testing::Types<V4, V6>;
TYPED_TEST_SUITE(FlowTableTest, Families, FamilyName);

TYPED_TEST(FlowTableTest, ShowsAFlowAsItsClientDialledIt) {
  this->Put(TestFixture::Established(10));

  const std::vector<ConntrackRow> rows = *this->table_.Rows(kNow);

  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].source, Ip<TypeParam>("10.244.1.10"));
  EXPECT_EQ(rows[0].destination, Ip<TypeParam>("10.96.0.10"));
  EXPECT_EQ(rows[0].destination_port, 80);
  EXPECT_TRUE(rows[0].translated);
  EXPECT_EQ(rows[0].backend, Ip<TypeParam>("10.244.1.11"));
  EXPECT_EQ(rows[0].backend_port, 8080);
  EXPECT_EQ(rows[0].state, "established");
  EXPECT_EQ(rows[0].expires_in, absl::Seconds(7990));
  EXPECT_EQ(rows[0].packets, 9u);
  EXPECT_EQ(rows[0].bytes, 4500u);
}

TYPED_TEST(FlowTableTest, KeepsEstablishedConnectionsForHours) {
  this->Put(TestFixture::Established(7999));
  EXPECT_EQ(this->Collect(), 0);
  this->Put(TestFixture::Established(8001));
  EXPECT_EQ(this->Collect(), 1);
  EXPECT_EQ(this->map_.size(), 0u);
}

TYPED_TEST(FlowTableTest, ForgetsClosedConnectionsSoon) {
  typename TestFixture::Flow flow = TestFixture::Established(11);
  flow.value.tcp_fin = 1;
  this->Put(flow);
  EXPECT_EQ(this->Collect(), 0) << "one side may still send";
  flow.reply.tcp_fin = 1;
  this->Put(flow);
  EXPECT_EQ(this->Collect(), 1);
}

TYPED_TEST(FlowTableTest, LooksAtTheYoungerDirection) {
  typename TestFixture::Flow flow = TestFixture::Make(17, 200);
  flow.reply.last_seen_ns = kNow - 5 * MESH_SECOND_NS;
  this->Put(flow);
  EXPECT_EQ(this->Collect(), 0);
}

TYPED_TEST(FlowTableTest, ForgetsUnansweredDatagramsBeforeAnsweredOnes) {
  this->Put(TestFixture::Make(17, 31));
  EXPECT_EQ(this->Collect(), 0);
  typename TestFixture::Flow unanswered = TestFixture::Make(17, 31);
  unanswered.reply.packets = 0;
  this->Put(unanswered);
  EXPECT_EQ(this->Collect(), 1);
}

// A late answer is still to be translated: the client takes it from the address it has asked alone.
TYPED_TEST(FlowTableTest, RemovesFlowsOfBackendsThatAreGoneWhenTheyHaveRested) {
  const auto collect = [&](uint64_t client_idle_s, uint64_t server_idle_s) {
    typename TestFixture::Flow flow = TestFixture::Make(17, client_idle_s);
    flow.reply.last_seen_ns = kNow - server_idle_s * MESH_SECOND_NS;
    flow.value.backend_id = flow.reply.backend_id = 4;
    this->Put(flow);
    return this->Collect();
  };
  EXPECT_EQ(collect(0, 0), 0);
  EXPECT_EQ(collect(4, 6), 0);
  EXPECT_EQ(collect(6, 4), 0);
  EXPECT_EQ(collect(6, 6), 1);
  EXPECT_EQ(this->map_.size(), 0u);
}

// Told once, after two sweeps without a flow: one might have been about to choose it.
TYPED_TEST(FlowTableTest, TellsWhichBackendsThatHaveLeftHaveNoFlowAnyMore) {
  using Ids = std::set<uint32_t>;
  const auto unused = [&](const Ids& left) {
    EXPECT_TRUE(this->collector_
                    .Collect(
                        kNow, [](uint32_t) { return true; }, left)
                    .ok());
    return this->collector_.TakeUnused();
  };
  this->Put(TestFixture::Established(0));

  EXPECT_EQ(unused({3, 4}), Ids());
  EXPECT_EQ(unused({3, 4, 5}), Ids({4}));
  EXPECT_EQ(unused({3, 5}), Ids({5}));
  EXPECT_EQ(unused({3}), Ids());

  ASSERT_TRUE(this->table_.RemoveAddress(Ip<TypeParam>("10.244.1.11")).ok());
  EXPECT_EQ(unused({3}), Ids());
  EXPECT_EQ(unused({3}), Ids({3})) << "also while the table is empty";
  EXPECT_EQ(unused({}), Ids());
}

TYPED_TEST(FlowTableTest, RemovesAHalfWithoutItsOther) {
  const typename TestFixture::Flow flow = TestFixture::Established(60);
  ASSERT_TRUE(this->map_.Upsert(flow.reply_key, flow.reply).ok());
  EXPECT_EQ(this->Collect(), 1);
  EXPECT_EQ(this->map_.size(), 0u);
}

TYPED_TEST(FlowTableTest, RemovesBothDirectionsOfAnAddress) {
  this->Put(TestFixture::Established(0));
  ASSERT_TRUE(this->table_.RemoveAddress(Ip<TypeParam>("10.244.1.99")).ok());
  EXPECT_EQ(this->map_.size(), 2u);
  ASSERT_TRUE(this->table_.RemoveAddress(Ip<TypeParam>("10.244.1.11")).ok());
  EXPECT_EQ(this->map_.size(), 0u);
}

TYPED_TEST(FlowTableTest, KeepsAFlowWithoutAnswersForItsTime) {
  typename TestFixture::Flow flow = TestFixture::Make(17, 29);
  flow.value.flags = MESH_FLOW_ONE_WAY;
  ASSERT_TRUE(this->map_.Upsert(flow.key, flow.value).ok());
  EXPECT_EQ(this->Collect(), 0);
  ASSERT_EQ(this->table_.Rows(kNow)->size(), 1u);
  EXPECT_EQ(this->table_.Rows(kNow)->at(0).packets, 5u);
  flow.value.last_seen_ns = kNow - 8001 * MESH_SECOND_NS;
  ASSERT_TRUE(this->map_.Upsert(flow.key, flow.value).ok());
  EXPECT_EQ(this->Collect(), 1);
  EXPECT_EQ(this->map_.size(), 0u);
}

// Flows of several owners, each with its own client port.
TYPED_TEST(FlowTableTest, CountsWhatIsOpenOfEachService) {
  ASSERT_TRUE(this->collector_.Begin().ok());
  const auto put = [&](uint16_t port, uint32_t service, uint8_t fin) {
    typename TestFixture::Flow flow = TestFixture::Established(0);
    flow.key.sport = flow.value.sport = flow.reply.dport = flow.reply_key.dport = htons(port);
    flow.value.service_id = flow.reply.service_id = service;
    flow.value.tcp_fin = fin;
    this->Put(flow);
  };
  put(1, 7, 0);
  put(2, 7, 0);
  put(3, 7, 1);  // closing
  put(4, 9, 0);
  put(5, 0, 0);  // through none
  EXPECT_TRUE(this->collector_.ServiceFlows().empty()) << "before the first sweep";

  EXPECT_EQ(this->Collect(), 0);

  EXPECT_EQ(this->collector_.ServiceFlows(), (std::map<uint32_t, uint32_t>{{7, 2}, {9, 1}}));
}

TYPED_TEST(FlowTableTest, PutsTheBooksRight) {
  ASSERT_TRUE(this->collector_.Begin().ok());
  const auto put = [&](const std::string& owner, uint16_t port, uint64_t idle_s, uint8_t flags) {
    typename TestFixture::Flow flow = TestFixture::Established(idle_s);
    flow.key.sport = flow.value.sport = flow.reply.dport = flow.reply_key.dport = htons(port);
    flow.value.owner = flow.reply.owner = TestFixture::Owner(owner).ip;
    flow.value.flags |= flags;
    this->Put(flow);
  };
  put("10.244.1.7", 1, 0, MESH_FLOW_COUNTED);
  put("10.244.1.7", 2, 5, 0);
  put("10.244.1.7", 3, 9000, MESH_FLOW_COUNTED);
  put("10.244.1.8", 4, 0, 0);
  ASSERT_TRUE(this->owners_.Upsert(TestFixture::Owner("10.244.1.7"), {3, 0}).ok());
  ASSERT_TRUE(
      this->owners_.Upsert(TestFixture::Owner("10.244.1.9"), {5, 0}).ok());  // a pod that is gone
  ASSERT_TRUE(this->loads_.Upsert({3}, {40}).ok());
  ASSERT_TRUE(this->loads_.Upsert({5}, {6}).ok());

  EXPECT_EQ(this->Collect(), 1);

  EXPECT_EQ(this->owners_.Lookup(TestFixture::Owner("10.244.1.7"))->flows, 2u);
  EXPECT_EQ(this->owners_.Lookup(TestFixture::Owner("10.244.1.8"))->flows, 1u);
  EXPECT_TRUE(absl::IsNotFound(this->owners_.Lookup(TestFixture::Owner("10.244.1.9")).status()));
  EXPECT_EQ(this->owners_.Lookup(TypeParam::kAllOwners)->flows, 3u);
  EXPECT_EQ(this->owners_.Lookup(TypeParam::kAllOwners)->capacity, 512u);
  EXPECT_EQ(this->loads_.Lookup({3})->flows, 1u);
  EXPECT_EQ(this->loads_.Lookup({5})->flows, 6u) << "a backend of the other family";
  const FlowUsage usage = *this->collector_.Usage();
  EXPECT_EQ(usage.flows, 3u);
  ASSERT_EQ(usage.owners.size(), 2u);
  EXPECT_EQ(usage.owners[0].flows, 2u);
  EXPECT_EQ(usage.owners[0].ip, Ip<TypeParam>("10.244.1.7"));
  EXPECT_EQ(usage.owners[0].limit, 512u - 3u);
}

TYPED_TEST(FlowTableTest, GoesOnWhereTheLastCallEndedAndRestsWhenThereIsNothing) {
  FlowCollector<TypeParam> collector({this->map_, this->owners_, this->loads_}, 2);
  ASSERT_TRUE(collector.Begin().ok());
  for (uint16_t port = 1; port <= 5; ++port) {
    typename TestFixture::Flow flow = TestFixture::Established(9000);
    flow.key.sport = flow.value.sport = flow.reply.dport = flow.reply_key.dport = htons(port);
    this->Put(flow);
  }
  const auto collect = [&] {
    return collector.Collect(kNow, [](uint32_t) { return true; }).value_or(-1);
  };
  int gone = 0, calls = 0;
  while (this->map_.size() > 0 && calls < 20) {
    gone += collect();
    ++calls;
  }
  EXPECT_EQ(gone, 5);
  EXPECT_GT(calls, 1);
  while (calls++ < 30) EXPECT_EQ(collect(), 0);
  const int writes = this->owners_.writes;
  EXPECT_EQ(collect(), 0);
  EXPECT_EQ(this->owners_.writes, writes);
}

TEST(FlowTable, NamesTheIpv6BackendThatAnswersDirectly) {
  FakeMap<mesh_flow6_key, mesh_flow6_value> map;
  mesh_flow6_value value{};
  value.target = MESH_TARGET_DIRECT;
  value.flags = MESH_FLOW_ONE_WAY;
  value.out_peer = htonl(0xc0000202);
  // The last four bytes of its address, and port 8080.
  const uint8_t told[] = {0, 0, 0, 10, 0x1f, 0x90};
  std::memcpy(value.destination_mac, told, sizeof(told));
  const mesh_flow6_key key = {V6::Encode(*IpAddress::Parse("2001:db8::100")),
                              V6::Encode(*IpAddress::Parse("2001:db8::50")),
                              1,
                              2,
                              6,
                              {}};
  ASSERT_TRUE(map.Upsert(key, value).ok());

  const auto range_of = [](const IpAddress& node) -> std::optional<IpPrefix> {
    if (node.ToString() != "192.0.2.2") return std::nullopt;
    return *IpPrefix::Parse("fd00:10:244:2::/64");
  };
  const std::vector<ConntrackRow> rows = *FlowTable<V6>(map).Rows(kNow, range_of);

  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].backend.ToString(), "fd00:10:244:2::a");
  EXPECT_EQ(rows[0].backend_port, 8080);
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
