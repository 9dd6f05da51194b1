// SPDX-License-Identifier: Apache-2.0
#include "cli/manifest/object_decoder.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "absl/time/time.h"
#include "api/schema/fields.h"
#include "api/schema/schema.h"
#include "api/schema/validate.h"
#include "cli/manifest/legacy.h"
#include "fmt/format.h"
#include "google/protobuf/timestamp.pb.h"
#include "mesh/v1/options.pb.h"

namespace mesh::manifest::internal {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using Type = YamlNode::Type;

// Written by the system and in no proto.
constexpr std::string_view kIgnoredMetadata[] = {"managedFields", "selfLink"};

ScalarType TypeOf(const YamlNode& node) {
  if (node.type == Type::kNull) return ScalarType::kNull;
  return node.plain ? PlainScalarType(node.text) : ScalarType::kString;
}

bool IsNull(const YamlNode& node) {
  return node.type == Type::kNull ||
         (node.type == Type::kScalar && TypeOf(node) == ScalarType::kNull);
}

std::string Shorten(std::string_view text) {
  constexpr size_t kMax = 60;
  std::string out;
  for (const char c : text.substr(0, kMax))
    out += c == '\n' ? std::string("\\n") : std::string(1, c);
  return text.size() > kMax ? out + "..." : out;
}

std::string Join(const std::string& path, std::string_view field) {
  return path.empty() ? std::string(field) : fmt::format("{}.{}", path, field);
}

// The value of a plain integer or integral float in decimal; nullopt otherwise.
std::optional<int64_t> IntegerValue(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc() && at == end) return value;
  // 1e3, 3.0: Kubernetes takes these as 1000 and 3.
  const double number = std::strtod(std::string(text).c_str(), nullptr);
  if (std::isfinite(number) && number == std::floor(number) && std::fabs(number) < 9e15) {
    return static_cast<int64_t>(number);
  }
  return std::nullopt;
}

// What YAML 1.1 reads 0755, 0x1f or 0o17 as; nullopt for decimal text.
std::optional<int64_t> OtherBase(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (text.size() < 2 || text[0] != '0') return std::nullopt;
  int base = 8;
  size_t skip = 1;
  if (text[1] == 'x') base = 16, skip = 2;
  if (text[1] == 'o') base = 8, skip = 2;
  if (text[1] == 'b') base = 2, skip = 2;
  text.remove_prefix(skip);
  int64_t value = 0;
  const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || at != text.data() + text.size()) return std::nullopt;
  return negative ? -value : value;
}

// Of files: everybody writes 0644 and means it.
bool IsFileMode(const FieldDescriptor& field) {
  return field.name() == "mode" || field.name() == "default_mode";
}

bool IsEmpty(const YamlNode& node) {
  return (node.type == Type::kList && node.items.empty()) ||
         (node.type == Type::kMap && node.entries.empty());
}

// "None", "[IPv4]": the form of schema::IsImpliedValue.
std::optional<std::string> ImpliedText(const YamlNode& node) {
  if (node.type == Type::kScalar) {
    if (TypeOf(node) == ScalarType::kBoolean) return BooleanValue(node.text) ? "true" : "false";
    return node.text;
  }
  if (node.type != Type::kList) return std::nullopt;
  std::string out;
  for (const YamlNodePtr& item : node.items) {
    if (item->type != Type::kScalar) return std::nullopt;
    out += (out.empty() ? "" : ",") + item->text;
  }
  return "[" + out + "]";
}

// The key that stands where `key` was meant; null when there is none.
const YamlNode* Misspelled(const YamlNode& map, std::string_view key) {
  for (const auto& [name, value] : map.entries) {
    if (name->type != Type::kScalar) continue;
    if (schema::NearestWord(name->text, {"apiVersion", "kind", "metadata", "spec"}) == key) {
      return name.get();
    }
  }
  return nullptr;
}

}  // namespace

std::string Describe(const YamlNode& node) {
  switch (node.type) {
    case Type::kNull:
      return "null";
    case Type::kList:
      return "a list";
    case Type::kMap:
      // {{ .Values.name }} reads as a mapping with a mapping for its key.
      if (!node.entries.empty() && node.entries.front().first->type == Type::kMap) {
        return "a template; render it before it is applied";
      }
      return "a mapping";
    case Type::kScalar:
      break;
  }
  switch (TypeOf(node)) {
    case ScalarType::kInteger:
      return "integer " + node.text;
    case ScalarType::kFloat:
      return "number " + node.text;
    case ScalarType::kBoolean:
      return "boolean " + node.text;
    case ScalarType::kNull:
      return "null";
    case ScalarType::kString:
      break;
  }
  return fmt::format("string \"{}\"", Shorten(node.text));
}

