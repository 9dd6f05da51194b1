// SPDX-License-Identifier: Apache-2.0
// What counts as one field, and how fields are named.
#include "api/schema/field_set.h"

#include "api/schema/merge.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/api/from_text.h"

namespace mesh::schema {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(FieldSet, NamesEveryFieldOfAnObjectButWhatTheSystemWrites) {
  v1::Resource web = ValidDeployment();
  auto* meta = web.mutable_deployment()->mutable_metadata();
  meta->set_uid("u-1");
  meta->set_generation(3);
  meta->add_finalizers("mesh.io/x");
  (*meta->mutable_labels())["app.kubernetes.io/name"] = "web";
  web.mutable_deployment()->mutable_status()->set_replicas(1);

  const std::string containers = ".spec.template.spec.containers[name=\"web\"]";
  const std::string port = containers + ".ports[containerPort=80,protocol=\"TCP\"]";
  EXPECT_THAT(FieldsOf(web),
              ElementsAre(".metadata.finalizers[=\"mesh.io/x\"]",
                          ".metadata.labels.\"app.kubernetes.io/name\"", ".spec.selector",
                          ".spec.template.metadata.labels.app", containers, containers + ".image",
                          containers + ".name", port, port + ".containerPort"));
}

TEST(FieldSet, TakesListsWithoutKeysSelectorsAndReferencesAsOneField) {
  const v1::Resource pod = FromText(R"(
    pod {
      metadata { name: "p" }
      spec {
        node_selector { key: "disk" value: "ssd" }
        tolerations { key: "a" operator: "Exists" }
        tolerations { key: "b" operator: "Exists" }
        containers {
          name: "a" command: "sleep" command: "1"
          env { name: "K" value_from { secret_key_ref { name: "s" key: "k" } } }
          resources { limits { key: "cpu" value { text: "1" } } }
        }
        volumes { name: "v" empty_dir {} }
      }
    })");
  const std::string a = ".spec.containers[name=\"a\"]";
  EXPECT_THAT(FieldsOf(pod),
              ElementsAre(a, a + ".command", a + ".env[name=\"K\"]", a + ".env[name=\"K\"].name",
                          a + ".env[name=\"K\"].valueFrom.secretKeyRef", a + ".name",
                          a + ".resources.limits.cpu", ".spec.nodeSelector", ".spec.tolerations",
                          ".spec.volumes[name=\"v\"]", ".spec.volumes[name=\"v\"].emptyDir",
                          ".spec.volumes[name=\"v\"].name"));
}

TEST(FieldSet, TellsTwoListsApartWhoseTextsJoinedAreTheSame) {
  v1::Resource one = ValidPod();
  one.mutable_pod()->mutable_spec()->mutable_containers(0)->add_args("ab");
  v1::Resource two = ValidPod();
  two.mutable_pod()->mutable_spec()->mutable_containers(0)->add_args("a");
  two.mutable_pod()->mutable_spec()->mutable_containers(0)->add_args("b");
  EXPECT_THAT(CompareFields(ValuesOf(one), ValuesOf(two)).modified,
              ElementsAre(".spec.containers[name=\"a\"].args"));
}

TEST(FieldSet, AnEmptyMessageThatIsFilledIsNotRemoved) {
  const v1::Resource before =
      FromText(R"(pod { metadata { name: "p" } spec { volumes { name: "v" empty_dir {} } } })");
  v1::Resource after = before;
  after.mutable_pod()->mutable_spec()->mutable_volumes(0)->mutable_empty_dir()->set_medium(
      "Memory");
  const FieldChanges there = CompareFields(ValuesOf(before), ValuesOf(after));
  EXPECT_THAT(there.removed, IsEmpty());
  EXPECT_THAT(there.added, ElementsAre(".spec.volumes[name=\"v\"].emptyDir.medium"));
  EXPECT_THAT(CompareFields(ValuesOf(after), ValuesOf(before)).added, IsEmpty());
}

TEST(FieldSet, PathsComeApartAtDotsAndBracketsThatAreNotQuoted) {
  EXPECT_THAT(PathPieces(".metadata.labels.\"a.b/c\""),
              ElementsAre(".metadata", ".labels", ".\"a.b/c\""));
  EXPECT_THAT(PathPieces(".spec.x[name=\"a.b]\\\"c\"].image"),
              ElementsAre(".spec", ".x", "[name=\"a.b]\\\"c\"]", ".image"));
  EXPECT_EQ(ReadablePath(".metadata.labels.\"a.b/c\""), ".metadata.labels.a.b/c");
}

TEST(FieldSet, ParentsAreNamedFieldsAndNotElements) {
  EXPECT_THAT(WithParents({".spec.containers[name=\"a\"].image"}),
              ElementsAre(".spec", ".spec.containers", ".spec.containers[name=\"a\"].image"));
}

TEST(FieldSet, RemovesScalarsEntriesElementsAndValues) {
  v1::Resource pod = FromText(R"(
    pod {
      metadata { name: "p" finalizers: "x" finalizers: "y" labels { key: "a.b/c" value: "1" }
                 labels { key: "d" value: "2" } }
      spec {
        hostname: "h"
        containers { name: "a" image: "i" }
        containers { name: "b" image: "j" env { name: "K" value: "v" } }
        containers { name: "c" image: "k" }
      }
    })");
  RemoveFields({".metadata.finalizers[=\"x\"]", ".metadata.labels.\"a.b/c\"", ".spec.hostname",
                ".spec.containers[name=\"a\"]", ".spec.containers[name=\"b\"].env",
                ".spec.containers[name=\"none\"].image", ".spec.none"},
               &pod);
  const v1::Resource wanted = FromText(R"(
    pod {
      metadata { name: "p" finalizers: "y" labels { key: "d" value: "2" } }
      spec { containers { name: "b" image: "j" } containers { name: "c" image: "k" } }
    })");
  EXPECT_TRUE(SameIntent(pod, wanted)) << pod.DebugString();
}

TEST(FieldSet, RefusesTwoElementsOfOneKey) {
  v1::Resource web = ValidService();
  *web.mutable_service()->mutable_spec()->add_ports() = web.service().spec().ports(0);
  EXPECT_EQ(CheckListKeys(web).message(),
            ".spec.ports: duplicate entries for key [port=80,protocol=\"TCP\"]");
  EXPECT_TRUE(CheckListKeys(ValidService()).ok());
  // Ownership then takes the list as a whole.
  EXPECT_TRUE(FieldsOf(web).contains(".spec.ports"));
}

TEST(FieldSet, TheTreeHasKubernetesNames) {
  const FieldTree tree = FieldTreeOf({".metadata.finalizers[=\"x\"]", ".metadata.labels.\"a.b/c\"",
                                      ".spec.ports[port=80,protocol=\"TCP\"]",
                                      ".spec.ports[port=80,protocol=\"TCP\"].name"});
  const FieldTree& meta = tree.members.at("f:metadata");
  EXPECT_TRUE(meta.members.at("f:finalizers").members.at("v:\"x\"").owned);
  EXPECT_TRUE(meta.members.at("f:labels").members.at("f:a.b/c").owned);
  const FieldTree& ports = tree.members.at("f:spec").members.at("f:ports");
  EXPECT_FALSE(ports.owned);
  const FieldTree& port = ports.members.at("k:{\"port\":80,\"protocol\":\"TCP\"}");
  EXPECT_TRUE(port.owned);
  EXPECT_TRUE(port.members.at("f:name").owned);
}

}  // namespace
}  // namespace mesh::schema
