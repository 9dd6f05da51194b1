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

}  // namespace
}  // namespace mesh
