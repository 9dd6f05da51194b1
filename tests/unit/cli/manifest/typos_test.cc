// SPDX-License-Identifier: Apache-2.0
// Goal: a slip of the pen is told at its line with the word that was meant.
// Method: in each manifest below a folder, one letter of a field's name, a kind, an apiVersion or a
// value of a fixed set is left out, added, changed or swapped with its neighbour; what is new among
// the errors is looked at. MESH_MANIFEST_CORPUS names another folder than the examples, MESH_TYPOS
// another count.
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>
#include <set>
#include <sstream>
#include <utility>

#include "api/schema/fields.h"
#include "api/schema/schema.h"
#include "cli/manifest/manifest.h"
#include "cli/manifest/yaml_tree.h"
#include "common/random.h"
#include "fmt/format.h"
#include "gtest/gtest.h"
#include "mesh/v1/options.pb.h"

namespace mesh::manifest {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

constexpr uint64_t kSeed = 20'221;
constexpr size_t kTypos = 1000;
constexpr size_t kRightPercent = 95;

// A word of a manifest that can be misspelled, and what else may stand there.
struct Site {
  size_t source;
  Mark mark;
  std::string word;
  std::set<std::string> valid;
};

class Collector {
 public:
  explicit Collector(size_t source) : source_(source) {}

  void Document(const YamlNode& node) {
    if (node.type != YamlNode::Type::kMap) return;
    std::string api_version, kind;
    for (const auto& [key, value] : node.entries) {
      if (key->text == "apiVersion") api_version = value->text;
      if (key->text == "kind") kind = value->text;
    }
    const auto type = schema::FindManifestType(api_version, kind);
    if (!type.ok() || !type->note.empty() || type->info->kind == v1::KIND_EVENT) return;
    std::set<std::string> kinds, versions;
    for (const schema::KindInfo& info : schema::AllKinds()) {
      kinds.emplace(info.name);
      versions.emplace(info.api_version);
    }
    for (const auto& [key, value] : node.entries) {
      if (key->text == "apiVersion") Add(*value, versions);
      if (key->text == "kind") Add(*value, kinds);
      if (key->text == "apiVersion" || key->text == "kind") Add(*key, {});
    }
    Message(node, *v1::Resource::descriptor()->FindFieldByNumber(type->info->kind)->message_type());
  }

  std::vector<Site> sites;

 private:
  void Add(const YamlNode& node, std::set<std::string> valid) {
    if (node.type == YamlNode::Type::kScalar && node.plain && node.text.size() > 1) {
      sites.push_back({source_, node.mark, node.text, std::move(valid)});
    }
  }

  void Message(const YamlNode& node, const Descriptor& type) {
    if (node.type != YamlNode::Type::kMap) return;
    std::set<std::string> names;
    for (int i = 0; i < type.field_count(); ++i) names.insert(type.field(i)->json_name());
    for (const auto& [key, value] : node.entries) {
      const FieldDescriptor* field = schema::FindField(type, key->text);
      if (field == nullptr || field->options().GetExtension(v1::system)) continue;
      Add(*key, names);
      if (field->is_map()) continue;
      if (value->type == YamlNode::Type::kList) {
        for (const YamlNodePtr& item : value->items) Value(*item, *field);
      } else {
        Value(*value, *field);
      }
    }
  }

  void Value(const YamlNode& node, const FieldDescriptor& field) {
    if (field.message_type() != nullptr) return Message(node, *field.message_type());
    const int count = field.options().ExtensionSize(v1::one_of);
    if (count == 0 || field.is_repeated()) return;
    std::set<std::string> valid;
    for (int i = 0; i < count; ++i) valid.insert(field.options().GetExtension(v1::one_of, i));
    Add(node, std::move(valid));
  }

