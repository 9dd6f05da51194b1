// SPDX-License-Identifier: Apache-2.0
// Names of kinds: what kubectl's users type and what manifests say.
#include "api/schema/schema.h"

#include <tuple>

#include "api/schema/kinds.h"
#include "gtest/gtest.h"

namespace mesh::schema {
namespace {

TEST(FindResourceType, TakesEveryNameThatKubectlTakes) {
  const std::pair<const char*, v1::Kind> cases[] = {
      {"pods", v1::KIND_POD},
      {"pod", v1::KIND_POD},
      {"po", v1::KIND_POD},
      {"Pod", v1::KIND_POD},
      {"deploy", v1::KIND_DEPLOYMENT},
      {"deployments.apps", v1::KIND_DEPLOYMENT},
      {"deployment.v1.apps", v1::KIND_DEPLOYMENT},
      {"svc", v1::KIND_SERVICE},
      {"rs", v1::KIND_REPLICA_SET},
      {"ns", v1::KIND_NAMESPACE},
      {"no", v1::KIND_NODE},
      {"ev", v1::KIND_EVENT},
      {"endpointslices.discovery.k8s.io", v1::KIND_ENDPOINT_SLICE},
  };
  for (const auto& [name, kind] : cases) {
    const auto info = FindResourceType(name);
    ASSERT_TRUE(info.ok()) << name << ": " << info.status();
    EXPECT_EQ((*info)->kind, kind) << name;
  }
}

TEST(FindResourceType, SaysWhatIsWrongWithOtherNames) {
  const std::pair<const char*, const char*> cases[] = {
      {"foo", "the server doesn't have a resource type \"foo\""},
      {"pdos", "the server doesn't have a resource type \"pdos\"; did you mean \"pods\"?"},
      {"crd",
       "the server doesn't have a resource type \"crd\": CustomResourceDefinition is not supported "
       "yet"},
      {"csidrivers",
       "the server doesn't have a resource type \"csidrivers\": CSIDriver is not supported yet"},
      {"deployments.extensions",
       "the server doesn't have a resource type \"deployments.extensions\"; did you mean "
       "\"deployments\"?"},
  };
  for (const auto& [name, message] : cases) {
    const auto info = FindResourceType(name);
    ASSERT_FALSE(info.ok()) << name;
    EXPECT_EQ(std::string(info.status().message()), message);
    EXPECT_EQ(info.status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(FindManifestType, ReadsOldVersionsAsThePresentOne) {
  const auto type = FindManifestType("extensions/v1beta1", "Deployment");

  ASSERT_TRUE(type.ok()) << type.status();
  EXPECT_EQ(type->info->kind, v1::KIND_DEPLOYMENT);
  EXPECT_EQ(type->note,
            "extensions/v1beta1 Deployment is deprecated; it is read as apps/v1 Deployment");
}

TEST(FindManifestType, KnowsTheOldVersionsOfEveryKind) {
  const std::tuple<const char*, const char*, v1::Kind> cases[] = {
      {"extensions/v1beta1", "DaemonSet", v1::KIND_DAEMON_SET},
      {"apps/v1beta1", "StatefulSet", v1::KIND_STATEFUL_SET},
      {"batch/v1beta1", "CronJob", v1::KIND_CRON_JOB},
      {"policy/v1beta1", "PodDisruptionBudget", v1::KIND_POD_DISRUPTION_BUDGET},
      {"storage.k8s.io/v1beta1", "StorageClass", v1::KIND_STORAGE_CLASS},
      {"scheduling.k8s.io/v1beta1", "PriorityClass", v1::KIND_PRIORITY_CLASS},
      {"rbac.authorization.k8s.io/v1beta1", "ClusterRoleBinding", v1::KIND_CLUSTER_ROLE_BINDING},
      {"networking.k8s.io/v1beta1", "Ingress", v1::KIND_INGRESS},
      {"autoscaling/v1", "HorizontalPodAutoscaler", v1::KIND_HORIZONTAL_POD_AUTOSCALER},
      {"gateway.networking.k8s.io/v1beta1", "HTTPRoute", v1::KIND_HTTP_ROUTE},
  };
  for (const auto& [api_version, name, kind] : cases) {
    const auto type = FindManifestType(api_version, name);
    ASSERT_TRUE(type.ok()) << type.status();
    EXPECT_EQ(type->info->kind, kind) << name;
    EXPECT_NE(type->note, "") << name;
  }
}

TEST(FindManifestType, TellsUnknownFromUnsupported) {
  struct Case {
    const char* api_version;
    const char* kind;
    const char* message;
  };
  const Case cases[] = {
      {"storage.k8s.io/v1", "CSIDriver", "kind CSIDriver is not supported yet"},
      {"apps/v1", "ControllerRevision", "kind ControllerRevision is not supported yet"},
      {"apps/v1", "Deploymnet", "unknown kind \"Deploymnet\"; did you mean \"Deployment\"?"},
      {"v1", "pod", "unknown kind \"pod\"; did you mean \"Pod\"?"},
      {"v1", "Deployment", "kind Deployment has apiVersion \"apps/v1\", not \"v1\""},
      {"v1", "Zebra", "unknown kind \"Zebra\""},
      {"example.com/v1", "Shirt",
       "kind Shirt of apiVersion \"example.com/v1\" is not supported yet"},
      {"serving.knative.dev/v1", "Service",
       "kind Service of apiVersion \"serving.knative.dev/v1\" is not supported yet"},
  };
  for (const Case& c : cases) {
    const auto type = FindManifestType(c.api_version, c.kind);
    ASSERT_FALSE(type.ok()) << c.kind;
    EXPECT_EQ(std::string(type.status().message()), c.message);
  }
}

TEST(Schema, NamesObjectsAsKubectlPrintsThem) {
  v1::Resource deployment = NewResource(v1::KIND_DEPLOYMENT);
  MutableMetaOf(&deployment)->set_name("web");
  v1::Resource pod = NewResource(v1::KIND_POD);
  MutableMetaOf(&pod)->set_name("web-1");

  EXPECT_EQ(ObjectText(deployment), "deployment.apps/web");
  EXPECT_EQ(ObjectText(pod), "pod/web-1");
  EXPECT_EQ(PluralWithGroup(v1::KIND_DEPLOYMENT), "deployments.apps");
}

TEST(Schema, HasOneRowPerKindInTheOrderOfTheEnum) {
  for (size_t i = 0; i < AllKinds().size(); ++i) {
    EXPECT_EQ(static_cast<size_t>(AllKinds()[i].kind), i + 1);
  }
  EXPECT_EQ(AllKinds().size(), static_cast<size_t>(v1::Kind_MAX));
}

TEST(StoredNote, SaysThatNothingActsOnAKind) {
  v1::Resource set = NewResource(v1::KIND_STATEFUL_SET);
  MutableMetaOf(&set)->set_name("web");
  v1::Resource endpoints = NewResource(v1::KIND_ENDPOINTS);
  MutableMetaOf(&endpoints)->set_name("db");
  v1::Resource ingress = NewResource(v1::KIND_INGRESS);
  MutableMetaOf(&ingress)->set_name("web");

  EXPECT_EQ(StoredNote(set),
            "note: statefulset.apps/web: stored; nothing acts on StatefulSets yet");
  EXPECT_EQ(StoredNote(endpoints), "note: endpoints/db: stored; nothing acts on Endpoints yet");
  EXPECT_EQ(StoredNote(ingress),
            "note: ingress.networking.k8s.io/web: stored; nothing acts on Ingresses yet");
  for (const v1::Kind acted : {v1::KIND_POD, v1::KIND_CONFIG_MAP, v1::KIND_SECRET})
    EXPECT_EQ(StoredNote(NewResource(acted)), "");
}

TEST(NearestWord, FindsSlipsAndLeavesOthersAlone) {
  EXPECT_EQ(NearestWord("replics", {"replicas", "paused"}), "replicas");
  EXPECT_EQ(NearestWord("contianers", {"containers"}), "containers");
  EXPECT_EQ(NearestWord("containerport", {"containerPort"}), "containerPort");
  EXPECT_EQ(NearestWord("zebra", {"replicas"}), std::nullopt);
}

}  // namespace
}  // namespace mesh::schema
