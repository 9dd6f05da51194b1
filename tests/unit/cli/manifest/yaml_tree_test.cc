// SPDX-License-Identifier: Apache-2.0
// Text to tree: positions, several documents, and what is no YAML.
#include "cli/manifest/yaml_tree.h"

#include <string>

#include "gtest/gtest.h"

namespace mesh::manifest {
namespace {

std::string FirstError(std::string_view text) {
  const YamlDocuments documents = ParseYaml(text, 64);
  if (documents.errors.empty()) return "";
  const YamlError& error = documents.errors.front();
  return std::to_string(error.mark.line) + ":" + std::to_string(error.mark.column) + ": " +
         error.message;
}

TEST(ParseYaml, SkipsEmptyDocuments) {
  EXPECT_TRUE(ParseYaml("", 64).documents.empty());
  EXPECT_TRUE(ParseYaml("---\n---\n# nothing\n---\n", 64).documents.empty());
  EXPECT_EQ(ParseYaml("---\na: 1\n---\n---\nb: 2\n...\n", 64).documents.size(), 2u);
}

TEST(ParseYaml, EndsAtWhatCannotBeginAnything) {
  EXPECT_EQ(FirstError(", memory"), "1:1: invalid YAML: unexpected character");
  EXPECT_EQ(FirstError("a: 1\n---\n, b"), "3:1: invalid YAML: unexpected character");
  EXPECT_NE(FirstError("]"), "");
  EXPECT_NE(FirstError("}"), "");
}

TEST(ParseYaml, KeepsPositionsOfLaterDocuments) {
  const YamlDocuments documents = ParseYaml("# one\na: 1\n---\n# two\nb:\n  c: 2\n", 64);

  ASSERT_EQ(documents.documents.size(), 2u);
  const YamlNode& second = *documents.documents[1];
  EXPECT_EQ(second.entries[0].first->mark.line, 5);
  EXPECT_EQ(second.entries[0].second->entries[0].second->mark.line, 6);
  EXPECT_EQ(second.entries[0].second->entries[0].second->mark.column, 6);
}

TEST(ParseYaml, ReadsOnAfterABrokenDocument) {
  const YamlDocuments documents = ParseYaml("a: [1\n---\nb: 2\n", 64);

  EXPECT_EQ(documents.errors.size(), 1u);
  EXPECT_EQ(documents.documents.size(), 1u);
}

TEST(ParseYaml, SplitsOnlyAtLinesThatStartADocument) {
  EXPECT_EQ(ParseYaml("a: |\n  ---\n  x\nb: ---x\n", 64).documents.size(), 1u);
  EXPECT_EQ(ParseYaml("%YAML 1.2\n---\na: 1\n", 64).documents.size(), 1u);
  EXPECT_EQ(ParseYaml("a: 1\r\n---\r\nb: 2\r\n", 64).documents.size(), 2u);
}

TEST(ParseYaml, TakesAByteOrderMark) {
  EXPECT_EQ(ParseYaml("\xef\xbb\xbf"
                      "a: 1\n",
                      64)
                .documents.size(),
            1u);
}

TEST(ParseYaml, ReadsTheEscapesOfJson) {
  const YamlDocuments documents = ParseYaml(R"({"a": "\ud83d\ude00 \u00e9 \/ \\ud83d"})", 64);

  ASSERT_EQ(documents.documents.size(), 1u);
  EXPECT_EQ(documents.documents[0]->entries[0].second->text, "\U0001f600 \u00e9 / \\ud83d");
}

TEST(ParseYaml, SaysWhatIsNoText) {
  EXPECT_EQ(FirstError(std::string_view("a: 1\nb\0c", 8)),
            "2:2: control character 0x00: this is no text file, or is damaged");
  EXPECT_EQ(FirstError("a: \xff"), "1:4: not UTF-8 text (byte 0xff); save the file as UTF-8");
  EXPECT_EQ(FirstError("\xff\xfe"
                       "a"),
            "1:1: not UTF-8 text (byte 0xff); save the file as UTF-8");
}

TEST(ParseYaml, ExplainsBrokenYaml) {
  EXPECT_EQ(FirstError("a: [1\n"), "2:1: invalid YAML: a list that starts with [ is not closed");
  EXPECT_EQ(FirstError("a: 1\n b: 2\n"),
            "2:3: invalid YAML: a mapping is not allowed here (check the indentation)");
  EXPECT_EQ(FirstError("a:\n\tb: 2\n"),
            "2:3: invalid YAML: a tab in the indentation; YAML indents with spaces");
}

TEST(ParseYaml, BoundsNesting) {
  EXPECT_EQ(FirstError("a: " + std::string(1000, '[') + std::string(1000, ']')),
            "1:67: invalid YAML: nested deeper than 64 levels");
}

TEST(ParseYaml, RefusesAnAliasToItself) {
  EXPECT_EQ(FirstError("a: &x [*x]\n"), "1:8: invalid YAML: an alias inside its own anchor");
}

TEST(PlainScalarType, ReadsScalarsAsKubernetesYamlDoes) {
  const std::pair<const char*, ScalarType> cases[] = {
      {"web", ScalarType::kString},   {"1.27.3", ScalarType::kString},
      {"80", ScalarType::kInteger},   {"-3", ScalarType::kInteger},
      {"0755", ScalarType::kInteger}, {"0x1f", ScalarType::kInteger},
      {"1.5", ScalarType::kFloat},    {"1e3", ScalarType::kFloat},
      {".5", ScalarType::kFloat},     {"1.", ScalarType::kFloat},
      {"yes", ScalarType::kBoolean},  {"Off", ScalarType::kBoolean},
      {"true", ScalarType::kBoolean}, {"~", ScalarType::kNull},
      {"null", ScalarType::kNull},    {"", ScalarType::kNull},
      {"1e", ScalarType::kString},    {"-", ScalarType::kString},
      {"100m", ScalarType::kString},  {"2001-12-14", ScalarType::kString},
      {"1_000", ScalarType::kString}, {"e3", ScalarType::kString},
  };
  for (const auto& [text, type] : cases) EXPECT_EQ(PlainScalarType(text), type) << text;
}

}  // namespace
}  // namespace mesh::manifest
