// SPDX-License-Identifier: Apache-2.0
#include "api/schema/merge.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "api/schema/rules.h"
#include "api/schema/schema.h"
#include "api/schema/source_annotation.h"
#include "fmt/format.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/util/message_differencer.h"
#include "mesh/v1/options.pb.h"

namespace mesh::schema {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::util::MessageDifferencer;

bool IsSystem(const FieldDescriptor& field) {
  return field.options().GetExtension(v1::system) || field.options().GetExtension(v1::internal);
}

bool IsLeafMessage(const Descriptor& type) {
  return &type == v1::Quantity::descriptor() || &type == v1::IntOrString::descriptor() ||
         type.file()->package() != "mesh.v1";
}

bool IsSet(const Message* message, const FieldDescriptor& field) {
  if (message == nullptr) return false;
  const Reflection& reflection = *message->GetReflection();
  return field.is_repeated() ? reflection.FieldSize(*message, &field) > 0
                             : reflection.HasField(*message, &field);
}

// out.field = from.field, whatever the field is.
void CopyField(const Message& from, const FieldDescriptor& field, Message* out) {
  std::unique_ptr<Message> copy(from.New());
  copy->CopyFrom(from);
  out->GetReflection()->SwapFields(out, copy.get(), {&field});
}

// The element's key ("80/TCP") by the list's merge keys; a key field left out counts as its
// default.
std::string KeyOf(const Message& element, const FieldDescriptor& list) {
  const Descriptor& type = *list.message_type();
  const Reflection& reflection = *element.GetReflection();
  std::string key;
  for (int k = 0; k < list.options().ExtensionSize(v1::merge_key); ++k) {
    const std::string& name = list.options().GetExtension(v1::merge_key, k);
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      if (field.json_name() != name) continue;
      std::string text;
      if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
        text = reflection.GetString(element, &field);
      } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT32) {
        text = fmt::format("{}", reflection.GetInt32(element, &field));
      }
      if (text.empty()) text = field.options().GetExtension(v1::default_value);
      key += (k == 0 ? "" : "/") + text;
    }
  }
  return key;
}

// Elements by key; nullopt when two share one (Kubernetes lets env and container ports repeat): the
// list is then taken as a whole.
std::optional<std::map<std::string, const Message*>> ByKey(const Message* message,
                                                           const FieldDescriptor& list) {
  std::map<std::string, const Message*> out;
  if (message == nullptr) return out;
  const Reflection& reflection = *message->GetReflection();
  for (int i = 0; i < reflection.FieldSize(*message, &list); ++i) {
    const Message& element = reflection.GetRepeatedMessage(*message, &list, i);
    if (!out.emplace(KeyOf(element, list), &element).second) return std::nullopt;
  }
  return out;
}

// `retain`: messages of the patch strategy "retainKeys" keep only what the file names.
void MergeMessage(const Message* last, const Message& file, bool retain, Message* live);

// Lists of Kubernetes' kind "atomic", scalars and leaf messages.
void MergeWhole(const Message* last, const Message& file, const FieldDescriptor& field,
                Message* live) {
  if (IsSet(&file, field)) {
    CopyField(file, field, live);
  } else if (IsSet(last, field)) {
    live->GetReflection()->ClearField(live, &field);
  }
}

void MergeKeyedList(const Message* last, const Message& file, const FieldDescriptor& field,
                    bool retain, Message* live) {
  const auto old_elements = ByKey(last, field);
  const auto file_elements = ByKey(&file, field);
  const auto live_elements = ByKey(live, field);
  if (!old_elements || !file_elements || !live_elements) {
    return MergeWhole(last, file, field, live);
  }
  const Reflection& reflection = *live->GetReflection();
  const auto find = [](const auto& elements, const std::string& key) -> const Message* {
    const auto it = elements.find(key);
    return it == elements.end() ? nullptr : it->second;
  };

  std::unique_ptr<Message> merged(live->New());
  for (int i = 0; i < reflection.FieldSize(file, &field); ++i) {
    const Message& element = reflection.GetRepeatedMessage(file, &field, i);
    const std::string key = KeyOf(element, field);
    Message* out = reflection.AddMessage(merged.get(), &field);
    const Message* present = find(*live_elements, key);
    if (present == nullptr) {
      out->CopyFrom(element);
      continue;
    }
    out->CopyFrom(*present);
    MergeMessage(find(*old_elements, key), element, retain, out);
  }
  for (int i = 0; i < reflection.FieldSize(*live, &field); ++i) {
    const Message& element = reflection.GetRepeatedMessage(*live, &field, i);
    const std::string key = KeyOf(element, field);
    if (file_elements->contains(key) || old_elements->contains(key)) continue;
    reflection.AddMessage(merged.get(), &field)->CopyFrom(element);
  }
  reflection.SwapFields(live, merged.get(), {&field});
}

