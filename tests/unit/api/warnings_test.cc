// SPDX-License-Identifier: Apache-2.0
// What is accepted and surely not meant is told.
#include "api/schema/validate.h"
#include "gtest/gtest.h"
#include "tests/unit/api/from_text.h"

namespace mesh::schema {
namespace {

TEST(Warnings, TellsWhatIsLegalButNotMeant) {
  v1::Resource service = ValidService();
  service.mutable_service()->mutable_spec()->set_type("ClusterIP");
  service.mutable_service()->mutable_spec()->set_load_balancer_ip("192.168.1.9");
  EXPECT_EQ(JoinProblems(Warnings(service)),
            "spec.loadBalancerIP: has no effect when `type` is 'ClusterIP'");

  v1::Resource pod = ValidPod();
  auto* container = pod.mutable_pod()->mutable_spec()->mutable_containers(0);
  container->add_env()->set_name("A");
  container->add_env()->set_name("A");
  EXPECT_EQ(JoinProblems(Warnings(pod)),
            "spec.containers[0].env[1]: hides previous definition of \"A\"");
}

TEST(Warnings, NamesAnnotationsThatNobodyReads) {
  v1::Resource service = ValidService();
  auto& of_service = *service.mutable_service()->mutable_metadata()->mutable_annotations();
  of_service["mesh.io/load-balancing"] = "maglev";
  of_service["example.com/team"] = "shop";
  EXPECT_EQ(JoinProblems(Warnings(service)), "");
  of_service["mesh.io/load-balancer"] = "maglev";
  of_service["mesh.io/isolation"] = "open";
  of_service["mesh.io/colour"] = "blue";
  EXPECT_EQ(
      JoinProblems(Warnings(service)),
      "metadata.annotations[mesh.io/colour]: unknown annotation: it has no effect; "
      "metadata.annotations[mesh.io/isolation]: has no effect on a Service: it is an annotation of "
      "a Namespace; metadata.annotations[mesh.io/load-balancer]: unknown annotation; did you mean "
      "\"mesh.io/load-balancing\"?");

  v1::Resource space;
  space.mutable_namespace_()->mutable_metadata()->set_name("shop");
  (*space.mutable_namespace_()->mutable_metadata()->mutable_annotations())["mesh.io/wieght"] = "2";
  EXPECT_EQ(JoinProblems(Warnings(space)),
            "metadata.annotations[mesh.io/wieght]: unknown annotation; did you mean "
            "\"mesh.io/weight\", of a Pod or EndpointSlice?");

  v1::Resource deployment;
  v1::Deployment* web = deployment.mutable_deployment();
  (*web->mutable_metadata()->mutable_annotations())["mesh.io/weight"] = "2";
  auto& of_pods = *web->mutable_spec()->mutable_template_()->mutable_metadata();
  (*of_pods.mutable_annotations())["mesh.io/weight"] = "2";
  EXPECT_EQ(JoinProblems(Warnings(deployment)),
            "metadata.annotations[mesh.io/weight]: has no effect on a Deployment: it is an "
            "annotation of a Pod or EndpointSlice");
}

TEST(DroppedByDefaults, TellsOfAnAffinityThatIsNotAskedFor) {
  v1::Resource service = ValidService();
  v1::ServiceSpec* spec = service.mutable_service()->mutable_spec();
  EXPECT_EQ(JoinProblems(DroppedByDefaults(service)), "");
  spec->mutable_session_affinity_config()->mutable_client_ip()->set_timeout_seconds(60);
  EXPECT_EQ(JoinProblems(DroppedByDefaults(service)),
            "spec.sessionAffinityConfig: has no effect when `sessionAffinity` is not 'ClientIP'");
  spec->set_session_affinity("ClientIP");
  EXPECT_EQ(JoinProblems(DroppedByDefaults(service)), "");
}

}  // namespace
}  // namespace mesh::schema
