// SPDX-License-Identifier: Apache-2.0
// Goal: objects are shared by several managers as Kubernetes' server-side apply has it.
#include "tests/unit/controlplane/rpc/control_service_world.h"

namespace mesh::controlplane {
namespace {

using grpc::StatusCode;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

class ServerSideApplyTest : public ControlServiceTest {
 protected:
  struct Options {
    bool force = false;
    bool dry_run = false;
  };
  grpc::Status ApplyAs(const std::string& manager, const std::vector<v1::Resource>& resources,
                       Options options) {
    v1::ApplyRequest request;
    for (const auto& resource : resources) *request.add_resources() = resource;
    request.set_server_side(true);
    request.set_field_manager(manager);
    request.set_force_conflicts(options.force);
    request.set_dry_run(options.dry_run);
    response_.Clear();
    return stub_->Apply(Call(), request, &response_);
  }
  grpc::Status ApplyAs(const std::string& manager, const std::vector<v1::Resource>& resources) {
    return ApplyAs(manager, resources, {});
  }
  v1::Resource Web() {
    v1::Resource web;
    EXPECT_EQ(Get(v1::KIND_DEPLOYMENT, "web", &web), absl::StatusCode::kOk);
    return web;
  }
  std::vector<std::string> PathsOf(const std::string& manager, const std::string& operation) {
    const v1::Resource web = Web();
    for (const v1::ManagedFields& entry : MetaOf(web).managed_fields()) {
      if (entry.manager() != manager || entry.operation() != operation) continue;
      return {entry.paths().begin(), entry.paths().end()};
    }
    return {};
  }
  // Says nothing but the number.
  static v1::Resource Replicas(int replicas) {
    v1::Resource out;
    out.mutable_deployment()->mutable_metadata()->set_name("web");
    out.mutable_deployment()->mutable_spec()->set_replicas(replicas);
    return out;
  }

