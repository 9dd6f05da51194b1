// SPDX-License-Identifier: Apache-2.0
// Goal: of each Service the connections that are begun are counted once, and the time from the
// first SYN to its first answer. Method: packets through the real programs by BPF_PROG_TEST_RUN,
// over the world of world.h; the rows of mesh_svc_count are read as the agent reads them.
#include <gtest/gtest.h>

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
    const auto keys = maps_->traffic.Keys();
    ASSERT_TRUE(keys.ok()) << keys.status();
    for (const mesh_service_traffic_key& key : *keys) ASSERT_TRUE(maps_->traffic.Remove(key).ok());
  }

  // Of all Services.
  ServiceTraffic Traffic() {
    ServiceTraffic out;
    const auto keys = maps_->traffic.Keys();
    EXPECT_TRUE(keys.ok()) << keys.status();
    for (const mesh_service_traffic_key& key : *keys) AddTraffic(*maps_->traffic.Lookup(key), &out);
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

  EXPECT_TRUE(maps_->traffic.Keys()->empty());
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
