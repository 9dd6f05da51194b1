// SPDX-License-Identifier: Apache-2.0
// Goal: objects are applied, read, changed and refused as kubectl would have it.
#include "tests/unit/controlplane/rpc/control_service_world.h"

#include "api/schema/schema.h"

namespace mesh::controlplane {
namespace {

using grpc::StatusCode;
using ::testing::HasSubstr;

TEST_F(ControlServiceTest, CreatesConfiguresAndLeavesAlone) {
  v1::ApplyResponse response;
  ASSERT_TRUE(Apply({ADeployment("web", 2)}, &response).ok());
  EXPECT_EQ(response.results(0).outcome(), v1::ApplyResult::CREATED);
  EXPECT_EQ(MetaOf(response.results(0).resource()).generation(), 1);

  ASSERT_TRUE(Apply({ADeployment("web", 2)}, &response).ok());
  EXPECT_EQ(response.results(0).outcome(), v1::ApplyResult::UNCHANGED);

  ASSERT_TRUE(Apply({ADeployment("web", 3)}, &response).ok());
  EXPECT_EQ(response.results(0).outcome(), v1::ApplyResult::CONFIGURED);
  EXPECT_EQ(MetaOf(response.results(0).resource()).generation(), 2);
  EXPECT_EQ(response.results(0).resource().deployment().spec().strategy().type(), "RollingUpdate");
}

TEST_F(ControlServiceTest, RemovesWhatTheFileDroppedAndKeepsWhatOthersSet) {
  v1::ApplyResponse response;
  v1::Resource file = ADeployment("web", 2);
  (*MutableMetaOf(&file)->mutable_labels())["mine"] = "1";
  ASSERT_TRUE(Apply({file}, &response).ok());
  v1::UpdateRequest update;
  *update.mutable_resource() = response.results(0).resource();
  (*MutableMetaOf(update.mutable_resource())->mutable_labels())["theirs"] = "2";
  v1::Resource updated;
  ASSERT_TRUE(stub_->Update(Call(), update, &updated).ok());

  ASSERT_TRUE(Apply({ADeployment("web", 2)}, &response).ok());

  const auto& labels = MetaOf(response.results(0).resource()).labels();
  EXPECT_FALSE(labels.contains("mine"));
  EXPECT_EQ(labels.at("theirs"), "2");
}

TEST_F(ControlServiceTest, ChangesNothingWhenOneObjectIsInvalid) {
  v1::ApplyResponse response;
  v1::Resource broken = ADeployment("broken", 1);
  broken.mutable_deployment()
      ->mutable_spec()
      ->mutable_template_()
      ->mutable_spec()
      ->mutable_containers(0)
      ->add_ports()
      ->set_container_port(70000);

  const grpc::Status status = Apply({ADeployment("fine", 1), broken}, &response);

  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("Deployment \"broken\" is invalid"));
  v1::ValidationFailure failure;
  ASSERT_TRUE(failure.ParseFromString(status.error_details()));
  EXPECT_EQ(failure.problems(0).object_index(), 1);
  EXPECT_EQ(failure.problems(0).path(), "spec.template.spec.containers[0].ports[0].containerPort");
  EXPECT_EQ(Count(v1::KIND_DEPLOYMENT), 0);
}

TEST_F(ControlServiceTest, TriesCreateAndUpdateWithoutWriting) {
  v1::CreateRequest create;
  *create.mutable_resource() = ADeployment("web", 1);
  create.set_dry_run(true);
  v1::Resource answer;

  ASSERT_TRUE(stub_->Create(Call(), create, &answer).ok());
  EXPECT_EQ(answer.deployment().spec().strategy().type(), "RollingUpdate");
  EXPECT_EQ(Count(v1::KIND_DEPLOYMENT), 0);

  v1::ApplyResponse applied;
  ASSERT_TRUE(Apply({ADeployment("web", 1)}, &applied).ok());
  EXPECT_EQ(stub_->Create(Call(), create, &answer).error_code(), StatusCode::ALREADY_EXISTS);

  v1::UpdateRequest update;
  *update.mutable_resource() = applied.results(0).resource();
  update.mutable_resource()->mutable_deployment()->mutable_spec()->set_replicas(7);
  update.set_dry_run(true);
  ASSERT_TRUE(stub_->Update(Call(), update, &answer).ok());
  EXPECT_EQ(answer.deployment().spec().replicas(), 7);
  ASSERT_TRUE(Apply({ADeployment("web", 1)}, &applied).ok());
  EXPECT_EQ(applied.results(0).outcome(), v1::ApplyResult::UNCHANGED);
}

TEST_F(ControlServiceTest, RefusesTheSameObjectTwice) {
  v1::ApplyResponse response;
  v1::Resource implicit = ADeployment("web", 1);
  MutableMetaOf(&implicit)->clear_namespace_();

  const grpc::Status status = Apply({ADeployment("web", 2), implicit}, &response);

  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("twice"));
  EXPECT_EQ(Count(v1::KIND_DEPLOYMENT), 0);
}

