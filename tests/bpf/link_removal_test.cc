// SPDX-License-Identifier: Apache-2.0
// Goal: who removes a link is told when it is gone, not when others are, and not only when the
// kernel is through with it. Method: veths in a network namespace of this process. Needs root.
#include "dataplane/net/link_removal.h"

#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <thread>

#include "dataplane/net/netlink.h"

namespace mesh::dataplane {
namespace {

class LinkRemoval : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(unshare(CLONE_NEWNET), 0) << "needs root: " << std::strerror(errno);
  }

  // Ifindex of the first.
  static int AddVeth(const std::string& one, const std::string& two) {
    auto netlink = Netlink::Open();
    EXPECT_TRUE(netlink.ok()) << netlink.status();
    const absl::Status added =
        netlink->AddVeth({one, {2, 0, 0, 0, 0, 1}, -1}, {two, {2, 0, 0, 0, 0, 2}, -1}, 1500);
    EXPECT_TRUE(added.ok()) << added;
    return static_cast<int>(if_nametoindex(one.c_str()));
  }
};

TEST_F(LinkRemoval, TellsOnceWhenBothEndsAreGone) {
  const int ifindex = AddVeth("one", "two");
  int calls = 0;
  unsigned one = 1, two = 1;

  const absl::Status removed = RemoveLink(ifindex, [&] {
    ++calls;
    one = if_nametoindex("one");
    two = if_nametoindex("two");
  });

  EXPECT_TRUE(removed.ok()) << removed;
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(one, 0u);
  EXPECT_EQ(two, 0u);
}

TEST_F(LinkRemoval, IsNotTakenInByOtherLinks) {
  std::atomic<bool> stop = false;
  std::thread others([&] {
    while (!stop) EXPECT_TRUE(RemoveLink(AddVeth("three", "four"), [] {}).ok());
  });
  for (int i = 0; i < 20; ++i) {
    const int ifindex = AddVeth("one", "two");
    unsigned one = 1;
    EXPECT_TRUE(RemoveLink(ifindex, [&] { one = if_nametoindex("one"); }).ok());
    EXPECT_EQ(one, 0u);
  }
  stop = true;
  others.join();
}

TEST_F(LinkRemoval, TellsOfALinkThatIsNotThere) {
  int calls = 0;

  EXPECT_TRUE(absl::IsNotFound(RemoveLink(12345, [&] { ++calls; })));

  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace mesh::dataplane
