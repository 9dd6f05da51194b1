// SPDX-License-Identifier: Apache-2.0
#include "cli/manifest/print.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "absl/time/time.h"
#include "api/schema/field_set.h"
#include "api/schema/schema.h"
#include "cli/manifest/yaml_tree.h"
#include "fmt/format.h"
#include "google/protobuf/timestamp.pb.h"
#include "mesh/v1/options.pb.h"

namespace mesh::manifest {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// A JSON value; members keep their order.
struct Value {
  enum class Type : uint8_t { kLiteral, kString, kList, kMap };
  Type type = Type::kLiteral;
  std::string text;  // of a literal (number, true, false) or a string
  std::vector<Value> items;
  std::vector<std::pair<std::string, Value>> members;

  bool IsEmptyContainer() const {
    return (type == Type::kList && items.empty()) || (type == Type::kMap && members.empty());
  }
};

Value Literal(std::string text) { return {Value::Type::kLiteral, std::move(text), {}, {}}; }
Value String(std::string text) { return {Value::Type::kString, std::move(text), {}, {}}; }

// Fields that Kubernetes prints even when they are zero or false.
constexpr std::string_view kAlwaysShown[] = {"mesh.v1.ContainerStatus.ready",
                                             "mesh.v1.ContainerStatus.restart_count",
                                             "mesh.v1.ContainerStateTerminated.exit_code"};

Value FromMessage(const Message& message);

Value FromField(const Message& message, const FieldDescriptor& field, int index) {
  const Reflection& r = *message.GetReflection();
  const bool list = index >= 0;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return String(list ? r.GetRepeatedString(message, &field, index)
                         : r.GetString(message, &field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return Literal(r.GetBool(message, &field) ? "true" : "false");
    case FieldDescriptor::CPPTYPE_INT32:
      return Literal(fmt::format(
          "{}", list ? r.GetRepeatedInt32(message, &field, index) : r.GetInt32(message, &field)));
    case FieldDescriptor::CPPTYPE_INT64:
      return Literal(fmt::format(
          "{}", list ? r.GetRepeatedInt64(message, &field, index) : r.GetInt64(message, &field)));
    case FieldDescriptor::CPPTYPE_UINT32:
      return Literal(fmt::format("{}", r.GetUInt32(message, &field)));
    case FieldDescriptor::CPPTYPE_UINT64:
      return Literal(fmt::format("{}", r.GetUInt64(message, &field)));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return FromMessage(list ? r.GetRepeatedMessage(message, &field, index)
                              : r.GetMessage(message, &field));
    default:
      return Literal("null");
  }
}

Value FromMap(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  std::map<std::string, Value> sorted;
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const Message& entry = reflection.GetRepeatedMessage(message, &field, i);
    sorted[entry.GetReflection()->GetString(entry, field.message_type()->map_key())] =
        FromField(entry, *field.message_type()->map_value(), -1);
  }
  Value out{Value::Type::kMap, "", {}, {}};
  for (auto& [key, value] : sorted) out.members.emplace_back(key, std::move(value));
  return out;
}

Value FromMessage(const Message& message) {
  const auto& descriptor = *message.GetDescriptor();
  if (&descriptor == v1::Quantity::descriptor()) {
    return String(static_cast<const v1::Quantity&>(message).text());
  }
  if (&descriptor == v1::IntOrString::descriptor()) {
    const auto& value = static_cast<const v1::IntOrString&>(message);
    return value.has_int_value() ? Literal(fmt::format("{}", value.int_value()))
                                 : String(value.string_value());
  }
  if (&descriptor == google::protobuf::Timestamp::descriptor()) {
    const auto& time = static_cast<const google::protobuf::Timestamp&>(message);
    return String(absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixSeconds(time.seconds()),
                                   absl::UTCTimeZone()));
  }
  // Sorted by name, as kubectl prints.
  const Reflection& reflection = *message.GetReflection();
  std::map<std::string, Value> sorted;
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    if (field.options().GetExtension(v1::internal)) continue;
    if (field.is_repeated()) {
      const int size = reflection.FieldSize(message, &field);
      if (size == 0) continue;
      if (field.is_map()) {
        sorted[field.json_name()] = FromMap(message, field);
        continue;
      }
      Value list{Value::Type::kList, "", {}, {}};
      for (int j = 0; j < size; ++j) list.items.push_back(FromField(message, field, j));
      sorted[field.json_name()] = std::move(list);
      continue;
    }
    const bool always = std::find(std::begin(kAlwaysShown), std::end(kAlwaysShown),
                                  field.full_name()) != std::end(kAlwaysShown);
    if (!always && !reflection.HasField(message, &field)) continue;
    Value value = FromField(message, field, -1);
    if (field.options().GetExtension(v1::system) && value.IsEmptyContainer()) continue;
    sorted[field.json_name()] = std::move(value);
  }
  Value out{Value::Type::kMap, "", {}, {}};
  for (auto& [key, value] : sorted) out.members.emplace_back(key, std::move(value));
  return out;
}

