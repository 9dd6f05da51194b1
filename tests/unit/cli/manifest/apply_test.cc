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
  absl::StatusOr<v1::ListResponse> List(const v1::ListRequest& request) override {
    lists.push_back(request);
    v1::ListResponse response;
    for (const v1::Resource& resource : stored) {
      const v1::ObjectMeta& meta = schema::MetaOf(resource);
      if (schema::KindOf(resource) == request.kind() && meta.namespace_() == request.namespace_()) {
        *response.add_items() = resource;
      }
    }
    return response;
  }
  absl::StatusOr<v1::Resource> Update(const v1::UpdateRequest&) override { return Unused(); }
  std::vector<absl::StatusOr<v1::Resource>> DeleteAll(
      const std::vector<v1::DeleteRequest>& requests_) override {
    deletes.insert(deletes.end(), requests_.begin(), requests_.end());
    return std::vector<absl::StatusOr<v1::Resource>>(requests_.size(), v1::Resource());
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
  std::vector<v1::Resource> stored;
  std::vector<v1::ListRequest> lists;
  std::vector<v1::DeleteRequest> deletes;

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

TEST_F(Apply, LeavesOutWhatIsUnknownOnlyWhenAskedTo) {
  const std::string text = std::string(kService) + "  sesionAffinity: None\n";

  EXPECT_EQ(Run(text), 1);
  EXPECT_TRUE(server_->requests.empty());

  err_.str("");
  EXPECT_EQ(Run(text, {"--validate=warn"}), 0);
  EXPECT_EQ(err_.str(),
            "standard input:8:3: warning: spec.sesionAffinity: unknown field; did you mean "
            "\"sessionAffinity\"?; left out\n");

  err_.str("");
  EXPECT_EQ(Run(text, {"--validate=false"}), 0);
  EXPECT_EQ(err_.str(), "");
  EXPECT_EQ(server_->requests.size(), 2u);

  EXPECT_EQ(Run(text, {"--validate=sometimes"}), 1);
  EXPECT_EQ(err_.str().substr(0, err_.str().find('\n')),
            "error: invalid - validate option \"sometimes\"; must be one of: strict (or true), "
            "warn, ignore (or false)");
}

TEST_F(Apply, WarnsOfWhatDoesNotFitTogether) {
  const std::string pod =
      "---\napiVersion: v1\nkind: Pod\nmetadata: {name: web, labels: {app: web}}\n"
      "spec: {containers: [{name: web, image: 'web:1', ports: [{name: http, containerPort: "
      "80}]}]}\n";
  std::string text = kService;
  text.replace(text.find("{port: 80}"), 10, "{port: 80, targetPort: web}");

  EXPECT_EQ(Run(text + pod), 0);

  EXPECT_EQ(err_.str(),
            "standard input:7:34: warning: spec.ports[0].targetPort: no container of the selected "
            "pods has a TCP port named \"web\"\n");
}

v1::Resource StoredService(const std::string& name, const std::string& ns, bool applied) {
  v1::Resource out = schema::NewResource(v1::KIND_SERVICE);
  v1::ObjectMeta& meta = *schema::MutableMetaOf(&out);
  meta.set_name(name);
  meta.set_namespace_(ns);
  meta.set_uid("uid-" + name);
  if (applied) meta.set_last_applied("as it was");
  return out;
}

TEST_F(Apply, PrunesWhatItHasMadeAndTheFilesHaveNoMore) {
  server_->stored = {StoredService("web", "default", true), StoredService("old", "default", true),
                     StoredService("by-hand", "default", false),
                     StoredService("elsewhere", "other", true)};

  EXPECT_EQ(Run(kService, {"--prune", "--all"}), 0);

  EXPECT_EQ(out_.str(), "service/web created\nservice/old pruned\n");
  ASSERT_EQ(server_->deletes.size(), 1u);
  EXPECT_EQ(server_->deletes[0].name().name(), "old");
  EXPECT_EQ(server_->deletes[0].uid(), "uid-old");
}

TEST_F(Apply, NamesWhatADryRunWouldPrune) {
  server_->stored = {StoredService("old", "default", true)};

  EXPECT_EQ(Run(kService, {"--prune", "--all", "--dry-run=server"}), 0);

  EXPECT_EQ(out_.str(),
            "service/web created (server dry run)\nservice/old pruned (server dry run)\n");
  EXPECT_TRUE(server_->deletes.empty());
}

TEST_F(Apply, PrunesOnlyTheKindsAndLabelsThatItIsTold) {
  std::string text = kService;
  text.replace(text.find("  name: web"), 11, "  name: web\n  labels: {team: a}");

  EXPECT_EQ(Run(text, {"--prune", "-l", "team=a", "--prune-allowlist=apps/v1/Deployment",
                       "--prune-allowlist=core/v1/Namespace"}),
            0);

  ASSERT_EQ(server_->lists.size(), 2u);
  EXPECT_EQ(server_->lists[0].kind(), v1::KIND_DEPLOYMENT);
  EXPECT_EQ(server_->lists[0].namespace_(), "default");
  EXPECT_EQ(server_->lists[0].label_selector(), "team=a");
  EXPECT_EQ(server_->lists[1].kind(), v1::KIND_NAMESPACE);

  // One namespace is meant: what belongs to none stays.
  EXPECT_EQ(Run(text, {"--prune", "-l", "team=a", "-n", "default",
                       "--prune-allowlist=core/v1/Namespace"}),
            0);
  EXPECT_EQ(server_->lists.size(), 2u);
}

TEST_F(Apply, DoesNotPruneEverythingByAccident) {
  EXPECT_EQ(Run(kService, {"--prune"}), 1);
  EXPECT_EQ(Run(kService, {"--all"}), 1);
  EXPECT_EQ(Run(kService, {"--prune", "--all", "--prune-allowlist=Deployment"}), 1);
  EXPECT_TRUE(server_->requests.empty());
  EXPECT_TRUE(server_->deletes.empty());
}

TEST_F(Apply, NeedsObjects) {
  EXPECT_EQ(Run("# nothing\n"), 1);
  EXPECT_EQ(err_.str(), "error: no objects passed to apply\n");
}

}  // namespace
}  // namespace mesh::cli
