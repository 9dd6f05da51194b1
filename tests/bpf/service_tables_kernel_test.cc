// SPDX-License-Identifier: Apache-2.0
// Goal: what the planner and the tables rely on holds with the kernel's maps: batches, prefix
// tries, tables in tables. Method: states that follow each other, carried out on the maps of the
// real programs, which run on nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/random.h"
#include "dataplane/kernel_maps.h"
#include "dataplane/plan/plan.h"
#include "dataplane/tables/fake_host_routes.h"
#include "fmt/format.h"

namespace mesh::dataplane {
namespace {

IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }
IpPrefix Range(const std::string& text) { return *IpPrefix::Parse(text); }

class KernelTables : public ::testing::Test {
 protected:
  // The verifier is slow: the tests share the programs, and each leaves empty maps.
  static void SetUpTestSuite() {
    auto programs = Programs::Load(mesh_config{}, {});
    ASSERT_TRUE(programs.ok()) << programs.status() << " (these tests need root)";
    programs_ = programs->release();
    auto maps = KernelMaps::Adopt(*programs_);
    ASSERT_TRUE(maps.ok()) << maps.status();
    maps_ = maps->release();
  }
  static void TearDownTestSuite() {
    delete maps_;
    delete programs_;
  }
  void SetUp() override {
    ASSERT_NE(maps_, nullptr);
    desired_.complete = true;
  }
  void TearDown() override {
    DesiredState nothing;
    nothing.complete = true;
    ASSERT_TRUE(Apply(nothing).ok());
    ASSERT_TRUE(GiveBackAll().ok());
    ASSERT_EQ(*tables().Load(), Observed());
  }

  absl::Status Apply(const DesiredState& desired) {
    const Plan plan = planner_.Compute(desired, observed_);
    absl::Status written = tables().Execute(plan.actions, observed_);
    return written.ok() ? plan.problem : written;
  }
  absl::Status GiveBackAll() {
    const std::set<uint32_t> left = observed_.Left(Family::kV4);
    return tables().Execute(GiveBack(left, observed_), observed_);
  }
  ServiceTables tables() { return ServiceTables(maps_->ForServices(routes_)); }

  Service& Balanced(size_t backends) {
    Service& service = desired_.services["shop/web"];
    service = {"shop", "web", Ip("10.96.0.10"), 256, {{"", Protocol::kTcp, 80, {}}}};
    service.load_balancer_ips = {Ip("192.0.2.200")};
    for (size_t i = 0; i < backends; ++i) {
      Backend backend;
      backend.ip = IpAddress::V4(0x0af40100 + static_cast<uint32_t>(i));
      backend.port = 8080;
      service.ports[0].backends.push_back(backend);
    }
    return service;
  }
  uint32_t ExternalSet() const {
    return 2 * observed_.frontends.at({Ip("192.0.2.200"), 80, Protocol::kTcp}).service_id + 1;
  }
  // The table of the set's row; its places that are there.
  MaglevPlaces Places() {
    MaglevPlaces out;
    const uint32_t set = ExternalSet(), size = maps_->set.Lookup({set})->table_size;
    for (uint32_t place = 0; place < size; ++place) {
      const auto part = maps_->maglev.Lookup({set, size, place / MESH_MAGLEV_PART});
      if (part.ok()) out.push_back(part->backend_id[place % MESH_MAGLEV_PART]);
    }
    return out;
  }

