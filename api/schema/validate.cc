// SPDX-License-Identifier: Apache-2.0
#include "api/schema/validate.h"

#include <algorithm>
#include <map>
#include <set>

#include "api/schema/kinds.h"
#include "api/schema/rules.h"
#include "api/schema/rules_kinds.h"
#include "api/schema/schema.h"
#include "common/ip_address.h"
#include "common/quantity.h"
#include "google/protobuf/util/json_util.h"
#include "google/protobuf/util/message_differencer.h"
#include "mesh/v1/options.pb.h"

namespace mesh::schema {
namespace internal {

std::string InvalidText(std::string_view value, std::string_view why) {
  return fmt::format("Invalid value: \"{}\": {}", value, why);
}

std::string DuplicateText(std::string_view value) {
  return fmt::format("Duplicate value: \"{}\"", value);
}

}  // namespace internal

namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using internal::Add;
using internal::DuplicateText;
using internal::InvalidText;
using internal::Problems;

constexpr int64_t kMaxPort = 65535;
constexpr size_t kMaxAnnotationBytes = 256 * 1024;

// Values that Kubernetes takes and mesh does not, with what to say of them.
struct KnownValue {
  std::string_view field;
  std::string_view value;
  std::string_view why;
};
constexpr std::string_view kNoSctp = "SCTP is not supported: mesh forwards TCP and UDP";
constexpr KnownValue kUnsupportedValues[] = {
    {"mesh.v1.ServicePort.protocol", "SCTP", kNoSctp},
    {"mesh.v1.ContainerPort.protocol", "SCTP", kNoSctp},
    {"mesh.v1.EndpointPort.protocol", "SCTP", kNoSctp},
    {"mesh.v1.EndpointSlice.address_type", "FQDN", "not supported yet"},
    {"mesh.v1.PodSpec.preemption_policy", "PreemptLowerPriority", "not supported yet"},
};

// Lists whose elements Kubernetes lets repeat; Warnings() tells.
constexpr std::string_view kRepeatableLists[] = {"mesh.v1.Container.ports",
                                                 "mesh.v1.Container.env"};

std::string Join(const std::string& path, const std::string& field) {
  return path.empty() ? field : path + "." + field;
}

std::string CheckFormat(v1::Format format, const std::string& text) {
  switch (format) {
    case v1::FORMAT_DNS_LABEL:
      return CheckDnsLabel(text);
    case v1::FORMAT_DNS_LABEL_1035:
      return CheckDnsLabel1035(text);
    case v1::FORMAT_DNS_SUBDOMAIN:
      return CheckDnsSubdomain(text);
    case v1::FORMAT_PORT_NAME:
      return CheckPortName(text);
    case v1::FORMAT_ENV_NAME:
      return CheckEnvName(text);
    case v1::FORMAT_IP:
      return IpAddress::Parse(text).ok() ? "" : "must be a valid IP address";
    case v1::FORMAT_CIDR:
      return internal::WhyNotRange(text);
    case v1::FORMAT_PATH:
      return text.starts_with('/') ? "" : "must be an absolute path";
    default:
      return "";
  }
}

void CheckString(const FieldDescriptor& field, const std::string& text, const std::string& path,
                 Problems* problems) {
  const auto& options = field.options();
  const int count = options.ExtensionSize(v1::one_of);
  if (count > 0) {
    std::string allowed;
    std::vector<std::string> words;
    for (int i = 0; i < count; ++i) {
      if (options.GetExtension(v1::one_of, i) == text) return;
      words.push_back(options.GetExtension(v1::one_of, i));
      allowed += fmt::format("{}\"{}\"", i == 0 ? "" : ", ", options.GetExtension(v1::one_of, i));
    }
    const auto known = std::find_if(
        std::begin(kUnsupportedValues), std::end(kUnsupportedValues),
        [&](const KnownValue& row) { return row.field == field.full_name() && row.value == text; });
    const bool is_known = known != std::end(kUnsupportedValues);
    const auto near = is_known ? std::nullopt : NearestWord(text, words);
    Add(problems, path, "Unsupported value: \"{}\": {}{}supported values: {}{}", text,
        is_known ? known->why : "", is_known ? ", " : "", allowed,
        near ? fmt::format("; did you mean \"{}\"?", *near) : "");
    return;
  }
  const std::string why = CheckFormat(options.GetExtension(v1::format), text);
  if (!why.empty()) Add(problems, path, "{}", InvalidText(text, why));
}

void CheckInteger(const FieldDescriptor& field, int64_t value, const std::string& path,
                  Problems* problems) {
  if (const std::string why = CheckRange(field, value); !why.empty())
    Add(problems, path, "{}", why);
}

void CheckQuantity(const std::string& text, const std::string& path, Problems* problems) {
  const auto milli = ParseQuantityMilli(text);
  if (!milli.ok()) {
    Add(problems, path, "{}",
        InvalidText(text,
                    "quantities must match the regular expression "
                    "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"));
  } else if (*milli < 0) {
    Add(problems, path, "{}", InvalidText(text, "must be greater than or equal to 0"));
  }
}

void CheckMap(const Message& message, const FieldDescriptor& field, const std::string& path,
              Problems* problems) {
  const Reflection& reflection = *message.GetReflection();
  const FieldDescriptor& key_field = *field.message_type()->map_key();
  const FieldDescriptor& value_field = *field.message_type()->map_value();
  std::map<std::string, const Message*> entries;  // sorted: two runs report in one order
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const Message& entry = reflection.GetRepeatedMessage(message, &field, i);
    entries[entry.GetReflection()->GetString(entry, &key_field)] = &entry;
  }
  const v1::Format format = field.options().GetExtension(v1::format);
  size_t bytes = 0;
  for (const auto& [key, entry] : entries) {
    const std::string here = fmt::format("{}[{}]", path, key);
    if (value_field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      const Message& value = entry->GetReflection()->GetMessage(*entry, &value_field);
      if (value.GetDescriptor() == v1::Quantity::descriptor()) {
        CheckQuantity(static_cast<const v1::Quantity&>(value).text(), here, problems);
      }
      continue;
    }
    if (format != v1::FORMAT_LABEL_MAP && format != v1::FORMAT_ANNOTATION_MAP) continue;
    const std::string value = entry->GetReflection()->GetString(*entry, &value_field);
    bytes += key.size() + value.size();
    if (const std::string why = CheckQualifiedName(key); !why.empty()) {
      Add(problems, here, "{}", InvalidText(key, why));
    }
    if (format != v1::FORMAT_LABEL_MAP) continue;
    if (const std::string why = CheckLabelValue(value); !why.empty()) {
      Add(problems, here, "{}", InvalidText(value, why));
    }
  }
  if (format == v1::FORMAT_ANNOTATION_MAP && bytes > kMaxAnnotationBytes) {
    Add(problems, path, "Too long: {} bytes: may not be more than {} bytes", bytes,
        kMaxAnnotationBytes);
  }
}

