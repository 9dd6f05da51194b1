// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/ownership.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace mesh::agent {
namespace {

class OwnershipTest : public ::testing::Test {
 protected:
  OwnershipTest() {
    std::filesystem::create_directories(folder_ + "/sub");
    std::ofstream(folder_ + "/sub/secret") << "x";
    ::chmod((folder_ + "/sub/secret").c_str(), 0400);
    std::ofstream(outside_) << "not ours";
    ::chmod(outside_.c_str(), 0600);
    ::symlink(outside_.c_str(), (folder_ + "/link").c_str());
    // A group of our own: the test needs no rights for it.
    context_.set_fs_group(::getegid());
  }
  ~OwnershipTest() override {
    std::filesystem::remove_all(folder_);
    std::filesystem::remove(outside_);
  }
  mode_t ModeOf(const std::string& path) const {
    struct stat now = {};
    EXPECT_EQ(::lstat(path.c_str(), &now), 0) << path;
    return now.st_mode & 07777;
  }

  const std::string folder_ = ::testing::TempDir() + "ownership";
  const std::string outside_ = ::testing::TempDir() + "ownership-outside";
  v1::PodSecurityContext context_;
};

TEST_F(OwnershipTest, LetsTheGroupReadAndWriteAllOfAVolumeAndNothingElse) {
  ASSERT_TRUE(ApplyOwnership(folder_, context_).ok());

  EXPECT_EQ(ModeOf(folder_) & 02770, 02770u);
  EXPECT_EQ(ModeOf(folder_ + "/sub") & 02770, 02770u);
  EXPECT_EQ(ModeOf(folder_ + "/sub/secret"), 0660u);
  EXPECT_EQ(ModeOf(outside_), 0600u);
}

TEST_F(OwnershipTest, LooksNoFurtherThanTheFolderWhereThatIsAskedFor) {
  context_.set_fs_group_change_policy("OnRootMismatch");
  ::chmod(folder_.c_str(), 02770);

  ASSERT_TRUE(ApplyOwnership(folder_, context_).ok());
  EXPECT_EQ(ModeOf(folder_ + "/sub/secret"), 0400u);

  ::chmod(folder_.c_str(), 0755);
  ASSERT_TRUE(ApplyOwnership(folder_, context_).ok());
  EXPECT_EQ(ModeOf(folder_ + "/sub/secret"), 0660u);
}

TEST_F(OwnershipTest, DoesNothingWithoutAGroupAndNamesWhatIsMissing) {
  ASSERT_TRUE(ApplyOwnership(folder_, {}).ok());
  EXPECT_EQ(ModeOf(folder_ + "/sub/secret"), 0400u);

  EXPECT_NE(ApplyOwnership(folder_ + "/none", context_).message().find("/none"),
            std::string_view::npos);
}

}  // namespace
}  // namespace mesh::agent
