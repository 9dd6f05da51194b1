// SPDX-License-Identifier: Apache-2.0
#include "cli/output/explain.h"

#include <algorithm>
#include <vector>

#include "api/schema/field_docs.h"
#include "api/schema/schema.h"
#include "common/status.h"
#include "fmt/format.h"
#include "google/protobuf/timestamp.pb.h"
#include "mesh/v1/options.pb.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::cli {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

constexpr size_t kWidth = 76;
constexpr std::string_view kVersionDoc = "The version of the schema that the object is written in.";
constexpr std::string_view kKindDoc = "What the object is.";

// A message that a manifest writes as one value.
bool IsLeaf(const Descriptor& type) {
  return &type == v1::Quantity::descriptor() || &type == v1::IntOrString::descriptor() ||
         type.file()->package() != "mesh.v1";
}

// The message below a field, if it has fields of its own.
const Descriptor* Below(const FieldDescriptor& field) {
  const Descriptor* type = field.message_type();
  return type == nullptr || field.is_map() || IsLeaf(*type) ? nullptr : type;
}

std::string ValueType(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return "string";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "boolean";
    case FieldDescriptor::CPPTYPE_MESSAGE:
      if (field.message_type() == google::protobuf::Timestamp::descriptor()) return "Time";
      return field.message_type()->name();
    default:
      return "integer";
  }
}

std::string TypeText(const FieldDescriptor& field) {
  if (field.is_map()) return "map[string]" + ValueType(*field.message_type()->map_value());
  return (field.is_repeated() ? "[]" : "") + ValueType(field);
}

std::vector<const FieldDescriptor*> FieldsOf(const Descriptor& type) {
  std::vector<const FieldDescriptor*> out;
  for (int i = 0; i < type.field_count(); ++i) {
    if (!type.field(i)->options().GetExtension(v1::internal)) out.push_back(type.field(i));
  }
  std::sort(out.begin(), out.end(), [](const FieldDescriptor* a, const FieldDescriptor* b) {
    return a->json_name() < b->json_name();
  });
  return out;
}

std::string Wrapped(std::string_view text, std::string_view margin) {
  std::string out;
  while (!text.empty()) {
    std::string_view paragraph = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), paragraph.size() + 1));
    while (!paragraph.empty()) {
      size_t end = paragraph.size();
      if (end > kWidth) {
        end = paragraph.rfind(' ', kWidth);
        if (end == std::string_view::npos) end = std::min(paragraph.find(' '), paragraph.size());
      }
      out += fmt::format("{}{}\n", margin, paragraph.substr(0, end));
      paragraph.remove_prefix(std::min(paragraph.size(), end + 1));
    }
  }
  return out;
}

// What the field says of itself, else what its type does.
std::string DocText(const FieldDescriptor& field) {
  std::string doc = schema::DocOf(field);
  if (doc.empty() && Below(field) != nullptr) doc = schema::DocOf(*Below(field));
  return doc;
}

// Marks behind the type: "-required-", "-not supported yet-".
std::string Marks(const FieldDescriptor& field) {
  const auto& options = field.options();
  std::string out;
  if (options.GetExtension(v1::required)) out += " -required-";
  if (options.GetExtension(v1::system)) out += " -written by the cluster-";
  if (options.GetExtension(v1::immutable)) out += " -cannot change-";
  if (options.GetExtension(v1::pending)) out += " -not supported yet-";
  return out;
}

// Allowed values, range and default; each on its line.
std::string Rules(const FieldDescriptor& field, std::string_view margin) {
  const auto& options = field.options();
  std::string out;
  const int values = options.ExtensionSize(v1::one_of);
  for (int i = 0; i < values; ++i) {
    out += (i == 0 ? fmt::format("{}one of: ", margin) : std::string(", ")) +
           options.GetExtension(v1::one_of, i);
  }
  if (values > 0) out += "\n";
  if (options.HasExtension(v1::range)) {
    const v1::Range& range = options.GetExtension(v1::range);
    out += fmt::format("{}from {} to {}\n", margin, range.min(), range.max());
  }
  if (!options.GetExtension(v1::default_value).empty()) {
    out += fmt::format("{}default: {}\n", margin, options.GetExtension(v1::default_value));
  }
  for (int i = 0; i < options.ExtensionSize(v1::merge_key); ++i) {
    out += (i == 0 ? fmt::format("{}elements are told apart by: ", margin) : std::string(", ")) +
           options.GetExtension(v1::merge_key, i);
  }
  if (options.ExtensionSize(v1::merge_key) > 0) out += "\n";
  return out;
}

