// SPDX-License-Identifier: Apache-2.0
// diff, convert, explain, create, replace, label and annotate as whole command lines, against a
// server in memory.
#include <sstream>

#include "cli/command.h"
#include "cli/commands/commands.h"
#include "cli/manifest/manifest.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/cli/manifest/memory_control.h"

namespace mesh::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kService[] = R"(apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: default
spec:
  ports:
  - port: 80
  selector:
    app: web
)";

class WriteCommands : public ::testing::Test {
 protected:
  int Run(std::vector<std::string> line, const std::string& input = "") {
    in_.clear();
    in_.str(input);
    out_.str("");
    err_.str("");
    Context context(in_, out_, err_);
    context.set_client(server_);
    return RunCommandLine(
        {.name = "meshctl",
         .children = {DiffCommand(), ConvertCommand(), ExplainCommand(), CreateCommand(),
                      ReplaceCommand(), LabelCommand(), AnnotateCommand()}},
        std::move(line), context);
  }

  void Store(const std::string& text) {
    for (const auto& object : manifest::Decode({{"stored", text}}).objects) {
      server_->Put(object.resource);
    }
  }

  const v1::Resource& Service() {
    return server_->objects.at({v1::KIND_SERVICE, "default", "web"});
  }

  std::istringstream in_;
  std::ostringstream out_;
  std::ostringstream err_;
  std::shared_ptr<MemoryControl> server_ = std::make_shared<MemoryControl>();
};

std::string With(std::string text, const std::string& what, const std::string& by) {
  return text.replace(text.find(what), what.size(), by);
}

TEST_F(WriteCommands, DiffShowsWhatApplyWouldChange) {
  Store(kService);

  EXPECT_EQ(Run({"diff", "-f", "-"}, kService), 0);
  EXPECT_EQ(out_.str(), "");

  EXPECT_EQ(Run({"diff", "-f", "-"}, With(kService, "app: web", "app: shop")), 1);
  EXPECT_EQ(out_.str(),
            "diff -u -N LIVE/v1.Service.default.web MERGED/v1.Service.default.web\n"
            "--- LIVE/v1.Service.default.web\n"
            "+++ MERGED/v1.Service.default.web\n"
            "@@ -7,4 +7,4 @@\n"
            "   ports:\n"
            "   - port: 80\n"
            "   selector:\n"
            "-    app: web\n"
            "+    app: shop\n");
  EXPECT_EQ(err_.str(), "");
}

TEST_F(WriteCommands, DiffShowsANewObjectWhole) {
  EXPECT_EQ(Run({"diff", "-f", "-"}, kService), 1);
  EXPECT_THAT(out_.str(), HasSubstr("@@ -0,0 +1,10 @@\n+apiVersion: v1\n+kind: Service\n"));
}

TEST_F(WriteCommands, DiffHidesSecrets) {
  const std::string secret =
      "apiVersion: v1\nkind: Secret\nmetadata: {name: keys, namespace: default}\n"
      "data: {a: b2xk, b: c2FtZQ==}\n";
  Store(secret);

  EXPECT_EQ(Run({"diff", "-f", "-"}, With(secret, "b2xk", "bmV3")), 1);

  EXPECT_THAT(out_.str(), HasSubstr("-  a: '*** (before)'\n+  a: '*** (after)'\n"));
  EXPECT_THAT(out_.str(), Not(HasSubstr("b2xk")));
  EXPECT_THAT(out_.str(), Not(HasSubstr("c2FtZQ")));
}

TEST_F(WriteCommands, DiffHasACodeOfItsOwnForErrors) {
  EXPECT_EQ(Run({"diff", "-f", "-"}, "kind: Service\n"), 2);
  EXPECT_EQ(err_.str(), "standard input:1:1: error: apiVersion: Required value\n");
  EXPECT_EQ(Run({"diff"}), 2);
}

TEST_F(WriteCommands, ConvertWritesThePresentApiVersion) {
  const std::string old =
      "apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {name: web}\nspec:\n"
      "  template:\n    metadata: {labels: {app: web}}\n"
      "    spec: {containers: [{name: web, image: 'web:1'}]}\n";

  EXPECT_EQ(Run({"convert", "-f", "-"}, old + "---\n" + kService), 0);

  EXPECT_EQ(out_.str(),
            std::string("apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n"
                        "  selector:\n    matchLabels:\n      app: web\n"
                        "  template:\n    metadata:\n      labels:\n        app: web\n"
                        "    spec:\n      containers:\n      - image: web:1\n        name: web\n"
                        "---\n") +
                kService);
}