// The text of a key field, or its default when it is empty.
std::string KeyText(const Message& element, const FieldDescriptor& field) {
  const Reflection& reflection = *element.GetReflection();
  std::string text;
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    text = reflection.GetString(element, &field);
  } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT32) {
    text = fmt::format("{}", reflection.GetInt32(element, &field));
  }
  return text.empty() ? field.options().GetExtension(v1::default_value) : text;
}

void CheckListKeys(const Message& message, const FieldDescriptor& field, const std::string& path,
                   Problems* problems) {
  const Reflection& reflection = *message.GetReflection();
  const auto& options = field.options();
  const int keys = options.ExtensionSize(v1::merge_key);
  const int size = reflection.FieldSize(message, &field);
  std::set<std::string> seen;
  if (options.GetExtension(v1::merge_set)) {
    for (int i = 0; i < size; ++i) {
      const std::string text = reflection.GetRepeatedString(message, &field, i);
      if (!seen.insert(text).second) {
        Add(problems, fmt::format("{}[{}]", path, i), "{}", DuplicateText(text));
      }
    }
    return;
  }
  const bool may_repeat = std::find(std::begin(kRepeatableLists), std::end(kRepeatableLists),
                                    field.full_name()) != std::end(kRepeatableLists);
  if (keys == 0 || may_repeat) return;
  for (int i = 0; i < size; ++i) {
    const Message& element = reflection.GetRepeatedMessage(message, &field, i);
    std::string key;
    std::string first_name;
    for (int k = 0; k < keys; ++k) {
      const std::string& name = options.GetExtension(v1::merge_key, k);
      const Descriptor& type = *field.message_type();
      const FieldDescriptor* key_field = nullptr;
      for (int f = 0; f < type.field_count(); ++f) {
        if (type.field(f)->json_name() == name) key_field = type.field(f);
      }
      if (key_field == nullptr) continue;
      key += (k == 0 ? "" : "/") + KeyText(element, *key_field);
      if (k == 0) first_name = name;
    }
    if (key.empty()) continue;  // a missing required key is reported as such
    if (!seen.insert(key).second) {
      const std::string here = fmt::format("{}[{}]", path, i);
      Add(problems, keys == 1 ? here + "." + first_name : here, "{}", DuplicateText(key));
    }
  }
}

