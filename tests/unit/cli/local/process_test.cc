// SPDX-License-Identifier: Apache-2.0
#include "cli/local/process.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

namespace mesh::cli::local {
namespace {

TEST(RunProgram, GivesInputAndTakesOutputAndExitCode) {
  const std::string long_input(200000, 'x');

  const auto output = RunProgram({"sh", "-c", "wc -c; echo oops >&2; exit 3"}, long_input);

  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_EQ(output->exit_code, 3);
  EXPECT_EQ(output->text, "200000\noops\n");
}

TEST(RunProgram, ReportsTheSignalThatEndedIt) {
  EXPECT_EQ(RunProgram({"sh", "-c", "kill -9 $$"}).value().exit_code, 128 + 9);
}

TEST(RunProgram, NamesAProgramThatIsNotThere) {
  const auto output = RunProgram({"mesh-no-such-program"});

  EXPECT_EQ(output.status().code(), absl::StatusCode::kNotFound);
}

TEST(RunOrFail, CarriesTheProgramsWords) {
  const auto output = RunOrFail({"sh", "-c", "echo 'it broke'; exit 1"});

  EXPECT_NE(std::string(output.status().message()).find("it broke"), std::string::npos);
}

TEST(RemoveTree, RemovesFoldersFilesAndLinksButNotTheirTargets) {
  char name[] = "/tmp/mesh-remove-tree-XXXXXX";
  ASSERT_NE(::mkdtemp(name), nullptr);
  const std::string folder = name;
  ASSERT_TRUE(MakeDirectories(folder + "/tree/a/b").ok());
  ASSERT_TRUE(WriteFile(folder + "/tree/a/b/file", "x").ok());
  ASSERT_TRUE(WriteFile(folder + "/outside", "kept").ok());
  ASSERT_EQ(::symlink("../../outside", (folder + "/tree/a/link").c_str()), 0);

  EXPECT_TRUE(RemoveTree(folder + "/tree").ok());
  EXPECT_TRUE(RemoveTree(folder + "/tree").ok());

  EXPECT_NE(::access((folder + "/tree").c_str(), F_OK), 0);
  EXPECT_EQ(ReadFile(folder + "/outside").value(), "kept");
  EXPECT_TRUE(RemoveTree(folder).ok());
}

TEST(ListProcesses, FindsThisProcessWithItsParent) {
  for (const ProcessInfo& process : ListProcesses()) {
    if (process.pid != ::getpid()) continue;
    EXPECT_EQ(process.parent, ::getppid());
    return;
  }
  FAIL() << "not listed";
}

TEST(IsAlive, TellsTheLivingFromTheAbsent) {
  EXPECT_TRUE(IsAlive(::getpid()));
  EXPECT_FALSE(IsAlive(1 << 22 | 1));
}

}  // namespace
}  // namespace mesh::cli::local
