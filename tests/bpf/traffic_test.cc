// SPDX-License-Identifier: Apache-2.0
// Goal: of each Service the connections that are begun are counted once, and the time from the
// first SYN to its first answer. Method: packets through the real programs by BPF_PROG_TEST_RUN,
// over the world of world.h; the rows of mesh_svc_count are read as the agent reads them.
#include <bpf/bpf.h>
#include <gtest/gtest.h>

#include <set>

#include "dataplane/tables/metrics_table.h"
#include "tests/bpf/world.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::At;
using mesh::testing::kAck;
using mesh::testing::kRst;
using mesh::testing::kSyn;
using mesh::testing::Place;
using mesh::testing::Tcp;
using mesh::testing::Udp;

const Place kClient = At("10.244.1.10:40000"), kOther = At("10.244.1.10:40001"),
            kNear = At("10.244.1.11:8080"), kWeb = At("10.96.0.10:80");

class TrafficTest : public World {
 protected:
  void SetUp() override {
    World::SetUp();
    Serve({"10.244.1.11:8080"});
    ASSERT_TRUE(maps_->traffic.RemoveAll(Keys()).ok());
  }

  std::vector<mesh_service_traffic_key> Keys() {
    std::vector<mesh_service_traffic_key> out;
    const absl::Status read =
        maps_->traffic.ForEach([&](const auto& key, const auto&) { out.push_back(key); });
    EXPECT_TRUE(read.ok()) << read;
    return out;
  }

  // Of all Services.
  ServiceTraffic Traffic() {
    ServiceTraffic out;
    const absl::Status read = maps_->traffic.ForEach(
        [&](const auto&, const auto& per_cpu) { AddTraffic(per_cpu, &out); });
    EXPECT_TRUE(read.ok()) << read;
    return out;
  }
  uint64_t Handshakes() {
    uint64_t out = 0;
    for (const uint64_t count : Traffic().handshakes) out += count;
    return out;
  }
};

TEST_F(TrafficTest, CountsAConnectionOnce) {
  FromPod(client_, Tcp(kClient, kWeb, kSyn));
  FromPod(client_, Tcp(kClient, kWeb, kSyn));
  FromPod(near_, Tcp(kNear, kClient, kSyn | kAck));
  FromPod(client_, Tcp(kClient, kWeb, kAck, "question"));
  EXPECT_EQ(Traffic().connections, 1u);

  FromPod(client_, Tcp(kOther, kWeb, kSyn));
  EXPECT_EQ(Traffic().connections, 2u);
}

TEST_F(TrafficTest, CountsDatagramsOfANewFlow) {
  FromPod(client_, Udp(kClient, kWeb, "a"));
  FromPod(client_, Udp(kClient, kWeb, "b"));

  EXPECT_EQ(Traffic().connections, 1u);
  EXPECT_EQ(Handshakes(), 0u);
}

TEST_F(TrafficTest, CountsNothingBetweenPods) {
  FromPod(client_, Tcp(kClient, kNear, kSyn));
  FromPod(near_, Tcp(kNear, kClient, kSyn | kAck));

  EXPECT_TRUE(Keys().empty());
}

// More than one batch, of whatever number of CPUs.
TEST_F(TrafficTest, ReadsAndForgetsManyServices) {
  const int fd = programs_->map(MESH_SERVICE_TRAFFIC_MAP_NAME);
  const auto cpus = PossibleCpus();
  ASSERT_TRUE(cpus.ok());
  std::vector<mesh_service_traffic_value> per_cpu(static_cast<size_t>(*cpus));
  per_cpu.front().connections = 1;
  per_cpu.back().connections += 2;
  constexpr uint32_t kServices = 10'000;
  for (uint32_t id = 1; id <= kServices; ++id)
    ASSERT_EQ(bpf_map_update_elem(fd, &id, per_cpu.data(), BPF_ANY), 0);

  std::set<uint32_t> met;
  for (const mesh_service_traffic_key& key : Keys()) met.insert(key.service_id);
  EXPECT_EQ(met.size(), kServices);
  EXPECT_EQ(Traffic().connections, 3u * kServices);

  std::vector<mesh_service_traffic_key> gone = {{kServices + 1}};  // was never there
  for (const uint32_t id : met) {
    if (id != 7) gone.push_back({id});
  }
  ASSERT_TRUE(maps_->traffic.RemoveAll(gone).ok());
  ASSERT_EQ(Keys().size(), 1u);
  EXPECT_EQ(Keys().front().service_id, 7u);
}

TEST_F(TrafficTest, TimesTheFirstAnswer) {
  FromPod(client_, Tcp(kClient, kWeb, kSyn));
  EXPECT_EQ(Handshakes(), 0u);

  FromPod(near_, Tcp(kNear, kClient, kSyn | kAck));
  EXPECT_EQ(Handshakes(), 1u);
  // One run of a program after the other: below a second even on a slow machine.
  EXPECT_GT(Traffic().handshake_time, absl::ZeroDuration());
  EXPECT_LT(Traffic().handshake_time, absl::Seconds(1));

  FromPod(near_, Tcp(kNear, kClient, kSyn | kAck));
  FromPod(near_, Tcp(kNear, kClient, kAck, "answer"));
  EXPECT_EQ(Handshakes(), 1u);
}

TEST_F(TrafficTest, TimesFromTheFirstOfSeveralSyns) {
  FromPod(client_, Tcp(kClient, kWeb, kSyn));
  Age(2);
  FromPod(client_, Tcp(kClient, kWeb, kSyn));
  FromPod(near_, Tcp(kNear, kClient, kSyn | kAck));

  EXPECT_EQ(Traffic().handshakes.back(), 1u);
  EXPECT_GE(Traffic().handshake_time, absl::Seconds(2));
  EXPECT_LT(Traffic().handshake_time, absl::Seconds(3));
}

TEST_F(TrafficTest, ARefusalIsNoHandshake) {
  FromPod(client_, Tcp(kClient, kWeb, kSyn));
  FromPod(near_, Tcp(kNear, kClient, kRst | kAck));

  EXPECT_EQ(Traffic().connections, 1u);
  EXPECT_EQ(Handshakes(), 0u);
}

TEST(HandshakeBucket, TakesWhatIsAtMostItsLimit) {
  EXPECT_EQ(mesh_handshake_bucket(0), 0u);
  EXPECT_EQ(mesh_handshake_bucket(125'000), 0u);
  EXPECT_EQ(mesh_handshake_bucket(125'001), 1u);
  EXPECT_EQ(mesh_handshake_bucket(1'024'000'000), 13u);
  EXPECT_EQ(mesh_handshake_bucket(1'024'000'001), 14u);
  EXPECT_EQ(mesh_handshake_bucket(~0ULL), 14u);
}

}  // namespace
}  // namespace mesh::dataplane::testing