  static inline Programs* programs_ = nullptr;
  static inline KernelMaps* maps_ = nullptr;
  FakeHostRoutes routes_;
  Planner planner_{NodeConfig{}};
  DesiredState desired_;
  Observed observed_;
};

TEST_F(KernelTables, GiveBackWhatWasWritten) {
  Service& service = Balanced(12);
  service.source_ranges = {Range("203.0.113.0/24"), Range("0.0.0.0/0")};
  service.internal_algorithm = Algorithm::kLeastLoaded;
  service.announced = true;
  service.ports[0].node_port = 30080;
  service.ports[0].backends[3].weight = 5;
  desired_.peers["node2"] = {"node2", Ip("192.0.2.2"), Range("10.244.2.0/24")};
  desired_.namespaces[300] = {"bank", Isolation::kClosed};

  ASSERT_TRUE(Apply(desired_).ok());

  ASSERT_TRUE(tables().RemoveOrphans().ok());
  EXPECT_EQ(*tables().Load(), observed_);
  EXPECT_EQ(Places().size(), 4093u);
}

TEST_F(KernelTables, ChangeAMaglevTableInPlaceAndReplaceOneOfAnotherSize) {
  Balanced(10);
  ASSERT_TRUE(Apply(desired_).ok());
  const MaglevPlaces before = Places();
  Balanced(9);
  ASSERT_TRUE(Apply(desired_).ok());
  const MaglevPlaces fewer = Places();
  EXPECT_EQ(*tables().Load(), observed_);
  Balanced(11);
  ASSERT_TRUE(Apply(desired_).ok());

  EXPECT_EQ(before.size(), 1021u);
  EXPECT_EQ(fewer.size(), 1021u);
  EXPECT_NE(before, fewer);
  EXPECT_EQ(Places().size(), 4093u);
  EXPECT_EQ(*tables().Load(), observed_);
  Balanced(0);
  ASSERT_TRUE(Apply(desired_).ok());
  EXPECT_EQ(*tables().Load(), observed_);
  Balanced(11);
  ASSERT_TRUE(Apply(desired_).ok());
  EXPECT_EQ(*tables().Load(), observed_);
}

TEST_F(KernelTables, LeaveNothingBehind) {
  Service& service = Balanced(12);
  service.source_ranges = {Range("203.0.113.0/24")};
  service.internal_algorithm = Algorithm::kLeastLoaded;
  ASSERT_TRUE(Apply(desired_).ok());

  desired_.services.clear();
  ASSERT_TRUE(Apply(desired_).ok());

  EXPECT_TRUE(maps_->load.Dump()->empty());
  ASSERT_EQ(tables().Load()->Left(Family::kV4).size(), 12u) << "for the flows that they have";
  ASSERT_TRUE(GiveBackAll().ok());
  EXPECT_EQ(*tables().Load(), Observed());
  EXPECT_TRUE(maps_->slot.Dump()->empty());
  EXPECT_TRUE(maps_->load.Dump()->empty());
  EXPECT_TRUE(maps_->maglev.Dump()->empty());
}

TEST_F(KernelTables, AreFoundAgainByAnotherAgentWithTheirNumbers) {
  Service& service = Balanced(3);
  service.ports[0].node_port = 30080;
  ASSERT_TRUE(Apply(desired_).ok());

  Planner other{NodeConfig{}};
  const Plan plan = other.Compute(desired_, *tables().Load());

  EXPECT_TRUE(plan.actions.empty());
  EXPECT_FALSE(plan.judge_flows_again);
}

TEST_F(KernelTables, FollowManyStatesWithNothingToSpare) {
  Random random(7);
  for (int round = 0; round < 30; ++round) {
    SCOPED_TRACE(fmt::format("seed=7 round={}", round));
    desired_.services.clear();
    Service& service = Balanced(random.Below(15));
    service.external_algorithm = static_cast<Algorithm>(random.Below(3));
    service.internal_algorithm = static_cast<Algorithm>(random.Below(3));
    for (Backend& backend : service.ports[0].backends) {
      backend.weight = static_cast<uint16_t>(1 + random.Below(4));
      backend.scopes = static_cast<uint8_t>(random.Below(4));
      if (random.Below(4) == 0) backend.state = BackendState::kDraining;
    }
    if (random.Below(3) == 0) service.source_ranges = {Range("203.0.113.0/24")};
    desired_.services["shop/api"] = service;
    desired_.services["shop/api"].cluster_ip = Ip("10.96.0.11");
    desired_.services["shop/api"].load_balancer_ips.clear();

    ASSERT_TRUE(Apply(desired_).ok());

    ASSERT_EQ(*tables().Load(), observed_);
    size_t slots = 0;
    for (const auto& [id, entry] : observed_.services) {
      for (const auto& set : entry.sets) slots += set.has_value() ? set->slots.size() : 0;
    }
    ASSERT_EQ(maps_->slot.Dump()->size(), slots);
  }
}

}  // namespace
}  // namespace mesh::dataplane
