// SPDX-License-Identifier: Apache-2.0
// ConfigMap, Secret, Endpoints.
#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/escaping.h"
#include "api/schema/rules_kinds.h"
#include "common/ip_address.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "google/protobuf/util/message_differencer.h"

namespace mesh::schema::internal {
namespace {

using StringMap = google::protobuf::Map<std::string, std::string>;

constexpr size_t kMaxBytes = 1 << 20;
constexpr size_t kMaxKey = 253;

std::string CheckConfigKey(std::string_view key) {
  if (key.size() > kMaxKey) return fmt::format("must be no more than {} characters", kMaxKey);
  const bool fits = !key.empty() && std::all_of(key.begin(), key.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
  if (!fits) {
    return "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. "
           "'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is "
           "'[-._a-zA-Z0-9]+')";
  }
  if (key == ".") return "must not be '.'";
  if (key == "..") return "must not be '..'";
  if (key.starts_with("..")) return "must not start with '..'";
  return "";
}

// The decoded bytes of a value in base64, which may be broken into lines; nullopt when it is none.
std::optional<std::string> Decoded(const std::string& text) {
  std::string compact;
  compact.reserve(text.size());
  for (const char c : text) {
    if (c != '\n' && c != '\r') compact += c;
  }
  std::string out;
  if (compact.size() % 4 != 0 || !absl::Base64Unescape(compact, &out)) return std::nullopt;
  return out;
}

// Keys in order: two runs report alike.
std::map<std::string, const std::string*> Sorted(const StringMap& map) {
  std::map<std::string, const std::string*> out;
  for (const auto& [key, value] : map) out[key] = &value;
  return out;
}

void CheckKey(const std::string& key, const std::string& path, Problems* problems) {
  if (const std::string why = CheckConfigKey(key); !why.empty()) {
    Add(problems, path, "{}", InvalidText(key, why));
  }
}

// Adds the size of the decoded values to `bytes`.
void CheckEncoded(const StringMap& map, const std::string& field, size_t* bytes,
                  Problems* problems) {
  for (const auto& [key, value] : Sorted(map)) {
    const std::string path = fmt::format("{}[{}]", field, key);
    CheckKey(key, path, problems);
    const std::optional<std::string> decoded = Decoded(*value);
    if (!decoded) {
      Add(problems, path, "Invalid value: not base64{}",
          field == "data" ? "; write plain text in stringData" : "");
      continue;
    }
    *bytes += decoded->size();
  }
}

void CheckSize(size_t bytes, Problems* problems) {
  if (bytes <= kMaxBytes) return;
  Add(problems, "data", "Too long: {} bytes: must have at most {} bytes", bytes, kMaxBytes);
}

// What Kubernetes asks of the Secrets of a type.
struct SecretType {
  std::string_view type;
  // One of them, or with `all` each.
  std::vector<std::string_view> keys;
  bool all = true;
  bool json = false;
};

const std::vector<SecretType>& SecretTypes() {
  static const auto* types = new std::vector<SecretType>{
      {"kubernetes.io/dockercfg", {".dockercfg"}, true, true},
      {"kubernetes.io/dockerconfigjson", {".dockerconfigjson"}, true, true},
      {"kubernetes.io/basic-auth", {"username", "password"}, false, false},
      {"kubernetes.io/ssh-auth", {"ssh-privatekey"}, true, false},
      {"kubernetes.io/tls", {"tls.crt", "tls.key"}, true, false},
  };
  return *types;
}

void CheckJson(const std::string& encoded, const std::string& path, Problems* problems) {
  const std::optional<std::string> text = Decoded(encoded);
  google::protobuf::Struct json;
  if (!text || google::protobuf::util::JsonStringToMessage(*text, &json).ok()) return;
  Add(problems, path, "Invalid value: \"<secret contents redacted>\": not a JSON object");
}

void CheckSecretType(const v1::Secret& object, Problems* problems) {
  constexpr std::string_view kAccount = "kubernetes.io/service-account.name";
  if (object.type() == "kubernetes.io/service-account-token") {
    const auto& annotations = object.metadata().annotations();
    const auto it = annotations.find(std::string(kAccount));
    if (it == annotations.end() || it->second.empty()) {
      Add(problems, fmt::format("metadata.annotations[{}]", kAccount), "Required value");
    }
    return;
  }
  for (const SecretType& type : SecretTypes()) {
    if (type.type != object.type()) continue;
    const auto has = [&](std::string_view key) { return object.data().contains(std::string(key)); };
    if (!type.all && std::none_of(type.keys.begin(), type.keys.end(), has)) {
      for (const std::string_view key : type.keys) {
        Add(problems, fmt::format("data[{}]", key), "Required value");
      }
    }
    for (const std::string_view key : type.keys) {
      const std::string path = fmt::format("data[{}]", key);
      if (type.all && !has(key)) Add(problems, path, "Required value");
      if (type.json && has(key)) CheckJson(object.data().at(std::string(key)), path, problems);
    }
  }
}

bool SameMap(const StringMap& a, const StringMap& b) {
  return a.size() == b.size() && std::all_of(a.begin(), a.end(), [&](const auto& entry) {
           const auto it = b.find(entry.first);
           return it != b.end() && it->second == entry.second;
         });
}

constexpr char kSealed[] = "Forbidden: field is immutable when `immutable` is set";

}  // namespace

void CheckConfigMap(const v1::ConfigMap& object, Problems* problems) {
  size_t bytes = 0;
  for (const auto& [key, value] : Sorted(object.data())) {
    const std::string path = fmt::format("data[{}]", key);
    CheckKey(key, path, problems);
    if (object.binary_data().contains(key)) {
      Add(problems, path, "{}", InvalidText(key, "duplicate of key present in binaryData"));
    }
    bytes += value->size();
  }
  CheckEncoded(object.binary_data(), "binaryData", &bytes, problems);
  CheckSize(bytes, problems);
}

void CheckConfigMapUpdate(const v1::ConfigMap& live, const v1::ConfigMap& next,
                          Problems* problems) {
  if (!live.immutable()) return;
  if (!next.immutable()) Add(problems, "immutable", "{}", kSealed);
  if (!SameMap(live.data(), next.data())) Add(problems, "data", "{}", kSealed);
  if (!SameMap(live.binary_data(), next.binary_data())) {
    Add(problems, "binaryData", "{}", kSealed);
  }
}

void CheckSecret(const v1::Secret& object, Problems* problems) {
  size_t bytes = 0;
  CheckEncoded(object.data(), "data", &bytes, problems);
  CheckSize(bytes, problems);
  CheckSecretType(object, problems);
}

void CheckSecretUpdate(const v1::Secret& live, const v1::Secret& next, Problems* problems) {
  if (!live.immutable()) return;
  if (!next.immutable()) Add(problems, "immutable", "{}", kSealed);
  if (!SameMap(live.data(), next.data())) Add(problems, "data", "{}", kSealed);
}

void FillSecret(v1::Secret* secret) {
  for (const auto& [key, text] : secret->string_data()) {
    std::string encoded;
    absl::Base64Escape(text, &encoded);
    (*secret->mutable_data())[key] = std::move(encoded);
  }
  secret->clear_string_data();
}

void CheckEndpoints(const v1::Endpoints& object, Problems* problems) {
  for (int i = 0; i < object.subsets_size(); ++i) {
    const v1::EndpointSubset& subset = object.subsets(i);
    const std::string path = fmt::format("subsets[{}]", i);
    if (subset.addresses().empty() && subset.not_ready_addresses().empty()) {
      Add(problems, path, "Required value: must specify `addresses` or `notReadyAddresses`");
    }
    const auto check = [&](const auto& addresses, const char* field) {
      for (int j = 0; j < addresses.size(); ++j) {
        const auto address = IpAddress::Parse(addresses[j].ip());
        if (!address.ok()) continue;  // said already
        if (const std::string why = WhyNotUnicast(*address); !why.empty()) {
          Add(problems, fmt::format("{}.{}[{}].ip", path, field, j), "{}",
              InvalidText(addresses[j].ip(), why));
        }
      }
    };
    check(subset.addresses(), "addresses");
    check(subset.not_ready_addresses(), "notReadyAddresses");
    for (int j = 0; j < subset.ports_size(); ++j) {
      const std::string here = fmt::format("{}.ports[{}].name", path, j);
      const std::string& name = subset.ports(j).name();
      if (name.empty() && subset.ports_size() > 1) {
        Add(problems, here, "Required value");
      } else if (!name.empty()) {
        if (const std::string why = CheckDnsLabel(name); !why.empty()) {
          Add(problems, here, "{}", InvalidText(name, why));
        }
      }
    }
  }
}

}  // namespace mesh::schema::internal
