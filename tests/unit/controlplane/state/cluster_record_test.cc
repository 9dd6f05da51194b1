// SPDX-License-Identifier: Apache-2.0
// A store meets other flags than those it was begun with.
#include "controlplane/state/cluster_record.h"

#include "tests/unit/controlplane/state/world.h"

namespace mesh::controlplane {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ClusterRanges Ranges(const std::string& cluster, const std::string& service) {
  auto ranges = ParseClusterRanges(cluster, service);
  EXPECT_TRUE(ranges.ok()) << ranges.status();
  return *ranges;
}

constexpr char kPods[] = "10.244.0.0/16";
constexpr char kPods6[] = "10.244.0.0/16,fd00:10:244::/48";
constexpr char kServices[] = "10.96.0.0/16";
constexpr char kServices6[] = "10.96.0.0/16,fd00:10:96::/108";

v1::Resource ANode(const std::string& name) {
  v1::Resource out;
  out.mutable_node()->mutable_metadata()->set_name(name);
  return out;
}

v1::Resource Preferring(const std::string& name) {
  v1::Resource out = AService(name);
  out.mutable_service()->mutable_spec()->set_ip_family_policy("PreferDualStack");
  return out;
}

std::string Message(const absl::Status& status) {
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  return std::string(status.message());
}

TEST(RecordRouting, KeepsWhatWasChosenAtTheFirstStart) {
  World world;
  EXPECT_EQ(*RecordRouting(world.store, world.cache.state(), ""), "vxlan");
  EXPECT_EQ(*RecordRouting(world.store, world.cache.state(), "native"), "native");
  EXPECT_EQ(*RecordRouting(world.store, world.cache.state(), ""), "native");
  ASSERT_TRUE(world.Create(ANode("n1")).ok());

  EXPECT_EQ(Message(RecordRouting(world.store, world.cache.state(), "vxlan").status()),
            "--routing vxlan: the cluster has 1 nodes with routing native; start with --routing "
            "native, or delete all nodes while their agents are stopped, and start again");
  EXPECT_EQ(*RecordRouting(world.store, world.cache.state(), "native"), "native");
  EXPECT_EQ(*RecordRouting(world.store, world.cache.state(), ""), "native");

  ASSERT_TRUE(world.Delete(v1::KIND_NODE, {"", "n1"}).ok());
  EXPECT_EQ(*RecordRouting(world.store, world.cache.state(), "vxlan"), "vxlan");
}

TEST(RecordRouting, TakesAStoreWithoutARecordForOneWithTunnels) {
  World world;
  ASSERT_TRUE(world.Create(ANode("n1")).ok());

  EXPECT_THAT(Message(RecordRouting(world.store, world.cache.state(), "native").status()),
              HasSubstr("1 nodes with routing vxlan"));
  EXPECT_EQ(*RecordRouting(world.store, world.cache.state(), ""), "vxlan");
}

TEST(CheckRangesHold, NamesWhatDoesNotFit) {
  World world({.admission = {.service_cidr = kServices6, .cluster_cidr = kPods6}});
  ASSERT_TRUE(world.Create(ANode("n1")).ok());
  ASSERT_TRUE(world.Create(ANode("n2")).ok());
  ASSERT_TRUE(world.Create(Preferring("web")).ok());
  const auto why = [&](const std::string& cluster, const std::string& service) {
    return Message(CheckRangesHold(world.cache.state(), Ranges(cluster, service)));
  };

  EXPECT_TRUE(CheckRangesHold(world.cache.state(), Ranges(kPods6, kServices6)).ok());
  EXPECT_TRUE(CheckRangesHold(world.cache.state(), Ranges("10.244.0.0/15,fd00:10:244::/47",
                                                          "10.96.0.0/12,fd00:10:96::/64"))
                  .ok());
  EXPECT_EQ(why("10.240.0.0/16,fd00:10:244::/48", kServices6),
            "node \"n1\" has pods in 10.244.0.0/24, outside of --cluster-cidr "
            "10.240.0.0/16,fd00:10:244::/48: start with the --cluster-cidr that it is from, or "
            "delete the node first");
  EXPECT_THAT(why(kPods, kServices),
              HasSubstr("node \"n1\" has pods in fd00:10:244::/64, outside of --cluster-cidr "
                        "10.244.0.0/16:"));
  EXPECT_THAT(why("10.240.0.0/12,fd00:10:244::/48", kServices6),
              HasSubstr("fd00:10:244::/64, which is not number 1024 of"));
  EXPECT_THAT(why(kPods6, "10.96.0.0/16,fd00:10:97::/108"),
              HasSubstr("service \"default/web\" has the cluster IP fd00:10:96::10, outside of "
                        "--service-cidr 10.96.0.0/16,fd00:10:97::/108"));
}

TEST(CompleteFamilies, GivesWhatASecondRangeBrings) {
  World world;
  ASSERT_TRUE(world.Create(ANode("n1")).ok());
  ASSERT_TRUE(world.Create(ANode("n2")).ok());
  ASSERT_TRUE(world.Create(Preferring("both")).ok());
  ASSERT_TRUE(world.Create(AService("one")).ok());
  const auto spec = [&](const std::string& name) {
    return world.cache.state().services.at({"default", name})->spec();
  };
  const std::string ip = spec("both").cluster_ip();

  const ClusterRanges ranges = Ranges(kPods6, kServices6);
  ASSERT_TRUE(CheckRangesHold(world.cache.state(), ranges).ok());
  Writer later(world.loop, world.cache, *world.commits, Random(8),
               {.admission = {.service_cidr = kServices6, .cluster_cidr = kPods6}});
  bool done = false;
  CompleteFamilies(later, world.cache.state(), ranges, [&] { done = true; });
  world.Settle();

  EXPECT_TRUE(done);
  EXPECT_THAT(world.cache.state().nodes.at({"", "n2"})->spec().pod_cidrs(),
              ElementsAre("10.244.1.0/24", "fd00:10:244:1::/64"));
  EXPECT_THAT(spec("both").ip_families(), ElementsAre("IPv4", "IPv6"));
  EXPECT_THAT(spec("both").cluster_ips(), ElementsAre(ip, HasSubstr("fd00:10:96::")));
  EXPECT_THAT(spec("one").ip_families(), ElementsAre("IPv4"));

  // Nothing is lacking any more.
  const int64_t revision = world.cache.state().revision;
  CompleteFamilies(later, world.cache.state(), ranges, [] {});
  world.Settle();
  EXPECT_EQ(world.cache.state().revision, revision);
}

}  // namespace
}  // namespace mesh::controlplane