  const size_t source_;
};

std::string Slip(std::string word, Random* random) {
  const size_t at = random->Below(word.size());
  const char letter = static_cast<char>('a' + random->Below(26));
  switch (random->Below(4)) {
    case 0:
      word.erase(at, 1);
      break;
    case 1:
      word.insert(at, 1, letter);
      break;
    case 2:
      word[at] = letter;
      break;
    default:
      if (at + 1 < word.size()) std::swap(word[at], word[at + 1]);
  }
  return word;
}

// The text with `word` at `mark` replaced; empty when it does not stand there (an anchor does).
std::string Edited(const std::string& text, const Site& site, const std::string& word) {
  size_t begin = 0;
  for (int line = 1; line < site.mark.line; ++line) begin = text.find('\n', begin) + 1;
  begin += static_cast<size_t>(site.mark.column) - 1;
  if (text.compare(begin, site.word.size(), site.word) != 0) return "";
  std::string out = text;
  return out.replace(begin, site.word.size(), word);
}

std::map<std::string, Diagnostic> ErrorsOf(const std::vector<Diagnostic>& diagnostics) {
  std::map<std::string, Diagnostic> out;
  for (const Diagnostic& diagnostic : diagnostics) {
    if (diagnostic.severity == Diagnostic::Severity::kError)
      out.emplace(diagnostic.ToString(), diagnostic);
  }
  return out;
}

TEST(Typos, AreFoundAtTheirLineWithTheWordThatWasMeant) {
  const char* corpus = std::getenv("MESH_MANIFEST_CORPUS");
  const char* count = std::getenv("MESH_TYPOS");
  const size_t wanted = count != nullptr ? std::strtoul(count, nullptr, 10) : kTypos;
  std::istringstream nothing;
  const std::string folder =
      corpus != nullptr ? corpus : std::string(MESH_SOURCE_DIR) + "/examples";
  const ReadResult read = ReadSources({folder}, /*recursive=*/true, nothing);
  std::vector<Site> sites;
  std::vector<std::map<std::string, Diagnostic>> before;
  for (size_t i = 0; i < read.sources.size(); ++i) {
    before.push_back(ErrorsOf(Decode({read.sources[i]}).diagnostics));
    Collector collector(i);
    for (const YamlNodePtr& node : ParseYaml(read.sources[i].text, kMaxDepth).documents) {
      collector.Document(*node);
    }
    sites.insert(sites.end(), collector.sites.begin(), collector.sites.end());
  }
  ASSERT_GT(sites.size(), 100u) << folder;

  Random random(kSeed);
  size_t made = 0, right = 0, shown = 0;
  for (size_t tries = 0; made < wanted && tries < 10 * wanted; ++tries) {
    const Site& site = sites[random.Below(sites.size())];
    const std::string slip = Slip(site.word, &random);
    if (slip == site.word || site.valid.contains(slip)) continue;
    const Source& source = read.sources[site.source];
    const std::string text = Edited(source.text, site, slip);
    // An empty text, "on" and the like are another mistake.
    if (text.empty() || PlainScalarType(slip) != ScalarType::kString) continue;
    ++made;

    const Diagnostic* first = nullptr;
    const auto after = ErrorsOf(Decode({{source.name, text}}).diagnostics);
    for (const auto& [key, diagnostic] : after) {
      if (before[site.source].contains(key) || diagnostic.position.line != site.mark.line) continue;
      if (first == nullptr || diagnostic.position.column < first->position.column) {
        first = &diagnostic;
      }
    }
    EXPECT_NE(first, nullptr) << fmt::format("{}:{}: \"{}\" for \"{}\" is not told there",
                                             source.name, site.mark.line, slip, site.word);
    if (first == nullptr) continue;
    const bool named = first->message.find(fmt::format("\"{}\"", site.word)) != std::string::npos;
    const bool meant =
        first->message.find(fmt::format("did you mean \"{}\"", site.word)) != std::string::npos ||
        (named && first->message.find("has apiVersion") != std::string::npos);
    if (meant) {
      ++right;
    } else if (++shown <= 20) {
      std::cout << fmt::format("{} for {}: {}\n", slip, site.word, first->ToString());
    }
  }

  EXPECT_EQ(made, wanted);
  EXPECT_GE(right * 100, made * kRightPercent) << right << " of " << made;
  std::cout << fmt::format("{} of {} first suggestions are right\n", right, made);
}

}  // namespace
}  // namespace mesh::manifest
