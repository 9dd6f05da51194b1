// SPDX-License-Identifier: Apache-2.0
// apply and diff with --server-side, and who is said to write.
#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "tests/unit/cli/commands/commands_world.h"

namespace mesh::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ServerSideTest : public CommandsTest {
 protected:
  ServerSideTest() {
    path_ = ::testing::TempDir() + "server_side_test.yaml";
    std::ofstream(path_) << "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n"
                            "spec:\n  replicas: 3\n";
  }
  ~ServerSideTest() override { std::filesystem::remove(path_); }

  std::string path_;
};

TEST_F(ServerSideTest, SendsAPartOfAnObjectWithTheManager) {
  const Outcome outcome =
      Run({"apply", "--server-side", "--field-manager=ci", "--force-conflicts", "-f", path_});

  EXPECT_EQ(outcome.out, "deployment.apps/web serverside-applied\n") << outcome.err;
  EXPECT_TRUE(server_.apply_request.server_side());
  EXPECT_TRUE(server_.apply_request.force_conflicts());
  EXPECT_EQ(server_.apply_request.field_manager(), "ci");
  EXPECT_EQ(server_.apply_request.resources(0).deployment().spec().replicas(), 3);
}

TEST_F(ServerSideTest, WithoutItAPartIsRefused) {
  const Outcome outcome = Run({"apply", "-f", path_});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("spec.selector: Required value"));
}

TEST_F(ServerSideTest, ConflictsComeWithWhatCanBeDone) {
  server_.apply_status = {grpc::StatusCode::ABORTED,
                          "Apply failed with 1 conflict: conflict with \"other\": .spec.replicas"};

  const Outcome outcome = Run({"apply", "--server-side", "-f", path_});

  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.err,
            "error: Apply failed with 1 conflict: conflict with \"other\": .spec.replicas\n"
            "Please review the fields above--they currently have other managers. Here\n"
            "are the ways you can resolve this warning:\n"
            "* If you intend to manage all of these fields, please re-run the apply\n"
            "  command with the `--force-conflicts` flag.\n"
            "* If you do not intend to manage all of the fields, please edit your\n"
            "  manifest to remove references to the fields that should keep their\n"
            "  current managers.\n"
            "* You may co-own fields by updating your manifest to match the existing\n"
            "  value; in this case, you'll become the manager if the other manager(s)\n"
            "  stop managing the field (remove it from their configuration).\n"
            "See https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts\n");
}

TEST_F(ServerSideTest, FlagsThatDoNotGoTogetherAreTold) {
  EXPECT_EQ(Run({"apply", "--force-conflicts", "-f", path_}).err,
            "error: --force-conflicts only works with --server-side\n");
  EXPECT_EQ(Run({"apply", "--server-side", "--dry-run=client", "-f", path_}).err,
            "error: --dry-run=client doesn't work with --server-side (did you mean "
            "--dry-run=server instead?)\n");
}

TEST_F(ServerSideTest, DiffAsksForTheSameMerge) {
  const Outcome outcome = Run({"diff", "--server-side", "-f", path_});
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  EXPECT_TRUE(server_.apply_request.server_side());
  EXPECT_TRUE(server_.apply_request.dry_run());
  EXPECT_THAT(outcome.out, HasSubstr("+  replicas: 3\n"));
}

TEST_F(ServerSideTest, OwnersAreShownWhenAskedFor) {
  v1::Resource web = Deployment("");
  v1::ManagedFields& entry = *web.mutable_deployment()->mutable_metadata()->add_managed_fields();
  entry.set_manager("ci");
  entry.set_operation("Apply");
  entry.set_api_version("apps/v1");
  entry.mutable_time()->set_seconds(0);
  entry.add_paths(".metadata.labels.\"a.b/c\"");
  entry.add_paths(".spec.template.spec.containers[name=\"web\"]");
  entry.add_paths(".spec.template.spec.containers[name=\"web\"].image");
  server_.Put(web);

  EXPECT_THAT(Run({"get", "deployment", "web", "-o", "yaml"}).out, Not(HasSubstr("managedFields")));
  EXPECT_THAT(Run({"get", "deployment", "web", "-o", "yaml", "--show-managed-fields"}).out,
              HasSubstr("  managedFields:\n"
                        "  - apiVersion: apps/v1\n"
                        "    fieldsType: FieldsV1\n"
                        "    fieldsV1:\n"
                        "      f:metadata:\n"
                        "        f:labels:\n"
                        "          f:a.b/c: {}\n"
                        "      f:spec:\n"
                        "        f:template:\n"
                        "          f:spec:\n"
                        "            f:containers:\n"
                        "              k:{\"name\":\"web\"}:\n"
                        "                .: {}\n"
                        "                f:image: {}\n"
                        "    manager: ci\n"
                        "    operation: Apply\n"
                        "    time: \"1970-01-01T00:00:00Z\"\n"
                        "  name: web\n"));
  EXPECT_THAT(Run({"get", "deployment", "web", "-o", "json", "--show-managed-fields"}).out,
              HasSubstr("\"k:{\\\"name\\\":\\\"web\\\"}\": {"));
}

TEST_F(ServerSideTest, PruneTakesWhatTheSameManagerApplied) {
  for (const char* manager : {"meshctl", "other"}) {
    v1::Resource config = Parse<v1::Resource>(
        std::string("config_map { metadata { namespace: 'default' name: '") + manager + "' } }");
    v1::ManagedFields& entry =
        *config.mutable_config_map()->mutable_metadata()->add_managed_fields();
    entry.set_manager(manager);
    entry.set_operation("Apply");
    server_.Put(config);
  }
  const Outcome outcome = Run({"apply", "--server-side", "--prune", "--all", "-f", path_});
  EXPECT_EQ(outcome.out, "deployment.apps/web serverside-applied\nconfigmap/meshctl pruned\n")
      << outcome.err;
}

TEST_F(ServerSideTest, EachVerbNamesItself) {
  server_.Put(Deployment(""));
  Run({"label", "deployment", "web", "a=b"});
  EXPECT_EQ(server_.update_request.field_manager(), "meshctl-label");
  Run({"annotate", "deployment", "web", "a=b"});
  EXPECT_EQ(server_.update_request.field_manager(), "meshctl-annotate");
  server_.Put(Parse<v1::Resource>("config_map { metadata { name: 'site' namespace: 'default' } }"));
  Run({"patch", "configmap", "site", "-p", R"({"data":{"a":"b"}})"});
  EXPECT_EQ(server_.update_request.field_manager(), "meshctl-patch");
  Run({"patch", "configmap", "site", "-p", R"({"data":{"a":"c"}})", "--field-manager=x"});
  EXPECT_EQ(server_.update_request.field_manager(), "x");
}

}  // namespace
}  // namespace mesh::cli
