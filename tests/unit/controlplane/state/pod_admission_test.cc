// SPDX-License-Identifier: Apache-2.0
#include "controlplane/state/pod_admission.h"

#include <optional>

#include "controlplane/controllers/service_account_controller.h"
#include "gtest/gtest.h"
#include "tests/unit/controlplane/state/world.h"

namespace mesh::controlplane {
namespace {

v1::Resource AnAccount(const std::string& name) {
  v1::Resource out;
  out.mutable_service_account()->mutable_metadata()->set_namespace_("default");
  out.mutable_service_account()->mutable_metadata()->set_name(name);
  return out;
}

v1::Resource AClass(const std::string& name, int32_t value, bool is_default = false) {
  v1::Resource out;
  out.mutable_priority_class()->mutable_metadata()->set_name(name);
  out.mutable_priority_class()->set_value(value);
  if (is_default) out.mutable_priority_class()->set_global_default(true);
  return out;
}

TEST(AdmitNewPod, NamesTheDefaultAccountAndTheClassOfService) {
  World world;

  const auto pod = world.Create(APod("p"));

  ASSERT_TRUE(pod.ok()) << pod.status();
  EXPECT_EQ(pod->resource->pod().spec().service_account_name(), "default");
  EXPECT_EQ(pod->resource->pod().status().qos_class(), "BestEffort");
  EXPECT_FALSE(pod->resource->pod().spec().has_priority());
}

TEST(AdmitNewPod, RefusesAnAccountThatIsNotThere) {
  World world;
  v1::Resource pod = APod("p");
  pod.mutable_pod()->mutable_spec()->set_service_account("robot");

  EXPECT_EQ(world.Create(pod).status(),
            absl::PermissionDeniedError("pods \"p\" is forbidden: error looking up service account "
                                        "default/robot: serviceaccount \"robot\" not found"));

  ASSERT_TRUE(world.Create(AnAccount("robot")).ok());
  const auto created = world.Create(pod);
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_EQ(created->resource->pod().spec().service_account_name(), "robot");
}

TEST(AdmitNewPod, GivesThePullSecretsOfTheAccount) {
  World world;
  v1::Resource account = AnAccount("default");
  account.mutable_service_account()->add_image_pull_secrets()->set_name("login");
  ASSERT_TRUE(world.Create(account).ok());

  const auto pod = world.Create(APod("p"));
  ASSERT_TRUE(pod.ok()) << pod.status();
  ASSERT_EQ(pod->resource->pod().spec().image_pull_secrets_size(), 1);
  EXPECT_EQ(pod->resource->pod().spec().image_pull_secrets(0).name(), "login");

  v1::Resource own = APod("q");
  own.mutable_pod()->mutable_spec()->add_image_pull_secrets()->set_name("own");
  const auto other = world.Create(own);
  ASSERT_TRUE(other.ok()) << other.status();
  ASSERT_EQ(other->resource->pod().spec().image_pull_secrets_size(), 1);
  EXPECT_EQ(other->resource->pod().spec().image_pull_secrets(0).name(), "own");
}

TEST(AdmitNewPod, LooksUpThePriority) {
  World world;
  const auto create = [&](const std::string& name, const std::string& of_class,
                          std::optional<int32_t> own = {}) {
    v1::Resource pod = APod(name);
    pod.mutable_pod()->mutable_spec()->set_priority_class_name(of_class);
    if (own) pod.mutable_pod()->mutable_spec()->set_priority(*own);
    return world.Create(pod);
  };

  EXPECT_EQ(create("a", "system-node-critical")->resource->pod().spec().priority(), 2'000'001'000);
  EXPECT_EQ(create("b", "high").status().message(),
            "pods \"b\" is forbidden: no PriorityClass with name high was found");
  ASSERT_TRUE(world.Create(AClass("high", 1000)).ok());
  EXPECT_EQ(create("b", "high")->resource->pod().spec().priority(), 1000);
  EXPECT_EQ(
      create("c", "high", 7).status().message(),
      "pods \"c\" is forbidden: the integer value of priority (7) must not be provided in pod "
      "spec; priority admission controller computed 1000 from the given PriorityClass name");
  ASSERT_TRUE(world.Create(AClass("usual", 5, true)).ok());
  const auto usual = create("d", "");
  EXPECT_EQ(usual->resource->pod().spec().priority(), 5);
  EXPECT_EQ(usual->resource->pod().spec().priority_class_name(), "usual");
}

TEST(ServiceAccountController, GivesEveryLivingNamespaceItsAccount) {
  const ServiceAccountController controller;
  ClusterState state;
  v1::Resource ns = ANamespace("shop");
  state.Put(ns);
  EXPECT_EQ(controller.Affected(state, {nullptr, std::make_shared<v1::Resource>(ns)}),
            (std::vector<ObjectKey>{{"", "shop"}}));

  const ReconcileResult result = controller.Reconcile(state, {"", "shop"}, absl::UnixEpoch());

  ASSERT_EQ(result.writes.size(), 1u);
  EXPECT_EQ(result.writes[0].resource.service_account().metadata().name(), "default");
  EXPECT_EQ(result.writes[0].resource.service_account().metadata().namespace_(), "shop");
  state.Put(result.writes[0].resource);
  EXPECT_TRUE(controller.Reconcile(state, {"", "shop"}, absl::UnixEpoch()).writes.empty());
  ns.mutable_namespace_()->mutable_metadata()->mutable_deletion_timestamp();
  ClusterState ending;
  ending.Put(ns);
  EXPECT_TRUE(controller.Reconcile(ending, {"", "shop"}, absl::UnixEpoch()).writes.empty());
}

}  // namespace
}  // namespace mesh::controlplane
