// SPDX-License-Identifier: Apache-2.0
// edit, with small programs for editors.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "tests/unit/cli/commands/commands_world.h"

namespace mesh::cli {
namespace {

using ::testing::HasSubstr;

class EditTest : public CommandsTest {
 protected:
  EditTest() {
    char path[] = "/tmp/mesh-edit-test-XXXXXX";
    folder_ = ::mkdtemp(path);
    ::setenv("TMPDIR", folder_.c_str(), 1);
    server_.Put(Parse<v1::Resource>(
        "service { metadata { name: 'web' namespace: 'default' } spec { type: 'ClusterIP' selector "
        "{ key: 'app' value: 'web' } ports { port: 80 protocol: 'TCP' target_port { int_value: 80 "
        "} } } }"));
  }
  ~EditTest() override {
    ::unsetenv("TMPDIR");
    ::unsetenv("KUBE_EDITOR");
    std::filesystem::remove_all(folder_);
  }

  // The editor: a shell script that gets the file as $1. Each run leaves a copy of what it was
  // shown in "seen".
  void Editor(const std::string& script) {
    std::ofstream(folder_ + "/editor.sh") << "cat \"$1\" >> " << folder_ << "/seen\n" << script;
    ::setenv("KUBE_EDITOR", ("sh " + folder_ + "/editor.sh").c_str(), 1);
  }
  std::string Seen() const {
    std::ifstream in(folder_ + "/seen");
    return {std::istreambuf_iterator<char>(in), {}};
  }
  int32_t Port() {
    return std::atoi(
        Run({"get", "svc", "web", "-o", "jsonpath={.spec.ports[0].port}"}).out.c_str());
  }

  std::string folder_;
};

TEST_F(EditTest, WritesWhatTheEditorChanged) {
  Editor("sed -i 's/port: 80$/port: 81/' \"$1\"\n");
  const Outcome outcome = Run({"edit", "svc", "web"});
  EXPECT_EQ(outcome.out, "service/web edited\n") << outcome.err;
  EXPECT_EQ(Port(), 81);
  EXPECT_EQ(server_.update_request.field_manager(), "meshctl-edit");
  EXPECT_THAT(Seen(), HasSubstr("# Please edit the object below."));
}

TEST_F(EditTest, ChangesNothingWhenNothingWasChanged) {
  Editor("");
  const Outcome outcome = Run({"edit", "svc/web"});
  EXPECT_EQ(outcome.err, "Edit cancelled, no changes made.\n");
  EXPECT_EQ(outcome.exit_code, 0);
}

TEST_F(EditTest, AnEmptyFileIsNoEdit) {
  Editor(": > \"$1\"\n");
  EXPECT_EQ(Run({"edit", "svc/web"}).err, "Edit cancelled, saved file was empty.\n");
}

TEST_F(EditTest, ARefusedEditComesBackWithTheReason) {
  // First a typing error; then, with the file as it was left, its mending.
  Editor(
      "if grep -q 'was not valid' \"$1\"; then sed -i 's/prot: 81/port: 81/' \"$1\"\n"
      "else sed -i 's/port: 80$/prot: 81/' \"$1\"; fi\n");
  const Outcome outcome = Run({"edit", "svc/web"});
  EXPECT_EQ(outcome.out, "service/web edited\n") << outcome.err;
  EXPECT_EQ(Port(), 81);
  EXPECT_THAT(Seen(), HasSubstr("# service/web was not valid:\n"));
  EXPECT_THAT(Seen(), HasSubstr("unknown field; did you mean \"port\"?"));
}

TEST_F(EditTest, SoDoesOneThatTheServerRefuses) {
  server_.update_status = {grpc::StatusCode::INVALID_ARGUMENT, "Service \"web\" is invalid: no"};
  Editor(
      "if grep -q 'is invalid: no' \"$1\"; then sed -i 's/port: 81$/port: 82/' \"$1\"\n"
      "else sed -i 's/port: 80$/port: 81/' \"$1\"; fi\n");
  EXPECT_EQ(Run({"edit", "svc/web"}).out, "service/web edited\n");
  EXPECT_EQ(Port(), 82);
}

TEST_F(EditTest, GivesUpWhenARefusedEditIsLeftAsItIs) {
  Editor("sed -i 's/port: 80$/prot: 81/' \"$1\"\n");
  const Outcome outcome = Run({"edit", "svc/web"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("A copy of your changes has been stored to \"" + folder_));
  EXPECT_THAT(outcome.err, HasSubstr("error: Edit cancelled, no valid changes were saved.\n"));
  EXPECT_EQ(Port(), 80);
}

TEST_F(EditTest, AnEditorThatFailsChangesNothing) {
  Editor("exit 3\n");
  EXPECT_EQ(Run({"edit", "svc/web"}).err, "error: there was a problem with the editor \"sh\"\n");
  ::setenv("KUBE_EDITOR", "/no/such/editor", 1);
  EXPECT_THAT(Run({"edit", "svc/web"}).err,
              HasSubstr("unable to launch the editor \"/no/such/editor\""));
}

}  // namespace
}  // namespace mesh::cli
