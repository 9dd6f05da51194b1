// SPDX-License-Identifier: Apache-2.0
// One number for all pods about which policies can ask nothing that tells them apart, and the
// writes that give it.
#include "controlplane/controllers/identity_controller.h"
#include "google/protobuf/text_format.h"
#include "tests/unit/controlplane/state/world.h"

namespace mesh::controlplane {
namespace {

class PodIdentity : public ::testing::Test {
 protected:
  v1::Resource Bound(const std::string& name, const std::string& ip, const std::string& app,
                     const std::string& ns = "default") {
    v1::Resource pod = APod(name, "", ns);
    (*pod.mutable_pod()->mutable_metadata()->mutable_labels())["app"] = app;
    EXPECT_TRUE(world_.Create(pod).ok());
    v1::Resource bound = *world_.cache.Find(v1::KIND_POD, {ns, name});
    bound.mutable_pod()->mutable_spec()->set_node_name("n1");
    bound.mutable_pod()->mutable_status()->set_pod_ip(ip);
    bound.mutable_pod()->mutable_status()->add_pod_ips()->set_ip(ip);
    return bound;
  }
  uint32_t Bind(const std::string& name, const std::string& ip, const std::string& app,
                const std::string& ns = "default") {
    EXPECT_TRUE(world_.Submit({Write::Type::kBind, Bound(name, ip, app, ns), {}}).ok());
    return Of(name, ns);
  }
  uint32_t Of(const std::string& name, const std::string& ns = "default") {
    return world_.cache.Find(v1::KIND_POD, {ns, name})->pod().status().identity();
  }
  void PutPolicy(const std::string& cidr) {
    v1::Resource policy;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
        R"(network_policy { metadata { namespace: "default" name: "p" } spec { ingress { from {
             ip_block { cidr: ")" +
            cidr + R"(" } } } } })",
        &policy));
    ASSERT_TRUE(world_.Create(policy).ok());
  }
  // What the controller has to say about all pods.
  void Reconcile() {
    const std::vector<ObjectKey> keys = controller_.Affected(
        world_.cache.state(),
        {nullptr, world_.cache.Find(v1::KIND_NETWORK_POLICY, {"default", "p"})});
    for (const ObjectKey& key : keys) {
      for (Write& write :
           controller_.Reconcile(world_.cache.state(), key, world_.loop.Now()).writes) {
        EXPECT_TRUE(world_.Submit(std::move(write)).ok());
      }
      EXPECT_TRUE(
          controller_.Reconcile(world_.cache.state(), key, world_.loop.Now()).writes.empty());
    }
  }

  World world_;
  IdentityController controller_;
};

TEST_F(PodIdentity, StandsForNamespaceAndLabels) {
  const uint32_t web = Bind("web", "10.244.0.2", "web");
  EXPECT_EQ(Bind("web-2", "10.244.0.3", "web"), web);
  EXPECT_NE(Bind("db", "10.244.0.4", "db"), web);
  EXPECT_NE(Bind("web", "10.244.0.5", "web", "kube-system"), web);
  for (const auto& [key, ns] : world_.cache.state().namespaces) {
    EXPECT_NE(ns->status().identity(), web) << "no number is both";
  }
}

TEST_F(PodIdentity, OfWritesInFlightIsOneForEqualPodsToo) {
  const v1::Resource a = Bound("a", "10.244.0.2", "web"), b = Bound("b", "10.244.0.3", "web"),
                     c = Bound("c", "10.244.0.4", "db");
  int done = 0;
  for (const v1::Resource& pod : {a, b, c}) {
    world_.writer.Submit({Write::Type::kBind, pod, {}},
                         [&](const absl::StatusOr<Written>& written) {
                           EXPECT_TRUE(written.ok()) << written.status();
                           ++done;
                         });
  }
  ASSERT_TRUE(world_.loop.RunUntil([&] { return done == 3; }, absl::Seconds(1)));
  EXPECT_EQ(Of("a"), Of("b"));
  EXPECT_NE(Of("a"), Of("c"));
}

TEST_F(PodIdentity, FollowsTheLabelsWithTheSameWrite) {
  const uint32_t before = Bind("web", "10.244.0.2", "web");
  v1::Resource pod = *world_.cache.Find(v1::KIND_POD, {"default", "web"});
  (*pod.mutable_pod()->mutable_metadata()->mutable_labels())["app"] = "shop";
  ASSERT_TRUE(world_.Submit({Write::Type::kUpdate, pod, {}}).ok());
  EXPECT_NE(Of("web"), before);
  const uint32_t shop = Of("web");

  // What is no business of policies changes nothing.
  pod = *world_.cache.Find(v1::KIND_POD, {"default", "web"});
  (*pod.mutable_pod()->mutable_metadata()->mutable_annotations())["note"] = "x";
  ASSERT_TRUE(world_.Submit({Write::Type::kUpdate, pod, {}}).ok());
  EXPECT_EQ(Of("web"), shop);
}

TEST_F(PodIdentity, TellsApartWhomARangeOfAPolicyTellsApart) {
  const uint32_t before = Bind("web", "10.244.0.2", "web");
  ASSERT_EQ(Bind("web-2", "10.244.0.200", "web"), before);
  PutPolicy("10.244.0.0/25");
  Reconcile();
  EXPECT_NE(Of("web"), before);
  EXPECT_EQ(Of("web-2"), before);
  EXPECT_EQ(Bind("web-3", "10.244.0.3", "web"), Of("web"));

  ASSERT_TRUE(world_.Delete(v1::KIND_NETWORK_POLICY, {"default", "p"}).ok());
  const auto keys = controller_.Affected(
      world_.cache.state(), {nullptr, world_.cache.Find(v1::KIND_POD, {"default", "web"})});
  EXPECT_EQ(keys.size(), 1u) << "the range is gone";
}

TEST_F(PodIdentity, OfATimeBeforePoliciesIsGivenAnew) {
  v1::Resource old = APod("old", "n1");
  old.mutable_pod()->mutable_status()->set_pod_ip("10.244.0.9");
  ASSERT_TRUE(world_.Create(old).ok());
  // As an older meshd has left it in the store.
  v1::Resource stored = *world_.cache.Find(v1::KIND_POD, {"default", "old"});
  const uint32_t number = world_.cache.state().namespaces.at({"", "default"})->status().identity();
  stored.mutable_pod()->mutable_status()->set_identity(number);
  ClusterState state = world_.cache.state();
  state.Put(stored);
  EXPECT_EQ(controller_.Reconcile(state, {"default", "old"}, world_.loop.Now()).writes.size(), 1u);
  EXPECT_NE(Of("old"), number);
}

}  // namespace
}  // namespace mesh::controlplane