const YamlNode* Child(const YamlNode& map, std::string_view key) {
  for (const auto& [name, value] : map.entries) {
    if (name->type == Type::kScalar && name->text == key) return value.get();
  }
  return nullptr;
}

ObjectDecoder::ObjectDecoder(std::string file, const DecodeOptions& options, Budget* budget,
                             Findings* findings)
    : file_(std::move(file)), options_(options), budget_(budget), findings_(findings) {}

bool ObjectDecoder::Decode(const YamlNode& node, Object* object) {
  object_ = object;
  const auto text_of = [&](std::string_view key) -> std::optional<std::string> {
    const YamlNode* child = Child(node, key);
    if (child == nullptr) {
      if (const YamlNode* slip = Misspelled(node, key)) {
        findings_->Error(slip->mark,
                         fmt::format("{}: unknown field; did you mean \"{}\"?", slip->text, key));
        return std::nullopt;
      }
    }
    if (child == nullptr || IsNull(*child)) {
      findings_->Error(node.mark, fmt::format("{}: Required value", key));
      return std::nullopt;
    }
    if (child->type != Type::kScalar || TypeOf(*child) != ScalarType::kString) {
      findings_->Error(child->mark,
                       fmt::format("{}: expected string, got {}", key, Describe(*child)));
      return std::nullopt;
    }
    return child->text;
  };
  const auto api_version = text_of("apiVersion");
  const auto kind = text_of("kind");
  if (!api_version || !kind) return false;

  const auto type = schema::FindManifestType(*api_version, *kind);
  if (!type.ok()) {
    const bool about_version = type.status().message().find("has apiVersion") != std::string::npos;
    findings_->Error(Child(node, about_version ? "apiVersion" : "kind")->mark,
                     std::string(type.status().message()));
    return false;
  }
  kind_ = type->info->kind;
  if (kind_ == v1::KIND_EVENT) {
    findings_->Error(
        Child(node, "kind")->mark,
        fmt::format("kind {} is written by the cluster; applying one is not supported yet",
                    type->info->name));
    return false;
  }
  if (!type->note.empty() && !options_.identity_only) {
    findings_->Warning(Child(node, "apiVersion")->mark, type->note);
  }

  object->resource = schema::NewResource(kind_);
  Record("", node.mark);
  Message* body = schema::MutableBodyOf(&object->resource);
  if (options_.identity_only) {
    if (const YamlNode* metadata = Child(node, "metadata"); metadata != nullptr) {
      for (const std::string_view key : {"name", "namespace"}) {
        const YamlNode* value = Child(*metadata, key);
        if (value == nullptr) continue;
        const FieldDescriptor* field = schema::FindField(*v1::ObjectMeta::descriptor(), key);
        DecodeValue(*value, *field, Join("metadata", key),
                    schema::MutableMetaOf(&object->resource));
      }
    }
    return true;
  }
  const Modernized modern = Modernize(node, *api_version, kind_);
  for (const LegacyProblem& problem : modern.problems) {
    failed_.insert(problem.path);
    findings_->Error(problem.mark, fmt::format("{}: {}", problem.path, problem.message));
  }
  DecodeMessage(modern.node != nullptr ? *modern.node : node, "", body);
  FillOldSelector(*api_version, object);
  return true;
}

// Until apps/v1beta2 a missing selector meant the template's labels.
void ObjectDecoder::FillOldSelector(std::string_view api_version, Object* object) {
  if (api_version != "extensions/v1beta1" && api_version != "apps/v1beta1") return;
  const auto fill = [](auto* spec) {
    if (spec->has_selector() || spec->template_().metadata().labels().empty()) return;
    *spec->mutable_selector()->mutable_match_labels() = spec->template_().metadata().labels();
  };
  v1::Resource& resource = object->resource;
  if (resource.has_deployment() && resource.deployment().has_spec()) {
    fill(resource.mutable_deployment()->mutable_spec());
  }
  if (resource.has_replica_set() && resource.replica_set().has_spec()) {
    fill(resource.mutable_replica_set()->mutable_spec());
  }
  // These two replaced no pod by themselves then.
  if (resource.has_daemon_set() && resource.daemon_set().has_spec()) {
    v1::DaemonSetSpec* spec = resource.mutable_daemon_set()->mutable_spec();
    fill(spec);
    if (spec->update_strategy().type().empty())
      spec->mutable_update_strategy()->set_type("OnDelete");
  }
  if (resource.has_stateful_set() && resource.stateful_set().has_spec()) {
    v1::StatefulSetSpec* spec = resource.mutable_stateful_set()->mutable_spec();
    fill(spec);
    if (spec->update_strategy().type().empty())
      spec->mutable_update_strategy()->set_type("OnDelete");
  }
}

