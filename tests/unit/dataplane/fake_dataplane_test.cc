// SPDX-License-Identifier: Apache-2.0
#include "dataplane/fake_dataplane.h"

#include <gtest/gtest.h>

namespace mesh::dataplane {
namespace {

AttachRequest Pod(const std::string& container, const std::string& ip) {
  return {"/run/netns/" + container, "eth0", *IpAddress::Parse(ip), 256, "shop", "web", container};
}

TEST(FakeDataplane, KeepsAttachmentsLikeTheKernel) {
  FakeDataplane dataplane{NodeConfig()};
  ASSERT_TRUE(dataplane.Attach(Pod("c1", "10.244.1.10")).ok());

  EXPECT_TRUE(dataplane.Check(Pod("c1", "10.244.1.10")).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(dataplane.Attach(Pod("c2", "10.244.1.10")).status()));
  EXPECT_TRUE(dataplane.Detach("c1", "eth0").ok());
  EXPECT_TRUE(dataplane.Detach("c1", "eth0").ok());
  EXPECT_TRUE(absl::IsNotFound(dataplane.Check(Pod("c1", "10.244.1.10"))));
}

TEST(FakeDataplane, RemovesNothingOnTheWordOfAnIncompleteState) {
  FakeDataplane dataplane{NodeConfig()};
  DesiredState desired;
  desired.complete = true;
  desired.peers["node2"] = {};
  ASSERT_TRUE(dataplane.Apply(desired).ok());

  desired.peers.clear();
  desired.complete = false;
  ASSERT_TRUE(dataplane.Apply(desired).ok());
  EXPECT_EQ(dataplane.Tunnels()->size(), 1u);
  desired.complete = true;
  ASSERT_TRUE(dataplane.Apply(desired).ok());
  EXPECT_TRUE(dataplane.Tunnels()->empty());
}

// An agent that forgets to name a change must be found out in simulation too.
TEST(FakeDataplane, FollowsOnlyWhatIsNamed) {
  FakeDataplane dataplane{NodeConfig()};
  DesiredState desired;
  desired.complete = true;
  desired.services["shop/web"].name = "web";
  desired.changed_services.emplace();
  ASSERT_TRUE(dataplane.Apply(desired).ok());
  EXPECT_EQ(dataplane.desired().services.size(), 1u) << "the first looks at everything";

  desired.services["shop/db"].name = "db";
  desired.services.erase("shop/web");
  ASSERT_TRUE(dataplane.Apply(desired).ok());
  EXPECT_TRUE(dataplane.desired().services.contains("shop/web"));
  EXPECT_EQ(dataplane.desired().services.size(), 1u);

  desired.changed_services = {"shop/db", "shop/web"};
  ASSERT_TRUE(dataplane.Apply(desired).ok());
  EXPECT_TRUE(dataplane.desired().services.contains("shop/db"));
  EXPECT_EQ(dataplane.desired().services.size(), 1u);
}

TEST(FakeDataplane, HasIpv6WhereTheNodeHasRangesOfIt) {
  NodeConfig config;
  AttachRequest pod = Pod("c1", "10.244.1.10");
  pod.ip6 = *IpAddress::Parse("fd00:10:244:1::a");
  EXPECT_FALSE(FakeDataplane(config).Attach(pod).ok());
  EXPECT_TRUE(absl::IsNotFound(FakeDataplane(config).Usage(Dataplane::Table::kEndpoint6).status()));

  config.cluster_cidr6 = *IpPrefix::Parse("fd00:10:244::/48");
  FakeDataplane dataplane(config);
  EXPECT_EQ(dataplane.Attach(pod)->ip6, pod.ip6);
  EXPECT_EQ(dataplane.Usage(Dataplane::Table::kEndpoint6)->entries, 1u);
  EXPECT_TRUE(dataplane.Check(pod).ok());
  pod.ip6 = IpAddress();
  EXPECT_FALSE(dataplane.Check(pod).ok());
}

TEST(FakeDataplane, FailsWhenTold) {
  FakeDataplane dataplane{NodeConfig()};
  dataplane.fault = [](const std::string& method) {
    return method == "Apply" ? absl::UnavailableError("not now") : absl::OkStatus();
  };

  EXPECT_TRUE(absl::IsUnavailable(dataplane.Apply({})));
  EXPECT_EQ(dataplane.applies(), 0);
}

}  // namespace
}  // namespace mesh::dataplane
