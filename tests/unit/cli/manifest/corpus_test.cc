// SPDX-License-Identifier: Apache-2.0
// Every manifest below a folder is read: it decodes, or each error has a place and says what is
// unsupported or wrong. MESH_MANIFEST_CORPUS names a folder of published manifests; without it the
// examples of this repository are read.
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "api/schema/defaults.h"
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
      // What the server would store comes back, too.
      v1::Resource complete = object.resource;
      schema::ApplyDefaults(&complete);
      const Manifest stored = Decode({{"stored", ToYaml(complete)}});
      ASSERT_TRUE(stored.ok()) << source.name << "\n"
                               << stored.diagnostics[0].ToString() << "\n"
                               << ToYaml(complete);
      v1::Resource twice = stored.objects[0].resource;
      schema::ApplyDefaults(&twice);
      EXPECT_EQ(ToYaml(twice), ToYaml(complete)) << source.name;
    }
  }
}

}  // namespace
}  // namespace mesh::manifest
