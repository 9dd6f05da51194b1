// SPDX-License-Identifier: Apache-2.0
// Goal: the node follows its uplink's MTU, says what it cannot follow, and until when.
// Method: a loop on virtual time.
#include "agent/network/uplink_watch.h"

#include <optional>
#include <string>
#include <vector>

#include "common/sim_loop.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::agent {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class UplinkWatchTest : public testing::Test {
 protected:
  void Start() {
    watch_.emplace(&loop_, "eth0",
                   UplinkWatch::Hooks{.read = [this] { return mtu_; },
                                      .apply =
                                          [this](int mtu) {
                                            applied_.push_back(mtu);
                                            return status_;
                                          },
                                      .tell = [this](const std::string& t) { trouble_ = t; }});
  }
  void Change(absl::StatusOr<int> mtu) {
    mtu_ = std::move(mtu);
    watch_->Look();
  }

  SimLoop loop_;
  absl::StatusOr<int> mtu_ = 1500;
  absl::Status status_;
  std::vector<int> applied_;
  std::string trouble_;
  std::optional<UplinkWatch> watch_;
};

TEST_F(UplinkWatchTest, AppliesWhatItFindsAndEachChangeOnce) {
  Start();
  EXPECT_THAT(applied_, ElementsAre(1500)) << "pods may have another from before";

  Change(1500);
  Change(1400);
  Change(1400);
  Change(9000);

  EXPECT_THAT(applied_, ElementsAre(1500, 1400, 9000));
  EXPECT_EQ(trouble_, "");
}

TEST_F(UplinkWatchTest, TellsOfOneThatIsTooSmallUntilItIsNot) {
  Start();
  status_ = absl::InvalidArgumentError("uplink MTU 1300: 1250 remain for the tunnel");

  Change(1300);

  EXPECT_EQ(trouble_,
            "uplink MTU 1300: 1250 remain for the tunnel; the node goes on as before (1500), and "
            "packets that are too long for the uplink eth0 are lost: give it a larger MTU");
  loop_.RunFor(absl::Seconds(10));
  EXPECT_THAT(applied_, ElementsAre(1500, 1300)) << "it does not pass by itself";
  Change(1500);
  EXPECT_EQ(trouble_, "");
  EXPECT_THAT(applied_, ElementsAre(1500, 1300));
}

TEST_F(UplinkWatchTest, TriesAgainWhatMayPass) {
  Start();
  status_ = absl::UnavailableError("pod shop/web");

  Change(1400);
  EXPECT_THAT(trouble_, HasSubstr("not everything has followed the uplink eth0 to its MTU of 1400, "
                                  "which is tried again: pod shop/web"));
  status_ = absl::OkStatus();
  loop_.RunFor(absl::Seconds(2));

  EXPECT_EQ(trouble_, "");
  EXPECT_THAT(applied_, ElementsAre(1500, 1400, 1400));
}

TEST_F(UplinkWatchTest, AppliesAgainWhatWasLeftInPart) {
  Start();
  status_ = absl::UnavailableError("pod shop/web");
  Change(1400);
  status_ = absl::OkStatus();

  Change(1500);

  EXPECT_THAT(applied_, ElementsAre(1500, 1400, 1500));
  EXPECT_EQ(trouble_, "");
}

TEST_F(UplinkWatchTest, WaitsForAnUplinkThatIsNotThere) {
  mtu_ = absl::NotFoundError("eth0");
  Start();
  EXPECT_THAT(applied_, IsEmpty());

  Change(1500);

  EXPECT_THAT(applied_, ElementsAre(1500));
}

}  // namespace
}  // namespace mesh::agent
