// SPDX-License-Identifier: Apache-2.0
#include "agent/network/quota_watch.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class QuotaWatchTest : public testing::Test {
 protected:
  // Names of the pods that are told of.
  std::vector<std::string> Look(uint32_t flows, uint32_t limit, const std::string& pod = "web",
                                const std::set<IpAddress>& refused = {}) {
    dataplane::FlowUsage usage{.flows = 900, .capacity = 1000};
    usage.owners.push_back({*IpAddress::Parse("10.244.1.7"), "shop", pod, flows, limit});
    std::vector<std::string> out;
    for (const dataplane::FlowOwner& owner : watch_.Reached(usage, refused))
      out.push_back(owner.pod);
    return out;
  }
  QuotaWatch watch_;
};

TEST_F(QuotaWatchTest, TellsOnceOfAPodThatStaysAtItsLimit) {
  EXPECT_THAT(Look(99, 100), IsEmpty());
  EXPECT_THAT(Look(100, 100), ElementsAre("web"));
  EXPECT_THAT(Look(100, 100), IsEmpty());
  // One flow has ended, and the next has taken its place.
  EXPECT_THAT(Look(95, 100), IsEmpty());
  EXPECT_THAT(Look(100, 100), IsEmpty());
}

// Between two looks it may reach its limit and have ended most of its flows.
TEST_F(QuotaWatchTest, TellsOfAPodThatWasRefusedThoughItHasRoomAgain) {
  const std::set<IpAddress> refused = {*IpAddress::Parse("10.244.1.7")};
  EXPECT_THAT(Look(10, 100, "web", {*IpAddress::Parse("10.244.1.8")}), IsEmpty());
  EXPECT_THAT(Look(10, 100, "web", refused), ElementsAre("web"));
  EXPECT_THAT(Look(10, 100, "web", refused), IsEmpty()) << "it goes on";
  EXPECT_THAT(Look(10, 100), IsEmpty());
  EXPECT_THAT(Look(10, 100, "web", refused), ElementsAre("web"));
}

TEST_F(QuotaWatchTest, TellsAgainOfAPodThatHadRoomMeanwhile) {
  EXPECT_THAT(Look(100, 100), ElementsAre("web"));
  EXPECT_THAT(Look(90, 100), IsEmpty());
  // The limit has come down to what it has.
  EXPECT_THAT(Look(90, 80), ElementsAre("web"));
}

TEST_F(QuotaWatchTest, LeavesPodsOfOtherNodesToThem) { EXPECT_THAT(Look(100, 100, ""), IsEmpty()); }

TEST(QuotaText, SaysWhatHappensAndWhereToLook) {
  dataplane::FlowUsage usage{.capacity = 1000, .capacity6 = 500};
  EXPECT_EQ(QuotaText({*IpAddress::Parse("10.244.1.7"), "shop", "web", 700, 700}, usage),
            "it has 700 flows, as many as it may while others have their part of the node's 1000: "
            "new ones are refused until some end; see `meshctl bpf ct stats`");
  EXPECT_THAT(QuotaText({*IpAddress::Parse("fd00::7"), "shop", "web", 700, 700}, usage),
              testing::HasSubstr("of the node's 500: "));
}

}  // namespace
}  // namespace mesh::agent
