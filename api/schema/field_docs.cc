// SPDX-License-Identifier: Apache-2.0
#include "api/schema/field_docs.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "common/check.h"
#include "google/protobuf/descriptor.pb.h"

// The descriptor set that protoc writes at build time (api/schema/CMakeLists.txt): generated
// classes do not keep comments.
__asm__(
    ".section .rodata\n"
    ".global mesh_field_docs_begin\n"
    "mesh_field_docs_begin:\n"
    ".incbin \"" MESH_FIELD_DOCS
    "\"\n"
    ".global mesh_field_docs_end\n"
    "mesh_field_docs_end:\n"
    ".byte 0\n"
    ".previous\n");
extern "C" {
extern const char mesh_field_docs_begin[];
extern const char mesh_field_docs_end[];
}

namespace mesh::schema {
namespace {

using google::protobuf::FileDescriptorProto;

// Lines of a paragraph are joined.
std::string Paragraphs(std::string_view comment) {
  std::string out;
  bool fresh = true;
  while (!comment.empty()) {
    std::string_view line = comment.substr(0, comment.find('\n'));
    comment.remove_prefix(std::min(comment.size(), line.size() + 1));
    while (line.starts_with(' ')) line.remove_prefix(1);
    while (line.ends_with(' ')) line.remove_suffix(1);
    if (line.empty()) {
      if (!out.empty() && !fresh) out += '\n';
      fresh = true;
      continue;
    }
    if (!fresh) out += ' ';
    out += line;
    fresh = false;
  }
  while (out.ends_with('\n')) out.pop_back();
  return out;
}

// Full name of a message or field -> comment.
const std::map<std::string, std::string>& Docs() {
  static const auto* docs = [] {
    auto* out = new std::map<std::string, std::string>;
    google::protobuf::FileDescriptorSet files;
    MESH_CHECK(files.ParseFromArray(mesh_field_docs_begin,
                                    static_cast<int>(mesh_field_docs_end - mesh_field_docs_begin)))
        << "the comments of the protos cannot be read";
    for (const FileDescriptorProto& file : files.file()) {
      for (const auto& location : file.source_code_info().location()) {
        // {4, message} and {4, message, 2, field}: the protos here nest no messages.
        const auto& path = location.path();
        if ((path.size() != 2 && path.size() != 4) || path[0] != 4) continue;
        if (path.size() == 4 && path[2] != 2) continue;
        const std::string& text = location.leading_comments().empty() ? location.trailing_comments()
                                                                      : location.leading_comments();
        if (text.empty()) continue;
        const auto& message = file.message_type(path[1]);
        std::string name = file.package() + "." + message.name();
        if (path.size() == 4) name += "." + message.field(path[3]).name();
        (*out)[name] = Paragraphs(text);
      }
    }
    return out;
  }();
  return *docs;
}

std::string Find(const std::string& name) {
  const auto it = Docs().find(name);
  return it == Docs().end() ? "" : it->second;
}

}  // namespace

std::string DocOf(const google::protobuf::FieldDescriptor& field) {
  return Find(field.full_name());
}
std::string DocOf(const google::protobuf::Descriptor& message) { return Find(message.full_name()); }

}  // namespace mesh::schema