bool IsLeafMessage(const Descriptor& type) {
  return &type == v1::Quantity::descriptor() || &type == v1::IntOrString::descriptor() ||
         type.file()->package() != "mesh.v1";
}

void CheckMessage(const Message& message, const std::string& path, Problems* problems);

void CheckField(const Message& message, const FieldDescriptor& field, const std::string& path,
                Problems* problems) {
  const Reflection& reflection = *message.GetReflection();
  if (field.is_map()) return CheckMap(message, field, path, problems);
  if (field.is_repeated()) {
    CheckListKeys(message, field, path, problems);
    if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) return;
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      CheckMessage(reflection.GetRepeatedMessage(message, &field, i),
                   fmt::format("{}[{}]", path, i), problems);
    }
    return;
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return CheckString(field, reflection.GetString(message, &field), path, problems);
    case FieldDescriptor::CPPTYPE_INT32:
      return CheckInteger(field, reflection.GetInt32(message, &field), path, problems);
    case FieldDescriptor::CPPTYPE_INT64:
      return CheckInteger(field, reflection.GetInt64(message, &field), path, problems);
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      const Message& value = reflection.GetMessage(message, &field);
      if (!IsLeafMessage(*value.GetDescriptor())) CheckMessage(value, path, problems);
      return;
    }
    default:
      return;
  }
}

bool IsEmpty(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  if (field.is_repeated()) return reflection.FieldSize(message, &field) == 0;
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    return reflection.GetString(message, &field).empty();
  }
  return !reflection.HasField(message, &field);
}

void CheckMessage(const Message& message, const std::string& path, Problems* problems) {
  const Descriptor& descriptor = *message.GetDescriptor();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    if (field.options().GetExtension(v1::system) || field.options().GetExtension(v1::internal)) {
      continue;
    }
    const std::string here = Join(path, field.json_name());
    if (field.options().GetExtension(v1::pending)) {
      if (!IsEmpty(message, field)) Add(problems, here, "not supported yet");
    } else if (!IsEmpty(message, field)) {
      CheckField(message, field, here, problems);
    } else if (field.options().GetExtension(v1::required)) {
      Add(problems, here, "Required value");
    }
  }
}

