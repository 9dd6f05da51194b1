// SPDX-License-Identifier: Apache-2.0
// ConfigMaps and Secrets, and every kind that has no description of its own: its fields in their
// order, as kubectl tells kinds that it does not know.
#include <cctype>
#include <map>
#include <optional>
#include <vector>

#include "absl/strings/escaping.h"
#include "api/schema/schema.h"
#include "cli/output/age.h"
#include "cli/output/describe_text.h"
#include "google/protobuf/timestamp.pb.h"
#include "mesh/v1/options.pb.h"

namespace mesh::cli {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr int kMaxLevel = 16;  // of a schema in a schema

// "serviceName" -> "Service Name", "clusterIP" -> "Cluster IP".
std::string Title(std::string_view name) {
  std::string out;
  for (size_t i = 0; i < name.size(); ++i) {
    const auto c = static_cast<unsigned char>(name[i]);
    const bool after_lower = i > 0 && std::islower(static_cast<unsigned char>(name[i - 1])) != 0;
    if (std::isupper(c) != 0 && after_lower) out += ' ';
    out += i == 0 ? static_cast<char>(std::toupper(c)) : name[i];
  }
  return out;
}

// Tabs would become columns, and lines end where they end.
std::string OneLine(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '\t' || c == '\n' ? ' ' : c;
  return out;
}

std::string ScalarText(const Message& message, const FieldDescriptor& field, int index) {
  const Reflection& r = *message.GetReflection();
  const bool list = index >= 0;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return OneLine(list ? r.GetRepeatedString(message, &field, index)
                          : r.GetString(message, &field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return r.GetBool(message, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_INT32:
      return std::to_string(list ? r.GetRepeatedInt32(message, &field, index)
                                 : r.GetInt32(message, &field));
    case FieldDescriptor::CPPTYPE_INT64:
      return std::to_string(list ? r.GetRepeatedInt64(message, &field, index)
                                 : r.GetInt64(message, &field));
    default:
      return "";
  }
}

// The text of a message that is one value; nullopt for others.
std::optional<std::string> LeafText(const Message& message) {
  if (message.GetDescriptor() == v1::Quantity::descriptor()) {
    return static_cast<const v1::Quantity&>(message).text();
  }
  if (message.GetDescriptor() == v1::IntOrString::descriptor()) {
    return IntOrStringText(static_cast<const v1::IntOrString&>(message));
  }
  if (message.GetDescriptor() == google::protobuf::Timestamp::descriptor()) {
    return Rfc1123(static_cast<const google::protobuf::Timestamp&>(message));
  }
  return std::nullopt;
}

void DescribeMessage(const Message& message, int level, Text* text);

void DescribeValue(const std::string& title, const Message& value, int level, Text* text) {
  if (const auto leaf = LeafText(value)) return text->Line(level, "{}:\t{}", title, *leaf);
  text->Line(level, "{}:", title);
  DescribeMessage(value, level + 1, text);
}

void DescribeMapField(const Message& message, const FieldDescriptor& field, int level, Text* text) {
  const Reflection& reflection = *message.GetReflection();
  std::map<std::string, std::string> sorted;
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const Message& entry = reflection.GetRepeatedMessage(message, &field, i);
    const FieldDescriptor& value = *field.message_type()->map_value();
    std::string& out =
        sorted[entry.GetReflection()->GetString(entry, field.message_type()->map_key())];
    out = value.message_type() == nullptr
              ? ScalarText(entry, value, -1)
              : LeafText(entry.GetReflection()->GetMessage(entry, &value)).value_or("");
  }
  text->Line(level, "{}:", Title(field.json_name()));
  for (const auto& [key, value] : sorted) text->Line(level + 1, "{}:\t{}", key, value);
}

void DescribeMessage(const Message& message, int level, Text* text) {
  if (level > kMaxLevel) return;
  const Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->options().GetExtension(v1::internal) || field->name() == "metadata") continue;
    const std::string title = Title(field->json_name());
    if (field->is_map()) {
      DescribeMapField(message, *field, level, text);
    } else if (!field->is_repeated()) {
      if (field->message_type() != nullptr) {
        DescribeValue(title, reflection.GetMessage(message, field), level, text);
      } else {
        text->Line(level, "{}:\t{}", title, ScalarText(message, *field, -1));
      }
    } else {
      text->Line(level, "{}:", title);
      for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
        if (field->message_type() == nullptr) {
          text->Line(level + 1, "{}", ScalarText(message, *field, i));
        } else {
          DescribeMessage(reflection.GetRepeatedMessage(message, field, i), level + 1, text);
        }
      }
    }
  }
}

// A value of many lines below its key.
void DescribeBlock(const std::string& key, const std::string& value, Text* text) {
  text->Line(0, "{}:", key);
  text->Line(0, "----");
  std::string_view rest = value;
  while (true) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    text->Line(0, "{}", OneLine(line));
    if (line.size() == rest.size()) break;
    rest.remove_prefix(line.size() + 1);
  }
  text->Line(0, "");
}

void DescribeConfigMap(const v1::ConfigMap& map, Text* text) {
  text->Line(0, "");
  text->Line(0, "Data");
  text->Line(0, "====");
  const std::map<std::string, std::string> data(map.data().begin(), map.data().end());
  for (const auto& [key, value] : data) DescribeBlock(key, value, text);
  text->Line(0, "");
  text->Line(0, "BinaryData");
  text->Line(0, "====");
  const std::map<std::string, std::string> binary(map.binary_data().begin(),
                                                  map.binary_data().end());
  for (const auto& [key, value] : binary) {
    std::string bytes;
    absl::Base64Unescape(value, &bytes);
    text->Line(0, "{}: {} bytes", key, bytes.size());
  }
  text->Line(0, "");
}

// Sizes, never values: descriptions are copied into chats.
void DescribeSecret(const v1::Secret& secret, Text* text) {
  text->Line(0, "");
  text->Line(0, "Type:\t{}", secret.type());
  text->Line(0, "");
  text->Line(0, "Data");
  text->Line(0, "====");
  const std::map<std::string, std::string> data(secret.data().begin(), secret.data().end());
  for (const auto& [key, value] : data) {
    std::string bytes;
    absl::Base64Unescape(value, &bytes);
    text->Line(0, "{}:\t{} bytes", key, bytes.size());
  }
}

}  // namespace

void DescribeStoredKind(const v1::Resource& object, const Related& related, absl::Time now,
                        Text* text) {
  const v1::ObjectMeta& meta = schema::MetaOf(object);
  text->Line(0, "Name:\t{}", meta.name());
  if (schema::Info(schema::KindOf(object)).namespaced) {
    text->Line(0, "Namespace:\t{}", meta.namespace_());
  }
  text->Map("Labels", meta.labels());
  text->Annotations(meta.annotations());
  if (object.has_config_map()) {
    DescribeConfigMap(object.config_map(), text);
  } else if (object.has_secret()) {
    DescribeSecret(object.secret(), text);
    return;  // as kubectl: a Secret has no events
  } else {
    DescribeMessage(schema::BodyOf(object), 0, text);
  }
  DescribeEvents(related.events, now, text);
}

}  // namespace mesh::cli
