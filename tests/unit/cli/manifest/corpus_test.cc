// SPDX-License-Identifier: Apache-2.0
// Every manifest below a folder is read: it decodes, or each error has a place and says what is
// unsupported or wrong. MESH_MANIFEST_CORPUS names a folder of published manifests; without it the
// examples of this repository are read.
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "cli/manifest/manifest.h"
#include "cli/manifest/print.h"
#include "gtest/gtest.h"

namespace mesh::manifest {
namespace {

std::string CorpusFolder() {
  const char* folder = std::getenv("MESH_MANIFEST_CORPUS");
  return folder != nullptr ? folder : std::string(MESH_SOURCE_DIR) + "/examples";
}

TEST(Corpus, EveryFileIsReadOrRefusedByName) {
  std::istringstream nothing;
  const ReadResult read = ReadSources({CorpusFolder()}, /*recursive=*/true, nothing);
  ASSERT_FALSE(read.sources.empty()) << CorpusFolder();

  for (const Source& source : read.sources) {
    const Manifest manifest = Decode({source});
    for (const Diagnostic& diagnostic : manifest.diagnostics) {
      EXPECT_GT(diagnostic.position.line, 0) << diagnostic.ToString();
      EXPECT_GT(diagnostic.position.column, 0) << diagnostic.ToString();
      EXPECT_FALSE(diagnostic.message.empty()) << source.name;
    }
    for (const Object& object : manifest.objects) {
      const Manifest again = Decode({{"printed", ToYaml(object.resource)}});
      ASSERT_TRUE(again.ok()) << source.name << "\n"
                              << again.diagnostics[0].ToString() << "\n"
                              << ToYaml(object.resource);
      EXPECT_EQ(ToYaml(again.objects[0].resource), ToYaml(object.resource)) << source.name;
    }
  }
}

}  // namespace
}  // namespace mesh::manifest
