// SPDX-License-Identifier: Apache-2.0
#include "cli/local/cgroups.h"

#include <gtest/gtest.h>

namespace mesh::cli::local {
namespace {

TEST(ParseHierarchies, FindsTheOneOfAVersionTwoHost) {
  const auto found = ParseHierarchies(
      "25 30 0:23 / /sys rw,nosuid - sysfs sysfs rw\n"
      "29 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");

  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].mount_point, "/sys/fs/cgroup");
  EXPECT_TRUE(found[0].v2);
}

TEST(ParseHierarchies, NamesVersionOneHierarchiesByTheirControllers) {
  const auto found = ParseHierarchies(
      "40 39 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
      "41 39 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
      "42 39 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");

  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found[0].options, "cpu,cpuacct");
  EXPECT_EQ(found[1].options, "name=systemd");
  EXPECT_TRUE(found[2].v2);
}

TEST(ParseHierarchies, CountsAHierarchyThatIsMountedTwiceOnce) {
  const auto found = ParseHierarchies(
      "29 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
      "30 25 0:26 / /mnt/cgroup rw - cgroup2 cgroup2 rw\n");

  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].mount_point, "/sys/fs/cgroup");
}

TEST(ParseHierarchies, FindsNoneWhereNoneIsMounted) {
  EXPECT_TRUE(ParseHierarchies("").empty());
  EXPECT_TRUE(ParseHierarchies("1 2 0:3 / / rw - ext4 /dev/vda rw\n").empty());
}

}  // namespace
}  // namespace mesh::cli::local
