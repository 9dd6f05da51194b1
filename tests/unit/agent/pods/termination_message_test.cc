// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/termination_message.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "agent/network/files.h"
#include "agent/pods/pod_status.h"
#include "tests/unit/agent/pods/pod_world.h"

namespace mesh::agent {
namespace {

class TerminationMessageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/mesh-words-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    options.files_root = folder_;
    log = folder_ + "/0.log";
    app.set_name("app");
    app.set_termination_message_path("/dev/termination-log");
    app.set_termination_message_policy("File");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  absl::Status Make(uint32_t attempt) { return MakeTerminationFile(options, "u", app, attempt); }
  std::string File(uint32_t attempt) { return TerminationFile(options, "u", "app", attempt); }
  void Write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }
  void Log(const std::vector<std::string>& lines) {
    std::ofstream out(log);
    for (const std::string& line : lines) out << "2026-01-02T03:04:05Z stderr F " << line << '\n';
  }
  std::string Message() { return TerminationMessage(options, "u", app, exited, log); }

  PodConfigOptions options;
  v1::Container app;
  std::string log;
  ObservedContainer exited =
      MakeExited("app", 1, 0, absl::FromUnixSeconds(1000), absl::FromUnixSeconds(1001));

 private:
  std::string folder_;
};

TEST_F(TerminationMessageTest, EveryUserMayWriteTheFileOfAnAttempt) {
  ASSERT_TRUE(Make(0).ok());
  struct stat info = {};
  ASSERT_EQ(::stat(File(0).c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0666U);

  Write(File(0), "first");
  EXPECT_EQ(Message(), "first");
}

TEST_F(TerminationMessageTest, ItsOwnFileAndTheOneBeforeAreKept) {
  for (uint32_t attempt : {0, 1, 2}) {
    ASSERT_TRUE(Make(attempt).ok());
    Write(File(attempt), fmt::format("attempt {}", attempt));
  }

  EXPECT_FALSE(std::filesystem::exists(File(0)));
  EXPECT_EQ(ReadWholeFile(File(1)).value_or(""), "attempt 1");
  exited.attempt = 2;
  EXPECT_EQ(Message(), "attempt 2");
  ASSERT_TRUE(Make(2).ok());
  EXPECT_EQ(Message(), "") << "created once more: a new life";
}

TEST_F(TerminationMessageTest, ComesBehindWhatTheRuntimeSays) {
  ASSERT_TRUE(Make(0).ok());
  exited.message = "OOM";
  EXPECT_EQ(Message(), "OOM");
  Write(File(0), "too much");
  EXPECT_EQ(Message(), "OOM: too much");
}

TEST_F(TerminationMessageTest, IsTheEndOfALargeFileInUtf8) {
  ASSERT_TRUE(Make(0).ok());
  Write(File(0), std::string(10'000, 'x') + "\xff" + "end");

  const std::string message = Message();

  EXPECT_EQ(message, std::string(kTerminationFileMost - 4, 'x') + "\xef\xbf\xbd" + "end");
}

TEST_F(TerminationMessageTest, NeverLeadsOutOfItsFile) {
  ASSERT_TRUE(Make(0).ok());
  Write(log, "secret");
  std::filesystem::remove(File(0));
  std::filesystem::create_symlink(log, File(0));

  EXPECT_EQ(Message(), "");
  EXPECT_FALSE(Make(0).ok());
}

TEST_F(TerminationMessageTest, TheLogStandsInForAnEmptyFileOfAFailureWhereThePolicySaysSo) {
  ASSERT_TRUE(Make(0).ok());
  Log({"one", "two"});
  EXPECT_EQ(Message(), "");

  app.set_termination_message_policy("FallbackToLogsOnError");
  EXPECT_EQ(Message(), "one\ntwo\n");
  exited.exit_code = 0;
  EXPECT_EQ(Message(), "");
  exited.exit_code = 1;
  Write(File(0), "own words");
  EXPECT_EQ(Message(), "own words");
}

TEST_F(TerminationMessageTest, OfTheLogTheLastLinesAndBytes) {
  ASSERT_TRUE(Make(0).ok());
  app.set_termination_message_policy("FallbackToLogsOnError");
  std::vector<std::string> lines;
  for (int i = 0; i < 100; ++i) lines.push_back(fmt::format("{}", i));
  Log(lines);
  EXPECT_TRUE(Message().starts_with("20\n21\n")) << Message();
  EXPECT_TRUE(Message().ends_with("99\n"));

  Log(std::vector<std::string>(50, std::string(5'000, 'y')));
  EXPECT_EQ(Message(), std::string(kTerminationLogMost - 1, 'y') + "\n");

  std::filesystem::remove(log);
  EXPECT_EQ(Message(), "");
}

using LastWordsTest = PodWorld;

TEST_F(LastWordsTest, AreFoundByAnAgentThatLearnsOfThePodAfterItsEnd) {
  pod = MakePod({"app"}, "Never");
  App().set_termination_message_path("/dev/termination-log");
  Want(pod);
  ASSERT_TRUE(Eventually([&] { return Ready(); }));
  const FakeCri::Container& app = *cri.Find("web", "app");
  ASSERT_EQ(app.config.mounts(1).container_path(), "/dev/termination-log");
  std::ofstream(app.config.mounts(1).host_path()) << "no database\n";
  cri.Kill(app.status.id(), 1);
  const auto said = [&] {
    return status.container_statuses(0).state().terminated().message() == "no database\n";
  };
  ASSERT_TRUE(Eventually(said));

  status.Clear();
  Restart();
  loop.RunFor(absl::Seconds(2));
  Want(pod);
  ASSERT_TRUE(Eventually([&] { return !status.phase().empty(); }));
  EXPECT_TRUE(said());
}

TEST_F(TerminationMessageTest, APodHasTwelveKilobytesOfThem) {
  v1::Pod pod = MakePod({"a", "b", "c", "d"}, "Never");
  ObservedPod observed;
  observed.sandboxes = {MakeSandbox("s0")};
  for (const char* name : {"a", "b", "c", "d"}) {
    ObservedContainer& ended = observed.containers.emplace_back(
        MakeExited(name, 1, 0, absl::FromUnixSeconds(1000), absl::FromUnixSeconds(1001)));
    ended.message = std::string(4096, 'x');
  }
  const PodMemory memory;
  StatusInput input{.pod = &pod, .observed = &observed, .memory = &memory};
  input.now = absl::FromUnixSeconds(1002);

  const v1::PodStatus status = ComputePodStatus(input).status;

  for (const v1::ContainerStatus& container : status.container_statuses())
    EXPECT_EQ(container.state().terminated().message().size(), 3072U);
}

}  // namespace
}  // namespace mesh::agent
