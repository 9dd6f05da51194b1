// SPDX-License-Identifier: Apache-2.0
#include "cli/manifest/patch.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "api/schema/fields.h"
#include "api/schema/schema.h"
#include "cli/manifest/manifest.h"
#include "cli/manifest/print.h"
#include "cli/manifest/yaml_tree.h"
#include "common/status.h"
#include "fmt/format.h"
#include "mesh/v1/options.pb.h"

namespace mesh::manifest {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using Json = nlohmann::json;

constexpr char kDirective[] = "$patch";

Json ToValue(const YamlNode& node) {
  switch (node.type) {
    case YamlNode::Type::kNull:
      return nullptr;
    case YamlNode::Type::kList: {
      Json out = Json::array();
      for (const YamlNodePtr& item : node.items) out.push_back(ToValue(*item));
      return out;
    }
    case YamlNode::Type::kMap: {
      Json out = Json::object();
      for (const auto& [key, value] : node.entries) out[key->text] = ToValue(*value);
      return out;
    }
    case YamlNode::Type::kScalar:
      break;
  }
  switch (node.plain ? PlainScalarType(node.text) : ScalarType::kString) {
    case ScalarType::kNull:
      return nullptr;
    case ScalarType::kBoolean:
      return BooleanValue(node.text);
    case ScalarType::kInteger:
    case ScalarType::kFloat: {
      // What JSON has no number for (0755, .inf) stays the text, which the field refuses.
      Json number = Json::parse(node.text, nullptr, /*allow_exceptions=*/false);
      return number.is_number() ? number : Json(node.text);
    }
    case ScalarType::kString:
      break;
  }
  return node.text;
}

const FieldDescriptor* FieldOf(const Descriptor* type, const std::string& name) {
  return type == nullptr ? nullptr : schema::FindField(*type, name);
}

// The type below a field whose value is an object with fields.
const Descriptor* TypeBelow(const FieldDescriptor* field) {
  return field == nullptr || field->is_map() ? nullptr : field->message_type();
}

// The value of an element's key field, or its default.
Json KeyValue(const Json& element, const Descriptor& type, const std::string& name) {
  if (const auto it = element.find(name); it != element.end()) return *it;
  const FieldDescriptor* field = FieldOf(&type, name);
  return field == nullptr ? Json() : Json(field->options().GetExtension(v1::default_value));
}

absl::Status MergeObject(const Descriptor* type, Json patch, const std::string& path, Json* target);

absl::Status MergeList(const FieldDescriptor& field, const Json& patch, const std::string& path,
                       Json* target) {
  const Descriptor& type = *field.message_type();
  std::vector<std::string> keys;
  for (int i = 0; i < field.options().ExtensionSize(v1::merge_key); ++i) {
    keys.push_back(field.options().GetExtension(v1::merge_key, i));
  }
  if (!target->is_array()) *target = Json::array();
  for (size_t i = 0; i < patch.size(); ++i) {
    const std::string here = fmt::format("{}[{}]", path, i);
    if (!patch[i].is_object()) {
      return absl::InvalidArgumentError(fmt::format("{}: expected a mapping", here));
    }
    const std::string directive = patch[i].contains(kDirective) && patch[i][kDirective].is_string()
                                      ? patch[i][kDirective].get<std::string>()
                                      : "";
    // An element of its own that says: the others are the list.
    if (directive == "replace" && patch[i].size() == 1) {
      target->clear();
      continue;
    }
    if (!patch[i].contains(keys[0])) {
      return absl::InvalidArgumentError(
          fmt::format("{}: map does not contain declared merge key: {}", here, keys[0]));
    }
    const auto same = [&](const Json& element) {
      return std::all_of(keys.begin(), keys.end(), [&](const std::string& key) {
        return KeyValue(element, type, key) == KeyValue(patch[i], type, key);
      });
    };
    const auto found = std::find_if(target->begin(), target->end(), same);
    if (directive == "delete") {
      if (found != target->end()) target->erase(found);
      continue;
    }
    if (found != target->end()) {
      RETURN_IF_ERROR(MergeObject(&type, patch[i], here, &*found));
      continue;
    }
    Json element = Json::object();
    RETURN_IF_ERROR(MergeObject(&type, patch[i], here, &element));
    target->push_back(std::move(element));
  }
  return absl::OkStatus();
}

absl::Status MergeObject(const Descriptor* type, Json patch, const std::string& path,
                         Json* target) {
  if (const auto it = patch.find(kDirective); it != patch.end()) {
    const Json directive = *it;
    patch.erase(it);
    if (directive == "replace") {
      *target = Json::object();
    } else if (directive == "delete") {
      *target = nullptr;
      return absl::OkStatus();
    } else if (directive != "merge") {
      return absl::InvalidArgumentError(
          fmt::format("{}: {}: {} is not known", path, kDirective, directive.dump()));
    }
  }
  if (!target->is_object()) *target = Json::object();
  for (const auto& [key, value] : patch.items()) {
    const std::string here = path.empty() ? key : fmt::format("{}.{}", path, key);
    if (key.starts_with('$')) {
      return absl::InvalidArgumentError(fmt::format("{}: not supported yet", here));
    }
    if (value.is_null()) {
      target->erase(key);
      continue;
    }
    const FieldDescriptor* field = FieldOf(type, key);
    if (value.is_object()) {
      Json& below = (*target)[key];
      RETURN_IF_ERROR(MergeObject(TypeBelow(field), value, here, &below));
      if (below.is_null()) target->erase(key);
    } else if (value.is_array() && field != nullptr && field->is_repeated() &&
               field->options().ExtensionSize(v1::merge_key) > 0) {
      RETURN_IF_ERROR(MergeList(*field, value, here, &(*target)[key]));
    } else if (value.is_array() && field != nullptr &&
               field->options().GetExtension(v1::merge_set)) {
      Json& set = (*target)[key];
      if (!set.is_array()) set = Json::array();
      for (const Json& item : value) {
        if (std::find(set.begin(), set.end(), item) == set.end()) set.push_back(item);
      }
    } else {
      (*target)[key] = value;
    }
  }
  return absl::OkStatus();
}

// What a manifest cannot say: fields of the system, and internal ones.
void CarrySystem(const Message& from, Message* to) {
  const google::protobuf::Reflection& reflection = *to->GetReflection();
  std::unique_ptr<Message> copy(from.New());
  copy->CopyFrom(from);
  for (int i = 0; i < to->GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = to->GetDescriptor()->field(i);
    if (field->options().GetExtension(v1::system) || field->options().GetExtension(v1::internal)) {
      reflection.SwapFields(to, copy.get(), {field});
    } else if (field->message_type() != nullptr && !field->is_repeated() &&
               field->message_type()->file()->package() == "mesh.v1" &&
               reflection.HasField(from, field) && reflection.HasField(*to, field)) {
      CarrySystem(reflection.GetMessage(from, field), reflection.MutableMessage(to, field));
    }
  }
}

// No StatusOr<Json>: Json converts to and from too much.
absl::Status PatchJson(const v1::Resource& live, PatchType type, std::string_view text, Json* out) {
  const YamlDocuments documents = ParseYaml(text, kMaxDepth);
  if (!documents.errors.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("unable to parse the patch: {}", documents.errors[0].message));
  }
  if (documents.documents.size() != 1) {
    return absl::InvalidArgumentError("must specify --patch or --patch-file containing the patch");
  }
  const Json patch = ToValue(*documents.documents[0]);
  *out = Json::parse(ToJson(live), nullptr, /*allow_exceptions=*/false);
  if (type == PatchType::kJson) {
    try {
      *out = out->patch(patch);
      return absl::OkStatus();
    } catch (const Json::exception& error) {
      return absl::InvalidArgumentError(fmt::format("the patch does not fit: {}", error.what()));
    }
  }
  if (!patch.is_object()) {
    return absl::InvalidArgumentError("the patch must be a mapping");
  }
  if (type == PatchType::kMerge) {
    out->merge_patch(patch);
    return absl::OkStatus();
  }
  return MergeObject(schema::BodyOf(live).GetDescriptor(), patch, "", out);
}

}  // namespace

