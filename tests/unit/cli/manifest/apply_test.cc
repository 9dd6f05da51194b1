// SPDX-License-Identifier: Apache-2.0
// The apply command against a server of the test.
#include <fstream>
#include <sstream>

#include "absl/strings/cord.h"
#include "api/schema/schema.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/commands/commands.h"
#include "gtest/gtest.h"

namespace mesh::cli {
namespace {

class FakeServer : public ControlClient {
 public:
  absl::StatusOr<v1::ApplyResponse> Apply(const v1::ApplyRequest& request) override {
    requests.push_back(request);
    if (!apply_status.ok()) return apply_status;
    v1::ApplyResponse response;
    for (const v1::Resource& resource : request.resources()) {
      v1::ApplyResult* result = response.add_results();
      *result->mutable_resource() = resource;
      result->set_outcome(outcome);
      for (const std::string& warning : warnings) result->add_warnings(warning);
    }
    return response;
  }
  absl::StatusOr<v1::Resource> Get(const v1::GetRequest&) override {
    return ServerError(absl::StatusCode::kNotFound, "NotFound", "not found");
  }
  absl::StatusOr<v1::Resource> Create(const v1::CreateRequest&) override { return Unused(); }
  absl::StatusOr<v1::ListResponse> List(const v1::ListRequest&) override { return Unused(); }
  absl::StatusOr<v1::Resource> Update(const v1::UpdateRequest&) override { return Unused(); }
  std::vector<absl::StatusOr<v1::Resource>> DeleteAll(
      const std::vector<v1::DeleteRequest>&) override {
    return {Unused()};
  }
  absl::StatusOr<v1::Resource> Scale(const v1::ScaleRequest&) override { return Unused(); }
  absl::StatusOr<v1::TraceHopResponse> TraceHop(const v1::TraceHopRequest&) override {
    return absl::UnimplementedError("not here");
  }
  absl::StatusOr<v1::ListDataplaneResponse> ListDataplane(
      const v1::ListDataplaneRequest&) override {
    return Unused();
  }
  absl::StatusOr<v1::WhyResponse> Why(const v1::WhyRequest&) override { return Unused(); }
  absl::StatusOr<v1::ProbeResponse> Probe(const v1::ProbeRequest&) override { return Unused(); }
  absl::StatusOr<v1::VersionResponse> Version() override { return Unused(); }
  absl::Status Watch(const v1::WatchRequest&, absl::Time,
                     const std::function<bool(const v1::WatchEvent&)>&) override {
    return Unused();
  }
  absl::Status Logs(const v1::LogsRequest&, const std::function<bool(std::string_view)>&) override {
    return Unused();
  }
  absl::Status Flows(const v1::FlowsRequest&,
                     const std::function<bool(const v1::FlowsChunk&)>&) override {
    return Unused();
  }
  absl::StatusOr<std::unique_ptr<ExecStream>> Exec() override { return Unused(); }
  std::string server() const override { return "test"; }

  std::vector<v1::ApplyRequest> requests;
  absl::Status apply_status;
  v1::ApplyResult::Outcome outcome = v1::ApplyResult::CREATED;
  std::vector<std::string> warnings;

 private:
  static absl::Status Unused() { return absl::UnimplementedError("not used by apply"); }
};

constexpr char kService[] = R"(apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  selector: {app: web}
  ports: [{port: 80}]
)";

class Apply : public ::testing::Test {
 protected:
  int Run(const std::string& input, std::vector<std::string> args = {}, bool read_input = true) {
    in_.clear();
    in_.str(input);
    Context context(in_, out_, err_);
    context.set_client(server_);
    std::vector<std::string> line = {"apply"};
    if (read_input) line.insert(line.end(), {"-f", "-"});
    line.insert(line.end(), args.begin(), args.end());
    return RunCommandLine({.name = "meshctl", .children = {ApplyCommand()}}, line, context);
  }

