// SPDX-License-Identifier: Apache-2.0
// Goal: logs stay within bounds, and a runtime that fails loses none of them. Method: files of the
// test, the fake runtime, virtual time.
#include "agent/pods/log_rotator.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "agent/cri/fake_cri.h"
#include "agent/pods/log_files.h"
#include "common/sim_loop.h"

namespace mesh::agent {
namespace {

class LogRotatorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/mesh-rotate-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    std::filesystem::create_directories(folder_ + "/app");
    PodEntry& pod = directory_["default/web"];
    pod.log_directory = folder_;
    pod.containers = {{.name = "app", .id = "c1", .attempt = 0, .running = true}};
    rotator_ = std::make_unique<LogRotator>(
        &loop_, &cri_, [this] { return std::make_shared<const PodDirectory>(directory_); },
        LogRotation{.max_bytes = 10, .max_files = 3, .every = absl::Seconds(10)});
    rotator_->Start();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string path() const { return folder_ + "/app/0.log"; }
  void Write(const std::string& text) { std::ofstream(path(), std::ios::app) << text; }
  static std::string Content(const std::string& path) {
    std::stringstream out;
    out << std::ifstream(path).rdbuf();
    return out.str();
  }

  std::string folder_;
  SimLoop loop_;
  FakeCri cri_{&loop_};
  PodDirectory directory_;
  std::unique_ptr<LogRotator> rotator_;
};

TEST_F(LogRotatorTest, LeavesASmallLogAlone) {
  Write("short\n");
  loop_.RunFor(absl::Seconds(25));
  EXPECT_TRUE(RotatedLogs(path()).empty());
  EXPECT_EQ(cri_.CountCalls("ReopenLog"), 0);
}

TEST_F(LogRotatorTest, RenamesALargeLogAndKeepsTheNewest) {
  for (const std::string text : {"the first one\n", "the second one\n", "the third one\n"}) {
    Write(text);
    loop_.RunFor(absl::Seconds(11));  // a look, and the runtime's answer
  }
  const std::vector<std::string> rotated = RotatedLogs(path());
  ASSERT_EQ(rotated.size(), 2U);
  EXPECT_EQ(Content(rotated[0]), "the second one\n");
  EXPECT_EQ(Content(rotated[1]), "the third one\n");
  EXPECT_EQ(cri_.CountCalls("ReopenLog c1"), 3);

  RemoveLogs(path());
  EXPECT_TRUE(RotatedLogs(path()).empty());
}

TEST_F(LogRotatorTest, PutsTheLogBackWhenTheRuntimeDoesNotBeginANewOne) {
  cri_.failures.emplace("ReopenLog", absl::UnavailableError("busy"));
  Write("the first one\n");
  loop_.RunFor(absl::Seconds(10) + absl::Seconds(1));
  EXPECT_EQ(Content(path()), "the first one\n");
  EXPECT_TRUE(RotatedLogs(path()).empty());

  loop_.RunFor(absl::Seconds(10));
  EXPECT_EQ(RotatedLogs(path()).size(), 1U);
}

TEST_F(LogRotatorTest, LeavesTheLogOfAContainerThatHasEnded) {
  directory_["default/web"].containers[0].running = false;
  Write("a long last word\n");
  loop_.RunFor(absl::Seconds(25));
  EXPECT_TRUE(RotatedLogs(path()).empty());
}

}  // namespace
}  // namespace mesh::agent
