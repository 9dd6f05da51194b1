// SPDX-License-Identifier: Apache-2.0
// Goal: new pods are settled soon, each once, and keep nobody waiting who comes or goes.
// Method: virtual time; settling takes as long as the test says.
#include "agent/network/settler.h"

#include <utility>
#include <vector>

#include "common/sim_loop.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::agent {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class SettlerTest : public testing::Test {
 protected:
  void Add() {
    ++unsettled_;
    settler_.Attached();
  }
  // When pods were settled since the beginning, in milliseconds, until `duration` has passed.
  std::vector<int64_t> Settled(absl::Duration duration) {
    loop_.RunFor(duration);
    return std::exchange(settled_, {});
  }

  absl::Duration takes_ = absl::Milliseconds(10);
  int unsettled_ = 0, failures_ = 0;
  bool running_ = false;
  std::vector<int64_t> settled_;
  SimLoop loop_;
  const absl::Time begin_ = loop_.Now();
  Settler settler_{&loop_, [this](Settler::Done done) {
                     EXPECT_FALSE(std::exchange(running_, true)) << "two at a time";
                     settled_.push_back(absl::ToInt64Milliseconds(loop_.Now() - begin_));
                     loop_.RunAfter(takes_, [this, done = std::move(done)] {
                       running_ = false;
                       if (failures_ > 0) {
                         --failures_;
                         done(absl::UnavailableError("busy"));
                         return;
                       }
                       if (unsettled_ > 0) --unsettled_;
                       done(unsettled_ > 0);
                     });
                   }};
};

TEST_F(SettlerTest, DoesNothingWithoutPods) {
  settler_.Touch();

  EXPECT_THAT(Settled(absl::Hours(1)), IsEmpty());
}

TEST_F(SettlerTest, SettlesAPodOnceItIsQuiet) {
  Add();

  EXPECT_THAT(Settled(absl::Hours(1)), ElementsAre(500));
}

TEST_F(SettlerTest, WaitsForWhoComesAndGoes) {
  Add();
  EXPECT_THAT(Settled(absl::Milliseconds(400)), IsEmpty());
  settler_.Touch();
  EXPECT_THAT(Settled(absl::Milliseconds(400)), IsEmpty());
  Add();

  EXPECT_THAT(Settled(absl::Hours(1)), ElementsAre(1300, 1410));
}

TEST_F(SettlerTest, LeavesRoomBetweenThoseThatCameTogether) {
  for (int i = 0; i < 50; ++i) Add();

  EXPECT_THAT(Settled(absl::Milliseconds(700)), ElementsAre(500, 610));
  // An ADD among them is waited for.
  Add();
  EXPECT_THAT(Settled(absl::Milliseconds(499)), IsEmpty());
  EXPECT_THAT(Settled(absl::Hours(1)), SizeIs(49));
  EXPECT_EQ(unsettled_, 0);
}

TEST_F(SettlerTest, DoesNotWaitForeverWhereTheyNeverCease) {
  for (int i = 0; i < 110; ++i) {
    Add();
    loop_.RunFor(absl::Milliseconds(100));
  }

  const std::vector<int64_t> settled = Settled(absl::ZeroDuration());
  ASSERT_THAT(settled, testing::Not(IsEmpty()));
  EXPECT_EQ(settled[0], 10'000);
}

TEST_F(SettlerTest, SettlesWhoComesWhileAnotherIsBeingSettled) {
  takes_ = absl::Seconds(1);
  Add();
  EXPECT_THAT(Settled(absl::Milliseconds(600)), ElementsAre(500));
  // The one that is running has looked already.
  settler_.Attached();

  EXPECT_THAT(Settled(absl::Hours(1)), ElementsAre(1600));
}

TEST_F(SettlerTest, TriesAgainLater) {
  failures_ = 2;
  Add();

  EXPECT_THAT(Settled(absl::Hours(1)), ElementsAre(500, 10'510, 20'520));
  EXPECT_EQ(unsettled_, 0);
}

}  // namespace
}  // namespace mesh::agent
