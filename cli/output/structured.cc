// SPDX-License-Identifier: Apache-2.0
#include "cli/output/structured.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <set>

#include "common/check.h"

namespace mesh::cli {
namespace {

using Json = nlohmann::ordered_json;

// A plain scalar would be read as something else than this string, or not at all.
bool NeedsQuotes(const std::string& text) {
  static const std::set<std::string> kWords = {"true", "false", "null", "yes", "no",   "on",
                                               "off",  "y",     "n",    "~",   ".inf", ".nan"};
  if (text.empty()) return true;
  std::string lower;
  for (unsigned char c : text) lower += static_cast<char>(std::tolower(c));
  if (kWords.contains(lower)) return true;
  if (text.find_first_of("\n\t\r\"\\") != std::string::npos) return true;
  if (text.find(": ") != std::string::npos || text.find(" #") != std::string::npos) return true;
  if (text.front() == ' ' || text.back() == ' ' || text.back() == ':') return true;
  // Numbers, times and everything that starts like one; addresses are read as strings by all.
  if (text.find_first_not_of("0123456789.+-eExX_:TZ") == std::string::npos &&
      text.find_first_of("0123456789") != std::string::npos) {
    const bool address = std::count(text.begin(), text.end(), '.') == 3;
    if (!address) return true;
  }
  return std::string("-?:,[]{}#&*!|>'\"%@`").find(text.front()) != std::string::npos;
}

std::string Scalar(const Json& value) {
  if (!value.is_string()) return value.dump();
  const std::string text = value.get<std::string>();
  return NeedsQuotes(text) ? value.dump() : text;
}

void Emit(const Json& value, const std::string& indent, std::string* out);

void EmitMember(const std::string& key, const Json& value, const std::string& indent,
                std::string* out) {
  *out += Scalar(Json(key)) + ":";
  if (value.is_object() && !value.empty()) {
    *out += "\n" + indent + "  ";
    Emit(value, indent + "  ", out);
  } else if (value.is_array() && !value.empty()) {
    *out += "\n" + indent;
    Emit(value, indent, out);
  } else {
    *out += " " + Scalar(value) + "\n";
  }
}

// Writes `value` where the cursor stands; further lines begin with `indent`.
void Emit(const Json& value, const std::string& indent, std::string* out) {
  bool first = true;
  if (value.is_object() && !value.empty()) {
    for (const auto& [key, member] : value.items()) {
      if (!first) *out += indent;
      first = false;
      EmitMember(key, member, indent, out);
    }
  } else if (value.is_array() && !value.empty()) {
    for (const Json& element : value) {
      if (!first) *out += indent;
      first = false;
      *out += "- ";
      Emit(element, indent + "  ", out);
    }
  } else {
    *out += Scalar(value) + "\n";
  }
}

// Protobuf writes 64-bit numbers as strings; people and jq want numbers, as Kubernetes writes them.
// Empty lists named in `drop` go.
void Tidy(const google::protobuf::Descriptor& type, const std::set<std::string>& drop, Json* json) {
  using Field = google::protobuf::FieldDescriptor;
  for (int i = 0; i < type.field_count(); ++i) {
    const Field& field = *type.field(i);
    auto member = json->find(field.json_name());
    if (member == json->end()) continue;
    if (field.cpp_type() == Field::CPPTYPE_INT64 || field.cpp_type() == Field::CPPTYPE_UINT64) {
      if (member->is_string()) *member = Json::parse(member->get<std::string>());
    } else if (field.cpp_type() == Field::CPPTYPE_MESSAGE && member->is_array()) {
      for (Json& element : *member) Tidy(*field.message_type(), drop, &element);
      if (member->empty() && drop.contains(field.json_name())) json->erase(member);
    }
  }
}

}  // namespace

std::string MessageJson(const google::protobuf::Message& message,
                        const std::set<std::string>& drop) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  std::string text;
  // Fails for an unknown Any only, and there is none in the API.
  MESH_CHECK(google::protobuf::util::MessageToJsonString(message, &text, options).ok());
  Json json = Json::parse(text);
  Tidy(*message.GetDescriptor(), drop, &json);
  return json.dump();
}

std::string YamlFromJson(const std::string& json) {
  std::string out;
  Emit(Json::parse(json), "", &out);
  return out;
}

std::string PrettyJson(const std::string& json) { return Json::parse(json).dump(4) + "\n"; }

}  // namespace mesh::cli
