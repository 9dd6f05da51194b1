// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/namespace_controller.h"

#include "api/schema/schema.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/controlplane/controllers/cluster_world.h"

namespace mesh::controlplane {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class NamespaceControllerTest : public ::testing::Test {
 protected:
  ReconcileResult Reconcile() {
    return controller.Reconcile(world.state, {"", "default"}, world.now);
  }
  void DeleteNamespace() {
    v1::Namespace ns = *world.state.namespaces.at({"", "default"});
    *ns.mutable_metadata()->mutable_deletion_timestamp() = ToTimestamp(world.now);
    world.Put(Wrap(ns));
  }
  bool Gone() const { return !world.state.namespaces.contains({"", "default"}); }

  ClusterWorld world;
  NamespaceController controller;
};

TEST_F(NamespaceControllerTest, LeavesLivingNamespacesAlone) {
  world.AddDeployment("web", 1);
  EXPECT_THAT(Describe(Reconcile()), IsEmpty());
}

TEST_F(NamespaceControllerTest, EmptiesTheNamespaceOwnersFirst) {
  world.AddNode("a");
  world.AddDeployment("web", 1);
  world.AddReplicaSet("web-1", "web", 1);
  world.AddPodOf("web-1", "web-1-x", "a", true);
  world.AddService("web", "web");
  DeleteNamespace();

  const ReconcileResult result = Reconcile();

  EXPECT_THAT(Describe(result), ElementsAre("delete web", "delete web-1", "delete web",
                                            "delete web-1-x", "status default"));
  world.Apply(result);
  EXPECT_EQ(world.state.namespaces.at({"", "default"})->status().phase(), "Terminating");
  EXPECT_FALSE(Gone());

  // The agent reports the pod's end.
  world.state.Remove(v1::KIND_POD, InDefault("web-1-x"));
  world.Settle(controller, {"", "default"});
  EXPECT_TRUE(Gone());
}

TEST_F(NamespaceControllerTest, LeavesOtherNamespacesAlone) {
  v1::Pod other;
  other.mutable_metadata()->set_name("p");
  other.mutable_metadata()->set_namespace_("default-2");
  world.Put(Wrap(other));
  DeleteNamespace();

  world.Settle(controller, {"", "default"});

  EXPECT_TRUE(Gone());
  EXPECT_EQ(world.state.pods.size(), 1u);
}

TEST_F(NamespaceControllerTest, DoesNotWaitForeverForADeadNode) {
  world.AddNode("a");
  world.AddPod("p", "web", "a", true);
  world.Terminate("p", 30);
  world.Silence("a");
  DeleteNamespace();
  world.Apply(Reconcile());
  EXPECT_EQ(Reconcile().requeue_at, world.now + absl::Seconds(30) + kSilentNodeMargin);

  world.now += absl::Seconds(30) + kSilentNodeMargin;
  world.Settle(controller, {"", "default"});

  EXPECT_TRUE(Gone());
}

TEST_F(NamespaceControllerTest, GivesAHeardNodeLongerToStopAPod) {
  world.AddNode("a");
  world.AddPod("p", "web", "a", true);
  world.Terminate("p", 30);
  DeleteNamespace();
  world.Apply(Reconcile());

  world.now += absl::Seconds(30) + kSilentNodeMargin;
  EXPECT_THAT(Describe(Reconcile()), IsEmpty());
  world.now += kStuckPodMargin;
  EXPECT_THAT(Describe(Reconcile()), ElementsAre("remove p"));
}

v1::Resource Named(v1::Kind kind, const std::string& name) {
  v1::Resource out = schema::NewResource(kind);
  MutableMetaOf(&out)->set_name(name);
  MutableMetaOf(&out)->set_namespace_("default");
  return out;
}

TEST_F(NamespaceControllerTest, TakesWhatIsOnlyStoredWithIt) {
  v1::Resource set = Named(v1::KIND_STATEFUL_SET, "db");
  set.mutable_stateful_set()->mutable_spec()->mutable_template_();
  world.Put(set);
  world.Put(Named(v1::KIND_CONFIG_MAP, "conf"));
  world.Put(Named(v1::KIND_SECRET, "keys"));
  v1::Resource other = Named(v1::KIND_SECRET, "others");
  MutableMetaOf(&other)->set_namespace_("shop");
  world.Put(other);
  world.AddPod("p", "web");
  DeleteNamespace();

  // What makes pods goes at once; what pods read, after them.
  EXPECT_THAT(Describe(Reconcile()), ::testing::Contains("delete db"));
  EXPECT_THAT(Describe(Reconcile()), ::testing::Not(::testing::Contains("delete conf")));
  world.Settle(controller, {"", "default"}, 6);

  EXPECT_TRUE(Gone());
  EXPECT_EQ(world.state.Find(v1::KIND_CONFIG_MAP, {"default", "conf"}), nullptr);
  EXPECT_EQ(world.state.Find(v1::KIND_SECRET, {"default", "keys"}), nullptr);
  EXPECT_NE(world.state.Find(v1::KIND_SECRET, {"shop", "others"}), nullptr);
}

TEST_F(NamespaceControllerTest, WaitsForFinalizersOfOthers) {
  v1::Namespace ns = *world.state.namespaces.at({"", "default"});
  ns.mutable_metadata()->add_finalizers("example.org/backup");
  world.Put(Wrap(ns));
  DeleteNamespace();

  world.Settle(controller, {"", "default"});

  EXPECT_FALSE(Gone());
}

TEST_F(NamespaceControllerTest, BoundsItsWritesPerStep) {
  for (int i = 0; i < 1100; ++i) world.AddPod("p" + std::to_string(i), "web");
  DeleteNamespace();

  EXPECT_LE(Reconcile().writes.size(), static_cast<size_t>(kMaxWritesPerStep));
  world.Settle(controller, {"", "default"}, 6);

  EXPECT_TRUE(Gone());
}

}  // namespace
}  // namespace mesh::controlplane
