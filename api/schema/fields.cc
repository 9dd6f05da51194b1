// SPDX-License-Identifier: Apache-2.0
#include "api/schema/fields.h"

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "api/schema/schema.h"
#include "fmt/format.h"
#include "mesh/v1/options.pb.h"

namespace mesh::schema {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

struct TypeRow {
  std::string_view name;
  std::string_view fields;
};

#include "api/schema/known_fields.inc"

struct KnownField {
  std::string_view name;
  std::string_view type;  // "" for scalars
  bool is_list = false;
};
using KnownType = std::vector<KnownField>;

const std::map<std::string_view, KnownType>& KnownTypes() {
  static const auto* types = [] {
    auto* out = new std::map<std::string_view, KnownType>;
    for (const TypeRow& row : kTypes) {
      KnownType& type = (*out)[row.name];
      for (std::string_view rest = row.fields; !rest.empty();) {
        std::string_view word = rest.substr(0, rest.find(' '));
        rest.remove_prefix(std::min(rest.size(), word.size() + 1));
        KnownField field;
        if (word.ends_with('*') || word.ends_with('%')) {
          field.is_list = word.back() == '*';
          word.remove_suffix(1);
        }
        const size_t colon = word.find(':');
        field.name = word.substr(0, colon);
        if (colon != std::string_view::npos) field.type = word.substr(colon + 1);
        type.push_back(field);
      }
    }
    return out;
  }();
  return *types;
}

const KnownType* FindKnownType(std::string_view name) {
  const auto it = KnownTypes().find(name);
  return it == KnownTypes().end() ? nullptr : &it->second;
}

// Kubernetes' name of the type that `message` mirrors.
std::string_view KnownName(const Descriptor& message) {
  if (message.name() == "PodTemplateMeta") return "ObjectMeta";
  if (message.name() == "VolumeClaimTemplate") return "PersistentVolumeClaim";
  return message.name();
}

bool IsStatus(std::string_view field) { return field == "status"; }

std::string Join(std::string_view path, std::string_view field) {
  return path.empty() ? std::string(field) : fmt::format("{}.{}", path, field);
}

// Where in the kind a field of this name exists: paths of the messages that have it, nearest to the
// top first.
std::vector<std::string> SupportedPlaces(const Descriptor& root, std::string_view field) {
  constexpr auto kMaxDepth = 10;  // of a kind that refers to itself
  std::vector<std::string> places;
  std::deque<std::pair<const Descriptor*, std::string>> queue = {{&root, ""}};
  while (!queue.empty()) {
    const auto [message, path] = queue.front();
    queue.pop_front();
    if (FindField(*message, field) != nullptr) places.push_back(path);
    if (std::count(path.begin(), path.end(), '.') >= kMaxDepth) continue;
    for (int i = 0; i < message->field_count(); ++i) {
      const FieldDescriptor& child = *message->field(i);
      if (child.message_type() == nullptr || child.is_map() || IsStatus(child.name()) ||
          child.options().GetExtension(v1::system) || child.options().GetExtension(v1::internal) ||
          child.options().GetExtension(v1::pending) ||
          child.message_type()->file()->package() != "mesh.v1") {
        continue;
      }
      queue.emplace_back(child.message_type(),
                         Join(path, child.json_name()) + (child.is_repeated() ? "[]" : ""));
    }
  }
  return places;
}

std::vector<std::string> KnownPlaces(std::string_view root, std::string_view field) {
  std::vector<std::string> places;
  std::set<std::string_view> seen;  // JSONSchemaProps and the like refer to themselves
  std::deque<std::pair<std::string_view, std::string>> queue = {{root, ""}};
  while (!queue.empty()) {
    const auto [name, path] = queue.front();
    queue.pop_front();
    const KnownType* type = FindKnownType(name);
    if (type == nullptr || !seen.insert(name).second) continue;
    for (const KnownField& child : *type) {
      if (child.name == field) places.push_back(path);
      if (child.type.empty() || IsStatus(child.name) || child.name == "managedFields") continue;
      queue.emplace_back(child.type, Join(path, child.name) + (child.is_list ? "[]" : ""));
    }
  }
  return places;
}

// "spec.containers[3].ports[0]" -> "spec.containers[].ports[]".
std::string WithoutIndexes(std::string_view path) {
  std::string out;
  bool inside = false;
  for (const char c : path) {
    if (c == ']') inside = false;
    if (!inside) out += c;
    if (c == '[') inside = true;
  }
  return out;
}

size_t CommonPrefix(std::string_view a, std::string_view b) {
  const size_t n = std::min(a.size(), b.size());
  size_t i = 0;
  while (i < n && a[i] == b[i]) ++i;
  return i;
}

// The place that shares most with where the field was written; the shorter of equals.
std::optional<std::string> BestPlace(const std::vector<std::string>& places,
                                     std::string_view written) {
  std::optional<std::string> best;
  size_t best_common = 0;
  for (const std::string& place : places) {
    if (place == written) continue;
    const size_t common = CommonPrefix(place, written);
    if (!best || common > best_common) {
      best = place;
      best_common = common;
    }
  }
  return best;
}

std::string BelongsIn(std::string_view field, const std::string& place) {
  return fmt::format("unknown field; \"{}\" belongs in {}", field,
                     place.empty() ? "the top level" : place);
}

struct ImpliedValue {
  std::string_view message;
  std::string_view field;
  std::string_view value;
};
// What mesh does in any case. A value that would need something else is "not supported yet".
constexpr ImpliedValue kImpliedValues[] = {
    {"DeploymentSpec", "paused", "false"},
    {"PodSpec", "hostNetwork", "false"},
};

}  // namespace