TEST_F(ControlServiceTest, RefusesAnImmutableFieldBeforeItWritesAnything) {
  v1::ApplyResponse response;
  ASSERT_TRUE(Apply({ADeployment("web", 1)}, &response).ok());
  v1::Resource changed = ADeployment("web", 1);
  auto* spec = changed.mutable_deployment()->mutable_spec();
  (*spec->mutable_selector()->mutable_match_labels())["app"] = "other";
  (*spec->mutable_template_()->mutable_metadata()->mutable_labels())["app"] = "other";

  const grpc::Status status = Apply({ADeployment("new", 1), changed}, &response);

  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("field is immutable"));
  EXPECT_EQ(Count(v1::KIND_DEPLOYMENT), 1);
}

TEST_F(ControlServiceTest, TakesAnObjectTogetherWithItsNamespaceInAnyOrder) {
  v1::ApplyResponse response;
  const grpc::Status missing = Apply({AService("web", "", "shop")}, &response);
  EXPECT_EQ(missing.error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(missing.error_message(), "namespaces \"shop\" not found");
  v1::ValidationFailure failure;
  ASSERT_TRUE(failure.ParseFromString(missing.error_details()));
  ASSERT_EQ(failure.problems_size(), 1);
  EXPECT_EQ(failure.problems(0).path(), "metadata.namespace");

  const grpc::Status status = Apply({AService("web", "", "shop"), ANamespace("shop")}, &response);

  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(response.results(0).resource().has_service());
  EXPECT_TRUE(response.results(1).resource().has_namespace_());
}

TEST_F(ControlServiceTest, TakesAPodTogetherWithItsAccountAndItsPriorityInAnyOrder) {
  v1::Resource account = schema::NewResource(v1::KIND_SERVICE_ACCOUNT);
  MutableMetaOf(&account)->set_name("robot");
  v1::Resource high = schema::NewResource(v1::KIND_PRIORITY_CLASS);
  MutableMetaOf(&high)->set_name("high");
  high.mutable_priority_class()->set_value(7);
  v1::Resource pod = APod("p");
  pod.mutable_pod()->mutable_spec()->set_service_account_name("robot");
  pod.mutable_pod()->mutable_spec()->set_priority_class_name("high");
  v1::ApplyResponse response;
  EXPECT_EQ(Apply({pod}, &response).error_code(), StatusCode::PERMISSION_DENIED);

  for (const bool dry_run : {true, false}) {
    const grpc::Status status = Apply({pod, account, high}, &response, dry_run);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.results(0).resource().pod().spec().priority(), 7);
  }
}

TEST_F(ControlServiceTest, ShowsADryRunAndWritesNothing) {
  v1::ApplyResponse response;

  ASSERT_TRUE(Apply({ADeployment("web", 1)}, &response, /*dry_run=*/true).ok());

  EXPECT_EQ(response.results(0).outcome(), v1::ApplyResult::CREATED);
  EXPECT_EQ(Count(v1::KIND_DEPLOYMENT), 0);
}

TEST_F(ControlServiceTest, WarnsInADryRunAsItWouldWithoutAndRecordsNothing) {
  v1::ApplyResponse response;
  v1::Resource odd = AService("odd");
  (*odd.mutable_service()->mutable_metadata()->mutable_annotations())["mesh.io/load-balancer"] =
      "maglev";

  ASSERT_TRUE(
      Apply({odd, AService("web"), ADeployment("web", 1)}, &response, /*dry_run=*/true).ok());

  ASSERT_EQ(response.results(0).warnings_size(), 2);
  EXPECT_THAT(response.results(0).warnings(0), HasSubstr("unknown annotation"));
  EXPECT_THAT(response.results(0).warnings(1), HasSubstr("matches no pod"));
  EXPECT_EQ(response.results(1).warnings_size(), 0) << "its pods come with the same request";
  EXPECT_EQ(Count(v1::KIND_EVENT), 0);
}

TEST_F(ControlServiceTest, WarnsOfAServiceThatSelectsNothingAndRecordsIt) {
  v1::ApplyResponse response;

  ASSERT_TRUE(Apply({AService("alone")}, &response).ok());
  ASSERT_EQ(response.results(0).warnings_size(), 1);
  EXPECT_THAT(response.results(0).warnings(0), HasSubstr("matches no pod"));
  ASSERT_TRUE(Apply({AService("web"), ADeployment("web", 1)}, &response).ok());
  EXPECT_EQ(response.results(0).warnings_size(), 0) << "its pods come with the same request";

  v1::ListRequest request;
  request.set_kind(v1::KIND_EVENT);
  v1::ListResponse events;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (events.items_size() == 0 && std::chrono::steady_clock::now() < deadline) {
    ASSERT_TRUE(stub_->List(Call(), request, &events).ok());
  }
  ASSERT_EQ(events.items_size(), 1);
  EXPECT_EQ(events.items(0).event().reason(), "SelectorMatchesNothing");
  EXPECT_EQ(events.items(0).event().involved_object().kind(), "Service");
}

