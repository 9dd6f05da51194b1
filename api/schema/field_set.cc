// SPDX-License-Identifier: Apache-2.0
#include "api/schema/field_set.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "api/schema/field_walk.h"
#include "api/schema/schema.h"
#include "api/schema/source_annotation.h"
#include "fmt/format.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "mesh/v1/options.pb.h"

namespace mesh::schema {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using internal::HasMergeKey;
using internal::HasTwins;
using internal::IsSystemField;
using internal::IsWhole;
using internal::IsWholeMap;
using internal::KeyPiece;
using internal::NamePiece;
using internal::ValuePiece;

std::string BytesOf(const Message& message) {
  std::string out;
  {
    google::protobuf::io::StringOutputStream stream(&out);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return out;
}

// Of one value; `index` -1: the field is no list.
std::string BytesOf(const Message& message, const FieldDescriptor& field, int index) {
  const Reflection& r = *message.GetReflection();
  const bool list = index >= 0;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return list ? r.GetRepeatedString(message, &field, index) : r.GetString(message, &field);
    case FieldDescriptor::CPPTYPE_BOOL:
      return (list ? r.GetRepeatedBool(message, &field, index) : r.GetBool(message, &field)) ? "1"
                                                                                             : "0";
    case FieldDescriptor::CPPTYPE_INT32:
      return std::to_string(list ? r.GetRepeatedInt32(message, &field, index)
                                 : r.GetInt32(message, &field));
    case FieldDescriptor::CPPTYPE_INT64:
      return std::to_string(list ? r.GetRepeatedInt64(message, &field, index)
                                 : r.GetInt64(message, &field));
    case FieldDescriptor::CPPTYPE_UINT32:
      return std::to_string(list ? r.GetRepeatedUInt32(message, &field, index)
                                 : r.GetUInt32(message, &field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return std::to_string(list ? r.GetRepeatedUInt64(message, &field, index)
                                 : r.GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_ENUM:
      return std::to_string(list ? r.GetRepeatedEnumValue(message, &field, index)
                                 : r.GetEnumValue(message, &field));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return BytesOf(list ? r.GetRepeatedMessage(message, &field, index)
                          : r.GetMessage(message, &field));
    default:
      return "";
  }
}

std::map<std::string, std::string> EntriesOf(const Message& message, const FieldDescriptor& map) {
  const Reflection& reflection = *message.GetReflection();
  std::map<std::string, std::string> out;
  for (int i = 0; i < reflection.FieldSize(message, &map); ++i) {
    const Message& entry = reflection.GetRepeatedMessage(message, &map, i);
    out[entry.GetReflection()->GetString(entry, map.message_type()->map_key())] =
        BytesOf(entry, *map.message_type()->map_value(), -1);
  }
  return out;
}

// Texts of any length side by side, so that no two lists look alike.
void AppendSized(const std::string& text, std::string* out) {
  *out += fmt::format("{}:{}", text.size(), text);
}

std::string BytesOfList(const Message& message, const FieldDescriptor& field) {
  std::string out;
  for (int i = 0; i < message.GetReflection()->FieldSize(message, &field); ++i) {
    AppendSized(BytesOf(message, field, i), &out);
  }
  return out;
}

void Walk(const Message& message, const std::string& prefix, FieldValues* out);

void WalkMap(const Message& message, const FieldDescriptor& field, const std::string& path,
             FieldValues* out) {
  const auto entries = EntriesOf(message, field);
  if (!IsWholeMap(field)) {
    for (const auto& [key, value] : entries) (*out)[path + NamePiece(key)] = value;
    return;
  }
  std::string whole;
  for (const auto& [key, value] : entries) {
    AppendSized(key, &whole);
    AppendSized(value, &whole);
  }
  if (!entries.empty()) (*out)[path] = std::move(whole);
}

void WalkList(const Message& message, const FieldDescriptor& field, const std::string& path,
              FieldValues* out) {
  const Reflection& reflection = *message.GetReflection();
  const int size = reflection.FieldSize(message, &field);
  if (size == 0) return;
  if (field.options().GetExtension(v1::merge_set)) {
    for (int i = 0; i < size; ++i) {
      (*out)[path + ValuePiece(reflection.GetRepeatedString(message, &field, i))];
    }
  } else if (HasMergeKey(field) && !HasTwins(message, field)) {
    for (int i = 0; i < size; ++i) {
      const Message& element = reflection.GetRepeatedMessage(message, &field, i);
      const std::string at = path + KeyPiece(element, field);
      const bool whole = IsWhole(*field.message_type());
      (*out)[at] = whole ? BytesOf(element) : "";
      if (!whole) Walk(element, at, out);
    }
  } else {
    (*out)[path] = BytesOfList(message, field);
  }
}

void Walk(const Message& message, const std::string& prefix, FieldValues* out) {
  const auto& descriptor = *message.GetDescriptor();
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    if (IsSystemField(field)) continue;
    const std::string path = prefix + NamePiece(field.json_name());
    if (field.is_map()) {
      WalkMap(message, field, path, out);
    } else if (field.is_repeated()) {
      WalkList(message, field, path, out);
    } else if (reflection.HasField(message, &field)) {
      const bool leaf =
          field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || IsWhole(*field.message_type());
      if (leaf) {
        (*out)[path] = BytesOf(message, field, -1);
        continue;
      }
      const size_t before = out->size();
      Walk(reflection.GetMessage(message, &field), path, out);
      if (out->size() == before) (*out)[path];
    }
  }
}

void CheckKeys(const Message& message, const std::string& prefix, std::string* problem) {
  const auto& descriptor = *message.GetDescriptor();
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < descriptor.field_count() && problem->empty(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    if (IsSystemField(field) || field.is_map() ||
        field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || IsWhole(*field.message_type())) {
      continue;
    }
    const std::string path = prefix + NamePiece(field.json_name());
    if (!field.is_repeated()) {
      if (reflection.HasField(message, &field)) {
        CheckKeys(reflection.GetMessage(message, &field), path, problem);
      }
      continue;
    }
    if (!HasMergeKey(field)) continue;
    std::string key;
    if (HasTwins(message, field, &key)) {
      *problem = fmt::format("{}: duplicate entries for key {}", ReadablePath(path), key);
      return;
    }
    for (int j = 0; j < reflection.FieldSize(message, &field); ++j) {
      const Message& element = reflection.GetRepeatedMessage(message, &field, j);
      CheckKeys(element, path + KeyPiece(element, field), problem);
    }
  }
}

// Something of `fields`, which are sorted, is below `path`.
template <typename Fields>
bool LeadsInto(const std::string& path, const Fields& fields) {
  const auto below = [&](char next) {
    const auto it = fields.lower_bound(path + next);
    if (it == fields.end()) return false;
    const std::string* found;
    if constexpr (std::is_same_v<Fields, FieldValues>) {
      found = &it->first;
    } else {
      found = &*it;
    }
    return found->starts_with(path + next);
  };
  return below('.') || below('[');
}

std::string Unquoted(std::string_view text) {
  std::string out;
  for (size_t i = 1; i + 1 < text.size(); ++i) {
    if (text[i] == '\\' && i + 2 < text.size()) ++i;
    out += text[i];
  }
  return out;
}

// `containerPort=80,protocol="TCP"` -> `{"containerPort":80,"protocol":"TCP"}`.
std::string KeyJson(std::string_view keys) {
  std::string out = "{\"";
  bool inside = false;
  bool in_name = true;
  for (size_t i = 0; i < keys.size(); ++i) {
    const char c = keys[i];
    if (inside && c == '\\') {
      out += c;
      out += keys[++i];
      continue;
    }
    if (c == '"') inside = !inside;
    if (!inside && in_name && c == '=') {
      out += "\":";
      in_name = false;
    } else if (!inside && c == ',') {
      out += ",\"";
      in_name = true;
    } else {
      out += c;
    }
  }
  return out + "}";
}

std::string MemberName(std::string_view piece) {
  if (piece.starts_with(".\"")) return "f:" + Unquoted(piece.substr(1));
  if (piece.starts_with('.')) return fmt::format("f:{}", piece.substr(1));
  const std::string_view inside = piece.substr(1, piece.size() - 2);
  if (inside.starts_with('=')) return fmt::format("v:{}", inside.substr(1));
  return "k:" + KeyJson(inside);
}

}  // namespace

FieldValues ValuesOf(const v1::Resource& resource) {
  FieldValues out;
  Walk(BodyOf(resource), "", &out);
  // The name says which object it is; where its file stands changes with who applies it.
  out.erase(".metadata");
  out.erase(".metadata.name");
  out.erase(".metadata.namespace");
  out.erase(".metadata.annotations" + NamePiece(kSourceAnnotation));
  return out;
}

FieldSet NamesOf(const FieldValues& values) {
  FieldSet out;
  for (const auto& [path, value] : values) out.insert(out.end(), path);
  return out;
}

FieldSet FieldsOf(const v1::Resource& resource) { return NamesOf(ValuesOf(resource)); }

FieldSet Union(const FieldSet& a, const FieldSet& b) {
  FieldSet out = a;
  out.insert(b.begin(), b.end());
  return out;
}

FieldSet Minus(const FieldSet& a, const FieldSet& b) {
  FieldSet out;
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::inserter(out, out.end()));
  return out;
}

FieldSet Common(const FieldSet& a, const FieldSet& b) {
  FieldSet out;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::inserter(out, out.end()));
  return out;
}

