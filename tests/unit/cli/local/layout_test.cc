// SPDX-License-Identifier: Apache-2.0
#include "cli/local/layout.h"

#include <gtest/gtest.h>

namespace mesh::cli::local {
namespace {

TEST(Layout, NamesTheDefaultClustersNamespacesShortly) {
  const Layout layout = Layout::Create("local").value();

  EXPECT_EQ(layout.NetnsName("n1"), "mesh-n1");
  EXPECT_EQ(layout.FabricNetns(), "mesh-fabric");
  EXPECT_EQ(layout.Socket(), "/run/mesh/local/meshd.sock");
}

TEST(Layout, KeepsClustersOfDifferentNamesApart) {
  const Layout local = Layout::Create("local").value();
  const Layout other = Layout::Create("n2").value();

  EXPECT_EQ(other.NetnsName("n1"), "mesh-n2-n1");
  EXPECT_FALSE(local.OwnsNetns(other.NetnsName("n1")));
  EXPECT_FALSE(other.OwnsNetns(local.NetnsName("n2")));
  EXPECT_NE(local.RunDir(), other.RunDir());
  EXPECT_NE(local.ClusterCgroup(), other.ClusterCgroup());
}

TEST(Layout, OwnsItsNodesAndFabricAndNothingElse) {
  const Layout layout = Layout::Create("local").value();

  EXPECT_TRUE(layout.OwnsNetns("mesh-n1"));
  EXPECT_TRUE(layout.OwnsNetns("mesh-n12"));
  EXPECT_TRUE(layout.OwnsNetns("mesh-fabric"));
  EXPECT_FALSE(layout.OwnsNetns("mesh-n"));
  EXPECT_FALSE(layout.OwnsNetns("mesh-nx"));
  EXPECT_FALSE(layout.OwnsNetns("mesh-x-fabric"));
  EXPECT_FALSE(layout.OwnsNetns("other"));
}

TEST(Layout, RefusesNamesThatAreNoPathPart) {
  for (const char* name : {"", "a/b", "..", "UP", "-x", "x-", "a-name-that-is-too-long"}) {
    EXPECT_FALSE(Layout::Create(name).ok()) << name;
  }
}

TEST(Layout, GivesEachNodeAnAddressOfItsOwn) {
  EXPECT_EQ(Layout::NodeAddress(0), "10.89.0.11");
  EXPECT_EQ(Layout::NodeAddress(kMaxNodes - 1), "10.89.0.74");
  EXPECT_EQ(Layout::NodeAddress6(0), "fd00:10:89::11");
  EXPECT_EQ(Layout::NodeAddress6(kMaxNodes - 1), "fd00:10:89::74");
}

}  // namespace
}  // namespace mesh::cli::local
