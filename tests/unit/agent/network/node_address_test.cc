// SPDX-License-Identifier: Apache-2.0
#include "agent/network/node_address.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::agent {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(ParseNodeIp, TakesOneOrTwo) {
  EXPECT_EQ(ParseNodeIp("192.168.9.1")->v4.ToString(), "192.168.9.1");
  EXPECT_EQ(ParseNodeIp("192.168.9.1")->v6, IpAddress());
  EXPECT_EQ(ParseNodeIp("192.168.9.1,fd00:9::1")->v6.ToString(), "fd00:9::1");
}

TEST(ParseNodeIp, NamesWhatIsWrong) {
  for (const auto& [text, want] :
       {std::pair{"fd00::1", "--node-ip fd00::1: give the IPv4 address first"},
        {"fd00::1,10.0.0.1", "give the IPv4 address first"},
        {"10.0.0.1,10.0.0.2", "the second address must be of IPv6"},
        {"10.0.0.1,", "\"\" is not an IP address"},
        {"", "\"\" is not an IP address"}}) {
    const auto out = ParseNodeIp(text);
    EXPECT_TRUE(absl::IsInvalidArgument(out.status())) << text;
    EXPECT_THAT(std::string(out.status().message()), HasSubstr(want)) << text;
  }
}

// Of this process's network namespace.
TEST(TellMissingAddresses, NamesWhatIsGoneAndTheWayBack) {
  EXPECT_EQ(TellMissingAddresses(*ParseNodeIp("127.0.0.1"), false), "");

  EXPECT_EQ(
      TellMissingAddresses(*ParseNodeIp("127.0.0.1,2001:db8::1"), false),
      "no interface of the node has its address 2001:db8::1 any more: nobody reaches the node "
      "at it; give it back: ip address add 2001:db8::1/LENGTH dev lo; the kernel takes IPv6 "
      "addresses away when their link goes down, unless net.ipv6.conf.lo.keep_addr_on_down "
      "is 1");
  EXPECT_THAT(TellMissingAddresses(*ParseNodeIp("203.0.113.9"), false),
              HasSubstr("give it back: ip address add 203.0.113.9/LENGTH dev INTERFACE"));
}

TEST(TellMissingAddresses, NamesTheFamilyThatANodeOfADualStackClusterLacks) {
  const NodeAddresses node = *ParseNodeIp("127.0.0.1");

  EXPECT_EQ(TellMissingAddresses(node, false), "");
  EXPECT_EQ(TellMissingAddresses(*ParseNodeIp("127.0.0.1,::1"), true), "");
  EXPECT_EQ(TellMissingAddresses(node, true),
            "nothing of IPv6 enters or leaves the cluster by this node, which mesh-agent knows no "
            "IPv6 address of: give it one (ip address add IPV6/LENGTH dev lo), and start "
            "mesh-agent again");
  EXPECT_THAT(TellMissingAddresses(*ParseNodeIp("203.0.113.9"), true),
              AllOf(HasSubstr("its address 203.0.113.9 any more"), HasSubstr("dev INTERFACE; "),
                    HasSubstr("nothing of IPv6 enters")));
}

TEST(OwnPorts, AreTheAgentsAndThoseOfAMeshdOfThisMachine) {
  const NodeAddresses node = *ParseNodeIp("192.168.9.1,fd00:9::1");

  EXPECT_THAT(OwnPorts("0.0.0.0:6441", {"192.168.9.1:6440", "192.168.9.2:443"}, node),
              ElementsAre(6440, 6441));
  EXPECT_THAT(OwnPorts(":7000", {"127.0.0.1:1", "[fd00:9::1]:2", "[::1]:3", "[fd00:9::2]:4"}, node),
              ElementsAre(1, 2, 3, 7000));
  EXPECT_THAT(OwnPorts("192.168.9.1:6441", {"meshd.example.com:443", "nonsense"}, node),
              ElementsAre(6441));
}

TEST(ChooseNodeIp6, TakesOneThatStays) {
  // Flags 01: temporary, 20: deprecated, 08: taken by somebody else, 80: made by hand.
  const std::string lo = "00000000000000000000000000000001 01 80 10 80       lo\n";
  const std::string link = "fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n";
  const std::string other = "fd000000000000000000000000000007 05 40 00 80     eth1\n";
  const std::string temporary = "fd0000000000000000000000000000a1 04 40 00 01     eth0\n";
  const std::string deprecated = "fd0000000000000000000000000000a2 04 40 00 20     eth0\n";
  const std::string taken = "fd0000000000000000000000000000a3 04 40 00 88     eth0\n";
  const std::string learnt = "fd000000000000000000000000000002 04 40 00 00     eth0\n";
  const std::string by_hand = "fd000000000000000000000000000009 04 40 00 80     eth0\n";
  const std::string by_hand_too = "fd000000000000000000000000000008 04 40 00 80     eth0\n";

  EXPECT_EQ(ChooseNodeIp6(lo + link + other + temporary + deprecated + taken, "eth0"), IpAddress());
  EXPECT_EQ(ChooseNodeIp6(link + temporary + learnt, "eth0").ToString(), "fd00::2");
  EXPECT_EQ(ChooseNodeIp6(learnt + by_hand + by_hand_too, "eth0").ToString(), "fd00::8");
  EXPECT_EQ(ChooseNodeIp6("", "eth0"), IpAddress());
  EXPECT_EQ(ChooseNodeIp6("fd 04 40 00 80 eth0\nx\n", "eth0"), IpAddress());
}

TEST(FindNodeIp6, IsNothingForAnAddressThatIsNotHere) {
  EXPECT_EQ(FindNodeIp6(*IpAddress::Parse("203.0.113.77")), IpAddress());
}

}  // namespace
}  // namespace mesh::agent