std::string Line(const FieldDescriptor& field, size_t depth) {
  return fmt::format("{}{}\t<{}>{}\n", std::string(2 + 2 * depth, ' '), field.json_name(),
                     TypeText(field), Marks(field));
}

void AddTree(const Descriptor& type, size_t depth, std::vector<const Descriptor*>* above,
             std::string* out) {
  above->push_back(&type);
  for (const FieldDescriptor* field : FieldsOf(type)) {
    *out += Line(*field, depth);
    const Descriptor* below = Below(*field);
    // A type that contains itself is shown once.
    if (below == nullptr || std::find(above->begin(), above->end(), below) != above->end()) {
      continue;
    }
    AddTree(*below, depth + 1, above, out);
  }
  above->pop_back();
}

std::string FieldsText(const Descriptor& type, bool top, bool recursive) {
  std::string out = "FIELDS:\n";
  if (recursive) {
    if (top) out += "  apiVersion\t<string> -required-\n  kind\t<string> -required-\n";
    std::vector<const Descriptor*> above;
    AddTree(type, 0, &above, &out);
    return out;
  }
  if (top) {
    out += fmt::format("  apiVersion\t<string> -required-\n    {}\n\n", kVersionDoc);
    out += fmt::format("  kind\t<string> -required-\n    {}\n\n", kKindDoc);
  }
  for (const FieldDescriptor* field : FieldsOf(type)) {
    out += Line(*field, 0) + Wrapped(DocText(*field), "    ") + Rules(*field, "    ") + "\n";
  }
  return out;
}

absl::StatusOr<const FieldDescriptor*> FindIn(const Descriptor& type, std::string_view name) {
  std::vector<std::string> names;
  for (const FieldDescriptor* field : FieldsOf(type)) {
    if (field->json_name() == name) return field;
    names.push_back(field->json_name());
  }
  const auto near = schema::NearestWord(name, names);
  return absl::InvalidArgumentError(
      fmt::format("field \"{}\" does not exist{}", name,
                  near ? fmt::format("; did you mean \"{}\"?", *near) : ""));
}

}  // namespace

absl::StatusOr<std::string> Explain(std::string_view path, bool recursive) {
  size_t dot = path.find('.');
  ASSIGN_OR_RETURN(const schema::KindInfo* info, schema::FindResourceType(path.substr(0, dot)));
  const Descriptor* type =
      v1::Resource::descriptor()->FindFieldByNumber(info->kind)->message_type();
  const FieldDescriptor* field = nullptr;
  std::string builtin;  // apiVersion or kind
  while (dot != std::string_view::npos) {
    path.remove_prefix(dot + 1);
    dot = path.find('.');
    std::string_view name = path.substr(0, dot);
    if (const size_t bracket = name.find('['); bracket != std::string_view::npos) {
      name = name.substr(0, bracket);  // containers[0], containers[*]
    }
    if (type == nullptr || !builtin.empty()) {
      return absl::InvalidArgumentError(fmt::format("field \"{}\" does not exist", name));
    }
    if (field == nullptr && (name == "apiVersion" || name == "kind")) {
      builtin = name;
      continue;
    }
    ASSIGN_OR_RETURN(field, FindIn(*type, name));
    type = Below(*field);
  }

  const size_t slash = info->api_version.rfind('/');
  std::string out;
  if (!info->group.empty()) out += fmt::format("GROUP:      {}\n", info->group);
  out += fmt::format("KIND:       {}\nVERSION:    {}\n\n", info->name,
                     info->api_version.substr(slash == std::string_view::npos ? 0 : slash + 1));
  if (!builtin.empty()) {
    return out + fmt::format("FIELD: {} <string> -required-\n\nDESCRIPTION:\n    {}\n", builtin,
                             builtin == "kind" ? kKindDoc : kVersionDoc);
  }
  if (field != nullptr) {
    out += fmt::format("FIELD: {} <{}>{}\n\n", field->json_name(), TypeText(*field), Marks(*field));
  }
  std::string doc = Wrapped(field == nullptr ? schema::DocOf(*type) : DocText(*field), "    ");
  if (field != nullptr) doc += Rules(*field, "    ");
  out += fmt::format("DESCRIPTION:\n{}\n", doc.empty() ? "    <empty>\n" : doc);
  if (type != nullptr) out += FieldsText(*type, field == nullptr, recursive);
  return out;
}

}  // namespace mesh::cli