  v1::ApplyResponse response_;
};

TEST_F(ServerSideApplyTest, APartIsMergedIntoWhatIsThere) {
  ASSERT_TRUE(ApplyAs("a", {ADeployment("web", 2)}).ok());
  EXPECT_EQ(response_.results(0).outcome(), v1::ApplyResult::CREATED);
  EXPECT_TRUE(MetaOf(Web()).last_applied().empty());

  v1::Resource label;
  label.mutable_deployment()->mutable_metadata()->set_name("web");
  (*MutableMetaOf(&label)->mutable_labels())["tier"] = "front";
  const grpc::Status status = ApplyAs("b", {label});

  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(Web().deployment().spec().replicas(), 2);
  EXPECT_EQ(MetaOf(Web()).labels().at("tier"), "front");
  EXPECT_EQ(MetaOf(Web()).generation(), 1);
}

TEST_F(ServerSideApplyTest, APartAloneIsRefusedWhereThereIsNothing) {
  const grpc::Status status = ApplyAs("a", {Replicas(3)});
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("Deployment \"web\" is invalid"));
  EXPECT_EQ(Count(v1::KIND_DEPLOYMENT), 0);
}

TEST_F(ServerSideApplyTest, ConflictsOfAllObjectsAreToldAndNothingIsWritten) {
  ASSERT_TRUE(ApplyAs("a", {ADeployment("web", 2)}).ok());

  grpc::Status status = ApplyAs("b", {Replicas(3)});
  EXPECT_EQ(status.error_code(), StatusCode::ABORTED);
  EXPECT_EQ(status.error_message(),
            "Apply failed with 1 conflict: conflict with \"a\": .spec.replicas");

  status = ApplyAs("b", {ADeployment("new", 1), Replicas(3)});
  EXPECT_EQ(status.error_message(),
            "deployment.apps/web: Apply failed with 1 conflict: conflict with \"a\": "
            ".spec.replicas");
  EXPECT_EQ(Count(v1::KIND_DEPLOYMENT), 1);
  EXPECT_EQ(Web().deployment().spec().replicas(), 2);
}

TEST_F(ServerSideApplyTest, ForceTakesOverAndTheLastOwnerRemoves) {
  ASSERT_TRUE(ApplyAs("a", {ADeployment("web", 2)}).ok());
  ASSERT_TRUE(ApplyAs("b", {Replicas(3)}, {.force = true}).ok());
  EXPECT_EQ(Web().deployment().spec().replicas(), 3);
  EXPECT_THAT(PathsOf("a", "Apply"), Not(Contains(".spec.replicas")));

  v1::Resource nothing;
  nothing.mutable_deployment()->mutable_metadata()->set_name("web");
  ASSERT_TRUE(ApplyAs("b", {nothing}).ok());
  EXPECT_EQ(Web().deployment().spec().replicas(), 1) << "nobody's: the default";
  EXPECT_EQ(Web().deployment().spec().template_().spec().containers_size(), 1);
}

TEST_F(ServerSideApplyTest, TheSameAgainWritesNothing) {
  ASSERT_TRUE(ApplyAs("a", {ADeployment("web", 2)}).ok());
  const std::string version = MetaOf(Web()).resource_version();
  ASSERT_TRUE(ApplyAs("a", {ADeployment("web", 2)}).ok());
  EXPECT_EQ(response_.results(0).outcome(), v1::ApplyResult::UNCHANGED);
  EXPECT_EQ(MetaOf(Web()).resource_version(), version);
}

TEST_F(ServerSideApplyTest, OtherVerbsBecomeOwnersOfWhatTheyChange) {
  ASSERT_TRUE(ApplyAs("a", {ADeployment("web", 2)}).ok());
  v1::ScaleRequest scale;
  scale.mutable_name()->set_kind(v1::KIND_DEPLOYMENT);
  scale.mutable_name()->set_namespace_("default");
  scale.mutable_name()->set_name("web");
  scale.set_replicas(5);
  v1::Resource answer;
  ASSERT_TRUE(stub_->Scale(Call(), scale, &answer).ok());
  EXPECT_THAT(PathsOf("meshctl", "Update"), Contains(".spec.replicas"));

  v1::UpdateRequest update;
  *update.mutable_resource() = Web();
  MutableMetaOf(update.mutable_resource())->clear_managed_fields();
  (*MutableMetaOf(update.mutable_resource())->mutable_labels())["x"] = "y";
  update.set_field_manager("me");
  ASSERT_TRUE(stub_->Update(Call(), update, &answer).ok());
  EXPECT_THAT(PathsOf("me", "Update"), Contains(".metadata.labels.x"));

  EXPECT_EQ(ApplyAs("a", {ADeployment("web", 2)}).error_message(),
            "Apply failed with 1 conflict: conflict with \"meshctl\" using apps/v1: "
            ".spec.replicas");
}

TEST_F(ServerSideApplyTest, GoesOnFromClientSideApplyAndBack) {
  v1::ApplyResponse response;
  v1::Resource file = ADeployment("web", 2);
  (*MutableMetaOf(&file)->mutable_labels())["old"] = "1";
  ASSERT_TRUE(Apply({file}, &response).ok());

  const grpc::Status status = ApplyAs("", {ADeployment("web", 3)});
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(Web().deployment().spec().replicas(), 3);
  EXPECT_FALSE(MetaOf(Web()).labels().contains("old"));
  EXPECT_THAT(PathsOf("meshctl", "Apply"), Contains(".spec.replicas"));

  ASSERT_TRUE(Apply({ADeployment("web", 4)}, &response).ok());
  EXPECT_THAT(PathsOf("meshctl-client-side-apply", "Update"), Contains(".spec.replicas"));
}

TEST_F(ServerSideApplyTest, ADryRunShowsTheOwnersAndWritesNothing) {
  ASSERT_TRUE(ApplyAs("a", {ADeployment("web", 2)}).ok());
  ASSERT_TRUE(ApplyAs("b", {Replicas(3)}, {.force = true, .dry_run = true}).ok());
  EXPECT_EQ(response_.results(0).resource().deployment().spec().replicas(), 3);
  EXPECT_EQ(MetaOf(response_.results(0).resource()).managed_fields_size(), 2);
  EXPECT_EQ(Web().deployment().spec().replicas(), 2);
  EXPECT_EQ(ApplyAs("b", {Replicas(3)}, {.force = false, .dry_run = true}).error_code(),
            StatusCode::ABORTED);
}

TEST_F(ServerSideApplyTest, AServiceKeepsItsAddress) {
  v1::Resource service;
  service.mutable_service()->mutable_metadata()->set_name("web");
  auto* spec = service.mutable_service()->mutable_spec();
  (*spec->mutable_selector())["app"] = "web";
  spec->add_ports()->set_port(80);
  ASSERT_TRUE(ApplyAs("a", {service}).ok());
  const std::string ip = response_.results(0).resource().service().spec().cluster_ip();
  ASSERT_FALSE(ip.empty());

  spec->mutable_ports(0)->set_port(81);
  const grpc::Status status = ApplyAs("a", {service});
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response_.results(0).resource().service().spec().cluster_ip(), ip);
  ASSERT_EQ(response_.results(0).resource().service().spec().ports_size(), 1);
  EXPECT_EQ(response_.results(0).resource().service().spec().ports(0).port(), 81);
}

TEST_F(ServerSideApplyTest, OptionsThatDoNotFitAreRefused) {
  EXPECT_EQ(ApplyAs(std::string(129, 'x'), {ADeployment("web", 2)}).error_code(),
            StatusCode::INVALID_ARGUMENT);
  v1::ApplyRequest request;
  request.set_force_conflicts(true);
  v1::ApplyResponse response;
  EXPECT_EQ(stub_->Apply(Call(), request, &response).error_message(),
            "force_conflicts is only used with server_side");
}

}  // namespace
}  // namespace mesh::controlplane
