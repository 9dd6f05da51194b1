// SPDX-License-Identifier: Apache-2.0
// Goal: a Service for which a map has no room is left out by name, as a whole, and nobody else is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/plan/plan.h"
#include "mesh/shared/limits.h"
#include "tests/unit/dataplane/plan_world.h"

namespace mesh::dataplane {
namespace {

using ::testing::HasSubstr;

class RoomTest : public ::testing::Test {
 protected:
  RoomTest() { desired_.complete = true; }

  // Rows of `what` that a map has; of all others more than enough.
  void Limit(Rows what, uint64_t rows) {
    RowCounts limits = MapLimits();
    limits[static_cast<size_t>(what)] = rows;
    planner_ = std::make_unique<Planner>(ThisNode(), NextIds{}, limits);
  }
  // shop/<name> at 10.96.0.<number>, and at 192.0.2.<number> from outside.
  Service& Add(const std::string& name, int number, int backends) {
    Service service = Web({});
    service.name = name;
    service.cluster_ip = Ip(fmt::format("10.96.0.{}", number));
    service.load_balancer_ips = {Ip(fmt::format("192.0.2.{}", number))};
    service.announced = true;
    for (int i = 1; i <= backends; ++i) {
      service.ports[0].backends.push_back(At(fmt::format("10.244.{}.{}", number, i)));
    }
    return desired_.services["shop/" + name] = std::move(service);
  }
  absl::Status Apply(std::vector<std::string> changed) {
    desired_.changed_services = std::move(changed);
    const Plan plan = planner_->Compute(desired_, observed_);
    for (const Action& action : plan.actions) {
      Perform(action, observed_);
      ExpectSound(observed_);
    }
    return plan.problem;
  }
  bool Served(int number) const {
    const IpAddress vip = Ip(fmt::format("10.96.0.{}", number));
    return observed_.frontends.contains({vip, 80, Protocol::kTcp});
  }
  // Without a row, whatever the map, but for those who still have connections.
  bool NothingOf(int number) const {
    const IpAddress balanced = Ip(fmt::format("192.0.2.{}", number));
    for (const auto& [id, backend] : observed_.backends) {
      if (backend.state == BackendState::kLeft) continue;
      if (IpPrefix::Of(backend.ip) == Range(fmt::format("10.244.{}.1/32", number))) return false;
    }
    return !Served(number) && !observed_.frontends.contains({balanced, 80, Protocol::kTcp}) &&
           !observed_.outside.contains({Outside::kAnnounced, IpPrefix::Of(balanced)});
  }
  // The second of two does not fit, does when the first is gone, and is told meanwhile.
  void ExpectRoomForOne(const std::string& what) {
    EXPECT_TRUE(Apply({"shop/z"}).ok());
    EXPECT_TRUE(Served(1));

    // First by name: what is served stays nevertheless.
    Service& late = Add("a", 2, 3);
    late.source_ranges = desired_.services["shop/z"].source_ranges;
    late.external_algorithm = desired_.services["shop/z"].external_algorithm;
    const absl::Status problem = Apply({"shop/a"});
    EXPECT_EQ(problem.code(), absl::StatusCode::kInvalidArgument) << problem;
    EXPECT_THAT(std::string(problem.message()),
                HasSubstr("service shop/a: is not served on this node: its " + what));
    EXPECT_TRUE(Served(1));
    EXPECT_TRUE(NothingOf(2));

    planner_->Forget();
    EXPECT_FALSE(Apply({}).ok());
    EXPECT_TRUE(Served(1)) << "after everything was read again";
    EXPECT_TRUE(NothingOf(2));

    desired_.services.erase("shop/z");
    EXPECT_TRUE(Apply({"shop/z"}).ok()) << "there is room for the other";
    EXPECT_TRUE(Served(2));
    EXPECT_TRUE(NothingOf(1));
  }

