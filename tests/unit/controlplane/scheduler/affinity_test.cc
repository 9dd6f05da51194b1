// SPDX-License-Identifier: Apache-2.0
// Where spec.affinity, tolerations and priorities put pods.
#include "controlplane/scheduler/affinity.h"

#include <map>
#include <optional>
#include <string>

#include "controlplane/controllers/tolerations.h"
#include "controlplane/scheduler/fit.h"
#include "controlplane/scheduler/scheduler.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "tests/unit/controlplane/controllers/cluster_world.h"

namespace mesh::controlplane {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

template <typename T>
T Text(const std::string& text) {
  T out;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &out)) << text;
  return out;
}

// A term on pods with app=<app>.
std::string Near(const std::string& app, const std::string& key) {
  return "label_selector { match_labels { key: 'app' value: '" + app + "' } } topology_key: '" +
         key + "'";
}

class PlacementTest : public ::testing::Test {
 protected:
  void SetUp() override {
    world.AddNode("a", "4", "8Gi", {{"zone", "east"}, {"disk", "ssd"}, {"size", "4"}});
    world.AddNode("b", "4", "8Gi", {{"zone", "east"}, {"size", "16"}});
    world.AddNode("c", "4", "8Gi", {{"zone", "west"}});
  }
  void Waits(const std::string& name, const std::string& app, const std::string& spec) {
    world.AddPod(name, app);
    world.pod(name).mutable_spec()->MergeFrom(Text<v1::PodSpec>(spec));
  }
  std::map<std::string, std::string> Place() {
    std::map<std::string, std::string> out;
    const ReconcileResult result = scheduler.Schedule(world.state, world.now);
    why.clear();
    for (const Write& write : result.writes) {
      const v1::Pod& pod = write.resource.pod();
      if (write.type == Write::Type::kBind)
        out[pod.metadata().name()] = pod.spec().node_name();
      else
        why[pod.metadata().name()] =
            FindCondition(pod.status().conditions(), "PodScheduled")->message();
    }
    requeue = result.requeue_at;
    world.Apply(result);
    return out;
  }

  ClusterWorld world;
  Scheduler scheduler;
  std::map<std::string, std::string> why;
  std::optional<absl::Time> requeue;
};

TEST_F(PlacementTest, EachOperatorOfANodesLabelsAsInKubernetes) {
  const auto matching = [&](const std::string& expressions) {
    const auto spec = Text<v1::PodSpec>(
        "affinity { node_affinity { required_during_scheduling_ignored_during_execution { "
        "node_selector_terms { " +
        expressions + " } } } }");
    std::string out;
    for (const auto& [key, node] : world.state.nodes)
      if (MatchesNodeAffinity(spec, *node)) out += key.name;
    return out;
  };
  EXPECT_EQ(matching("match_expressions { key: 'zone' operator: 'In' values: 'west' values: 'x' }"),
            "c");
  EXPECT_EQ(matching("match_expressions { key: 'disk' operator: 'NotIn' values: 'ssd' }"), "bc");
  EXPECT_EQ(matching("match_expressions { key: 'size' operator: 'Exists' }"), "ab");
  EXPECT_EQ(matching("match_expressions { key: 'size' operator: 'DoesNotExist' }"), "c");
  EXPECT_EQ(matching("match_expressions { key: 'size' operator: 'Gt' values: '4' }"), "b");
  EXPECT_EQ(matching("match_expressions { key: 'size' operator: 'Lt' values: '5' }"), "a");
  EXPECT_EQ(matching("match_fields { key: 'metadata.name' operator: 'NotIn' values: 'b' }"), "ac");
  EXPECT_EQ(matching("match_expressions { key: 'zone' operator: 'In' values: 'west' } } "
                     "node_selector_terms { match_expressions { key: 'disk' operator: 'Exists' }"),
            "ac");
  EXPECT_EQ(matching(""), "");
}

