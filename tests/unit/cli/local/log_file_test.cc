// SPDX-License-Identifier: Apache-2.0
#include "cli/local/log_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/unique_fd.h"

namespace mesh::cli::local {
namespace {

class RotateLogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/mesh-log-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    log_ = UniqueFd(::open(Path().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    ASSERT_TRUE(log_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Path() const { return folder_ + "/agent.log"; }
  void Write(const std::string& text) const {
    ASSERT_EQ(::write(log_.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  static std::string Text(const std::string& path) {
    std::ostringstream out;
    out << std::ifstream(path).rdbuf();
    return out.str();
  }

  std::string folder_;
  UniqueFd log_;
};

TEST_F(RotateLogTest, LeavesAShortLogAlone) {
  Write("ten bytes\n");

  ASSERT_TRUE(RotateLog(Path(), 10).ok());

  EXPECT_EQ(Text(Path()), "ten bytes\n");
  EXPECT_FALSE(std::filesystem::exists(Path() + ".1"));
}

TEST_F(RotateLogTest, PutsALongLogAsideAndItsWriterGoesOn) {
  const std::string old(3 << 20, 'x');
  Write(old);

  ASSERT_TRUE(RotateLog(Path(), 1 << 20).ok());
  Write("after\n");

  EXPECT_EQ(Text(Path() + ".1"), old);
  EXPECT_EQ(Text(Path()), "after\n");
  EXPECT_FALSE(std::filesystem::exists(Path() + ".part"));
}

TEST_F(RotateLogTest, KeepsTheLastTwo) {
  for (const char* text : {"first", "second", "third"}) {
    Write(text);
    ASSERT_TRUE(RotateLog(Path(), 1).ok());
  }

  EXPECT_EQ(Text(Path() + ".1"), "third");
  EXPECT_EQ(Text(Path()), "");
}

TEST_F(RotateLogTest, DoesNotMindALogThatIsNotThere) {
  EXPECT_TRUE(RotateLog(folder_ + "/none.log", 1).ok());
}

}  // namespace
}  // namespace mesh::cli::local
