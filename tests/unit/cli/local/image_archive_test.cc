// SPDX-License-Identifier: Apache-2.0
// Archives are written by the system's tar, so that the reader meets real headers.
#include "cli/local/image_archive.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "cli/local/process.h"
#include "common/unique_fd.h"

namespace mesh::cli::local {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kOneImage[] = R"({"schemaVersion":2,"manifests":[{"digest":"sha256:aa","size":3,)"
                             R"("annotations":{"io.containerd.image.name":"web:v1"}}]})";

class ImageArchive : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/mesh-image-archive-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override { RemoveTree(folder_).IgnoreError(); }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  // A tar file of the given files, in their order.
  std::string Tar(const std::vector<std::pair<std::string, std::string>>& files,
                  std::vector<std::string> flags = {}) {
    std::vector<std::string> argv = {"tar", "-C", folder_, "-cf", Path("image.tar")};
    argv.insert(argv.end(), flags.begin(), flags.end());
    for (const auto& [name, content] : files) {
      EXPECT_TRUE(MakeDirectories(Path(name).substr(0, Path(name).rfind('/'))).ok());
      EXPECT_TRUE(WriteFile(Path(name), content).ok());
      argv.push_back(name);
    }
    EXPECT_TRUE(RunOrFail(argv).ok());
    return Path("image.tar");
  }
  std::string folder_;
};

TEST_F(ImageArchive, FindsTheIndexAmongBlobs) {
  const std::string path =
      Tar({{"blobs/sha256/aa", std::string(5000, 'x')}, {"index.json", kOneImage}});

  const auto index = ReadArchiveIndex(path);

  ASSERT_TRUE(index.ok()) << index.status();
  EXPECT_EQ(index->oci_index, kOneImage);
  EXPECT_EQ(index->docker_manifest, "");
}

TEST_F(ImageArchive, PassesEveryOtherByteOnWhenTheIndexChanges) {
  for (const char* format : {"--format=gnu", "--format=pax", "--format=ustar"}) {
    const std::string long_name = "blobs/sha256/" + std::string(64, 'b');
    const std::string path = Tar(
        {{"./oci-layout", "{}"}, {"./index.json", kOneImage}, {long_name, std::string(70000, 'y')}},
        {format});
    const ArchiveIndex changed = {.oci_index = "{\"manifests\": []}", .docker_manifest = ""};
    const UniqueFd out(::open(Path("out.tar").c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600));

    ASSERT_TRUE(WriteRenamedArchive(path, changed, out.get()).ok());

    EXPECT_EQ(RunOrFail({"tar", "-xOf", Path("out.tar"), "./index.json"}).value(),
              changed.oci_index);
    EXPECT_EQ(RunOrFail({"tar", "-xOf", Path("out.tar"), long_name}).value(),
              std::string(70000, 'y'));
  }
}

TEST_F(ImageArchive, SaysThatACompressedArchiveIsCompressed) {
  const std::string path = Tar({{"index.json", kOneImage}}, {"--gzip"});

  EXPECT_THAT(std::string(ReadArchiveIndex(path).status().message()), HasSubstr("compressed"));
}

TEST_F(ImageArchive, RefusesATarThatIsNoImage) {
  const std::string path = Tar({{"readme", "hello"}});

  EXPECT_THAT(std::string(ReadArchiveIndex(path).status().message()),
              HasSubstr("no image archive"));
}

TEST_F(ImageArchive, SaysWhereACutOffArchiveEnds) {
  const std::string path = Tar({{"index.json", std::string(3000, ' ')}});
  ASSERT_EQ(::truncate(path.c_str(), 1024), 0);

  EXPECT_THAT(std::string(ReadArchiveIndex(path).status().message()), HasSubstr("cut off"));
}

TEST(NameImages, GivesAnOciImageItsFullNameAndTheExtraOnes) {
  const auto named = NameImages({.oci_index = kOneImage, .docker_manifest = ""}, {"gcr.io/a/b:2"});

  ASSERT_TRUE(named.ok()) << named.status();
  EXPECT_THAT(named->names, ElementsAre("docker.io/library/web:v1", "gcr.io/a/b:2"));
  EXPECT_THAT(named->index.oci_index, HasSubstr("\"docker.io/library/web:v1\""));
  EXPECT_THAT(named->index.oci_index, HasSubstr("\"gcr.io/a/b:2\""));
}

TEST(NameImages, TakesTheNameThatOtherToolsWriteAsTag) {
  const auto named =
      NameImages({.oci_index = R"({"manifests":[{"digest":"sha256:aa","annotations":)"
                               R"({"org.opencontainers.image.ref.name":"quay.io/x/y:3"}}]})",
                  .docker_manifest = ""},
                 {});

  ASSERT_TRUE(named.ok()) << named.status();
  EXPECT_THAT(named->names, ElementsAre("quay.io/x/y:3"));
}

TEST(NameImages, GivesADockerImageItsFullNames) {
  const auto named =
      NameImages({.oci_index = "",
                  .docker_manifest = R"([{"Config":"c","RepoTags":["redis:6"],"Layers":[]}])"},
                 {"docker.io/redis:6.0.5"});

  ASSERT_TRUE(named.ok()) << named.status();
  EXPECT_THAT(named->names,
              ElementsAre("docker.io/library/redis:6", "docker.io/library/redis:6.0.5"));
}

TEST(NameImages, RefusesAnImageWithoutAnyName) {
  const auto named =
      NameImages({.oci_index = R"({"manifests":[{"digest":"sha256:aa","annotations":)"
                               R"({"org.opencontainers.image.ref.name":"latest"}}]})",
                  .docker_manifest = ""},
                 {});

  EXPECT_THAT(std::string(named.status().message()), HasSubstr("--as"));
}

TEST(NameImages, RefusesOneExtraNameForTwoImages) {
  const auto named =
      NameImages({.oci_index = R"({"manifests":[{"digest":"sha256:aa"},{"digest":"sha256:bb"}]})",
                  .docker_manifest = ""},
                 {"x:1"});

  EXPECT_THAT(std::string(named.status().message()), HasSubstr("2 images"));
}

TEST(NameImages, RefusesABrokenIndex) {
  EXPECT_FALSE(NameImages({.oci_index = "{", .docker_manifest = ""}, {}).ok());
  EXPECT_FALSE(NameImages({.oci_index = "{}", .docker_manifest = ""}, {}).ok());
}

}  // namespace
}  // namespace mesh::cli::local
