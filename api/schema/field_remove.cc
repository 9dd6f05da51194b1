// SPDX-License-Identifier: Apache-2.0
#include "api/schema/field_set.h"
#include "api/schema/field_walk.h"
#include "api/schema/schema.h"
#include "mesh/v1/options.pb.h"

namespace mesh::schema {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using Pieces = std::vector<std::string_view>;

const FieldDescriptor* FieldOf(const Message& message, std::string_view piece) {
  const auto& descriptor = *message.GetDescriptor();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor* field = descriptor.field(i);
    if (internal::NamePiece(field->json_name()) == piece) return field;
  }
  return nullptr;
}

// The place in the list (or map) that `piece` names; -1: there is none.
int IndexOf(const Message& message, const FieldDescriptor& field, std::string_view piece) {
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    std::string text;
    if (field.is_map()) {
      const Message& entry = reflection.GetRepeatedMessage(message, &field, i);
      text = internal::NamePiece(
          entry.GetReflection()->GetString(entry, field.message_type()->map_key()));
    } else if (field.options().GetExtension(v1::merge_set)) {
      text = internal::ValuePiece(reflection.GetRepeatedString(message, &field, i));
    } else if (internal::HasMergeKey(field)) {
      text = internal::KeyPiece(reflection.GetRepeatedMessage(message, &field, i), field);
    }
    if (text == piece) return i;
  }
  return -1;
}

// The others keep their order.
void RemoveAt(const FieldDescriptor& field, int index, Message* message) {
  const Reflection& reflection = *message->GetReflection();
  const int size = reflection.FieldSize(*message, &field);
  for (int i = index; i + 1 < size; ++i) reflection.SwapElements(message, &field, i, i + 1);
  reflection.RemoveLast(message, &field);
}

void Remove(const Pieces& pieces, size_t at, Message* message) {
  const FieldDescriptor* field = FieldOf(*message, pieces[at]);
  if (field == nullptr) return;
  const Reflection& reflection = *message->GetReflection();
  if (at + 1 == pieces.size()) return reflection.ClearField(message, field);
  if (!field->is_repeated()) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE ||
        !reflection.HasField(*message, field)) {
      return;
    }
    return Remove(pieces, at + 1, reflection.MutableMessage(message, field));
  }
  const int index = IndexOf(*message, *field, pieces[at + 1]);
  if (index < 0) return;
  if (at + 2 == pieces.size()) return RemoveAt(*field, index, message);
  if (field->is_map() || field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) return;
  Remove(pieces, at + 2, reflection.MutableRepeatedMessage(message, field, index));
}

}  // namespace

void RemoveFields(const FieldSet& fields, v1::Resource* resource) {
  Message* body = MutableBodyOf(resource);
  for (const std::string& path : fields) {
    const Pieces pieces = PathPieces(path);
    if (!pieces.empty()) Remove(pieces, 0, body);
  }
}

}  // namespace mesh::schema
