// SPDX-License-Identifier: Apache-2.0
// Goal: neighbours hear of an address that arrives, several times and not too much at once.
// Method: virtual time; what would be sent is written down.
#include "agent/network/announcer.h"

#include "common/sim_loop.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::agent {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }

class AnnouncerTest : public testing::Test {
 protected:
  void Put(const std::string& key, const std::vector<std::string>& ips, bool announced = true) {
    dataplane::Service& service = desired_.services[key];
    service.load_balancer_ips.clear();
    for (const std::string& ip : ips) service.load_balancer_ips.push_back(Ip(ip));
    service.announced = announced;
    changed_.push_back(key);
  }
  void Apply() {
    if (!first_) desired_.changed_services = std::exchange(changed_, {});
    first_ = false;
    announcer_.SetState(desired_);
  }
  // What was sent until `duration` has passed.
  std::vector<std::string> Sent(absl::Duration duration) {
    loop_.RunFor(duration);
    return std::exchange(sent_, {});
  }

  SimLoop loop_;
  std::vector<std::string> sent_;
  size_t largest_ = 0;
  dataplane::DesiredState desired_;
  std::vector<std::string> changed_;
  bool first_ = true;
  Announcer announcer_{&loop_, [this](const std::vector<IpAddress>& ips) {
                         largest_ = std::max(largest_, ips.size());
                         for (const IpAddress& ip : ips) sent_.push_back(ip.ToString());
                         return absl::OkStatus();
                       }};
};

TEST_F(AnnouncerTest, TellsAnAddressSeveralTimesAndThenNoMore) {
  Put("shop/web", {"10.89.0.200"});
  Apply();

  EXPECT_THAT(Sent(absl::Milliseconds(1)), ElementsAre("10.89.0.200"));
  EXPECT_THAT(Sent(absl::Seconds(10)), SizeIs(Announcer::kRounds - 1));
  EXPECT_THAT(Sent(absl::Hours(1)), IsEmpty());
}

TEST_F(AnnouncerTest, TellsOnlyWhatIsNew) {
  Put("shop/web", {"10.89.0.200"});
  Put("shop/quiet", {"10.89.0.201"}, /*announced=*/false);
  Apply();
  Sent(absl::Seconds(10));

  Put("shop/api", {"10.89.0.202", "10.89.0.200"});
  Apply();

  EXPECT_THAT(Sent(absl::Milliseconds(1)), ElementsAre("10.89.0.202"));
}

TEST_F(AnnouncerTest, StopsWithTheServiceAndBeginsAnewWithTheNext) {
  Put("shop/web", {"10.89.0.200"});
  Apply();
  Sent(absl::Milliseconds(1));

  Put("shop/web", {"10.89.0.200"}, /*announced=*/false);
  Apply();
  EXPECT_THAT(Sent(absl::Seconds(10)), IsEmpty());

  Put("shop/web", {"10.89.0.200"});
  Apply();
  EXPECT_THAT(Sent(absl::Seconds(10)), SizeIs(Announcer::kRounds));
}

TEST_F(AnnouncerTest, WhatWasOnlyKeptIsToldWhenMeshdSaysSoToo) {
  Put("shop/web", {"10.89.0.200"});
  Put("shop/moved", {"10.89.0.201"});
  announcer_.SetState(desired_, Announcer::Word::kKept);
  EXPECT_THAT(Sent(absl::Hours(1)), IsEmpty());

  changed_.clear();
  first_ = false;
  Put("shop/moved", {"10.89.0.201"}, /*announced=*/false);
  Apply();

  EXPECT_THAT(Sent(absl::Milliseconds(1)), ElementsAre("10.89.0.200"));
  EXPECT_THAT(Sent(absl::Seconds(10)), SizeIs(Announcer::kRounds - 1));
}

TEST_F(AnnouncerTest, WithoutAHintItLooksAtAll) {
  Put("shop/web", {"10.89.0.200"});
  Apply();
  Sent(absl::Seconds(10));

  desired_.services.clear();
  Put("shop/api", {"10.89.0.202"});
  desired_.changed_services.reset();
  announcer_.SetState(desired_);

  EXPECT_THAT(Sent(absl::Milliseconds(1)), ElementsAre("10.89.0.202"));
}

TEST_F(AnnouncerTest, ATakeoverOfThousandsIsSpread) {
  std::vector<std::string> ips;
  for (int i = 0; i < 1000; ++i) ips.push_back(fmt::format("10.1.{}.{}", i / 250, i % 250));
  Put("shop/web", ips);
  Apply();

  EXPECT_THAT(Sent(absl::Milliseconds(1)), SizeIs(Announcer::kBatch));
  EXPECT_THAT(Sent(absl::Seconds(30)), SizeIs(1000 * Announcer::kRounds - Announcer::kBatch));
  EXPECT_EQ(largest_, Announcer::kBatch);
}

TEST(GratuitousArp, IsAFrameToEverybody) {
  const auto frame = GratuitousArp({2, 0, 0, 0, 0, 9}, Ip("10.89.0.200"), false);

  EXPECT_THAT(frame, ElementsAre(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 8, 6,  //
                                 0, 1, 8, 0, 6, 4, 0, 1,                                      //
                                 2, 0, 0, 0, 0, 9, 10, 89, 0, 200,                            //
                                 0, 0, 0, 0, 0, 0, 10, 89, 0, 200));
  EXPECT_EQ(GratuitousArp({2, 0, 0, 0, 0, 9}, Ip("10.89.0.200"), true)[21], 2);
}

TEST(NeighborAdvertisement, IsWhatTheProtocolSays) {
  const auto frame = NeighborAdvertisement({0x02, 0, 0, 0, 0, 0x09}, Ip("fd00:89::200"));

  // The checksum was computed elsewhere.
  EXPECT_EQ(fmt::format("{:02x}", fmt::join(frame, "")),
            "333300000001"
            "020000000009"
            "86dd"
            "6000000000203aff"
            "fd000089000000000000000000000200"
            "ff020000000000000000000000000001"
            "8800558320000000"
            "fd000089000000000000000000000200"
            "0201020000000009");
}

}  // namespace
}  // namespace mesh::agent