FieldChanges CompareFields(const FieldValues& before, const FieldValues& after) {
  FieldChanges out;
  for (const auto& [path, value] : after) {
    const auto it = before.find(path);
    if (it == before.end()) {
      // An empty message that was not empty was there before.
      if (!LeadsInto(path, before)) out.added.insert(path);
    } else if (it->second != value) {
      out.modified.insert(path);
    }
  }
  for (const auto& [path, value] : before) {
    if (!after.contains(path) && !LeadsInto(path, after)) out.removed.insert(path);
  }
  return out;
}

FieldSet WithParents(const FieldSet& fields) {
  FieldSet out = fields;
  for (const std::string& path : fields) {
    size_t length = 0;
    for (const std::string_view piece : PathPieces(path)) {
      length += piece.size();
      if (piece.starts_with('.')) out.insert(path.substr(0, length));
    }
  }
  return out;
}

absl::Status CheckListKeys(const v1::Resource& resource) {
  std::string problem;
  CheckKeys(BodyOf(resource), "", &problem);
  return problem.empty() ? absl::OkStatus() : absl::InvalidArgumentError(problem);
}

std::vector<std::string_view> PathPieces(std::string_view path) {
  std::vector<std::string_view> out;
  bool inside = false;
  size_t start = 0;
  for (size_t i = 0; i < path.size(); ++i) {
    const char c = path[i];
    if (inside && c == '\\') {
      ++i;
    } else if (c == '"') {
      inside = !inside;
    } else if (!inside && (c == '.' || c == '[') && i > start) {
      out.push_back(path.substr(start, i - start));
      start = i;
    }
  }
  if (start < path.size()) out.push_back(path.substr(start));
  return out;
}

std::string ReadablePath(std::string_view path) {
  std::string out;
  for (const std::string_view piece : PathPieces(path)) {
    if (piece.starts_with(".\"")) {
      out += "." + Unquoted(piece.substr(1));
    } else {
      out += piece;
    }
  }
  return out;
}

FieldTree FieldTreeOf(const std::vector<std::string_view>& paths) {
  FieldTree root;
  for (const std::string_view path : paths) {
    FieldTree* at = &root;
    for (const std::string_view piece : PathPieces(path)) at = &at->members[MemberName(piece)];
    at->owned = true;
  }
  return root;
}

}  // namespace mesh::schema
