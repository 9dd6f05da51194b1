// SPDX-License-Identifier: Apache-2.0
// Goal: each way of patching changes what it says and nothing else.
#include "cli/manifest/patch.h"

#include "api/schema/schema.h"
#include "cli/manifest/manifest.h"
#include "cli/manifest/print.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::manifest {
namespace {

using ::testing::HasSubstr;

v1::Resource Live() {
  constexpr char kText[] = R"(apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {a: '1', b: '2'}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: web:1
        args: [x, z]
        ports: [{containerPort: 80}]
      - {name: log, image: 'log:1'}
)";
  v1::Resource out = Decode({{"live", kText}}).objects.at(0).resource;
  v1::ObjectMeta& meta = *schema::MutableMetaOf(&out);
  meta.set_uid("u1");
  meta.set_resource_version("7");
  meta.set_last_applied("as it was");
  out.mutable_deployment()->mutable_status()->set_observed_generation(3);
  return out;
}

v1::Resource Must(PatchType type, std::string_view patch) {
  absl::StatusOr<v1::Resource> out = Patched(Live(), type, patch);
  EXPECT_TRUE(out.ok()) << out.status();
  return out.ok() ? *std::move(out) : v1::Resource();
}

std::string Problem(PatchType type, std::string_view patch) {
  return std::string(Patched(Live(), type, patch).status().message());
}

TEST(Patched, LeavesAloneWhatThePatchDoesNotName) {
  const v1::Resource out = Must(PatchType::kStrategic, R"({"spec": {"replicas": 3}})");

  v1::Resource expected = Live();
  expected.mutable_deployment()->mutable_spec()->set_replicas(3);
  EXPECT_EQ(out.SerializeAsString().size(), expected.SerializeAsString().size());
  EXPECT_EQ(ToYaml(out), ToYaml(expected));
  EXPECT_EQ(schema::MetaOf(out).last_applied(), "as it was");
}

TEST(Patched, MergesListsByTheirKeysInAStrategicPatch) {
  const v1::Resource out = Must(PatchType::kStrategic,
                                "spec:\n  template:\n    spec:\n      containers:\n"
                                "      - name: web\n        image: web:2\n"
                                "        args: [z]\n        ports: [{containerPort: 81}]\n"
                                "      - {name: log, $patch: delete}\n"
                                "      - {name: new, image: 'new:1'}\n");

  const auto& containers = out.deployment().spec().template_().spec().containers();
  ASSERT_EQ(containers.size(), 2);
  EXPECT_EQ(containers[0].image(), "web:2");
  EXPECT_EQ(containers[0].args().size(), 1);
  EXPECT_EQ(containers[0].ports().size(), 2);
  EXPECT_EQ(containers[1].name(), "new");
}

TEST(Patched, ReplacesListsInAMergePatchAndRemovesByNull) {
  const v1::Resource out =
      Must(PatchType::kMerge,
           "metadata: {labels: {a: null, c: '3'}}\n"
           "spec: {template: {spec: {containers: [{name: one, image: 'one:1'}]}}}\n");

  EXPECT_EQ(out.deployment().spec().template_().spec().containers_size(), 1);
  const auto& labels = schema::MetaOf(out).labels();
  EXPECT_FALSE(labels.contains("a"));
  EXPECT_EQ(labels.at("b"), "2");
  EXPECT_EQ(labels.at("c"), "3");
}

TEST(Patched, RunsTheOperationsOfAJsonPatch) {
  const v1::Resource out = Must(PatchType::kJson,
                                R"([{"op": "test", "path": "/spec/replicas", "value": 2},
               {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "web:3"},
               {"op": "remove", "path": "/metadata/labels/a"}])");

  EXPECT_EQ(out.deployment().spec().template_().spec().containers(0).image(), "web:3");
  EXPECT_FALSE(schema::MetaOf(out).labels().contains("a"));

  EXPECT_THAT(
      Problem(PatchType::kJson, R"([{"op": "test", "path": "/spec/replicas", "value": 9}])"),
      HasSubstr("the patch does not fit: "));
}

TEST(Patched, RefusesWhatTheObjectCannotBe) {
  EXPECT_THAT(Problem(PatchType::kMerge, "spec: {replics: 3}"),
              HasSubstr("spec.replics: unknown field; did you mean \"replicas\"?"));
  EXPECT_THAT(Problem(PatchType::kStrategic, "spec: {replicas: many}"),
              HasSubstr("spec.replicas: expected integer, got string \"many\""));
  EXPECT_THAT(Problem(PatchType::kMerge, "metadata: {name: other}"),
              HasSubstr("cannot be patched"));
  EXPECT_THAT(Problem(PatchType::kStrategic, "spec: {$setElementOrder/x: []}"),
              HasSubstr("not supported yet"));
  EXPECT_THAT(
      Problem(PatchType::kStrategic, "spec: {template: {spec: {containers: [{image: x}]}}}"),
      HasSubstr("does not contain declared merge key: name"));
  EXPECT_THAT(Problem(PatchType::kMerge, "[1]"), HasSubstr("must be a mapping"));
}

}  // namespace
}  // namespace mesh::manifest