std::vector<ObjectDecoder::Entry> ObjectDecoder::Entries(const YamlNode& map,
                                                         const std::string& path) {
  std::vector<Entry> out;
  std::map<std::string_view, const YamlNode*> seen;
  std::vector<const YamlNode*> merges;
  for (const auto& [key, value] : map.entries) {
    if (key->type != Type::kScalar && key->type != Type::kNull) {
      Fail(*key, path, "a key must be a plain text, not " + Describe(*key));
      continue;
    }
    if (key->plain && key->text == "<<") {
      merges.push_back(value.get());
      continue;
    }
    const ScalarType type = TypeOf(*key);
    if (type == ScalarType::kBoolean || type == ScalarType::kNull) {
      Fail(*key, path,
           fmt::format("YAML reads the key {} as {}; quote it", key->text.empty() ? "~" : key->text,
                       type == ScalarType::kNull ? "null" : "a boolean"));
      continue;
    }
    const auto [it, inserted] = seen.emplace(key->text, key.get());
    if (!inserted) {
      Drop(*key, Join(path, key->text),
           fmt::format("duplicate key; first given at line {}", it->second->mark.line));
      for (Entry& entry : out) {
        if (entry.key->text == key->text) entry = {key.get(), value.get()};
      }
      continue;
    }
    out.push_back({key.get(), value.get()});
  }
  // What the mapping says itself goes before what it merges in.
  for (const YamlNode* merge : merges) AddMerged(*merge, path, &out);
  return out;
}

void ObjectDecoder::AddMerged(const YamlNode& value, const std::string& path,
                              std::vector<Entry>* out) {
  if (!Spend(value)) return;
  if (value.type == Type::kList) {
    for (const YamlNodePtr& item : value.items) AddMerged(*item, path, out);
    return;
  }
  if (value.type != Type::kMap) {
    return Fail(value, path, "the value of << must be a mapping, got " + Describe(value));
  }
  for (const Entry& entry : Entries(value, path)) {
    bool given = false;
    for (const Entry& other : *out) given = given || other.key->text == entry.key->text;
    if (!given) out->push_back(entry);
  }
}

void ObjectDecoder::DecodeMessage(const YamlNode& node, const std::string& path, Message* message) {
  if (!Spend(node)) return;
  if (node.type != Type::kMap) {
    return Fail(node, path, "expected a mapping, got " + Describe(node));
  }
  const Descriptor& descriptor = *message->GetDescriptor();
  const bool top = path.empty();
  for (const Entry& entry : Entries(node, path)) {
    const std::string& name = entry.key->text;
    if (top && (name == "apiVersion" || name == "kind")) continue;
    const std::string here = Join(path, name);
    const FieldDescriptor* field = schema::FindField(descriptor, name);
    if (field == nullptr) {
      UnknownField(entry, path, *message);
      continue;
    }
    Record(here, entry.key->mark);
    if (field->options().GetExtension(v1::system) || IsNull(*entry.value)) continue;
    DecodeField(*entry.value, *field, here, message);
  }
}

void ObjectDecoder::UnknownField(const Entry& entry, const std::string& path,
                                 const Message& message) {
  const Descriptor& descriptor = *message.GetDescriptor();
  const std::string& name = entry.key->text;
  if (path == "metadata") {
    for (const std::string_view ignored : kIgnoredMetadata) {
      if (name == ignored) return;
    }
  }
  const std::string why = schema::ExplainUnknownField(kind_, descriptor, path, name);
  if (why != "not supported yet") {
    if (options_.unknown == DecodeOptions::Unknown::kError) doubtful_.insert(path);
    return Drop(*entry.key, Join(path, name), why);
  }
  // Saying nothing asks for nothing; a probe without a handler is a mistake all the same.
  if (IsNull(*entry.value) || (IsEmpty(*entry.value) && !name.ends_with("Probe"))) return;
  const std::vector<std::string_view> implied = schema::ImpliedValuesOf(descriptor, name);
  const auto text = ImpliedText(*entry.value);
  if (implied.empty() || !text) return Drop(*entry.key, Join(path, name), why);
  std::string supported;
  for (const std::string_view value : implied) {
    if (*text == value) return;
    supported += (supported.empty() ? "" : " or ") + std::string(value);
  }
  Drop(*entry.key, Join(path, name),
       fmt::format("{}: value {} (only {} is)", why, *text, supported));
}

