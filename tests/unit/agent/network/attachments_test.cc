// SPDX-License-Identifier: Apache-2.0
// Goal: attachments outlive the agent, and addresses made by hand come from the reserved sixteenth.
#include "agent/network/attachments.h"

#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/agent/network/temporary_folder.h"

namespace mesh::agent {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

IpAddress Ip(const char* text) { return *IpAddress::Parse(text); }
IpPrefix Range(const char* text) { return *IpPrefix::Parse(text); }

TEST(PickManualAddress, StartsAtTheUpperSixteenth) {
  EXPECT_EQ(PickManualAddress(Range("10.244.1.0/24"), {}, std::nullopt), Ip("10.244.1.240"));
  EXPECT_EQ(PickManualAddress(Range("10.244.0.0/16"), {}, std::nullopt), Ip("10.244.240.0"));
}

TEST(PickManualAddress, GoesOnBehindTheLastOneAndWrapsAround) {
  const IpPrefix range = Range("10.244.1.0/24");

  EXPECT_EQ(PickManualAddress(range, {}, Ip("10.244.1.240")), Ip("10.244.1.241"));
  EXPECT_EQ(PickManualAddress(range, {}, Ip("10.244.1.254")), Ip("10.244.1.240"));
  EXPECT_EQ(PickManualAddress(range, {Ip("10.244.1.241")}, Ip("10.244.1.240")), Ip("10.244.1.242"));
}

TEST(PickManualAddress, GivesEachAddressOnceAndNeverTheLast) {
  std::set<IpAddress> used;
  std::optional<IpAddress> last;
  while (auto ip = PickManualAddress(Range("10.244.1.0/24"), used, last)) {
    ASSERT_TRUE(used.insert(*ip).second);
    last = ip;
  }

  EXPECT_EQ(used.size(), 15u);
  EXPECT_EQ(*used.begin(), Ip("10.244.1.240"));
  EXPECT_EQ(*used.rbegin(), Ip("10.244.1.254"));
}

TEST(PickManualAddress, HasNothingInATinyRange) {
  EXPECT_EQ(PickManualAddress(Range("10.0.0.0/28"), {}, std::nullopt), std::nullopt);
}

const Attachment kByHand = {.container_id = "abc",
                            .ifname = "eth0",
                            .network = "mesh",
                            .netns = "/run/netns/x",
                            .ip = IpAddress::V4(0x0af401f0),
                            .ip6 = *IpAddress::Parse("fd00::f0"),
                            .identity = 3,
                            .ns = "",
                            .pod = "",
                            .uid = ""};

TEST(Attachments, AreKnownAfterARestart) {
  TemporaryFolder folder;
  std::string dropped;
  {
    auto first = Attachments::Open(folder.path() + "/a/b", &dropped);
    ASSERT_TRUE(first.ok()) << first.status();
    ASSERT_TRUE(first->Put(kByHand).ok());
  }

  auto second = Attachments::Open(folder.path() + "/a/b", &dropped);

  ASSERT_TRUE(second.ok()) << second.status();
  ASSERT_NE(second->Find("abc", "eth0"), nullptr);
  EXPECT_EQ(*second->Find("abc", "eth0"), kByHand);
  EXPECT_THAT(dropped, IsEmpty());
}

TEST(Attachments, AreForgottenForGood) {
  TemporaryFolder folder;
  std::string dropped;
  auto first = Attachments::Open(folder.path(), &dropped);
  ASSERT_TRUE(first->Put(kByHand).ok());

  EXPECT_TRUE(first->Remove("abc", "eth0").ok());
  EXPECT_TRUE(first->Remove("abc", "eth0").ok()) << "twice";

  EXPECT_THAT(Attachments::Open(folder.path(), &dropped)->all(), IsEmpty());
}

TEST(Attachments, DropsANoteThatDoesNotParse) {
  TemporaryFolder folder;
  std::ofstream(folder.path() + "/x@eth0.json") << "{\"containerId\":";
  std::string dropped;

  auto opened = Attachments::Open(folder.path(), &dropped);

  ASSERT_TRUE(opened.ok());
  EXPECT_THAT(opened->all(), IsEmpty());
  EXPECT_THAT(dropped, HasSubstr("x@eth0.json"));
}

}  // namespace
}  // namespace mesh::agent
