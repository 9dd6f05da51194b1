// SPDX-License-Identifier: Apache-2.0
#include "api/schema/defaults.h"

#include "api/schema/validate.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"
#include "tests/unit/api/from_text.h"

namespace mesh::schema {
namespace {

TEST(ApplyDefaults, CompletesADeploymentAsKubernetesDoes) {
  v1::Resource resource = ValidDeployment();

  ApplyDefaults(&resource);

  const v1::Deployment& deployment = resource.deployment();
  EXPECT_EQ(deployment.metadata().namespace_(), "default");
  EXPECT_EQ(deployment.spec().replicas(), 1);
  EXPECT_EQ(deployment.spec().revision_history_limit(), 10);
  EXPECT_EQ(deployment.spec().progress_deadline_seconds(), 600);
  EXPECT_EQ(deployment.spec().strategy().type(), "RollingUpdate");
  EXPECT_EQ(deployment.spec().strategy().rolling_update().max_surge().string_value(), "25%");
  EXPECT_EQ(deployment.spec().strategy().rolling_update().max_unavailable().string_value(), "25%");
  const v1::PodSpec& pod = deployment.spec().template_().spec();
  EXPECT_EQ(pod.restart_policy(), "Always");
  EXPECT_EQ(pod.termination_grace_period_seconds(), 30);
  EXPECT_EQ(pod.containers(0).image_pull_policy(), "IfNotPresent");
  EXPECT_EQ(pod.containers(0).termination_message_path(), "/dev/termination-log");
  EXPECT_EQ(pod.containers(0).termination_message_policy(), "File");
  EXPECT_EQ(pod.containers(0).ports(0).protocol(), "TCP");
  EXPECT_TRUE(Validate(resource).empty()) << JoinProblems(Validate(resource));
}

TEST(ApplyDefaults, KeepsAnExplicitZero) {
  v1::Resource resource = ValidDeployment();
  resource.mutable_deployment()->mutable_spec()->set_replicas(0);

  ApplyDefaults(&resource);

  EXPECT_EQ(resource.deployment().spec().replicas(), 0);
}

TEST(ApplyDefaults, GivesRecreateNoRollingUpdate) {
  v1::Resource resource = ValidDeployment();
  resource.mutable_deployment()->mutable_spec()->mutable_strategy()->set_type("Recreate");

  ApplyDefaults(&resource);

  EXPECT_FALSE(resource.deployment().spec().strategy().has_rolling_update());
}

TEST(ApplyDefaults, PullsMovingTagsAlways) {
  const std::pair<const char*, const char*> cases[] = {
      {"nginx", "Always"},
      {"nginx:latest", "Always"},
      {"localhost:5000/nginx", "Always"},
      {"nginx:1.27", "IfNotPresent"},
      {"localhost:5000/nginx:1", "IfNotPresent"},
      {"nginx@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
       "IfNotPresent"},
  };
  for (const auto& [image, policy] : cases) {
    v1::Resource resource = ValidPod();
    resource.mutable_pod()->mutable_spec()->mutable_containers(0)->set_image(image);
    ApplyDefaults(&resource);
    EXPECT_EQ(resource.pod().spec().containers(0).image_pull_policy(), policy) << image;
  }
}

TEST(ApplyDefaults, TakesTargetPortFromPort) {
  v1::Resource resource = ValidService();

  ApplyDefaults(&resource);

  EXPECT_EQ(resource.service().spec().ports(0).target_port().int_value(), 80);
  EXPECT_EQ(resource.service().spec().ports(0).protocol(), "TCP");
  EXPECT_EQ(resource.service().spec().type(), "ClusterIP");
}

TEST(ApplyDefaults, FillsHowAServiceIsReached) {
  v1::Resource resource = ValidService();
  v1::ServiceSpec* spec = resource.mutable_service()->mutable_spec();
  spec->set_session_affinity("ClientIP");
  spec->set_type("LoadBalancer");

  ApplyDefaults(&resource);

  EXPECT_EQ(spec->session_affinity_config().client_ip().timeout_seconds(), 10800);
  EXPECT_EQ(spec->internal_traffic_policy(), "Cluster");
  EXPECT_EQ(spec->external_traffic_policy(), "Cluster");
  EXPECT_TRUE(spec->allocate_load_balancer_node_ports());
  // Of the cluster, which only admission knows.
  EXPECT_EQ(spec->ip_family_policy(), "");
  EXPECT_EQ(spec->ip_families_size(), 0);
}

TEST(ApplyDefaults, TakesRequestsFromLimits) {
  v1::Resource resource = ValidPod();
  auto* resources =
      resource.mutable_pod()->mutable_spec()->mutable_containers(0)->mutable_resources();
  (*resources->mutable_limits())["cpu"].set_text("2");
  (*resources->mutable_limits())["memory"].set_text("1Gi");
  (*resources->mutable_requests())["memory"].set_text("64Mi");

  ApplyDefaults(&resource);

  EXPECT_EQ(resources->requests().at("cpu").text(), "2");
  EXPECT_EQ(resources->requests().at("memory").text(), "64Mi");
}

TEST(ApplyDefaults, ClearsTheNamespaceOfClusterKinds) {
  v1::Resource resource = FromText(R"(namespace { metadata { name: "a" namespace: "b" } })");

  ApplyDefaults(&resource);

  EXPECT_EQ(resource.namespace_().metadata().namespace_(), "");
}

TEST(ApplyDefaults, TwiceIsOnce) {
  for (v1::Resource resource : {ValidDeployment(), ValidService(), ValidPod()}) {
    ApplyDefaults(&resource);
    v1::Resource again = resource;
    ApplyDefaults(&again);
    EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(resource, again));
  }
}

TEST(ApplyDefaults, DoesNotHideAMissingSpec) {
  v1::Resource resource = FromText(R"(deployment { metadata { name: "web" } })");

  ApplyDefaults(&resource);

  EXPECT_EQ(JoinProblems(Validate(resource)), "spec: Required value");
}

}  // namespace
}  // namespace mesh::schema