TEST_F(ControlServiceTest, WarnsOfWhatItDropsAndOfAnnotationsThatNobodyReads) {
  v1::Resource service = AService("web");
  service.mutable_service()
      ->mutable_spec()
      ->mutable_session_affinity_config()
      ->mutable_client_ip()
      ->set_timeout_seconds(60);
  (*service.mutable_service()->mutable_metadata()->mutable_annotations())["mesh.io/return-pth"] =
      "direct";
  v1::ApplyResponse response;

  ASSERT_TRUE(Apply({service}, &response).ok());

  ASSERT_GE(response.results(0).warnings_size(), 2);
  EXPECT_EQ(response.results(0).warnings(0),
            "spec.sessionAffinityConfig: has no effect when `sessionAffinity` is not 'ClientIP'");
  EXPECT_EQ(response.results(0).warnings(1),
            "metadata.annotations[mesh.io/return-pth]: unknown annotation; did you mean "
            "\"mesh.io/return-path\"?");
}

TEST_F(ControlServiceTest, ListsBySelectorAndNamespace) {
  v1::ApplyResponse response;
  v1::Resource labelled = AService("a");
  (*MutableMetaOf(&labelled)->mutable_labels())["tier"] = "front";
  ASSERT_TRUE(
      Apply({labelled, AService("b"), ANamespace("shop"), AService("c", "", "shop")}, &response)
          .ok());
  v1::ListRequest request;
  request.set_kind(v1::KIND_SERVICE);
  request.set_namespace_("default");
  request.set_label_selector("tier in (front)");
  v1::ListResponse list;

  ASSERT_TRUE(stub_->List(Call(), request, &list).ok());
  ASSERT_EQ(list.items_size(), 1);
  EXPECT_EQ(MetaOf(list.items(0)).name(), "a");
  request.clear_label_selector();
  ASSERT_TRUE(stub_->List(Call(), request, &list).ok());
  EXPECT_EQ(list.items_size(), 2);
  request.set_label_selector("=(");
  EXPECT_EQ(stub_->List(Call(), request, &list).error_code(), StatusCode::INVALID_ARGUMENT);
}

TEST_F(ControlServiceTest, UpdatesOnlyTheVersionThatWasRead) {
  v1::ApplyResponse response;
  ASSERT_TRUE(Apply({ADeployment("web", 1)}, &response).ok());
  v1::UpdateRequest request;
  *request.mutable_resource() = response.results(0).resource();
  request.mutable_resource()->mutable_deployment()->mutable_spec()->set_replicas(5);
  v1::Resource updated;

  ASSERT_TRUE(stub_->Update(Call(), request, &updated).ok());
  EXPECT_EQ(updated.deployment().spec().replicas(), 5);
  const grpc::Status stale = stub_->Update(Call(), request, &updated);
  EXPECT_EQ(stale.error_code(), StatusCode::ABORTED);
  MutableMetaOf(request.mutable_resource())->clear_resource_version();
  EXPECT_TRUE(stub_->Update(Call(), request, &updated).ok()) << "without a version, unconditional";
}

TEST_F(ControlServiceTest, ScalesFromTheExpectedSizeOnly) {
  v1::ApplyResponse response;
  ASSERT_TRUE(Apply({ADeployment("web", 2)}, &response).ok());
  v1::ScaleRequest request;
  request.mutable_name()->set_kind(v1::KIND_DEPLOYMENT);
  request.mutable_name()->set_namespace_("default");
  request.mutable_name()->set_name("web");
  request.set_replicas(4);
  request.set_current_replicas(3);
  v1::Resource scaled;

  const grpc::Status refused = stub_->Scale(Call(), request, &scaled);
  EXPECT_EQ(refused.error_code(), StatusCode::ABORTED);
  EXPECT_EQ(refused.error_message(), "Expected replicas to be 3, was 2");
  request.set_current_replicas(2);
  ASSERT_TRUE(stub_->Scale(Call(), request, &scaled).ok());
  EXPECT_EQ(scaled.deployment().spec().replicas(), 4);
}

TEST_F(ControlServiceTest, ProtectsTheNamespacesEveryClusterHas) {
  v1::DeleteRequest request;
  request.mutable_name()->set_kind(v1::KIND_NAMESPACE);
  request.mutable_name()->set_name("default");
  v1::Resource deleted;

  const grpc::Status status = stub_->Delete(Call(), request, &deleted);

  EXPECT_EQ(status.error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(status.error_message(), HasSubstr("this namespace may not be deleted"));
}

TEST_F(ControlServiceTest, SaysInKubernetesWordsWhatIsNotFound) {
  v1::GetRequest request;
  request.mutable_name()->set_kind(v1::KIND_DEPLOYMENT);
  request.mutable_name()->set_namespace_("default");
  request.mutable_name()->set_name("web");
  v1::Resource out;

  const grpc::Status status = stub_->Get(Call(), request, &out);

  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "deployments.apps \"web\" not found");
}

}  // namespace
}  // namespace mesh::controlplane