void CheckMeta(v1::Kind kind, const v1::ObjectMeta& meta, Problems* problems) {
  if (!meta.name().empty()) {
    const auto of_kind = internal::CheckNameOfKind(kind, meta.name());
    const std::string why = of_kind                      ? *of_kind
                            : kind == v1::KIND_NAMESPACE ? CheckDnsLabel(meta.name())
                            : kind == v1::KIND_SERVICE   ? CheckDnsLabel1035(meta.name())
                                                         : CheckDnsSubdomain(meta.name());
    if (!why.empty()) Add(problems, "metadata.name", "{}", InvalidText(meta.name(), why));
  }
  if (!meta.generate_name().empty() && meta.name().empty()) {
    Add(problems, "metadata.generateName", "not supported yet; give the object a metadata.name");
  }
  if (!meta.namespace_().empty()) {
    if (const std::string why = CheckDnsLabel(meta.namespace_()); !why.empty()) {
      Add(problems, "metadata.namespace", "{}", InvalidText(meta.namespace_(), why));
    }
  }
  for (int i = 0; i < meta.finalizers_size(); ++i) {
    if (const std::string why = CheckQualifiedName(meta.finalizers(i)); !why.empty()) {
      Add(problems, fmt::format("metadata.finalizers[{}]", i), "{}",
          InvalidText(meta.finalizers(i), why));
    }
  }
}

std::string JsonText(const Message& message) {
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text);
  return status.ok() ? text : "{}";
}

// Immutable fields below `live`, which differ in `next`.
void CheckImmutable(const Message& live, const Message& next, const std::string& path,
                    Problems* problems) {
  using google::protobuf::util::MessageDifferencer;
  const Descriptor& descriptor = *live.GetDescriptor();
  const Reflection& reflection = *live.GetReflection();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    if (field.options().GetExtension(v1::system)) continue;
    const std::string here = Join(path, field.json_name());
    if (!field.options().GetExtension(v1::immutable)) {
      if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !field.is_repeated()) {
        CheckImmutable(reflection.GetMessage(live, &field), reflection.GetMessage(next, &field),
                       here, problems);
      }
      continue;
    }
    if (IsEmpty(live, field)) continue;  // not given yet: may be set once
    MessageDifferencer differencer;
    const bool same = differencer.CompareWithFields(live, next, {&field}, {&field});
    if (same) continue;
    std::string value;
    if (field.is_repeated()) {
      for (int j = 0; j < reflection.FieldSize(next, &field); ++j) {
        value += fmt::format("{}\"{}\"", j == 0 ? "" : ",",
                             reflection.GetRepeatedString(next, &field, j));
      }
      value = "[" + value + "]";
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      value = JsonText(reflection.GetMessage(next, &field));
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      value = fmt::format("\"{}\"", reflection.GetString(next, &field));
    }
    Add(problems, here, "Invalid value: {}: field is immutable", value);
  }
}

void CheckPodUpdate(const v1::PodSpec& live, const v1::PodSpec& next, Problems* problems) {
  using google::protobuf::util::MessageDifferencer;
  if (MessageDifferencer::Equals(live, next)) return;
  const Descriptor& descriptor = *v1::PodSpec::descriptor();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    MessageDifferencer differencer;
    if (differencer.CompareWithFields(live, next, {&field}, {&field})) continue;
    Add(problems, "spec." + field.json_name(),
        "Forbidden: the spec of a pod may not change; delete the pod first, or let a Deployment "
        "replace it");
  }
}

}  // namespace

std::string CheckRange(const FieldDescriptor& field, int64_t value) {
  if (!field.options().HasExtension(v1::range)) return "";
  const v1::Range& range = field.options().GetExtension(v1::range);
  if (value >= range.min() && value <= range.max()) return "";
  if (range.min() == 1 && range.max() == kMaxPort) {
    return fmt::format("Invalid value: {}: must be between 1 and 65535, inclusive", value);
  }
  if (value < range.min()) {
    return fmt::format("Invalid value: {}: must be greater than or equal to {}", value,
                       range.min());
  }
  return fmt::format("Invalid value: {}: must be less than or equal to {}", value, range.max());
}

