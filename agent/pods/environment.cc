// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/environment.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <set>

#include "absl/strings/escaping.h"
#include "agent/pods/pod_config.h"
#include "common/status.h"

namespace mesh::agent {
namespace {

// A manifest's rule (FORMAT_ENV_NAME).
bool IsVariableName(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](char c) { return c >= ' ' && c <= '~' && c != '='; });
}

// One byte after the other: what follows a lead byte, and no encodings that are too long.
bool IsUtf8(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t more = lead < 0x80 ? 0 : lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    if ((lead >= 0x80 && lead < 0xc2) || lead > 0xf4 || i + more >= text.size()) return false;
    uint32_t code = more == 0 ? lead : lead & (0x3f >> more);
    for (size_t j = 1; j <= more; ++j) {
      const auto byte = static_cast<unsigned char>(text[i + j]);
      if ((byte & 0xc0) != 0x80) return false;
      code = code << 6 | (byte & 0x3f);
    }
    if (more == 2 && (code < 0x800 || (code >= 0xd800 && code < 0xe000))) return false;
    if (more == 3 && (code < 0x10000 || code > 0x10ffff)) return false;
    i += more + 1;
  }
  return true;
}

// Variables by name, in the order in which they came first.
class Builder {
 public:
  Builder(const v1::Pod& pod, const v1::Container& container, const NodeState& state,
          const NodeFacts& node)
      : pod_(pod), container_(container), state_(state), node_(node) {}

  absl::StatusOr<Environment> Build(const Variables& services) {
    for (const auto& [name, value] : services) Set(name, value);
    for (const v1::EnvFromSource& source : container_.env_from()) {
      if (source.has_config_map_ref()) RETURN_IF_ERROR(FromConfigMap(source));
      if (source.has_secret_ref()) RETURN_IF_ERROR(FromSecret(source));
    }
    for (const v1::EnvVar& variable : container_.env()) RETURN_IF_ERROR(Add(variable));
    Environment out;
    for (const std::string& name : order_) {
      const std::string& value = known_.at(name);
      // The runtime's interface has texts, and a variable ends at a zero.
      if (!IsUtf8(value) || value.find('\0') != std::string::npos) {
        return absl::InvalidArgumentError(
            fmt::format("environment variable {}: its value is no text", name));
      }
      out.variables.emplace_back(name, value);
    }
    out.skipped = std::move(skipped_);
    return out;
  }

 private:
  const std::string& ns() const { return pod_.metadata().namespace_(); }

  void Set(const std::string& name, std::string value) {
    const auto [it, inserted] = known_.insert_or_assign(name, std::move(value));
    if (inserted) order_.push_back(name);
  }

  // What a name of a whole object's keys becomes.
  void Take(const std::string& prefix, const std::map<std::string, std::string>& entries,
            const char* kind, const std::string& name) {
    std::vector<std::string> invalid;
    for (const auto& [key, value] : entries) {
      if (IsVariableName(prefix + key)) {
        Set(prefix + key, value);
      } else {
        invalid.push_back(prefix + key);
      }
    }
    if (invalid.empty()) return;
    skipped_.push_back(
        fmt::format("Keys [{}] from the EnvFrom {} {}/{} were skipped since they are considered "
                    "invalid environment variable names.",
                    fmt::join(invalid, ", "), kind, ns(), name));
  }

  absl::Status FromConfigMap(const v1::EnvFromSource& source) {
    const v1::ConfigMapEnvSource& ref = source.config_map_ref();
    const v1::ConfigMap* map = FindConfigMap(state_, ns(), ref.name());
    if (map == nullptr) {
      if (ref.optional()) return absl::OkStatus();
      return absl::NotFoundError(fmt::format("configmap \"{}\" not found", ref.name()));
    }
    Take(source.prefix(), {map->data().begin(), map->data().end()}, "configMap", ref.name());
    return absl::OkStatus();
  }

  absl::Status FromSecret(const v1::EnvFromSource& source) {
    const v1::SecretEnvSource& ref = source.secret_ref();
    const v1::Secret* secret = FindSecret(state_, ns(), ref.name());
    if (secret == nullptr) {
      if (ref.optional()) return absl::OkStatus();
      return absl::NotFoundError(fmt::format("secret \"{}\" not found", ref.name()));
    }
    std::map<std::string, std::string> entries;
    for (const auto& [key, encoded] : secret->data()) {
      ASSIGN_OR_RETURN(entries[key], ValueOf(*secret, key));
    }
    Take(source.prefix(), entries, "secret", ref.name());
    return absl::OkStatus();
  }

  absl::Status Add(const v1::EnvVar& variable) {
    if (!variable.value().empty() || !variable.has_value_from()) {
      Set(variable.name(), ExpandVariables(variable.value(), known_));
      return absl::OkStatus();
    }
    absl::StatusOr<std::optional<std::string>> value = From(variable.value_from());
    if (!value.ok()) return value.status();
    if (value->has_value()) Set(variable.name(), **std::move(value));
    return absl::OkStatus();
  }