Value FromTree(const schema::FieldTree& tree) {
  Value out{Value::Type::kMap, "", {}, {}};
  if (tree.owned && !tree.members.empty()) {
    out.members.emplace_back(".", Value{Value::Type::kMap, "", {}, {}});
  }
  for (const auto& [name, member] : tree.members) out.members.emplace_back(name, FromTree(member));
  return out;
}

// metav1.ManagedFieldsEntry.
Value FromManagedFields(const v1::ManagedFields& entry) {
  Value out{Value::Type::kMap, "", {}, {}};
  out.members.emplace_back("apiVersion", String(entry.api_version()));
  out.members.emplace_back("fieldsType", String("FieldsV1"));
  out.members.emplace_back(
      "fieldsV1", FromTree(schema::FieldTreeOf({entry.paths().begin(), entry.paths().end()})));
  out.members.emplace_back("manager", String(entry.manager()));
  out.members.emplace_back("operation", String(entry.operation()));
  out.members.emplace_back("time", FromMessage(entry.time()));
  return out;
}

void AddManagedFields(const v1::ObjectMeta& meta, Value* metadata) {
  Value list{Value::Type::kList, "", {}, {}};
  for (const v1::ManagedFields& entry : meta.managed_fields()) {
    list.items.push_back(FromManagedFields(entry));
  }
  if (list.items.empty()) return;
  const auto at = std::find_if(metadata->members.begin(), metadata->members.end(),
                               [](const auto& member) { return member.first > "managedFields"; });
  metadata->members.emplace(at, "managedFields", std::move(list));
}

Value FromResource(const v1::Resource& resource, bool managed) {
  const schema::KindInfo& info = schema::Info(schema::KindOf(resource));
  Value out{Value::Type::kMap, "", {}, {}};
  out.members.emplace_back("apiVersion", String(std::string(info.api_version)));
  out.members.emplace_back("kind", String(std::string(info.name)));
  Value body = FromMessage(schema::BodyOf(resource));
  const auto take = [&](std::string_view name) {
    for (auto& [key, value] : body.members) {
      if (key != name) continue;
      out.members.emplace_back(key, std::move(value));
      key.clear();
    }
  };
  take("metadata");
  if (managed && out.members.back().first == "metadata") {
    AddManagedFields(schema::MetaOf(resource), &out.members.back().second);
  }
  take("spec");
  for (auto& [key, value] : body.members) {
    if (!key.empty() && key != "status") out.members.emplace_back(key, std::move(value));
  }
  take("status");
  return out;
}

Value FromResources(const std::vector<v1::Resource>& resources, bool managed) {
  Value items{Value::Type::kList, "", {}, {}};
  for (const v1::Resource& resource : resources) {
    items.items.push_back(FromResource(resource, managed));
  }
  Value out{Value::Type::kMap, "", {}, {}};
  out.members.emplace_back("apiVersion", String("v1"));
  out.members.emplace_back("items", std::move(items));
  out.members.emplace_back("kind", String("List"));
  Value metadata{Value::Type::kMap, "", {}, {}};
  metadata.members.emplace_back("resourceVersion", String(""));
  out.members.emplace_back("metadata", std::move(metadata));
  return out;
}

// JSON's escapes, which YAML's double quotes share.
std::string Quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
        } else {
          out += c;
        }
    }
  }
  return out + "\"";
}

bool HasControl(std::string_view text, std::string_view allowed) {
  return std::any_of(text.begin(), text.end(), [&](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 || byte == 0x7f) && allowed.find(c) == std::string_view::npos;
  });
}

bool IsPlainSafe(std::string_view text) {
  constexpr std::string_view kIndicators = "-?:,[]{}#&*!|>'\"%@`";
  if (text.front() == ' ' || text.back() == ' ' || text.back() == ':') return false;
  if (kIndicators.find(text.front()) != std::string_view::npos) {
    const bool dash_word = (text.front() == '-' || text.front() == '?' || text.front() == ':') &&
                           text.size() > 1 && text[1] != ' ' && !text.starts_with("---");
    if (!dash_word) return false;
  }
  if (text.starts_with("...") || text == "<<" || text == "=") return false;
  return text.find(": ") == std::string_view::npos && text.find(" #") == std::string_view::npos;
}

// What YAML 1.1 also reads as a number or a time: 2001-12-14, 12:30:45, 1_000.
bool LooksNumeric(std::string_view text) {
  return text.front() >= '0' && text.front() <= '9' &&
         text.find_first_not_of("0123456789+-:._TtZz ") == std::string_view::npos &&
         text.find_first_not_of("0123456789.") != std::string_view::npos;
}

