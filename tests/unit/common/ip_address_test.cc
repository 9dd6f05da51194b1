// SPDX-License-Identifier: Apache-2.0
#include "common/ip_address.h"

#include <gtest/gtest.h>

namespace mesh {
namespace {

TEST(IpAddress, PrintsWhatItParsed) {
  for (const char* text : {"0.0.0.0", "10.244.3.17", "255.255.255.255", "fd00::1", "::1"}) {
    auto address = IpAddress::Parse(text);
    ASSERT_TRUE(address.ok()) << text;
    EXPECT_EQ(address->ToString(), text);
  }
}

TEST(IpAddress, KeepsHostOrderApartFromBytes) {
  const IpAddress address = IpAddress::V4(0x0af40311);

  EXPECT_EQ(address.ToString(), "10.244.3.17");
  EXPECT_EQ(address.v4(), 0x0af40311u);
  EXPECT_EQ(address.bytes()[15], 0x11);
}

TEST(IpAddress, RefusesWhatIsNoAddress) {
  for (const char* text : {"", "10.0.0", "10.0.0.256", "10.0.0.1 ", "010.0.0.1", "fd00::g"})
    EXPECT_FALSE(IpAddress::Parse(text).ok()) << text;
}

TEST(IpPrefix, ContainsExactlyItsRange) {
  auto prefix = IpPrefix::Parse("10.244.4.0/22");
  ASSERT_TRUE(prefix.ok());

  EXPECT_TRUE(prefix->Contains(*IpAddress::Parse("10.244.4.0")));
  EXPECT_TRUE(prefix->Contains(*IpAddress::Parse("10.244.7.255")));
  EXPECT_FALSE(prefix->Contains(*IpAddress::Parse("10.244.8.0")));
  EXPECT_FALSE(prefix->Contains(*IpAddress::Parse("10.244.3.255")));
  EXPECT_FALSE(prefix->Contains(*IpAddress::Parse("fd00::1")));
  EXPECT_EQ(prefix->size(), 1024u);
}

TEST(IpPrefix, CountsAddressesFromItsBase) {
  auto prefix = IpPrefix::Parse("10.244.4.0/30");
  ASSERT_TRUE(prefix.ok());

  EXPECT_EQ(prefix->At(3)->ToString(), "10.244.4.3");
  EXPECT_EQ(prefix->At(4), std::nullopt);
}

TEST(IpPrefix, CountsAddressesOfBothFamilies) {
  auto prefix = IpPrefix::Parse("fd00:10:244:3::/64");
  ASSERT_TRUE(prefix.ok());

  EXPECT_EQ(prefix->At(0x11)->ToString(), "fd00:10:244:3::11");
  EXPECT_EQ(prefix->At(uint64_t{1} << 63)->ToString(), "fd00:10:244:3:8000::");
  EXPECT_EQ(prefix->IndexOf(*IpAddress::Parse("fd00:10:244:3::11")), 0x11u);
  EXPECT_EQ(prefix->IndexOf(*IpAddress::Parse("fd00:10:244:4::11")), std::nullopt);
  EXPECT_EQ(IpPrefix::Parse("fd00::/120")->At(256), std::nullopt);
  EXPECT_EQ(IpPrefix::Parse("10.244.4.0/22")->IndexOf(IpAddress::V4(0x0af40511)), 0x111u);
  // Beyond 64 bits nothing is counted.
  EXPECT_EQ(IpPrefix::Parse("fd00::/32")->IndexOf(*IpAddress::Parse("fd00:0:1::")), std::nullopt);
}

TEST(IpPrefix, ConsistsOfSmallerRanges) {
  const auto subrange = [](const char* text, int length, uint64_t index) {
    auto out = IpPrefix::Parse(text)->Subrange(length, index);
    return out ? out->ToString() : "none";
  };
  EXPECT_EQ(subrange("10.244.0.0/16", 24, 3), "10.244.3.0/24");
  EXPECT_EQ(subrange("10.244.0.0/16", 24, 256), "none");
  EXPECT_EQ(subrange("fd00:10:244::/48", 64, 3), "fd00:10:244:3::/64");
  EXPECT_EQ(subrange("fd00:10:244::/48", 64, 65536), "none");
  EXPECT_EQ(subrange("fd00:10:244:8::/62", 64, 3), "fd00:10:244:b::/64");
  EXPECT_EQ(subrange("fd00::/112", 128, 0x1234), "fd00::1234/128");
  EXPECT_EQ(subrange("fd00::/96", 100, 5), "fd00::5000:0/100");
  EXPECT_EQ(subrange("::/0", 64, 1), "0:0:0:1::/64");
  EXPECT_EQ(IpPrefix::Parse("10.244.0.0/16")->SubrangeCount(24), 256u);
  EXPECT_EQ(IpPrefix::Parse("fd00::/56")->SubrangeCount(64), 256u);
}

TEST(IpPrefix, OverlapsWhatIsInsideOrAround) {
  const auto overlap = [](const char* a, const char* b) {
    return IpPrefix::Parse(a)->Overlaps(*IpPrefix::Parse(b));
  };
  EXPECT_TRUE(overlap("10.0.0.0/8", "10.96.0.0/16"));
  EXPECT_TRUE(overlap("10.96.0.0/16", "10.0.0.0/8"));
  EXPECT_FALSE(overlap("10.96.0.0/16", "10.97.0.0/16"));
  EXPECT_TRUE(overlap("fd00::/8", "fd00:1::/32"));
  EXPECT_FALSE(overlap("::/0", "10.0.0.0/8"));
}

TEST(IpPrefix, RefusesHostBitsAndBadLengths) {
  for (const char* text :
       {"10.0.0.1/24", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0", "10.0.0.0/x", "fd00::1/64"})
    EXPECT_FALSE(IpPrefix::Parse(text).ok()) << text;
}

TEST(IpPrefix, HoldsOneAddress) {
  EXPECT_EQ(IpPrefix::Of(*IpAddress::Parse("10.0.0.1")), *IpPrefix::Parse("10.0.0.1/32"));
  EXPECT_EQ(IpPrefix::Of(*IpAddress::Parse("fd00::1")), *IpPrefix::Parse("fd00::1/128"));
}

TEST(IpPrefix, HoldsEverythingAtLengthZero) {
  auto prefix = IpPrefix::Parse("0.0.0.0/0");
  ASSERT_TRUE(prefix.ok());
  EXPECT_TRUE(prefix->Contains(*IpAddress::Parse("203.0.113.9")));
}

TEST(IpPrefix, KnowsWhetherItIsOne) {
  EXPECT_FALSE(IpPrefix().is_set());
  EXPECT_TRUE(IpPrefix::Parse("fd00::/64")->is_set());
  EXPECT_TRUE(IpPrefix::Parse("0.0.0.0/0")->is_set());
}

}  // namespace
}  // namespace mesh
