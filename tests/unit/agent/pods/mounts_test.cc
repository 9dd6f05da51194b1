// SPDX-License-Identifier: Apache-2.0
// Goal: what is mounted for a pod is what its volume has, whatever a container has put there, and
// all of it goes again. Method: the kernel's mounts in a mount namespace of the test's own.
#include "agent/pods/mounts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "agent/network/files.h"

namespace mesh::agent {
namespace {

namespace fs = std::filesystem;

class KernelMountsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    ASSERT_EQ(::unshare(CLONE_NEWNS), 0) << std::strerror(errno);
    ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  }
  void SetUp() override {
    char folder[] = "/tmp/mesh-mounts-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    fs::create_directories(Path("volume/sub"));
    fs::create_directories(Path("outside"));
    std::ofstream(Path("volume/sub/file")) << "inside";
    std::ofstream(Path("outside/file")) << "outside";
  }
  void TearDown() override {
    EXPECT_TRUE(mounts->UnmountAll(folder_).ok());
    fs::remove_all(folder_);
  }
  std::string Path(const std::string& below) { return folder_ + "/" + below; }
  std::string Read(const std::string& below) {
    const auto content = ReadWholeFile(Path(below));
    return content.ok() ? *content : "";
  }

  std::string folder_;
  std::unique_ptr<Mounts> mounts = NewKernelMounts();
};

TEST_F(KernelMountsTest, MountsMemoryOnceWithItsSizeAndMode) {
  ASSERT_TRUE(mounts->Tmpfs(Path("volume"), 1 << 20, 0777).ok());
  std::ofstream(Path("volume/kept")) << "kept";

  ASSERT_TRUE(mounts->Tmpfs(Path("volume"), 1 << 20, 0777).ok());

  EXPECT_EQ(Read("volume/kept"), "kept");
  EXPECT_EQ(fs::space(Path("volume")).capacity, 1u << 20);
  struct stat info {};
  ASSERT_EQ(::stat(Path("volume").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0777u);
  ASSERT_TRUE(mounts->UnmountAll(folder_).ok());
  EXPECT_EQ(Read("volume/sub/file"), "inside") << "of what was below";
}

TEST_F(KernelMountsTest, BindsFilesAndFoldersBelowAVolume) {
  ASSERT_TRUE(mounts->BindBelow(Path("volume"), "sub/file", Path("pods/0")).ok());
  ASSERT_TRUE(mounts->BindBelow(Path("volume"), "sub", Path("pods/1")).ok());
  EXPECT_EQ(Read("pods/0"), "inside");
  EXPECT_EQ(Read("pods/1/file"), "inside");

  // Again, and another one at the same place.
  const absl::Status again = mounts->BindBelow(Path("volume"), "sub", Path("pods/0"));
  ASSERT_TRUE(again.ok()) << again;
  EXPECT_EQ(Read("pods/0/file"), "inside");
}

TEST_F(KernelMountsTest, MakesFoldersThatAreMissingLikeTheOneAbove) {
  fs::permissions(Path("volume"), fs::perms::all);

  const absl::Status bound = mounts->BindBelow(Path("volume"), "new/deep", Path("pods/0"));

  ASSERT_TRUE(bound.ok()) << bound;
  EXPECT_EQ(fs::status(Path("volume/new/deep")).permissions(), fs::perms::all);
}

TEST_F(KernelMountsTest, FollowsLinksThatStayAndNoneThatLeadOut) {
  fs::create_symlink("sub", Path("volume/stays"));
  fs::create_symlink("../outside", Path("volume/up"));
  fs::create_symlink(Path("outside"), Path("volume/absolute"));
  ASSERT_TRUE(mounts->BindBelow(Path("volume"), "stays/file", Path("pods/0")).ok());
  EXPECT_EQ(Read("pods/0"), "inside");

  for (const char* way : {"up", "up/file", "up/new", "absolute/file", "../outside/file"}) {
    const absl::Status bound = mounts->BindBelow(Path("volume"), way, Path("pods/1"));
    EXPECT_TRUE(absl::IsPermissionDenied(bound)) << way << ": " << bound;
  }
  EXPECT_FALSE(fs::exists(Path("outside/new")));
  EXPECT_FALSE(fs::exists(Path("pods/1")));
}

TEST_F(KernelMountsTest, RemovesNothingThatIsStillMounted) {
  ASSERT_TRUE(mounts->BindBelow(Path("outside"), ".", Path("pods/uid/subpaths/0")).ok());

  EXPECT_FALSE(RemoveOwnTree(Path("pods")).ok());
  EXPECT_EQ(Read("outside/file"), "outside");

  ASSERT_TRUE(mounts->UnmountAll(Path("pods")).ok());
  EXPECT_TRUE(RemoveOwnTree(Path("pods")).ok());
  EXPECT_EQ(Read("outside/file"), "outside");
}

}  // namespace
}  // namespace mesh::agent