std::string YamlScalar(std::string_view text) {
  if (text.empty()) return "\"\"";
  if (HasControl(text, "")) return Quoted(text);
  if (PlainScalarType(text) != ScalarType::kString || LooksNumeric(text)) return Quoted(text);
  if (IsPlainSafe(text)) return std::string(text);
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("''") : std::string(1, c);
  return out + "'";
}

// A block ("|") shows these lines as they are.
bool FitsBlock(std::string_view text) {
  if (text.find('\n') == std::string_view::npos || HasControl(text, "\n\t")) return false;
  if (text.front() == ' ' || text.front() == '\n' || text.front() == '\t') return false;
  return text.find(" \n") == std::string_view::npos &&
         text.find("\t\n") == std::string_view::npos && text.back() != ' ' && text.back() != '\t';
}

void WriteBlock(std::string_view text, int indent, std::string* out) {
  const size_t end = text.find_last_not_of('\n') + 1;
  const size_t feeds = text.size() - end;
  *out += feeds == 0 ? "|-\n" : feeds == 1 ? "|\n" : "|+\n";
  std::string_view rest = feeds > 0 ? text.substr(0, text.size() - 1) : text;
  while (true) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    if (!line.empty()) *out += std::string(static_cast<size_t>(indent), ' ').append(line);
    *out += '\n';
    if (line.size() == rest.size()) return;
    rest.remove_prefix(line.size() + 1);
  }
}

void WriteYaml(const Value& value, int indent, std::string* out);

// After "key:" or "-": the value on the same line, or below.
void WriteYamlMember(const Value& value, int indent, std::string* out) {
  const std::string_view text = value.text;
  if (value.IsEmptyContainer()) {
    *out += value.type == Value::Type::kList ? " []\n" : " {}\n";
  } else if (value.type == Value::Type::kLiteral) {
    *out += fmt::format(" {}\n", text);
  } else if (value.type == Value::Type::kString) {
    *out += ' ';
    if (FitsBlock(text)) {
      WriteBlock(text, indent + 2, out);
    } else {
      *out += YamlScalar(text) + "\n";
    }
  } else {
    // Lists stand in the column of their key.
    *out += '\n';
    WriteYaml(value, value.type == Value::Type::kList ? indent : indent + 2, out);
  }
}

void WriteYaml(const Value& value, int indent, std::string* out) {
  const std::string margin(static_cast<size_t>(indent), ' ');
  if (value.type == Value::Type::kMap) {
    for (const auto& [key, member] : value.members) {
      *out += margin + YamlScalar(key) + ":";
      WriteYamlMember(member, indent, out);
    }
    return;
  }
  for (const Value& item : value.items) {
    *out += margin + "-";
    if (item.type == Value::Type::kMap && !item.members.empty()) {
      std::string inner;
      WriteYaml(item, indent + 2, &inner);
      // The first member follows the dash.
      *out += " " + inner.substr(static_cast<size_t>(indent) + 2);
    } else {
      WriteYamlMember(item, indent, out);
    }
  }
}

void WriteJson(const Value& value, int indent, std::string* out) {
  const std::string margin(static_cast<size_t>(indent) + 4, ' ');
  const std::string close(static_cast<size_t>(indent), ' ');
  switch (value.type) {
    case Value::Type::kLiteral:
      *out += value.text;
      return;
    case Value::Type::kString:
      *out += Quoted(value.text);
      return;
    case Value::Type::kList:
    case Value::Type::kMap:
      break;
  }
  const bool list = value.type == Value::Type::kList;
  if (value.IsEmptyContainer()) {
    *out += list ? "[]" : "{}";
    return;
  }
  *out += list ? "[\n" : "{\n";
  const size_t count = list ? value.items.size() : value.members.size();
  for (size_t i = 0; i < count; ++i) {
    *out += margin;
    if (!list) *out += Quoted(value.members[i].first) + ": ";
    WriteJson(list ? value.items[i] : value.members[i].second, indent + 4, out);
    *out += i + 1 < count ? ",\n" : "\n";
  }
  *out += close + (list ? "]" : "}");
}

std::string Yaml(const Value& value) {
  std::string out;
  WriteYaml(value, 0, &out);
  return out;
}

std::string Json(const Value& value) {
  std::string out;
  WriteJson(value, 0, &out);
  return out + "\n";
}

}  // namespace

std::string ToYaml(const v1::Resource& resource, bool managed) {
  return Yaml(FromResource(resource, managed));
}
std::string ToJson(const v1::Resource& resource, bool managed) {
  return Json(FromResource(resource, managed));
}
std::string ToYamlList(const std::vector<v1::Resource>& resources, bool managed) {
  return Yaml(FromResources(resources, managed));
}
std::string ToJsonList(const std::vector<v1::Resource>& resources, bool managed) {
  return Json(FromResources(resources, managed));
}

}  // namespace mesh::manifest
