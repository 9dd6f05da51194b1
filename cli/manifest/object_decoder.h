// SPDX-License-Identifier: Apache-2.0
// One YAML mapping to one Resource, by reflection over the protos; private to manifest.cc.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "cli/manifest/manifest.h"
#include "cli/manifest/yaml_tree.h"
#include "google/protobuf/message.h"

namespace mesh::manifest::internal {

// Where findings go: position, "path: message".
class Findings {
 public:
  virtual ~Findings() = default;
  virtual void Error(Mark mark, std::string message) = 0;
  virtual void Warning(Mark mark, std::string message) = 0;
};

// Values visited so far, over all aliases of a run.
struct Budget {
  size_t visited = 0;
  bool exceeded = false;
};

class ObjectDecoder {
 public:
  // All outlive this. `file` names positions.
  ObjectDecoder(std::string file, const DecodeOptions& options, Budget* budget, Findings* findings);

  // Decodes the mapping of one object. False when its kind is not known: nothing more to say then.
  bool Decode(const YamlNode& node, Object* object);
  // Paths that an error was reported for; a validation problem there says nothing new.
  const std::set<std::string>& failed_paths() const { return failed_; }
  // Messages in which an unknown field was met: a required field that is missing there was probably
  // meant by it.
  const std::set<std::string>& doubtful_paths() const { return doubtful_; }

 private:
  struct Entry {
    const YamlNode* key;
    const YamlNode* value;
  };

  // The entries of a mapping with merge keys ("<<") expanded; duplicates are reported.
  std::vector<Entry> Entries(const YamlNode& map, const std::string& path);
  void AddMerged(const YamlNode& value, const std::string& path, std::vector<Entry>* out);

  void DecodeMessage(const YamlNode& node, const std::string& path,
                     google::protobuf::Message* message);
  void DecodeField(const YamlNode& node, const google::protobuf::FieldDescriptor& field,
                   const std::string& path, google::protobuf::Message* message);
  void DecodeMap(const YamlNode& node, const google::protobuf::FieldDescriptor& field,
                 const std::string& path, google::protobuf::Message* message);
  // One value of the field: the singular one, or a new element of a list.
  void DecodeValue(const YamlNode& node, const google::protobuf::FieldDescriptor& field,
                   const std::string& path, google::protobuf::Message* message);
  void DecodeMessageValue(const YamlNode& node, const std::string& path,
                          google::protobuf::Message* value);
  void UnknownField(const Entry& entry, const std::string& path,
                    const google::protobuf::Message& message);
  void FillOldSelector(std::string_view api_version, Object* object);

  bool Spend(const YamlNode& node);
  // Something is left out: an error, or a warning, or nothing, as the options have it.
  void Drop(const YamlNode& node, const std::string& path, std::string_view message);
  void Fail(const YamlNode& node, const std::string& path, std::string_view message);
  void Record(const std::string& path, Mark mark);

  const std::string file_;
  const DecodeOptions& options_;
  Budget* const budget_;
  Findings* const findings_;
  Object* object_ = nullptr;
  v1::Kind kind_ = v1::KIND_UNSPECIFIED;
  std::set<std::string> failed_;
  std::set<std::string> doubtful_;
};

// "string "three"", "integer 3", "list": what the user gave.
std::string Describe(const YamlNode& node);
// The text of a top-level string field of a mapping, or "".
const YamlNode* Child(const YamlNode& map, std::string_view key);

}  // namespace mesh::manifest::internal
