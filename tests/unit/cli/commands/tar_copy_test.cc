// SPDX-License-Identifier: Apache-2.0
// Goal: files come through a tar stream as they were, and nothing that an archive says leaves the
// place it was meant for. Method: folders of the test; archives by libarchive as another would
// write them.
#include "cli/commands/tar_copy.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace mesh::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TarCopyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/mesh-tar-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string At(const std::string& path) const { return folder_ + "/" + path; }
  void Write(const std::string& path, const std::string& text) const {
    fs::create_directories(fs::path(At(path)).parent_path());
    std::ofstream(At(path)) << text;
  }
  std::string Content(const std::string& path) const {
    std::stringstream out;
    out << std::ifstream(At(path)).rdbuf();
    return out.str();
  }
  int64_t Seconds(const std::string& path) const {
    struct stat info {};
    ::stat(At(path).c_str(), &info);
    return info.st_mtime;
  }
  absl::Status Pack(const std::string& path, const std::string& name) {
    return WriteTar(
        At(path), name,
        [this](std::string_view data) {
          archive_ += data;
          return absl::OkStatus();
        },
        &skipped_);
  }
  absl::Status Unpack(const std::string& name, const std::string& path) {
    // In pieces that end anywhere.
    size_t at = 0;
    return ReadTar(
        [&]() -> absl::StatusOr<std::string> {
          std::string piece = archive_.substr(at, 1000);
          at += piece.size();
          return piece;
        },
        name, At(path), /*preserve=*/true, &skipped_);
  }
  // Adds an entry to an archive that somebody else wrote.
  struct Entry {
    std::string path;
    int type = AE_IFREG;
    std::string content;
    std::string link;
  };
  void Forge(const std::vector<Entry>& entries) {
    archive* out = archive_write_new();
    archive_write_set_format_pax_restricted(out);
    std::string buffer(1 << 20, '\0');
    size_t used = 0;
    archive_write_open_memory(out, buffer.data(), buffer.size(), &used);
    for (const Entry& each : entries) {
      archive_entry* entry = archive_entry_new();
      archive_entry_set_pathname(entry, each.path.c_str());
      archive_entry_set_filetype(entry, static_cast<unsigned>(each.type));
      archive_entry_set_perm(entry, 04755);
      archive_entry_set_size(entry, static_cast<la_int64_t>(each.content.size()));
      if (each.type == AE_IFLNK) archive_entry_set_symlink(entry, each.link.c_str());
      archive_write_header(out, entry);
      archive_write_data(out, each.content.data(), each.content.size());
      archive_entry_free(entry);
    }
    archive_write_close(out);
    archive_write_free(out);
    archive_ = buffer.substr(0, used);
  }

  std::string folder_, archive_;
  std::vector<std::string> skipped_;
};

TEST_F(TarCopyTest, BringsAFolderOverAsItIs) {
  Write("from/a.txt", "one\n");
  Write("from/below/b.bin", std::string(300'000, 'x') + std::string(1, '\0'));
  Write("from/" + std::string(120, 'n'), "a long name\n");
  fs::create_directories(At("from/empty"));
  ::chmod(At("from/a.txt").c_str(), 0640);
  const timespec times[2] = {{1'700'000'000, 0}, {1'700'000'000, 5}};
  ::utimensat(AT_FDCWD, At("from/a.txt").c_str(), times, 0);

  ASSERT_TRUE(Pack("from", "site").ok());
  const absl::Status unpacked = Unpack("site", "to");

  ASSERT_TRUE(unpacked.ok()) << unpacked;
  EXPECT_EQ(Content("to/a.txt"), "one\n");
  EXPECT_EQ(Content("to/below/b.bin").size(), 300'001U);
  EXPECT_EQ(Content("to/" + std::string(120, 'n')), "a long name\n");
  EXPECT_TRUE(fs::is_directory(At("to/empty")));
  EXPECT_EQ(fs::status(At("to/a.txt")).permissions(), fs::perms(0640));
  EXPECT_EQ(Seconds("to/a.txt"), 1'700'000'000);
}

TEST_F(TarCopyTest, BringsAFileOverUnderItsNewNameAndReplacesWhatIsThere) {
  Write("from.txt", "new");
  Write("to.txt", "older and longer");
  ASSERT_TRUE(Pack("from.txt", "x").ok());
  ASSERT_TRUE(Unpack("x", "to.txt").ok());
  EXPECT_EQ(Content("to.txt"), "new");
}

TEST_F(TarCopyTest, RefusesWhatWouldLeaveThePlace) {
  for (const char* path :
       {"/etc/x", "x/../../out", "../out", "other/out", "x/a/../../out", "xout"}) {
    Forge({{.path = path, .content = "bad"}});
    const absl::Status status = Unpack("x", "to");
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << path << ": " << status;
    EXPECT_FALSE(fs::exists(At("out"))) << path;
  }
}

TEST_F(TarCopyTest, LeavesOutLinksAndNeverWritesThroughOne) {
  fs::create_directories(At("elsewhere"));
  // The archive makes a link, and then a file behind it.
  Forge({{.path = "x", .type = AE_IFDIR},
         {.path = "x/link", .type = AE_IFLNK, .link = At("elsewhere")},
         {.path = "x/pipe", .type = AE_IFIFO},
         {.path = "x/link/file", .content = "bad"}});
  EXPECT_TRUE(Unpack("x", "to").ok());
  EXPECT_THAT(skipped_, ElementsAre("x/link", "x/pipe"));
  EXPECT_EQ(Content("to/link/file"), "bad") << "a folder of its own";
  EXPECT_TRUE(fs::is_empty(At("elsewhere")));

  // The link was there before.
  fs::create_directories(At("to2"));
  fs::create_symlink(At("elsewhere"), At("to2/link"));
  EXPECT_FALSE(Unpack("x", "to2").ok());
  EXPECT_TRUE(fs::is_empty(At("elsewhere")));
  Forge({{.path = "x/link", .content = "bad"}});
  EXPECT_FALSE(Unpack("x", "to2").ok());
  EXPECT_TRUE(fs::is_empty(At("elsewhere")));
}

TEST_F(TarCopyTest, DropsSetUserId) {
  Forge({{.path = "x", .content = "text"}});
  ASSERT_TRUE(Unpack("x", "to").ok());
  EXPECT_EQ(fs::status(At("to")).permissions(), fs::perms(0755));
}

TEST_F(TarCopyTest, SaysWhatIsMissingOrBroken) {
  EXPECT_EQ(Pack("none", "x").code(), absl::StatusCode::kNotFound);
  archive_ = "";
  EXPECT_EQ(Unpack("x", "to").code(), absl::StatusCode::kNotFound);
  Write("from", std::string(5000, 'x'));
  ASSERT_TRUE(Pack("from", "x").ok());
  archive_.resize(3000);
  EXPECT_FALSE(Unpack("x", "to").ok());
}

TEST_F(TarCopyTest, EndsWithTheErrorOfItsReader) {
  Write("from", std::string(5000, 'x'));
  const absl::Status status = WriteTar(
      At("from"), "x", [](std::string_view) { return absl::UnavailableError("gone"); }, &skipped_);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
}

}  // namespace
}  // namespace mesh::cli
