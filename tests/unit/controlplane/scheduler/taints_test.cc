// SPDX-License-Identifier: Apache-2.0
// Which pods the taints of nodes keep away, and which they ask to stay away.
#include <map>
#include <string>

#include "controlplane/controllers/tolerations.h"
#include "controlplane/scheduler/scheduler.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "tests/unit/controlplane/controllers/cluster_world.h"

namespace mesh::controlplane {
namespace {

template <typename T>
T Text(const std::string& text) {
  T out;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &out)) << text;
  return out;
}

TEST(Tolerates, AsInKubernetes) {
  const auto taint = Text<v1::Taint>("key: 'dedicated' value: 'shop' effect: 'NoSchedule'");
  struct {
    const char* toleration;
    bool tolerates;
  } const cases[] = {
      {"key: 'dedicated' operator: 'Equal' value: 'shop' effect: 'NoSchedule'", true},
      {"key: 'dedicated' value: 'shop'", true},
      {"key: 'dedicated' operator: 'Exists'", true},
      {"operator: 'Exists'", true},
      {"key: 'dedicated' value: 'pay'", false},
      {"key: 'dedicated'", false},
      {"key: 'other' operator: 'Exists'", false},
      {"key: 'dedicated' operator: 'Exists' effect: 'NoExecute'", false},
  };
  for (const auto& c : cases) {
    v1::PodSpec spec;
    *spec.add_tolerations() = Text<v1::Toleration>(c.toleration);
    EXPECT_EQ(Tolerates(spec, taint), c.tolerates) << c.toleration;
  }
}

TEST(StaysUntil, TheShortestOfAllTaints) {
  const auto node = Text<v1::Node>(
      "spec { taints { key: 'a' effect: 'NoExecute' time_added { seconds: 100 } }"
      "       taints { key: 'b' effect: 'NoExecute' time_added { seconds: 200 } }"
      "       taints { key: 'c' effect: 'NoSchedule' } }");
  const auto until = [&](const std::string& spec) {
    const absl::Time at = StaysUntil(Text<v1::PodSpec>(spec), node);
    return at == absl::InfiniteFuture() ? -1 : absl::ToUnixSeconds(at);
  };
  EXPECT_EQ(until(""), 100);
  EXPECT_EQ(until("tolerations { operator: 'Exists' }"), -1);
  EXPECT_EQ(until("tolerations { key: 'a' operator: 'Exists' }"), 200);
  EXPECT_EQ(until("tolerations { key: 'a' operator: 'Exists' }"
                  "tolerations { key: 'b' operator: 'Exists' toleration_seconds: 30 }"),
            230);
}

class TaintsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    world.AddNode("a");
    world.AddNode("b");
  }
  void Taint(const std::string& node, const std::string& taint) {
    *world.node(node).mutable_spec()->add_taints() = Text<v1::Taint>(taint);
  }
  std::string NodeOf(const std::string& name) {
    std::string out;
    const ReconcileResult result = scheduler.Schedule(world.state, world.now);
    for (const Write& write : result.writes) {
      const v1::Pod& pod = write.resource.pod();
      if (pod.metadata().name() != name) continue;
      if (write.type == Write::Type::kBind) {
        out = pod.spec().node_name();
      } else {
        why = FindCondition(pod.status().conditions(), "PodScheduled")->message();
      }
    }
    world.Apply(result);
    return out;
  }

  ClusterWorld world;
  Scheduler scheduler;
  std::string why;
};

TEST_F(TaintsTest, KeepAwayWhoDoesNotTolerateThem) {
  Taint("a", "key: 'dedicated' value: 'shop' effect: 'NoSchedule'");
  Taint("b", "key: 'maintenance' effect: 'NoExecute'");
  world.AddPod("p", "web");
  EXPECT_EQ(NodeOf("p"), "");
  EXPECT_EQ(why,
            "0/2 nodes are available: 1 node(s) had untolerated taint {dedicated: shop}, 1 node(s) "
            "had untolerated taint {maintenance: }.");

  world.AddPod("q", "web");
  *world.pod("q").mutable_spec()->add_tolerations() =
      Text<v1::Toleration>("key: 'dedicated' operator: 'Exists'");
  EXPECT_EQ(NodeOf("q"), "a");
}

TEST_F(TaintsTest, AreAskedForBeforeSpreading) {
  Taint("a", "key: 'busy' effect: 'PreferNoSchedule'");
  for (const char* name : {"p", "q", "r"}) {
    world.AddPod(name, "web");
    EXPECT_EQ(NodeOf(name), "b");
  }
  world.node("b").mutable_spec()->set_unschedulable(true);
  world.AddPod("s", "web");
  EXPECT_EQ(NodeOf("s"), "a");
}

TEST_F(TaintsTest, AreNotAskedOfAPodThatNamesItsNode) {
  Taint("a", "key: 'dedicated' effect: 'NoSchedule'");
  world.AddPod("p", "web");
  world.pod("p").mutable_spec()->set_node_name("a");
  EXPECT_EQ(NodeOf("p"), "a");
}

}  // namespace
}  // namespace mesh::controlplane
