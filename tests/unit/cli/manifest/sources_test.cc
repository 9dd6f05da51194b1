// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "cli/manifest/manifest.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::manifest {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ReadSourcesTest : public ::testing::Test {
 protected:
  ReadSourcesTest() {
    std::string name = (std::filesystem::temp_directory_path() / "mesh-sources-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~ReadSourcesTest() override { std::filesystem::remove_all(folder_); }

  void Write(const std::string& name, const std::string& text) {
    const std::filesystem::path path = folder_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  std::vector<std::string> Names(const ReadResult& result) const {
    std::vector<std::string> out;
    for (const Source& source : result.sources) {
      out.push_back(std::filesystem::path(source.name).lexically_relative(folder_).string());
    }
    return out;
  }

  std::filesystem::path folder_;
  std::istringstream input_{"from input"};
};

TEST_F(ReadSourcesTest, TakesTheManifestsOfAFolderInOrder) {
  Write("b.yaml", "b");
  Write("a.yml", "a");
  Write("c.json", "c");
  Write("notes.txt", "no");
  Write("below/d.yaml", "d");

  EXPECT_THAT(Names(ReadSources({folder_.string()}, false, input_)),
              ElementsAre("a.yml", "b.yaml", "c.json"));
  EXPECT_THAT(Names(ReadSources({folder_.string()}, true, input_)),
              ElementsAre("a.yml", "b.yaml", "c.json", "below/d.yaml"));
}

TEST_F(ReadSourcesTest, ReadsStandardInputOnce) {
  const ReadResult result = ReadSources({"-", "-"}, false, input_);

  ASSERT_EQ(result.sources.size(), 1u);
  EXPECT_EQ(result.sources[0].name, "-");
  EXPECT_EQ(result.sources[0].text, "from input");
}

TEST_F(ReadSourcesTest, NamesWhatIsNotThere) {
  const ReadResult result = ReadSources({"/nonexistent/x.yaml", folder_.string()}, false, input_);

  EXPECT_THAT(result.sources, IsEmpty());
  EXPECT_THAT(result.errors,
              ElementsAre("the path \"/nonexistent/x.yaml\" does not exist",
                          "error reading [" + folder_.string() +
                              "]: recognized file extensions are [.json .yaml .yml]"));
}

TEST_F(ReadSourcesTest, SaysThatUrlsAreNotReadYet) {
  const ReadResult result = ReadSources({"https://example.com/x.yaml"}, false, input_);

  ASSERT_EQ(result.errors.size(), 1u);
  EXPECT_THAT(result.errors[0], ::testing::HasSubstr("is a URL: not supported yet"));
}

TEST_F(ReadSourcesTest, ReadsNoMoreThanTheLimitAndOne) {
  Write("big.yaml", std::string(kMaxFileBytes + 100, '#'));

  const ReadResult result = ReadSources({(folder_ / "big.yaml").string()}, false, input_);

  ASSERT_EQ(result.sources.size(), 1u);
  EXPECT_EQ(result.sources[0].text.size(), kMaxFileBytes + 1);
}

}  // namespace
}  // namespace mesh::manifest