TEST_F(WriteCommands, ExplainTellsTypesRulesAndComments) {
  EXPECT_EQ(Run({"explain", "pods.spec.restartPolicy"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr("KIND:       Pod\nVERSION:    v1\n\nFIELD: restartPolicy "
                                    "<string>\n\n"));
  EXPECT_THAT(out_.str(), HasSubstr("one of: Always, OnFailure, Never\n"));
  EXPECT_THAT(out_.str(), HasSubstr("default: Always\n"));

  EXPECT_EQ(Run({"explain", "deploy.spec.template.spec.containers"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr("GROUP:      apps\nKIND:       Deployment\n"));
  EXPECT_THAT(out_.str(), HasSubstr("FIELD: containers <[]Container> -required-\n"));
  EXPECT_THAT(out_.str(), HasSubstr("  image\t<string> -required-\n"));
  EXPECT_THAT(out_.str(), HasSubstr("    Always when the tag is \"latest\" or missing, else"));
}

TEST_F(WriteCommands, ExplainListsATreeAndSuggestsNames) {
  EXPECT_EQ(Run({"explain", "service", "--recursive"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr("\n  spec\t<ServiceSpec> -required-\n"));
  EXPECT_THAT(out_.str(), HasSubstr("\n      targetPort\t<IntOrString>\n"));

  EXPECT_EQ(Run({"explain", "service.spec.slector"}), 1);
  EXPECT_EQ(err_.str(), "error: field \"slector\" does not exist; did you mean \"selector\"?\n");
  EXPECT_EQ(Run({"explain", "service.spec.type.x"}), 1);
  EXPECT_EQ(err_.str(), "error: field \"x\" does not exist\n");
}

TEST_F(WriteCommands, CreateRefusesWhatIsThere) {
  EXPECT_EQ(Run({"create", "-f", "-", "--dry-run=server"}, kService), 0);
  EXPECT_EQ(out_.str(), "service/web created (server dry run)\n");
  EXPECT_TRUE(server_->objects.empty());

  EXPECT_EQ(Run({"create", "-f", "-"}, kService), 0);
  EXPECT_EQ(out_.str(), "service/web created\n");

  EXPECT_EQ(Run({"create", "-f", "-"}, kService), 1);
  EXPECT_EQ(err_.str(), "Error from server (AlreadyExists): services \"web\" already exists\n");
}

TEST_F(WriteCommands, ReplaceNeedsWhatIsThereAndMergesNothing) {
  EXPECT_EQ(Run({"replace", "-f", "-"}, kService), 1);
  EXPECT_EQ(err_.str(), "Error from server (NotFound): services \"web\" not found\n");

  Store(With(kService, "  name: web\n", "  name: web\n  labels: {a: b}\n"));
  EXPECT_EQ(Run({"replace", "-f", "-"}, kService), 0);
  EXPECT_EQ(out_.str(), "service/web replaced\n");
  EXPECT_TRUE(schema::MetaOf(Service()).labels().empty());
}

TEST_F(WriteCommands, LabelSetsAndRemoves) {
  Store(kService);

  EXPECT_EQ(Run({"label", "service", "web", "tier=front", "team=a"}), 0);
  EXPECT_EQ(out_.str(), "service/web labeled\n");
  EXPECT_EQ(schema::MetaOf(Service()).labels().at("tier"), "front");

  EXPECT_EQ(Run({"label", "service/web", "tier=back"}), 1);
  EXPECT_EQ(err_.str(), "error: 'tier' already has a value (front), and --overwrite is false\n");

  EXPECT_EQ(Run({"label", "service/web", "tier=back", "--overwrite"}), 0);
  EXPECT_EQ(schema::MetaOf(Service()).labels().at("tier"), "back");

  EXPECT_EQ(Run({"label", "services", "--all", "tier-", "other-"}), 0);
  EXPECT_EQ(out_.str(), "label \"other\" not found.\nservice/web unlabeled\n");
  EXPECT_FALSE(schema::MetaOf(Service()).labels().contains("tier"));

  server_->updates = 0;
  EXPECT_EQ(Run({"label", "service/web", "team=a"}), 0);
  EXPECT_EQ(out_.str(), "service/web not labeled\n");
  EXPECT_EQ(server_->updates, 0);
}

TEST_F(WriteCommands, LabelRefusesWhatIsNoLabel) {
  Store(kService);

  EXPECT_EQ(Run({"label", "service/web", "tier=a b"}), 1);
  EXPECT_THAT(err_.str(), HasSubstr("invalid label \"tier=a b\""));
  EXPECT_EQ(Run({"label", "service/web"}), 1);
  EXPECT_EQ(Run({"label", "services", "a=b"}), 1);
  EXPECT_EQ(server_->updates, 0);
}

TEST_F(WriteCommands, AnnotateTriesAgainWhenSomebodyWasFaster) {
  Store(kService);
  server_->conflicts = 2;

  EXPECT_EQ(Run({"annotate", "service/web", "owner=the shop team"}), 0);

  EXPECT_EQ(out_.str(), "service/web annotated\n");
  EXPECT_EQ(server_->updates, 3);
  EXPECT_EQ(schema::MetaOf(Service()).annotations().at("owner"), "the shop team");

  EXPECT_EQ(Run({"annotate", "service/web", "owner-", "--dry-run=client"}), 0);
  EXPECT_EQ(out_.str(), "service/web annotated (dry run)\n");
  EXPECT_EQ(server_->updates, 3);
}

}  // namespace
}  // namespace mesh::cli