  std::unique_ptr<Planner> planner_ = std::make_unique<Planner>(ThisNode());
  DesiredState desired_;
  Observed observed_;
};

TEST_F(RoomTest, OfFrontends) {
  Limit(Rows::kFrontends, 3);
  Add("z", 1, 3);
  ExpectRoomForOne("frontends need 2 rows, and of 3 for all services 2 are taken");
}

TEST_F(RoomTest, OfBackends) {
  Limit(Rows::kBackends, 5);
  Add("z", 1, 3);
  ExpectRoomForOne("backends need 3 rows, and of 5");
}

TEST_F(RoomTest, OfSourceRanges) {
  Limit(Rows::kSourceRanges, 3);
  Add("z", 1, 3).source_ranges = {Range("203.0.113.0/24"), Range("198.51.100.0/24")};
  ExpectRoomForOne("source ranges need 2 rows, and of 3");
}

TEST_F(RoomTest, OfSets) {
  Limit(Rows::kSets, 3);
  Add("z", 1, 3);
  ExpectRoomForOne("sets of backends need 2 rows, and of 3");
}

// Those of the one that changes stand there twice.
TEST_F(RoomTest, OfPlacesInSets) {
  Limit(Rows::kSlots, 16);
  Add("z", 1, 3);
  ExpectRoomForOne("places in sets of backends need 6 rows, and of 16");
}

TEST_F(RoomTest, OfMaglevTables) {
  Limit(Rows::kMaglevParts, 12);
  Add("z", 1, 3);
  ExpectRoomForOne("parts of Maglev tables need 5 rows, and of 12");
}

TEST_F(RoomTest, OfBackendsByLoad) {
  Limit(Rows::kCounted, 4);
  Add("z", 1, 3).external_algorithm = Algorithm::kLeastLoaded;
  ExpectRoomForOne("backends by load need 3 rows, and of 4");
}

TEST_F(RoomTest, OfAnnouncedAddresses) {
  Limit(Rows::kAnnounced, 1);
  Add("z", 1, 3);
  ExpectRoomForOne("announced addresses need 1 rows, and of 1");
}

// Connections of a Service that is gone are no reason to refuse another one.
TEST_F(RoomTest, IsMadeByThoseWhoAreKeptForTheirFlows) {
  Limit(Rows::kBackends, 5);
  Add("z", 1, 4);
  EXPECT_TRUE(Apply({"shop/z"}).ok());
  desired_.services.erase("shop/z");
  EXPECT_TRUE(Apply({"shop/z"}).ok());
  EXPECT_EQ(observed_.backends.size(), 4u);

  Add("a", 2, 3);
  EXPECT_TRUE(Apply({"shop/a"}).ok());

  EXPECT_TRUE(Served(2));
  EXPECT_EQ(observed_.backends.size(), 5u);
  EXPECT_FALSE(observed_.backends.contains(2)) << "the oldest";
  EXPECT_TRUE(observed_.backends.contains(3));
  EXPECT_TRUE(observed_.backends.contains(4));

  desired_.services.erase("shop/a");
  Add("b", 3, 4);
  EXPECT_TRUE(Apply({"shop/a", "shop/b"}).ok());
  EXPECT_EQ(observed_.backends.size(), 5u) << "also those who leave in the same moment";
}

// Each map really has as much as the planner thinks.
TEST_F(RoomTest, AServiceWithMoreSourceRangesThanAnyNodeHas) {
  std::vector<IpPrefix>& ranges = Add("web", 1, 2).source_ranges;
  for (uint32_t i = 0; i <= MESH_SOURCE_RANGE_MAX_ENTRIES; ++i) {
    ranges.push_back(IpPrefix::Of(IpAddress::V4(0xcb000000 + i)));
  }
  Add("other", 2, 2);

  const absl::Status problem = Apply({"shop/other", "shop/web"});

  EXPECT_THAT(std::string(problem.message()),
              HasSubstr("service shop/web: is not served on this node: its source ranges need "
                        "65537 rows, and of 65536 for all services 0 are taken"));
  EXPECT_TRUE(NothingOf(1));
  EXPECT_TRUE(Served(2));

  ranges.pop_back();
  EXPECT_TRUE(Apply({"shop/web"}).ok());
  EXPECT_TRUE(Served(1));
}

// What it had goes: half of a Service would be served wrongly.
TEST_F(RoomTest, OneThatGrowsTooLargeGoesAsAWhole) {
  Limit(Rows::kBackends, 5);
  Add("web", 1, 3);
  ASSERT_TRUE(Apply({"shop/web"}).ok());

  Add("web", 1, 6);
  EXPECT_FALSE(Apply({"shop/web"}).ok());
  EXPECT_TRUE(NothingOf(1));
  EXPECT_TRUE(AfterTheirFlows(observed_).backends.empty());

  Add("web", 1, 5);
  EXPECT_TRUE(Apply({"shop/web"}).ok());
  EXPECT_TRUE(Served(1));
}

}  // namespace
}  // namespace mesh::dataplane