  // nullopt: optional, and not there.
  absl::StatusOr<std::optional<std::string>> From(const v1::EnvVarSource& source) {
    if (source.has_field_ref()) {
      ASSIGN_OR_RETURN(std::string value, PodField(pod_, source.field_ref().field_path(), node_));
      return std::optional(std::move(value));
    }
    if (source.has_resource_field_ref()) {
      const v1::ResourceFieldSelector& ref = source.resource_field_ref();
      const v1::Container* of = ref.container_name().empty()
                                    ? &container_
                                    : FindContainer(pod_.spec(), ref.container_name());
      if (of == nullptr) {
        return absl::NotFoundError(fmt::format("container {} not found", ref.container_name()));
      }
      ASSIGN_OR_RETURN(std::string value, ContainerResource(*of, ref, node_));
      return std::optional(std::move(value));
    }
    if (source.has_config_map_key_ref()) {
      const v1::ConfigMapKeySelector& ref = source.config_map_key_ref();
      const v1::ConfigMap* map = FindConfigMap(state_, ns(), ref.name());
      if (map != nullptr) {
        const auto it = map->data().find(ref.key());
        if (it != map->data().end()) return std::optional(it->second);
      }
      if (ref.optional()) return std::optional<std::string>();
      return absl::NotFoundError(map == nullptr
                                     ? fmt::format("configmap \"{}\" not found", ref.name())
                                     : fmt::format("couldn't find key {} in ConfigMap {}/{}",
                                                   ref.key(), ns(), ref.name()));
    }
    if (source.has_secret_key_ref()) {
      const v1::SecretKeySelector& ref = source.secret_key_ref();
      const v1::Secret* secret = FindSecret(state_, ns(), ref.name());
      if (secret != nullptr && secret->data().contains(ref.key())) {
        ASSIGN_OR_RETURN(std::string value, ValueOf(*secret, ref.key()));
        return std::optional(std::move(value));
      }
      if (ref.optional()) return std::optional<std::string>();
      return absl::NotFoundError(
          secret == nullptr
              ? fmt::format("secret \"{}\" not found", ref.name())
              : fmt::format("couldn't find key {} in Secret {}/{}", ref.key(), ns(), ref.name()));
    }
    return std::optional<std::string>("");
  }

  const v1::Pod& pod_;
  const v1::Container& container_;
  const NodeState& state_;
  const NodeFacts& node_;
  std::map<std::string, std::string> known_;
  std::vector<std::string> order_;
  std::vector<std::string> skipped_;
};

absl::StatusOr<std::string> Decoded(const std::string& encoded, const char* kind,
                                    const v1::ObjectMeta& meta, const std::string& key) {
  std::string out;
  if (!absl::Base64Unescape(encoded, &out)) {
    return absl::InvalidArgumentError(
        fmt::format("key {} of {} {}/{} is not base64", key, kind, meta.namespace_(), meta.name()));
  }
  return out;
}

absl::Status NoKey(const char* kind, const v1::ObjectMeta& meta, const std::string& key) {
  return absl::NotFoundError(
      fmt::format("couldn't find key {} in {} {}/{}", key, kind, meta.namespace_(), meta.name()));
}

}  // namespace

absl::StatusOr<std::string> ValueOf(const v1::ConfigMap& map, const std::string& key) {
  if (auto it = map.data().find(key); it != map.data().end()) return it->second;
  const auto it = map.binary_data().find(key);
  if (it == map.binary_data().end()) return NoKey("ConfigMap", map.metadata(), key);
  return Decoded(it->second, "ConfigMap", map.metadata(), key);
}

absl::StatusOr<std::string> ValueOf(const v1::Secret& secret, const std::string& key) {
  const auto it = secret.data().find(key);
  if (it == secret.data().end()) return NoKey("Secret", secret.metadata(), key);
  return Decoded(it->second, "Secret", secret.metadata(), key);
}

const v1::ConfigMap* FindConfigMap(const NodeState& state, const std::string& ns,
                                   const std::string& name) {
  const auto it = state.config_maps.find(fmt::format("{}/{}", ns, name));
  return it == state.config_maps.end() ? nullptr : &*it->second;
}

const v1::Secret* FindSecret(const NodeState& state, const std::string& ns,
                             const std::string& name) {
  const auto it = state.secrets.find(fmt::format("{}/{}", ns, name));
  return it == state.secrets.end() ? nullptr : &*it->second;
}

absl::StatusOr<Environment> ResolveEnvironment(const v1::Pod& pod, const v1::Container& container,
                                               const Variables& services, const NodeState& state,
                                               const NodeFacts& node) {
  return Builder(pod, container, state, node).Build(services);
}

}  // namespace mesh::agent