TEST_F(PlacementTest, RequiredNodesAreTheOnlyOnesAndPreferredOnesTheFirst) {
  Waits("p", "web",
        "affinity { node_affinity { required_during_scheduling_ignored_during_execution { "
        "node_selector_terms { match_expressions { key: 'zone' operator: 'In' values: 'north' } } "
        "} } }");
  Waits("q", "web",
        "affinity { node_affinity { preferred_during_scheduling_ignored_during_execution { weight: "
        "5 preference { match_expressions { key: 'zone' operator: 'In' values: 'west' } } } } }");

  EXPECT_THAT(Place(), ElementsAre(Pair("q", "c")));
  EXPECT_EQ(why["p"],
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.");
  EXPECT_THAT(WhyNeverFits(world.state, world.pod("p").spec()),
              ElementsAre("no node matches spec.nodeSelector and spec.affinity.nodeAffinity"));
}

TEST_F(PlacementTest, AntiAffinityKeepsPodsApartWithinOnePassAndAfter) {
  const std::string apart =
      "affinity { pod_anti_affinity { required_during_scheduling_ignored_during_execution { " +
      Near("web", "zone") + " } } }";
  for (const char* name : {"p1", "p2", "p3"}) Waits(name, "web", apart);

  const auto placed = Place();

  ASSERT_EQ(placed.size(), 2u);
  EXPECT_NE(placed.at("p1") == "c", placed.at("p2") == "c");
  EXPECT_EQ(why["p3"], "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules.");
  // Those that run do not want others of their kind, whatever these say themselves.
  Waits("q", "web", "");
  EXPECT_THAT(Place(), IsEmpty());
  EXPECT_EQ(why["q"],
            "0/3 nodes are available: 3 node(s) didn't satisfy existing pods anti-affinity rules.");
  Waits("r", "db", "");
  EXPECT_EQ(Place().size(), 1u);
}

TEST_F(PlacementTest, AffinityGoesWhereThePodsAreAndTheFirstOfAKindMayStart) {
  const std::string together =
      "affinity { pod_affinity { required_during_scheduling_ignored_during_execution { " +
      Near("cache", "zone") + " } } }";
  Waits("lonely", "web", together);
  EXPECT_THAT(Place(), IsEmpty());
  EXPECT_EQ(why["lonely"], "0/3 nodes are available: 3 node(s) didn't match pod affinity rules.");
  world.now += absl::Seconds(1);
  Waits("cache", "cache", together + " node_selector { key: 'zone' value: 'west' }");

  EXPECT_THAT(Place(), ElementsAre(Pair("cache", "c")));
  EXPECT_EQ(requeue, world.now);  // for the one that came first
  EXPECT_THAT(Place(), ElementsAre(Pair("lonely", "c")));
}

TEST_F(PlacementTest, PreferredPodsAddUp) {
  world.AddPod("cache", "cache", "b", true);
  Waits("p", "web",
        "affinity { pod_affinity { preferred_during_scheduling_ignored_during_execution { weight: "
        "10 pod_affinity_term { " +
            Near("cache", "zone") +
            " } } } pod_anti_affinity { preferred_during_scheduling_ignored_during_execution { "
            "weight: 3 pod_affinity_term { " +
            Near("cache", "size") + " } } } }");

  EXPECT_THAT(Place(), ElementsAre(Pair("p", "a")));
}

TEST_F(PlacementTest, TermsMeanTheirOwnNamespaceUnlessTheySayOthers) {
  world.AddPod("cache", "cache", "c", true);
  const auto verdict = [&](const std::string& more) {
    v1::Pod pod;
    pod.mutable_metadata()->set_namespace_("other");
    *pod.mutable_spec() = Text<v1::PodSpec>(
        "affinity { pod_affinity { required_during_scheduling_ignored_during_execution { " +
        Near("cache", "zone") + more + " } } }");
    const NodeTable table = NodeTable::Build(world.state);
    return PodAffinity(world.state, table, {}, pod).Of(2);
  };
  EXPECT_EQ(verdict(""), PodAffinity::Verdict::kAffinity);
  EXPECT_EQ(verdict(" namespaces: 'default'"), PodAffinity::Verdict::kFits);
  EXPECT_EQ(verdict(" namespace_selector {}"), PodAffinity::Verdict::kFits);
}

TEST_F(PlacementTest, ACordonedNodeTakesThoseThatTolerateIt) {
  for (const char* name : {"a", "b", "c"}) world.node(name).mutable_spec()->set_unschedulable(true);
  Waits("p", "web", "");
  Waits("q", "web",
        "tolerations { key: 'node.kubernetes.io/unschedulable' operator: 'Exists' effect: "
        "'NoSchedule' }");
  Waits("r", "web", "tolerations { operator: 'Exists' }");

  const auto placed = Place();

  EXPECT_EQ(placed.size(), 2u);
  EXPECT_FALSE(placed.contains("p"));
}

TEST_F(PlacementTest, TheHigherPriorityGoesFirst) {
  for (const char* name : {"b", "c"}) world.node(name).mutable_spec()->set_unschedulable(true);
  const std::string ask =
      "containers { name: 'x' resources { requests { key: 'cpu' value { text: '3' } } } }";
  Waits("early", "web", ask);
  Waits("urgent", "web", ask + " priority: 100");

  EXPECT_THAT(Place(), ElementsAre(Pair("urgent", "a")));
}

TEST(Tolerations, HaveATimeWhereTheySaySo) {
  const auto stays = [](const std::string& tolerations) {
    return ToleratedFor(Text<v1::PodSpec>(tolerations), kUnreachableTaint);
  };
  EXPECT_EQ(stays(""), std::nullopt);
  EXPECT_EQ(stays("tolerations { key: 'node.kubernetes.io/unreachable' operator: 'Exists' effect: "
                  "'NoExecute' toleration_seconds: 7 }"),
            absl::Seconds(7));
  EXPECT_EQ(stays("tolerations { operator: 'Exists' }"), absl::InfiniteDuration());
  EXPECT_EQ(stays("tolerations { key: 'node.kubernetes.io/unreachable' value: 'x' }"),
            std::nullopt);
}

}  // namespace
}  // namespace mesh::controlplane