  std::istringstream in_;
  std::ostringstream out_;
  std::ostringstream err_;
  std::shared_ptr<FakeServer> server_ = std::make_shared<FakeServer>();
};

TEST_F(Apply, SendsAllObjectsInOneRequestAndSaysWhatBecameOfThem) {
  const std::string ns = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";

  EXPECT_EQ(Run(ns + "---\n" + kService), 0);

  EXPECT_EQ(out_.str(), "namespace/shop created\nservice/web created\n");
  EXPECT_EQ(err_.str(), "");
  ASSERT_EQ(server_->requests.size(), 1u);
  EXPECT_EQ(server_->requests[0].resources(1).service().metadata().namespace_(), "default");
}

TEST_F(Apply, WritesDownWhereThePoliciesOfAFileStand) {
  const std::string policy =
      "apiVersion: networking.k8s.io/v1\n"
      "kind: NetworkPolicy\n"
      "metadata: {name: web, annotations: {mesh.io/source: 'old.yaml:1'}}\n"
      "spec:\n"
      "  podSelector: {}\n"
      "  policyTypes: [Ingress, Egress]\n"
      "  ingress:\n"
      "  - ports: [{port: 80}]\n"
      "  -\n"
      "    ports: [{port: 81}]\n"
      "  egress: [{}, {}]\n";
  const std::string file = ::testing::TempDir() + "/a policy.yaml";
  std::ofstream(file) << kService << "---\n" << policy;
  const auto source = [&](size_t request, int object) {
    const auto& meta = server_->requests.at(request).resources(object).network_policy().metadata();
    const auto it = meta.annotations().find("mesh.io/source");
    return it == meta.annotations().end() ? "none" : it->second;
  };

  EXPECT_EQ(Run("", {"-f", file}, false), 0) << err_.str();
  EXPECT_EQ(Run(policy), 0) << err_.str();

  EXPECT_EQ(source(0, 1), file + ":9 ingress=16,18 egress=19,19");
  EXPECT_EQ(source(1, 0), "none");
  EXPECT_TRUE(server_->requests[0].resources(0).service().metadata().annotations().empty());
}

TEST_F(Apply, PrintsWarningsOnStandardError) {
  server_->outcome = v1::ApplyResult::UNCHANGED;
  server_->warnings = {"service web selects no pod"};

  EXPECT_EQ(Run(kService), 0);

  EXPECT_EQ(out_.str(), "service/web unchanged\n");
  EXPECT_EQ(err_.str(), "Warning: service web selects no pod\n");
}

TEST_F(Apply, SendsNothingWhenOneObjectIsWrong) {
  EXPECT_EQ(Run(std::string(kService) + "---\napiVersion: v1\nkind: Pdo\n"), 1);

  EXPECT_TRUE(server_->requests.empty());
  EXPECT_EQ(out_.str(), "");
  EXPECT_EQ(err_.str(),
            "standard input:10:7: error: unknown kind \"Pdo\"; did you mean \"Pod\"?\n");
}

TEST_F(Apply, ShowsTheServersFindingsInTheFile) {
  v1::ValidationFailure failure;
  auto* problem = failure.add_problems();
  problem->set_object_index(0);
  problem->set_path("spec.ports[0].port");
  problem->set_message("Invalid value: 80: already taken");
  server_->apply_status =
      ServerError(absl::StatusCode::kInvalidArgument, "BadRequest", "1 problem");
  server_->apply_status.SetPayload(kValidationPayload, absl::Cord(failure.SerializeAsString()));

  EXPECT_EQ(Run(kService), 1);

  EXPECT_EQ(err_.str(),
            "standard input:7:18: error: spec.ports[0].port: Invalid value: 80: already taken\n");
}

TEST_F(Apply, RefusesAnotherNamespaceThanTheManifests) {
  std::string text = kService;
  text.replace(text.find("  name: web"), 11, "  name: web\n  namespace: shop");

  EXPECT_EQ(Run(text, {"-n", "other"}), 1);

  EXPECT_TRUE(server_->requests.empty());
  EXPECT_EQ(
      err_.str(),
      "standard input:5:14: error: the namespace from the provided object \"shop\" does not match "
      "the namespace \"other\". You must pass '--namespace=shop' to perform this operation.\n");
}

TEST_F(Apply, MarksDryRuns) {
  EXPECT_EQ(Run(kService, {"--dry-run=server"}), 0);
  EXPECT_EQ(out_.str(), "service/web created (server dry run)\n");
  ASSERT_EQ(server_->requests.size(), 1u);
  EXPECT_TRUE(server_->requests[0].dry_run());

  out_.str("");
  EXPECT_EQ(Run(kService, {"--dry-run=client"}), 0);
  EXPECT_EQ(out_.str(), "service/web created (dry run)\n");
  EXPECT_EQ(server_->requests.size(), 1u);
}

TEST_F(Apply, PrintsNamesAndObjects) {
  EXPECT_EQ(Run(kService, {"-o", "name"}), 0);
  EXPECT_EQ(out_.str(), "service/web\n");

  out_.str("");
  EXPECT_EQ(Run(kService, {"-o", "yaml"}), 0);
  EXPECT_EQ(out_.str().substr(0, 29), "apiVersion: v1\nkind: Service\n");
}

TEST_F(Apply, NeedsObjects) {
  EXPECT_EQ(Run("# nothing\n"), 1);
  EXPECT_EQ(err_.str(), "error: no objects passed to apply\n");
}

}  // namespace
}  // namespace mesh::cli