absl::StatusOr<v1::Resource> Patched(const v1::Resource& live, PatchType type,
                                     std::string_view patch) {
  Json object;
  RETURN_IF_ERROR(PatchJson(live, type, patch, &object));
  Manifest manifest = Decode({{"patched", object.dump()}});
  const std::string name = schema::MetaOf(live).name();
  if (!manifest.ok() || manifest.objects.size() != 1) {
    std::string why;
    for (const Diagnostic& diagnostic : manifest.diagnostics) {
      if (diagnostic.severity != Diagnostic::Severity::kError) continue;
      why += (why.empty() ? "" : "; ") + diagnostic.message;
    }
    return absl::InvalidArgumentError(fmt::format("the patched {} \"{}\" is invalid: {}",
                                                  schema::Info(schema::KindOf(live)).name, name,
                                                  why));
  }
  v1::Resource out = std::move(manifest.objects[0].resource);
  if (schema::KindOf(out) != schema::KindOf(live) || schema::MetaOf(out).name() != name ||
      schema::MetaOf(out).namespace_() != schema::MetaOf(live).namespace_()) {
    return absl::InvalidArgumentError("kind, name and namespace of an object cannot be patched");
  }
  CarrySystem(schema::BodyOf(live), schema::MutableBodyOf(&out));
  return out;
}

}  // namespace mesh::manifest
