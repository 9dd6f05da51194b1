// SPDX-License-Identifier: Apache-2.0
// The three-way merge, with what Kubernetes' users rely on.
#include "api/schema/merge.h"

#include "api/schema/defaults.h"
#include "api/schema/validate.h"
#include "gtest/gtest.h"
#include "tests/unit/api/from_text.h"

namespace mesh::schema {
namespace {

v1::Resource Live(const v1::Resource& file) {
  v1::Resource live = file;
  ApplyDefaults(&live);
  live.mutable_deployment()->mutable_metadata()->set_uid("u-1");
  live.mutable_deployment()->mutable_metadata()->set_resource_version("7");
  live.mutable_deployment()->mutable_status()->set_replicas(3);
  return live;
}

v1::Container* FirstContainer(v1::Resource* r) {
  return r->mutable_deployment()
      ->mutable_spec()
      ->mutable_template_()
      ->mutable_spec()
      ->mutable_containers(0);
}

TEST(ThreeWayMerge, OfTheSameFileChangesNothing) {
  const v1::Resource file = ValidDeployment();
  const v1::Resource live = Live(file);

  v1::Resource merged = ThreeWayMerge(&file, file, live);
  ApplyDefaults(&merged);

  EXPECT_TRUE(SameIntent(live, merged));
  EXPECT_EQ(merged.deployment().metadata().uid(), "u-1");
  EXPECT_EQ(merged.deployment().status().replicas(), 3);
}

TEST(ThreeWayMerge, SetsWhatTheFileSets) {
  const v1::Resource last = ValidDeployment();
  v1::Resource file = last;
  file.mutable_deployment()->mutable_spec()->set_replicas(5);
  FirstContainer(&file)->set_image("nginx:1.28");

  const v1::Resource merged = ThreeWayMerge(&last, file, Live(last));

  EXPECT_EQ(merged.deployment().spec().replicas(), 5);
  EXPECT_EQ(merged.deployment().spec().template_().spec().containers(0).image(), "nginx:1.28");
  EXPECT_FALSE(SameSpec(merged, Live(last)));
}

TEST(ThreeWayMerge, LeavesAScaledDeploymentAloneWhenTheFileGivesNoReplicas) {
  const v1::Resource file = ValidDeployment();
  v1::Resource live = Live(file);
  live.mutable_deployment()->mutable_spec()->set_replicas(9);

  EXPECT_EQ(ThreeWayMerge(&file, file, live).deployment().spec().replicas(), 9);
}

TEST(ThreeWayMerge, PutsADroppedFieldBackToItsDefault) {
  v1::Resource last = ValidDeployment();
  last.mutable_deployment()->mutable_spec()->set_replicas(4);

  v1::Resource merged = ThreeWayMerge(&last, ValidDeployment(), Live(last));
  EXPECT_FALSE(merged.deployment().spec().has_replicas());
  ApplyDefaults(&merged);
  EXPECT_EQ(merged.deployment().spec().replicas(), 1);
}

TEST(ThreeWayMerge, MergesMapsByKey) {
  v1::Resource last = ValidDeployment();
  auto* last_labels = last.mutable_deployment()->mutable_metadata()->mutable_labels();
  (*last_labels)["old"] = "1";
  (*last_labels)["kept"] = "1";
  v1::Resource live = Live(last);
  (*live.mutable_deployment()->mutable_metadata()->mutable_labels())["theirs"] = "x";
  v1::Resource file = ValidDeployment();
  (*file.mutable_deployment()->mutable_metadata()->mutable_labels())["kept"] = "2";

  const v1::Resource merged = ThreeWayMerge(&last, file, live);

  const auto& labels = merged.deployment().metadata().labels();
  EXPECT_EQ(labels.size(), 2u);
  EXPECT_EQ(labels.at("kept"), "2");
  EXPECT_EQ(labels.at("theirs"), "x");
}

TEST(ThreeWayMerge, MergesContainersByName) {
  const v1::Resource last = ValidDeployment();
  v1::Resource live = Live(last);
  auto* side = live.mutable_deployment()
                   ->mutable_spec()
                   ->mutable_template_()
                   ->mutable_spec()
                   ->add_containers();
  side->set_name("injected");
  side->set_image("proxy:1");
  v1::Resource file = last;
  FirstContainer(&file)->set_image("nginx:2");

  const v1::Resource merged = ThreeWayMerge(&last, file, live);

  const v1::PodSpec& pod = merged.deployment().spec().template_().spec();
  ASSERT_EQ(pod.containers_size(), 2);
  EXPECT_EQ(pod.containers(0).image(), "nginx:2");
  EXPECT_EQ(pod.containers(0).image_pull_policy(), "IfNotPresent");  // defaulted: stays
  EXPECT_EQ(pod.containers(1).name(), "injected");
}

TEST(ThreeWayMerge, RemovesAContainerThatTheFileDropped) {
  v1::Resource last = ValidDeployment();
  auto* second = last.mutable_deployment()
                     ->mutable_spec()
                     ->mutable_template_()
                     ->mutable_spec()
                     ->add_containers();
  second->set_name("log");
  second->set_image("log:1");

  const v1::Resource merged = ThreeWayMerge(&last, ValidDeployment(), Live(last));

  ASSERT_EQ(merged.deployment().spec().template_().spec().containers_size(), 1);
  EXPECT_EQ(merged.deployment().spec().template_().spec().containers(0).name(), "web");
}

TEST(ThreeWayMerge, TakesAMissingProtocolForTheDefaultOne) {
  const v1::Resource file = ValidDeployment();  // containerPort 80 without protocol

  const v1::Resource merged = ThreeWayMerge(&file, file, Live(file));

  ASSERT_EQ(merged.deployment().spec().template_().spec().containers(0).ports_size(), 1);
  EXPECT_EQ(merged.deployment().spec().template_().spec().containers(0).ports(0).protocol(), "TCP");
}

TEST(ThreeWayMerge, ReplacesPlainListsWhole) {
  v1::Resource last = ValidDeployment();
  FirstContainer(&last)->add_args("-a");
  FirstContainer(&last)->add_args("-b");
  v1::Resource file = ValidDeployment();
  FirstContainer(&file)->add_args("-c");

  const v1::Resource merged = ThreeWayMerge(&last, file, Live(last));

  ASSERT_EQ(merged.deployment().spec().template_().spec().containers(0).args_size(), 1);
  EXPECT_EQ(merged.deployment().spec().template_().spec().containers(0).args(0), "-c");
}

TEST(ThreeWayMerge, TakesAListWithRepeatedKeysWhole) {
  v1::Resource last = ValidDeployment();
  v1::Resource file = last;
  for (const char* value : {"1", "2"}) {
    auto* env = FirstContainer(&file)->add_env();
    env->set_name("A");
    env->set_value(value);
  }

  const v1::Resource merged = ThreeWayMerge(&last, file, Live(last));

  EXPECT_EQ(merged.deployment().spec().template_().spec().containers(0).env_size(), 2);
}

TEST(ThreeWayMerge, KeepsFinalizersOfOthers) {
  v1::Resource last = ValidDeployment();
  last.mutable_deployment()->mutable_metadata()->add_finalizers("a.io/mine");
  v1::Resource live = Live(last);
  live.mutable_deployment()->mutable_metadata()->add_finalizers("b.io/theirs");

  const v1::Resource merged = ThreeWayMerge(&last, ValidDeployment(), live);

  ASSERT_EQ(merged.deployment().metadata().finalizers_size(), 1);
  EXPECT_EQ(merged.deployment().metadata().finalizers(0), "b.io/theirs");
}

TEST(ThreeWayMerge, LeavesNoRollingUpdateBehindRecreate) {
  const v1::Resource last = ValidDeployment();
  v1::Resource file = last;
  file.mutable_deployment()->mutable_spec()->mutable_strategy()->set_type("Recreate");

  v1::Resource merged = ThreeWayMerge(&last, file, Live(last));
  ApplyDefaults(&merged);

  EXPECT_EQ(JoinProblems(Validate(merged)), "");
  EXPECT_FALSE(merged.deployment().spec().strategy().has_rolling_update());
}

TEST(ThreeWayMerge, KeepsTheClusterAddressThatTheFileDoesNotGive) {
  const v1::Resource file = ValidService();
  v1::Resource live = file;
  ApplyDefaults(&live);
  live.mutable_service()->mutable_spec()->set_cluster_ip("10.96.0.7");
  live.mutable_service()->mutable_spec()->add_cluster_ips("10.96.0.7");

  const v1::Resource merged = ThreeWayMerge(&file, file, live);

  EXPECT_EQ(merged.service().spec().cluster_ip(), "10.96.0.7");
  EXPECT_TRUE(SameIntent(live, merged));
}

TEST(ThreeWayMerge, MovesAServicePort) {
  const v1::Resource last = ValidService();
  v1::Resource live = last;
  ApplyDefaults(&live);
  v1::Resource file = last;
  file.mutable_service()->mutable_spec()->mutable_ports(0)->set_port(8080);

  v1::Resource merged = ThreeWayMerge(&last, file, live);
  ApplyDefaults(&merged);

  ASSERT_EQ(merged.service().spec().ports_size(), 1);
  EXPECT_EQ(merged.service().spec().ports(0).port(), 8080);
  EXPECT_EQ(merged.service().spec().ports(0).target_port().int_value(), 8080);
}

TEST(ThreeWayMerge, RemovesNothingWithoutALastAppliedConfiguration) {
  v1::Resource live = Live(ValidDeployment());
  (*live.mutable_deployment()->mutable_metadata()->mutable_annotations())["a"] = "b";

  const v1::Resource merged = ThreeWayMerge(nullptr, ValidDeployment(), live);

  EXPECT_TRUE(SameIntent(live, merged));
}

TEST(SameIntent, WhereAPolicyStandsIsNoIntent) {
  v1::Resource a;
  v1::ObjectMeta& meta = *a.mutable_network_policy()->mutable_metadata();
  meta.set_name("web");
  v1::Resource b = a;
  (*meta.mutable_annotations())["mesh.io/source"] = "web.yaml:3 ingress=9";
  EXPECT_TRUE(SameIntent(a, b));
  (*meta.mutable_annotations())["note"] = "for people";
  EXPECT_FALSE(SameIntent(a, b));
}

TEST(SameIntent, DoesNotLookAtWhatTheSystemWrites) {
  const v1::Resource a = Live(ValidDeployment());
  v1::Resource b = a;
  b.mutable_deployment()->mutable_metadata()->set_resource_version("8");
  b.mutable_deployment()->mutable_metadata()->set_last_applied("x");
  b.mutable_deployment()->mutable_status()->set_replicas(1);
  EXPECT_TRUE(SameIntent(a, b));

  (*b.mutable_deployment()->mutable_metadata()->mutable_labels())["a"] = "b";
  EXPECT_FALSE(SameIntent(a, b));
  EXPECT_TRUE(SameSpec(a, b));
}

TEST(LastApplied, ComesBackAsTheManifestHadIt) {
  v1::Resource file = ValidDeployment();
  file.mutable_deployment()->mutable_metadata()->set_uid("gone");

  const auto back = DecodeLastApplied(EncodeLastApplied(file));

  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_TRUE(SameIntent(*back, ValidDeployment()));
  EXPECT_EQ(back->deployment().metadata().uid(), "");
  EXPECT_EQ(EncodeLastApplied(*back), EncodeLastApplied(file));
  EXPECT_EQ(DecodeLastApplied("\xff\xff").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(DecodeLastApplied("").status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace mesh::schema