std::vector<std::string> Strings(const Message* message, const FieldDescriptor& field) {
  std::vector<std::string> out;
  if (message == nullptr) return out;
  const Reflection& reflection = *message->GetReflection();
  for (int i = 0; i < reflection.FieldSize(*message, &field); ++i) {
    out.push_back(reflection.GetRepeatedString(*message, &field, i));
  }
  return out;
}

void MergeSet(const Message* last, const Message& file, const FieldDescriptor& field,
              Message* live) {
  const std::vector<std::string> wanted = Strings(&file, field);
  const std::vector<std::string> old = Strings(last, field);
  const auto has = [](const std::vector<std::string>& list, const std::string& text) {
    return std::find(list.begin(), list.end(), text) != list.end();
  };
  std::vector<std::string> merged;
  for (const std::string& text : Strings(live, field)) {
    if (has(wanted, text) || !has(old, text)) merged.push_back(text);
  }
  for (const std::string& text : wanted) {
    if (!has(merged, text)) merged.push_back(text);
  }
  const Reflection& reflection = *live->GetReflection();
  reflection.ClearField(live, &field);
  for (const std::string& text : merged) reflection.AddString(live, &field, text);
}

std::map<std::string, const Message*> Entries(const Message* message,
                                              const FieldDescriptor& field) {
  std::map<std::string, const Message*> out;
  if (message == nullptr) return out;
  const Reflection& reflection = *message->GetReflection();
  for (int i = 0; i < reflection.FieldSize(*message, &field); ++i) {
    const Message& entry = reflection.GetRepeatedMessage(*message, &field, i);
    out[entry.GetReflection()->GetString(entry, field.message_type()->map_key())] = &entry;
  }
  return out;
}

void MergeMap(const Message* last, const Message& file, const FieldDescriptor& field,
              Message* live) {
  const auto old = Entries(last, field);
  const auto wanted = Entries(&file, field);
  const auto present = Entries(live, field);
  const Reflection& reflection = *live->GetReflection();
  std::unique_ptr<Message> merged(live->New());
  for (const auto& [key, entry] : present) {
    if (wanted.contains(key) || old.contains(key)) continue;
    reflection.AddMessage(merged.get(), &field)->CopyFrom(*entry);
  }
  for (const auto& [key, entry] : wanted) {
    reflection.AddMessage(merged.get(), &field)->CopyFrom(*entry);
  }
  reflection.SwapFields(live, merged.get(), {&field});
}

// Kubernetes' patch strategy "retainKeys": what the file does not name goes, whoever set it.
bool RetainsKeys(const Descriptor& type) { return &type == v1::DeploymentStrategy::descriptor(); }

// Defaults that follow from other fields follow them again, unless somebody has said otherwise:
// rules of egress that are added restrict egress.
void ClearDerived(const Message& file, Message* live) {
  if (file.GetDescriptor() != v1::NetworkPolicySpec::descriptor()) return;
  auto* spec = static_cast<v1::NetworkPolicySpec*>(live);
  v1::NetworkPolicySpec derived = *spec;
  derived.clear_policy_types();
  internal::FillNetworkPolicy(&derived);
  if (static_cast<const v1::NetworkPolicySpec&>(file).policy_types().empty() &&
      MessageDifferencer::Equals(derived, *spec)) {
    spec->clear_policy_types();
  }
}

