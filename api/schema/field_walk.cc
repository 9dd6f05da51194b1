// SPDX-License-Identifier: Apache-2.0
#include "api/schema/field_walk.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <set>

#include "fmt/format.h"
#include "mesh/v1/options.pb.h"

namespace mesh::schema::internal {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Kubernetes' "structType: atomic".
constexpr std::string_view kWholeMessages[] = {"ConfigMapKeySelector",
                                               "CrossVersionObjectReference",
                                               "IntOrString",
                                               "LabelSelector",
                                               "LocalObjectReference",
                                               "NodeSelector",
                                               "NodeSelectorTerm",
                                               "ObjectFieldSelector",
                                               "ObjectReference",
                                               "OwnerReference",
                                               "Quantity",
                                               "ResourceFieldSelector",
                                               "ScopeSelector",
                                               "ScopedResourceSelectorRequirement",
                                               "SecretKeySelector",
                                               "SecretReference",
                                               "TopologySelectorTerm",
                                               "TypedLocalObjectReference"};
// Kubernetes' "mapType: atomic".
constexpr std::string_view kWholeMaps[] = {"mesh.v1.PodSpec.node_selector",
                                           "mesh.v1.ReplicationControllerSpec.selector",
                                           "mesh.v1.ServiceSpec.selector"};

std::string Quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace

bool IsSystemField(const FieldDescriptor& field) {
  return field.options().GetExtension(v1::system) || field.options().GetExtension(v1::internal);
}

bool IsWhole(const Descriptor& type) {
  return type.file()->package() != "mesh.v1" ||
         std::find(std::begin(kWholeMessages), std::end(kWholeMessages), type.name()) !=
             std::end(kWholeMessages);
}

bool IsWholeMap(const FieldDescriptor& map) {
  return std::find(std::begin(kWholeMaps), std::end(kWholeMaps), map.full_name()) !=
         std::end(kWholeMaps);
}

bool HasMergeKey(const FieldDescriptor& list) {
  return list.options().ExtensionSize(v1::merge_key) > 0;
}

std::string NamePiece(std::string_view name) {
  const bool plain = !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_';
  });
  return "." + (plain ? std::string(name) : Quoted(name));
}

std::string ValuePiece(std::string_view value) { return "[=" + Quoted(value) + "]"; }

std::string KeyPiece(const Message& element, const FieldDescriptor& list) {
  const Descriptor& type = *list.message_type();
  const Reflection& reflection = *element.GetReflection();
  std::map<std::string, std::string> keys;
  for (int k = 0; k < list.options().ExtensionSize(v1::merge_key); ++k) {
    const std::string& name = list.options().GetExtension(v1::merge_key, k);
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      if (field.json_name() != name) continue;
      const std::string& otherwise = field.options().GetExtension(v1::default_value);
      if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
        const std::string text = reflection.GetString(element, &field);
        keys[name] = Quoted(text.empty() ? otherwise : text);
      } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT32) {
        keys[name] = fmt::format("{}", reflection.GetInt32(element, &field));
      }
    }
  }
  std::string out;
  for (const auto& [name, value] : keys) {
    out += fmt::format("{}{}={}", out.empty() ? "" : ",", name, value);
  }
  return "[" + out + "]";
}

bool HasTwins(const Message& message, const FieldDescriptor& list, std::string* key) {
  const Reflection& reflection = *message.GetReflection();
  std::set<std::string> seen;
  for (int i = 0; i < reflection.FieldSize(message, &list); ++i) {
    std::string piece = KeyPiece(reflection.GetRepeatedMessage(message, &list, i), list);
    if (seen.insert(piece).second) continue;
    if (key != nullptr) *key = std::move(piece);
    return true;
  }
  return false;
}

}  // namespace mesh::schema::internal