void ObjectDecoder::DecodeField(const YamlNode& node, const FieldDescriptor& field,
                                const std::string& path, Message* message) {
  if (field.is_map()) return DecodeMap(node, field, path, message);
  if (!field.is_repeated()) return DecodeValue(node, field, path, message);
  if (!Spend(node)) return;
  if (node.type != Type::kList) {
    return Fail(node, path, "expected a list, got " + Describe(node));
  }
  int index = 0;
  for (const YamlNodePtr& item : node.items) {
    const std::string here = fmt::format("{}[{}]", path, index++);
    Record(here, item->mark);
    DecodeValue(*item, field, here, message);
  }
}

void ObjectDecoder::DecodeMap(const YamlNode& node, const FieldDescriptor& field,
                              const std::string& path, Message* message) {
  if (!Spend(node)) return;
  if (node.type != Type::kMap) {
    return Fail(node, path, "expected a mapping, got " + Describe(node));
  }
  const FieldDescriptor& key_field = *field.message_type()->map_key();
  const FieldDescriptor& value_field = *field.message_type()->map_value();
  for (const Entry& entry : Entries(node, path)) {
    const std::string here = fmt::format("{}[{}]", path, entry.key->text);
    Record(here, entry.key->mark);
    Message* pair = message->GetReflection()->AddMessage(message, &field);
    pair->GetReflection()->SetString(pair, &key_field, entry.key->text);
    if (IsNull(*entry.value)) {
      // `app:` with nothing after it is the empty string, as Kubernetes has it.
      if (value_field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
        pair->GetReflection()->SetString(pair, &value_field, "");
      } else {
        Fail(*entry.value, here, "expected a quantity, got null");
      }
      continue;
    }
    DecodeValue(*entry.value, value_field, here, pair);
  }
}

void ObjectDecoder::DecodeValue(const YamlNode& node, const FieldDescriptor& field,
                                const std::string& path, Message* message) {
  const Reflection& reflection = *message->GetReflection();
  const bool list = field.is_repeated();
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    Message* value =
        list ? reflection.AddMessage(message, &field) : reflection.MutableMessage(message, &field);
    return DecodeMessageValue(node, path, value);
  }
  if (!Spend(node)) return;
  Record(path, node.mark);
  const ScalarType type = TypeOf(node);
  const auto expected = [&](std::string_view what) {
    std::string text = fmt::format("expected {}, got {}", what, Describe(node));
    if (node.type == Type::kScalar && what == "string" && type != ScalarType::kNull) {
      text += fmt::format("; quote it: \"{}\"", node.text);
    }
    if (node.type == Type::kScalar && what != "string" && !node.plain) {
      const ScalarType meant = PlainScalarType(node.text);
      if ((what == "integer" && meant == ScalarType::kInteger) ||
          (what == "boolean" && meant == ScalarType::kBoolean)) {
        text += "; remove the quotes";
      }
    }
    Fail(node, path, text);
  };
  if (!node.tag.empty()) {
    return Fail(node, path, fmt::format("the tag {} is not supported", node.tag));
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING: {
      if (node.type != Type::kScalar || type != ScalarType::kString) return expected("string");
      if (list) {
        reflection.AddString(message, &field, node.text);
      } else {
        reflection.SetString(message, &field, node.text);
      }
      return;
    }
    case FieldDescriptor::CPPTYPE_BOOL: {
      if (node.type != Type::kScalar || type != ScalarType::kBoolean) return expected("boolean");
      return reflection.SetBool(message, &field, BooleanValue(node.text));
    }
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
    case FieldDescriptor::CPPTYPE_UINT32: {
      if (node.type != Type::kScalar ||
          (type != ScalarType::kInteger && type != ScalarType::kFloat)) {
        return expected("integer");
      }
      const auto other = type == ScalarType::kInteger ? OtherBase(node.text) : std::nullopt;
      if (other && !IsFileMode(field)) {
        return Fail(node, path,
                    fmt::format("YAML reads {} as {}; write it in decimal", node.text, *other));
      }
      const auto value = other ? other : IntegerValue(node.text);
      if (!value && type == ScalarType::kInteger) {
        return Fail(node, path,
                    fmt::format("Invalid value: {}: does not fit in {} bits", node.text,
                                field.cpp_type() == FieldDescriptor::CPPTYPE_INT64 ? 64 : 32));
      }
      if (!value) return expected("integer");
      // Where zero stands for "absent", the rules would ask for what is there.
      if (*value == 0 && !list && !field.has_presence()) {
        if (const std::string why = schema::CheckRange(field, 0); !why.empty()) {
          return Fail(node, path, why);
        }
      }
      const bool narrow = field.cpp_type() != FieldDescriptor::CPPTYPE_INT64;
      if (narrow && (*value > std::numeric_limits<int32_t>::max() ||
                     *value < std::numeric_limits<int32_t>::min())) {
        return Fail(node, path,
                    fmt::format("Invalid value: {}: does not fit in 32 bits", node.text));
      }
      if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT64) {
        return list ? reflection.AddInt64(message, &field, *value)
                    : reflection.SetInt64(message, &field, *value);
      }
      if (list && field.cpp_type() == FieldDescriptor::CPPTYPE_INT32) {
        return reflection.AddInt32(message, &field, static_cast<int32_t>(*value));
      }
      if (field.cpp_type() == FieldDescriptor::CPPTYPE_UINT32) {
        return reflection.SetUInt32(message, &field, static_cast<uint32_t>(*value));
      }
      return reflection.SetInt32(message, &field, static_cast<int32_t>(*value));
    }
    default:
      return Fail(node, path, "not supported yet");
  }
}

