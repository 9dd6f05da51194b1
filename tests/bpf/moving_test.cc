// SPDX-License-Identifier: Apache-2.0
// Goal: while one build's programs take over from another's, no flow is opened in the table of
// before, which is carried over meanwhile: what it has of a connection that has closed is nobody's.
// Method: packets through the programs that take over, by BPF_PROG_TEST_RUN; those of before stand
// in the turnout.
#include <bpf/bpf.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "common/unique_fd.h"
#include "dataplane/bpf/migrate.h"
#include "dataplane/carry_flows.h"
#include "mesh/shared/flow_event.h"
#include "mesh/shared/metrics_map.h"
#include "mesh/shared/moving.h"
#include "tests/bpf/world.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::At;
using mesh::testing::kAck;
using mesh::testing::kFin;
using mesh::testing::kRst;
using mesh::testing::kSyn;
using mesh::testing::Tcp;
using mesh::testing::Udp;

const mesh::testing::Place kClient = At("10.244.1.10:40000"), kNear = At("10.244.1.11:8080"),
                           kWeb = At("10.96.0.10:80");
constexpr const char* kFlowMap = kIpv6 ? MESH_FLOW6_MAP_NAME : MESH_FLOW_MAP_NAME;

class Moving : public World {
 protected:
  void SetUp() override {
    World::SetUp();
    if (!HasFatalFailure()) Serve({"10.244.1.11:8080"});
  }

  // From now on packets meet the programs of another build, which have all tables but that of
  // connections.
  void TakeOver() {
    turnout_.reset(
        bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "turnout", 4, 4, 2 * MESH_HOOK_COUNT, nullptr));
    before_ = programs_;
    const uint32_t hook = MESH_HOOK_FROM_POD;
    const int program = kIpv6 ? before_->from_pod6() : before_->from_pod();
    ASSERT_EQ(bpf_map_update_elem(turnout_.get(), &hook, &program, BPF_ANY), 0);
    Programs::Options options;
    options.ipv6 = before_->config6();
    (kIpv6 ? options.before6 : options.before) = {turnout_.get(), before_->map(kFlowMap)};
    absl::StatusOr<std::unique_ptr<Programs>> loaded = Programs::Load(before_->config(), options);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    own_ = *std::move(loaded);
    const auto maps = before_->CopyMaps();
    ASSERT_TRUE(maps.ok()) << maps.status();
    for (const auto& [name, fd] : *maps) {
      if (name == kFlowMap || name == MESH_METRICS_MAP_NAME || name == MESH_EVENTS_MAP_NAME)
        continue;
      const auto carried = CarryRows(fd.get(), own_->map(name));
      ASSERT_TRUE(carried.ok()) << name << ": " << carried.status();
    }
    programs_ = own_.get();
    auto adopted = KernelMaps::Adopt(*programs_);
    ASSERT_TRUE(adopted.ok()) << adopted.status();
    flows_before_ = std::exchange(maps_, *std::move(adopted));
    flows_ = &Maps().flow;
    owners_ = &Maps().owner;
  }

  void Talk(uint8_t last_of_client, uint8_t last_of_server = kAck) {
    ASSERT_EQ(FromPod(client_, Tcp(kClient, kWeb, kSyn)).verdict, kRedirect);
    ASSERT_EQ(FromPod(near_, Tcp(kNear, kClient, kSyn | kAck)).verdict, kRedirect);
    ASSERT_EQ(FromPod(client_, Tcp(kClient, kWeb, last_of_client)).verdict, kRedirect);
    ASSERT_EQ(FromPod(near_, Tcp(kNear, kClient, last_of_server)).verdict, kRedirect);
  }

  Programs* before_ = nullptr;
  std::unique_ptr<KernelMaps> flows_before_;
  std::unique_ptr<Programs> own_;
  UniqueFd turnout_;
};

TEST_F(Moving, AConnectionThatStandsIsThatOfTheProgramsOfBefore) {
  Talk(kAck);
  TakeOver();

  EXPECT_EQ(FromPod(client_, Tcp(kClient, kWeb, kAck)).packet, Tcp(kClient, kNear, kAck));
  // Sent again: its answer is on the way.
  EXPECT_EQ(FromPod(client_, Tcp(kClient, kWeb, kSyn)).packet, Tcp(kClient, kNear, kSyn));
  EXPECT_EQ(Flows(), 0u);
}

TEST_F(Moving, AConnectionInThePlaceOfOneThatHasClosedIsNew) {
  const std::pair<uint8_t, uint8_t> ends[] = {
      {kRst, kAck}, {kAck, kRst}, {kFin | kAck, kFin | kAck}};
  for (const auto& [client, server] : ends) {
    SetUp();
    ASSERT_NO_FATAL_FAILURE(Talk(client, server));
    ASSERT_NO_FATAL_FAILURE(TakeOver());

    const Outcome opened = FromPod(client_, Tcp(kClient, kWeb, kSyn));
    ASSERT_TRUE(opened.packet.has_value()) << opened;
    // Not the port of the one that has closed, which may be carried over yet.
    const mesh::testing::Place self = {opened.packet->source, opened.packet->source_port};
    EXPECT_NE(self.port, kClient.port);
    EXPECT_EQ(opened.packet, Tcp(self, kNear, kSyn));
    EXPECT_EQ(Flows(), 1u);

    ASSERT_TRUE(CarryFlows<F>(before_->map(kFlowMap), programs_->map(kFlowMap), ~0ULL).ok());

    EXPECT_EQ(FromPod(near_, Tcp(kNear, self, kSyn | kAck)).packet,
              Tcp(kWeb, kClient, kSyn | kAck));
    EXPECT_EQ(FromPod(client_, Tcp(kClient, kWeb, kAck)).packet, Tcp(self, kNear, kAck));
  }
}

// The last segments of a connection go where it was.
TEST_F(Moving, WhatOpensNothingIsOfTheConnectionThatHasClosed) {
  Talk(kFin | kAck, kFin | kAck);
  TakeOver();

  EXPECT_EQ(FromPod(client_, Tcp(kClient, kWeb, kAck)).packet, Tcp(kClient, kNear, kAck));
  EXPECT_EQ(Flows(), 0u);
}

TEST_F(Moving, DatagramsAfterALongRestAreAFlowOfTheirOwn) {
  for (const int seconds : {5, 31}) {
    SetUp();
    ASSERT_EQ(FromPod(client_, Udp(kClient, kWeb, "one")).verdict, kRedirect);
    Age(seconds);
    ASSERT_NO_FATAL_FAILURE(TakeOver());

    EXPECT_EQ(FromPod(client_, Udp(kClient, kWeb, "two")).verdict, kRedirect);
    EXPECT_EQ(Flows(), seconds == 5 ? 0u : 1u);
  }
}

}  // namespace
}  // namespace mesh::dataplane::testing