// `live` becomes the merged message.
void MergeMessage(const Message* last, const Message& file, bool retain, Message* live) {
  const Descriptor& descriptor = *file.GetDescriptor();
  const Reflection& reflection = *live->GetReflection();
  ClearDerived(file, live);
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    if (IsSystem(field)) continue;
    if (field.options().GetExtension(v1::immutable) && !IsSet(&file, field)) continue;
    if (field.is_map()) {
      MergeMap(last, file, field, live);
    } else if (field.is_repeated()) {
      if (field.options().ExtensionSize(v1::merge_key) > 0) {
        MergeKeyedList(last, file, field, retain, live);
      } else if (field.options().GetExtension(v1::merge_set)) {
        MergeSet(last, file, field, live);
      } else {
        MergeWhole(last, file, field, live);
      }
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
               !IsLeafMessage(*field.message_type()) && IsSet(&file, field) && IsSet(live, field)) {
      const Message* old = IsSet(last, field) ? &reflection.GetMessage(*last, &field) : nullptr;
      MergeMessage(old, reflection.GetMessage(file, &field), retain,
                   reflection.MutableMessage(live, &field));
    } else {
      MergeWhole(last, file, field, live);
    }
  }
  if (!retain || !RetainsKeys(descriptor)) return;
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    if (!IsSet(&file, field)) reflection.ClearField(live, &field);
  }
}

void StripSystem(Message* message) {
  const Descriptor& descriptor = *message->GetDescriptor();
  const Reflection& reflection = *message->GetReflection();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    if (IsSystem(field)) {
      reflection.ClearField(message, &field);
      continue;
    }
    if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || field.is_map() ||
        IsLeafMessage(*field.message_type())) {
      continue;
    }
    if (field.is_repeated()) {
      for (int j = 0; j < reflection.FieldSize(*message, &field); ++j) {
        StripSystem(reflection.MutableRepeatedMessage(message, &field, j));
      }
    } else if (reflection.HasField(*message, &field)) {
      StripSystem(reflection.MutableMessage(message, &field));
    }
  }
}

v1::Resource WithoutSystem(const v1::Resource& resource) {
  v1::Resource out = resource;
  if (KindOf(out) != v1::KIND_UNSPECIFIED) StripSystem(MutableBodyOf(&out));
  return out;
}

}  // namespace

v1::Resource ThreeWayMerge(const v1::Resource* last_applied, const v1::Resource& file,
                           const v1::Resource& live) {
  v1::Resource merged = live;
  const bool same_kind = last_applied != nullptr && KindOf(*last_applied) == KindOf(file);
  MergeMessage(same_kind ? &BodyOf(*last_applied) : nullptr, BodyOf(file), /*retain=*/true,
               MutableBodyOf(&merged));
  return merged;
}

v1::Resource Overlaid(const v1::Resource& file, const v1::Resource& live) {
  v1::Resource merged = live;
  MergeMessage(nullptr, BodyOf(file), /*retain=*/false, MutableBodyOf(&merged));
  return merged;
}

bool SameIntent(const v1::Resource& a, const v1::Resource& b) {
  const auto said = [](const v1::Resource& resource) {
    v1::Resource out = WithoutSystem(resource);
    if (out.has_network_policy()) {
      auto& meta = *out.mutable_network_policy()->mutable_metadata();
      meta.mutable_annotations()->erase(kSourceAnnotation);
    }
    return out;
  };
  return MessageDifferencer::Equals(said(a), said(b));
}

bool SameSpec(const v1::Resource& a, const v1::Resource& b) {
  if (KindOf(a) != KindOf(b)) return false;
  const v1::Resource left = WithoutSystem(a);
  const v1::Resource right = WithoutSystem(b);
  const Message& body = BodyOf(left);
  const FieldDescriptor* spec = body.GetDescriptor()->FindFieldByName("spec");
  if (spec == nullptr) return MessageDifferencer::Equals(left, right);
  MessageDifferencer differencer;
  return differencer.CompareWithFields(body, BodyOf(right), {spec}, {spec});
}

std::string EncodeLastApplied(const v1::Resource& file) {
  const v1::Resource stripped = WithoutSystem(file);
  std::string out;
  {
    google::protobuf::io::StringOutputStream stream(&out);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    stripped.SerializeToCodedStream(&coded);
  }
  return out;
}

absl::StatusOr<v1::Resource> DecodeLastApplied(std::string_view bytes) {
  v1::Resource resource;
  if (!resource.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) ||
      KindOf(resource) == v1::KIND_UNSPECIFIED) {
    return absl::DataLossError(
        fmt::format("last applied configuration of {} bytes cannot be read", bytes.size()));
  }
  return resource;
}

}  // namespace mesh::schema