void ObjectDecoder::DecodeMessageValue(const YamlNode& node, const std::string& path,
                                       Message* value) {
  const Descriptor& type = *value->GetDescriptor();
  const ScalarType scalar = TypeOf(node);
  const bool is_scalar = node.type == Type::kScalar;
  if (&type == v1::Quantity::descriptor()) {
    Record(path, node.mark);
    const bool fits = is_scalar && (scalar == ScalarType::kString ||
                                    scalar == ScalarType::kInteger || scalar == ScalarType::kFloat);
    if (!fits)
      return Fail(node, path, "expected a quantity like 250m or 64Mi, got " + Describe(node));
    return static_cast<v1::Quantity*>(value)->set_text(node.text);
  }
  if (&type == v1::IntOrString::descriptor()) {
    Record(path, node.mark);
    auto* out = static_cast<v1::IntOrString*>(value);
    if (is_scalar && scalar == ScalarType::kString) return out->set_string_value(node.text);
    const auto number = is_scalar && scalar == ScalarType::kInteger && !OtherBase(node.text)
                            ? IntegerValue(node.text)
                            : std::nullopt;
    if (!number || *number > std::numeric_limits<int32_t>::max() ||
        *number < std::numeric_limits<int32_t>::min()) {
      return Fail(node, path, "expected integer or string, got " + Describe(node));
    }
    return out->set_int_value(static_cast<int32_t>(*number));
  }
  if (&type == google::protobuf::Timestamp::descriptor()) {
    Record(path, node.mark);
    absl::Time time;
    std::string error;
    if (!is_scalar || !absl::ParseTime(absl::RFC3339_full, node.text, &time, &error)) {
      return Fail(node, path, "expected a time like 2026-01-31T12:00:00Z, got " + Describe(node));
    }
    static_cast<google::protobuf::Timestamp*>(value)->set_seconds(absl::ToUnixSeconds(time));
    return;
  }
  DecodeMessage(node, path, value);
}

bool ObjectDecoder::Spend(const YamlNode& node) {
  if (budget_->exceeded) return false;
  if (++budget_->visited <= kMaxNodes) return true;
  budget_->exceeded = true;
  findings_->Error(node.mark,
                   fmt::format("more than {} values once aliases are expanded", kMaxNodes));
  return false;
}

void ObjectDecoder::Drop(const YamlNode& node, const std::string& path, std::string_view message) {
  switch (options_.unknown) {
    case DecodeOptions::Unknown::kError:
      return Fail(node, path, message);
    case DecodeOptions::Unknown::kWarn:
      return findings_->Warning(node.mark, fmt::format("{}: {}; left out", path, message));
    case DecodeOptions::Unknown::kIgnore:
      return;
  }
}

void ObjectDecoder::Fail(const YamlNode& node, const std::string& path, std::string_view message) {
  failed_.insert(path);
  findings_->Error(node.mark,
                   path.empty() ? std::string(message) : fmt::format("{}: {}", path, message));
}

void ObjectDecoder::Record(const std::string& path, Mark mark) {
  object_->positions[path] = {file_, mark.line, mark.column};
}

}  // namespace mesh::manifest::internal