std::vector<Problem> Validate(const v1::Resource& resource) {
  Problems problems;
  const v1::Kind kind = KindOf(resource);
  if (kind == v1::KIND_UNSPECIFIED) {
    Add(&problems, "kind", "Required value");
    return problems;
  }
  CheckMessage(BodyOf(resource), "", &problems);
  CheckMeta(kind, MetaOf(resource), &problems);
  switch (resource.kind_case()) {
    case v1::Resource::kNamespace:
      internal::CheckNamespace(resource.namespace_(), &problems);
      break;
    case v1::Resource::kNode:
      internal::CheckNode(resource.node(), &problems);
      break;
    case v1::Resource::kPod:
      internal::CheckPodSpec(resource.pod().spec(), "spec", &problems);
      internal::CheckWeight(resource.pod().metadata().annotations(), "metadata", &problems);
      internal::CheckBandwidth(resource.pod().metadata().annotations(), "metadata", &problems);
      internal::CheckProbePeriod(resource.pod().metadata().annotations(), "metadata", &problems);
      break;
    case v1::Resource::kReplicaSet:
      internal::CheckReplicaSet(resource.replica_set(), &problems);
      break;
    case v1::Resource::kDeployment:
      internal::CheckDeployment(resource.deployment(), &problems);
      break;
    case v1::Resource::kService:
      internal::CheckService(resource.service(), &problems);
      break;
    case v1::Resource::kEndpointSlice:
      internal::CheckEndpointSlice(resource.endpoint_slice(), &problems);
      break;
    case v1::Resource::kNetworkPolicy:
      internal::CheckNetworkPolicy(resource.network_policy(), &problems);
      break;
    default:
      internal::CheckStoredKind(resource, &problems);
      break;
  }
  return problems;
}

std::vector<Problem> ValidateUpdate(const v1::Resource& live, const v1::Resource& next) {
  Problems problems;
  CheckImmutable(BodyOf(live), BodyOf(next), "", &problems);
  if (live.has_pod()) CheckPodUpdate(live.pod().spec(), next.pod().spec(), &problems);
  if (live.has_service()) {
    internal::CheckServiceUpdate(live.service().spec(), next.service().spec(), &problems);
  }
  internal::CheckStoredKindUpdate(live, next, &problems);
  return problems;
}

std::vector<Problem> Warnings(const v1::Resource& resource) {
  Problems problems;
  const v1::Kind kind = KindOf(resource);
  if (kind != v1::KIND_UNSPECIFIED) {
    internal::WarnAnnotations(MetaOf(resource).annotations(), kind, "metadata", &problems);
  }
  if (const TemplateRef ref = PodTemplateOf(resource); ref.pod != nullptr) {
    const std::string path(ref.path);
    internal::WarnAnnotations(ref.pod->metadata().annotations(), v1::KIND_POD, path + ".metadata",
                              &problems);
    internal::WarnPodSpec(ref.pod->spec(), path + ".spec", &problems);
  }
  switch (resource.kind_case()) {
    case v1::Resource::kPod:
      internal::WarnPodSpec(resource.pod().spec(), "spec", &problems);
      break;
    case v1::Resource::kService:
      internal::WarnService(resource.service(), &problems);
      break;
    case v1::Resource::kNetworkPolicy:
      internal::WarnNetworkPolicy(resource.network_policy(), &problems);
      break;
    default:
      internal::WarnStoredKind(resource, &problems);
      break;
  }
  return problems;
}

std::vector<Problem> DroppedByDefaults(const v1::Resource& given) {
  Problems problems;
  if (!given.has_service()) return problems;
  const v1::ServiceSpec& spec = given.service().spec();
  if (spec.session_affinity() != "ClientIP" && spec.has_session_affinity_config()) {
    Add(&problems, "spec.sessionAffinityConfig",
        "has no effect when `sessionAffinity` is not 'ClientIP'");
  }
  return problems;
}

std::string JoinProblems(const std::vector<Problem>& problems, size_t limit) {
  std::string out;
  for (size_t i = 0; i < problems.size() && i < limit; ++i) {
    out += (i == 0 ? "" : "; ") + problems[i].ToString();
  }
  if (problems.size() > limit) out += fmt::format(" (and {} more)", problems.size() - limit);
  return out;
}

}  // namespace mesh::schema