const FieldDescriptor* FindField(const Descriptor& message, std::string_view json_name) {
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor* field = message.field(i);
    if (field->json_name() == json_name && !field->options().GetExtension(v1::internal) &&
        !field->options().GetExtension(v1::pending)) {
      return field;
    }
  }
  return nullptr;
}

std::string ExplainUnknownField(v1::Kind kind, const Descriptor& message, std::string_view path,
                                std::string_view field) {
  const Descriptor& root = *v1::Resource::descriptor()->FindFieldByNumber(kind)->message_type();
  const KnownType* known = FindKnownType(KnownName(message));
  const auto is_known = [&](std::string_view name) {
    return known != nullptr &&
           std::any_of(known->begin(), known->end(),
                       [&](const KnownField& candidate) { return candidate.name == name; });
  };
  if (is_known(field)) return "not supported yet";

  // What can be written first: of two that are equally near it is the one meant.
  std::vector<std::string> siblings;
  for (const bool pending : {false, true}) {
    for (int i = 0; i < message.field_count(); ++i) {
      const FieldDescriptor& candidate = *message.field(i);
      if (candidate.options().GetExtension(v1::internal)) continue;
      if (candidate.options().GetExtension(v1::pending) != pending) continue;
      siblings.push_back(candidate.json_name());
    }
  }
  if (&message == &root) {
    siblings.emplace_back("apiVersion");
    siblings.emplace_back("kind");
  }
  if (known != nullptr) {
    for (const KnownField& candidate : *known) siblings.emplace_back(candidate.name);
  }
  const std::optional<std::string> near = NearestWord(field, siblings);
  const auto did_you_mean = [&] {
    const bool supported =
        FindField(message, *near) != nullptr || *near == "apiVersion" || *near == "kind";
    return fmt::format("unknown field; did you mean \"{}\"{}?", *near,
                       supported ? "" : " (not supported yet)");
  };
  // "port" for "ports" is a slip, although probes have a port too.
  const bool slip = near &&
                    (near->size() > field.size() ? near->size() - field.size()
                                                 : field.size() - near->size()) <= 1 &&
                    CommonPrefix(*near, field) + 1 >= std::min(near->size(), field.size());
  if (slip) return did_you_mean();

  const std::string written = WithoutIndexes(path);
  if (const auto place = BestPlace(SupportedPlaces(root, field), written)) {
    return BelongsIn(field, *place);
  }
  if (near) return did_you_mean();
  if (const auto place = BestPlace(KnownPlaces(root.name(), field), written)) {
    return BelongsIn(field, *place) + ", and is not supported yet";
  }
  return "unknown field";
}

std::vector<std::string_view> ImpliedValuesOf(const Descriptor& message, std::string_view field) {
  std::vector<std::string_view> out;
  for (const ImpliedValue& row : kImpliedValues) {
    if (row.message == KnownName(message) && row.field == field) out.push_back(row.value);
  }
  return out;
}

const std::vector<std::string>& ForeignKinds() {
  static const auto* kinds = [] {
    auto* out = new std::vector<std::string>;
    for (const std::string_view kind : kKinds) {
      const bool ours = std::any_of(AllKinds().begin(), AllKinds().end(),
                                    [&](const KindInfo& info) { return info.name == kind; });
      if (!ours) out->emplace_back(kind);
    }
    return out;
  }();
  return *kinds;
}

bool IsKnownForeignKind(std::string_view kind) {
  return std::find(ForeignKinds().begin(), ForeignKinds().end(), kind) != ForeignKinds().end();
}

}  // namespace mesh::schema
