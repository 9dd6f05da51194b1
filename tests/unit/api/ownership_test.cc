// SPDX-License-Identifier: Apache-2.0
// Server-side apply as Kubernetes documents it.
#include "api/schema/ownership.h"

#include "api/schema/defaults.h"
#include "api/schema/merge.h"
#include "api/schema/schema.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/api/from_text.h"

namespace mesh::schema {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;

ServerSideOptions By(const std::string& manager, int64_t second = 1, bool force = false) {
  ServerSideOptions options{.manager = manager, .force = force, .now = {}};
  options.now.set_seconds(second);
  return options;
}

google::protobuf::Timestamp At(int64_t second) {
  google::protobuf::Timestamp out;
  out.set_seconds(second);
  return out;
}

// As the server has it then.
v1::Resource Applied(const v1::Resource& file, const v1::Resource* live,
                     const ServerSideOptions& options) {
  auto next = ServerSideApply(file, live, options);
  MESH_CHECK(next.ok()) << next.status().ToString();
  ApplyDefaults(&*next);
  return *std::move(next);
}

std::string Refusal(const v1::Resource& file, const v1::Resource& live,
                    const ServerSideOptions& options) {
  const auto next = ServerSideApply(file, &live, options);
  return next.ok() ? "" : std::string(next.status().message());
}

v1::Resource WithReplicas(v1::Resource file, int replicas) {
  file.mutable_deployment()->mutable_spec()->set_replicas(replicas);
  return file;
}

std::vector<std::string> PathsOf(const v1::Resource& object, const std::string& manager,
                                 const std::string& operation = "Apply") {
  for (const v1::ManagedFields& entry : MetaOf(object).managed_fields()) {
    if (entry.manager() == manager && entry.operation() == operation) {
      return {entry.paths().begin(), entry.paths().end()};
    }
  }
  return {};
}

// Of a Deployment "web" that says nothing but labels of its metadata.
v1::Resource OnlyLabels(const std::string& key, const std::string& value) {
  v1::Resource out = FromText(R"(deployment { metadata { name: "web" } })");
  (*out.mutable_deployment()->mutable_metadata()->mutable_labels())[key] = value;
  return out;
}

TEST(ServerSideApply, OwnsWhatTheFileSaysAndNotWhatDefaultsAdd) {
  const v1::Resource live = Applied(WithReplicas(ValidDeployment(), 3), nullptr, By("a"));
  EXPECT_THAT(PathsOf(live, "a"), Contains(".spec.replicas"));
  EXPECT_THAT(PathsOf(live, "a"), Not(Contains(".spec.revisionHistoryLimit")));
  EXPECT_EQ(live.deployment().metadata().managed_fields(0).api_version(), "apps/v1");
  EXPECT_EQ(live.deployment().metadata().managed_fields(0).time().seconds(), 1);
}

TEST(ServerSideApply, OfTheSameFileChangesNothingNotEvenTheTime) {
  const v1::Resource file = WithReplicas(ValidDeployment(), 3);
  const v1::Resource live = Applied(file, nullptr, By("a", 1));
  EXPECT_EQ(Applied(file, &live, By("a", 2)).SerializeAsString(), live.SerializeAsString());
}

TEST(ServerSideApply, RefusesToChangeWhatAnotherOwns) {
  const v1::Resource live = Applied(WithReplicas(ValidDeployment(), 3), nullptr, By("a"));
  EXPECT_EQ(Refusal(WithReplicas(ValidDeployment(), 5), live, By("b")),
            "Apply failed with 1 conflict: conflict with \"a\": .spec.replicas");
  EXPECT_EQ(ServerSideApply(WithReplicas(ValidDeployment(), 5), &live, By("b")).status().code(),
            absl::StatusCode::kAborted);
}

TEST(ServerSideApply, ListsTheConflictsByManager) {
  v1::Resource live = Applied(WithReplicas(ValidDeployment(), 3), nullptr, By("a"));
  v1::Resource updated = live;
  updated.mutable_deployment()->mutable_spec()->set_min_ready_seconds(7);
  RecordUpdate(live, "m", At(2), &updated);
  v1::Resource file = WithReplicas(ValidDeployment(), 5);
  file.mutable_deployment()->mutable_spec()->set_min_ready_seconds(9);
  auto* container = file.mutable_deployment()
                        ->mutable_spec()
                        ->mutable_template_()
                        ->mutable_spec()
                        ->mutable_containers(0);
  container->set_image("nginx:2");
  EXPECT_EQ(Refusal(file, updated, By("b")),
            "Apply failed with 3 conflicts: conflicts with \"a\":\n"
            "- .spec.replicas\n"
            "- .spec.template.spec.containers[name=\"web\"].image\n"
            "conflicts with \"m\" using apps/v1:\n"
            "- .spec.minReadySeconds");
}

TEST(ServerSideApply, ForceTakesTheFieldOver) {
  const v1::Resource live = Applied(WithReplicas(ValidDeployment(), 3), nullptr, By("a"));
  const v1::Resource next =
      Applied(WithReplicas(ValidDeployment(), 5), &live, By("b", 2, /*force=*/true));
  EXPECT_EQ(next.deployment().spec().replicas(), 5);
  EXPECT_THAT(PathsOf(next, "a"), Not(Contains(".spec.replicas")));
  EXPECT_THAT(PathsOf(next, "b"), Contains(".spec.replicas"));
  // What both say is both's.
  EXPECT_THAT(PathsOf(next, "a"), Contains(".spec.selector"));
  EXPECT_THAT(PathsOf(next, "b"), Contains(".spec.selector"));
}

TEST(ServerSideApply, SharesWhatIsEqualAndRemovesItWithItsLastOwner) {
  const v1::Resource file = WithReplicas(ValidDeployment(), 3);
  const v1::Resource one = Applied(file, nullptr, By("a"));
  const v1::Resource both = Applied(file, &one, By("b"));

  const v1::Resource left = Applied(ValidDeployment(), &both, By("a"));
  EXPECT_EQ(left.deployment().spec().replicas(), 3);
  EXPECT_THAT(PathsOf(left, "b"), Contains(".spec.replicas"));

  const v1::Resource gone = Applied(ValidDeployment(), &left, By("b"));
  EXPECT_EQ(gone.deployment().spec().replicas(), 1) << "the default";
  EXPECT_THAT(PathsOf(gone, "a"), Not(Contains(".spec.replicas")));
}

TEST(ServerSideApply, LeavesWhatNobodyElseSaysAlone) {
  const v1::Resource live = Applied(ValidDeployment(), nullptr, By("a"));
  const v1::Resource labelled = Applied(OnlyLabels("tier", "front"), &live, By("b"));
  EXPECT_EQ(labelled.deployment().metadata().labels().at("tier"), "front");
  EXPECT_EQ(labelled.deployment().spec().template_().spec().containers_size(), 1);
  EXPECT_THAT(PathsOf(labelled, "b"), ElementsAre(".metadata.labels.tier"));

  const v1::Resource without = Applied(OnlyLabels("other", "x"), &labelled, By("b"));
  EXPECT_FALSE(without.deployment().metadata().labels().contains("tier"));
  EXPECT_EQ(without.deployment().metadata().labels().at("other"), "x");
}

TEST(ServerSideApply, MergesElementsByKeyAndRemovesOwnOnesWhole) {
  const v1::Resource base = ValidDeployment();
  v1::Resource with_two = base;
  auto* spec = with_two.mutable_deployment()->mutable_spec()->mutable_template_()->mutable_spec();
  auto* second = spec->add_containers();
  second->set_name("log");
  second->set_image("fluent:1");

  v1::Resource live = Applied(with_two, nullptr, By("a"));
  // A third one of another manager, and a field in one of the first's.
  v1::Resource theirs = FromText(R"(
    deployment { metadata { name: "web" } spec { template { spec {
      containers { name: "side" image: "s:1" } } } } })");
  live = Applied(theirs, &live, By("b"));
  EXPECT_EQ(live.deployment().spec().template_().spec().containers_size(), 3);

  const v1::Resource next = Applied(base, &live, By("a"));
  const auto& containers = next.deployment().spec().template_().spec().containers();
  ASSERT_EQ(containers.size(), 2);
  EXPECT_EQ(containers[0].name(), "web");
  EXPECT_EQ(containers[1].name(), "side");
}

TEST(ServerSideApply, SetsValuesOfSetsOneByOne) {
  v1::Resource file = ValidDeployment();
  file.mutable_deployment()->mutable_metadata()->add_finalizers("a/x");
  const v1::Resource live = Applied(file, nullptr, By("a"));
  v1::Resource theirs = FromText(R"(deployment { metadata { name: "web" finalizers: "b/y" } })");
  const v1::Resource both = Applied(theirs, &live, By("b"));
  EXPECT_THAT(both.deployment().metadata().finalizers(), ElementsAre("a/x", "b/y"));
  const v1::Resource next = Applied(ValidDeployment(), &both, By("a"));
  EXPECT_THAT(next.deployment().metadata().finalizers(), ElementsAre("b/y"));
}

TEST(ServerSideApply, WhatWasThereBeforeBelongsToBeforeFirstApply) {
  v1::Resource live = WithReplicas(ValidDeployment(), 3);
  ApplyDefaults(&live);
  EXPECT_EQ(Refusal(WithReplicas(ValidDeployment(), 5), live, By("a")),
            "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: "
            ".spec.replicas");
  const v1::Resource next = Applied(WithReplicas(ValidDeployment(), 3), &live, By("a"));
  EXPECT_THAT(PathsOf(next, "before-first-apply", "Update"), Contains(".spec.replicas"));
}

v1::Resource ClientSideApplied(const v1::Resource& file) {
  v1::Resource live = file;
  ApplyDefaults(&live);
  MutableMetaOf(&live)->set_last_applied(EncodeLastApplied(file));
  return live;
}

TEST(ServerSideApply, TakesOverWhatClientSideApplyHadSaid) {
  v1::Resource old_file = WithReplicas(ValidDeployment(), 3);
  old_file.mutable_deployment()->mutable_spec()->set_min_ready_seconds(4);
  const v1::Resource live = ClientSideApplied(old_file);
  v1::Resource file = WithReplicas(ValidDeployment(), 5);

  const v1::Resource next = Applied(file, &live, By(kDefaultManager));
  EXPECT_EQ(next.deployment().spec().replicas(), 5);
  EXPECT_EQ(next.deployment().spec().min_ready_seconds(), 0) << "no longer in the file";
  EXPECT_THAT(PathsOf(next, kClientSideManager, "Update"), ElementsAre());
  EXPECT_EQ(next.deployment().metadata().last_applied(), EncodeLastApplied(file));

  EXPECT_EQ(Refusal(file, live, By("other")),
            "Apply failed with 1 conflict: conflict with \"meshctl-client-side-apply\" using "
            "apps/v1: .spec.replicas");
}

TEST(ServerSideApply, DoesNotTakeOverWhatAnotherChangedAfterClientSideApply) {
  v1::Resource live = ClientSideApplied(WithReplicas(ValidDeployment(), 3));
  live.mutable_deployment()->mutable_spec()->set_replicas(9);
  EXPECT_EQ(Refusal(WithReplicas(ValidDeployment(), 3), live, By(kDefaultManager)),
            "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: "
            ".spec.replicas");
}

TEST(ServerSideApply, ChangesTheTypeOfAStrategyOnlyWhereItIsItsOwn) {
  v1::Resource file = ValidDeployment();
  file.mutable_deployment()->mutable_spec()->mutable_strategy()->set_type("Recreate");
  const v1::Resource live = Applied(ValidDeployment(), nullptr, By("a"));
  const v1::Resource next = *ServerSideApply(file, &live, By("a"));
  EXPECT_EQ(next.deployment().spec().strategy().type(), "Recreate");
}

TEST(ServerSideApply, RefusesTwoElementsOfOneKey) {
  v1::Resource file = ValidService();
  *file.mutable_service()->mutable_spec()->add_ports() = file.service().spec().ports(0);
  EXPECT_EQ(ServerSideApply(file, nullptr, By("a")).status().message(),
            ".spec.ports: duplicate entries for key [port=80,protocol=\"TCP\"]");
}

TEST(RecordUpdate, SaysNothingOfAnObjectThatWasNeverAppliedHere) {
  v1::Resource live = ValidDeployment();
  v1::Resource next = WithReplicas(live, 4);
  RecordUpdate(live, "m", At(1), &next);
  EXPECT_EQ(next.deployment().metadata().managed_fields_size(), 0);
}

TEST(RecordUpdate, TakesWhatItChangesAndFreesWhatItRemoves) {
  v1::Resource file = WithReplicas(ValidDeployment(), 3);
  (*file.mutable_deployment()->mutable_metadata()->mutable_labels())["tier"] = "front";
  const v1::Resource live = Applied(file, nullptr, By("a"));
  v1::Resource next = WithReplicas(live, 4);
  next.mutable_deployment()->mutable_metadata()->clear_labels();
  next.mutable_deployment()->mutable_metadata()->clear_managed_fields();  // a client's own copy
  RecordUpdate(live, "m", At(5), &next);

  EXPECT_THAT(PathsOf(next, "m", "Update"), ElementsAre(".spec.replicas"));
  EXPECT_THAT(PathsOf(next, "a"), Not(Contains(".spec.replicas")));
  EXPECT_THAT(PathsOf(next, "a"), Not(Contains(".metadata.labels.tier")));

  v1::Resource same = next;
  RecordUpdate(next, "m", At(9), &same);
  EXPECT_EQ(same.SerializeAsString(), next.SerializeAsString());
}

TEST(RecordUpdate, TheOldestOfManyManagersBecomeOne) {
  v1::Resource live = Applied(ValidDeployment(), nullptr, By("a"));
  for (int i = 0; i < 14; ++i) {
    v1::Resource next = live;
    (*next.mutable_deployment()->mutable_metadata()->mutable_labels())["k" + std::to_string(i)] =
        "v";
    RecordUpdate(live, "m" + std::to_string(i), At(10 + i), &next);
    live = next;
  }
  int updates = 0;
  for (const auto& entry : MetaOf(live).managed_fields()) {
    updates += entry.operation() == "Update" ? 1 : 0;
  }
  EXPECT_EQ(updates, kMaxUpdateManagers);
  EXPECT_THAT(PathsOf(live, kAncientManager, "Update"), Contains(".metadata.labels.k0"));
  EXPECT_THAT(PathsOf(live, "m13", "Update"), ElementsAre(".metadata.labels.k13"));
}

TEST(CheckManager, KnowsItsLimits) {
  EXPECT_TRUE(CheckManager("gitops").ok());
  EXPECT_TRUE(CheckManager(std::string(128, 'x')).ok());
  EXPECT_EQ(CheckManager(std::string(129, 'x')).message(),
            "fieldManager: Too long: may not be more than 128 bytes");
  EXPECT_FALSE(CheckManager("a\nb").ok());
}

}  // namespace
}  // namespace mesh::schema
