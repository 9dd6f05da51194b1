// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/pull_secrets.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "api/schema/image.h"
#include "common/status.h"

namespace mesh::agent {
namespace {

using Json = nlohmann::json;
// By what they say of which registry, the most special first: a longer text that begins alike sorts
// behind a shorter one.
using Registries =
    std::map<std::string, std::vector<runtime::v1::AuthConfig>, std::greater<std::string>>;

constexpr char kConfigJson[] = "kubernetes.io/dockerconfigjson";
constexpr char kConfig[] = "kubernetes.io/dockercfg";
// What Docker calls the registry of images that name none.
constexpr char kHub[] = "index.docker.io";

struct Place {
  std::string_view host, port, path;
};

Place Split(std::string_view text) {
  Place out;
  const size_t slash = text.find('/');
  out.host = text.substr(0, slash);
  if (slash != std::string_view::npos) out.path = text.substr(slash);
  if (const size_t colon = out.host.rfind(':'); colon != std::string_view::npos) {
    out.port = out.host.substr(colon + 1);
    out.host = out.host.substr(0, colon);
  }
  return out;
}

// "https://index.docker.io/v1/" -> "index.docker.io": Docker's configurations have both forms, and
// the version of the interface is no path of an image.
std::string KeyOf(std::string_view registry) {
  for (const std::string_view scheme : {"https://", "http://"}) {
    if (registry.substr(0, scheme.size()) == scheme) registry.remove_prefix(scheme.size());
  }
  const size_t slash = registry.find('/');
  if (slash == std::string_view::npos) return std::string(registry);
  std::string_view path = registry.substr(slash);
  for (const std::string_view version : {"/v1/", "/v2/"}) {
    if (path.substr(0, version.size()) != version) continue;
    path.remove_prefix(version.size() - 1);
    break;
  }
  std::string out(registry.substr(0, slash));
  if (path != "/") out += path;
  return out;
}

absl::StatusOr<runtime::v1::AuthConfig> ReadEntry(const Json& entry) {
  if (!entry.is_object()) return absl::InvalidArgumentError("is no object");
  runtime::v1::AuthConfig out;
  const auto text = [&](const char* key) {
    const auto found = entry.find(key);
    return found != entry.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  out.set_username(text("username"));
  out.set_password(text("password"));
  const std::string auth = text("auth");
  if (auth.empty()) return out;
  std::string plain;
  if (!absl::Base64Unescape(auth, &plain) || plain.find(':') == std::string::npos) {
    return absl::InvalidArgumentError(
        "unable to parse auth field, must be formatted as base64(username:password)");
  }
  const size_t colon = plain.find(':');
  out.set_username(plain.substr(0, colon));
  out.set_password(plain.substr(colon + 1));
  return out;
}

absl::Status ReadSecret(const v1::Secret& secret, Registries& out) {
  const bool nested = secret.type() == kConfigJson;
  if (!nested && secret.type() != kConfig) return absl::OkStatus();
  const std::string key = nested ? ".dockerconfigjson" : ".dockercfg";
  const auto data = secret.data().find(key);
  if (data == secret.data().end()) return absl::OkStatus();
  const auto broken = [&](std::string_view why) {
    return absl::InvalidArgumentError(
        fmt::format("pull secret {}: {}: {}", secret.metadata().name(), key, why));
  };
  std::string text;
  if (!absl::Base64Unescape(data->second, &text)) return broken("is no base64");
  Json parsed = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) return broken("is no JSON object");
  if (nested) parsed = parsed.value("auths", Json::object());
  if (!parsed.is_object()) return broken("auths is no object");
  for (const auto& [registry, entry] : parsed.items()) {
    const auto auth = ReadEntry(entry);
    if (!auth.ok())
      return broken(fmt::format("{}: {}", registry, std::string(auth.status().message())));
    // Nobody, which is what is tried anyway.
    if (!auth->username().empty()) out[KeyOf(registry)].push_back(*auth);
  }
  return absl::OkStatus();
}

}  // namespace

std::string FullImageName(std::string_view image) {
  const std::string name(schema::SplitImageReference(image).name);
  const size_t slash = name.find('/');
  if (slash == std::string::npos) return "docker.io/library/" + name;
  const std::string first = name.substr(0, slash);
  if (first == "localhost" || first.find_first_of(".:") != std::string::npos) return name;
  return "docker.io/" + name;
}

bool RegistryMatches(std::string_view pattern, std::string_view full_name) {
  Place wanted = Split(pattern), is = Split(full_name);
  if (wanted.port != is.port || is.path.substr(0, wanted.path.size()) != wanted.path) return false;
  while (true) {
    const size_t wanted_dot = wanted.host.find('.'), dot = is.host.find('.');
    const std::string label(is.host.substr(0, dot));
    if (::fnmatch(std::string(wanted.host.substr(0, wanted_dot)).c_str(), label.c_str(), 0) != 0)
      return false;
    if (wanted_dot == std::string_view::npos || dot == std::string_view::npos)
      return wanted_dot == dot;
    wanted.host.remove_prefix(wanted_dot + 1);
    is.host.remove_prefix(dot + 1);
  }
}

absl::StatusOr<PullCredentials> CredentialsFor(const v1::Pod& pod, std::string_view image,
                                               const NodeState& state) {
  PullCredentials out;
  Registries registries;
  for (const v1::LocalObjectReference& reference : pod.spec().image_pull_secrets()) {
    const auto found = state.secrets.find(pod.metadata().namespace_() + "/" + reference.name());
    if (found == state.secrets.end()) {
      out.missing.push_back(reference.name());
    } else {
      RETURN_IF_ERROR(ReadSecret(*found->second, registries));
    }
  }
  const std::string name = FullImageName(image);
  for (const auto& [registry, credentials] : registries) {
    if (!RegistryMatches(registry, name)) continue;
    out.tries.insert(out.tries.end(), credentials.begin(), credentials.end());
  }
  if (out.tries.empty() && name.rfind("docker.io/", 0) == 0) {
    if (const auto hub = registries.find(kHub); hub != registries.end()) out.tries = hub->second;
  }
  return out;
}

}  // namespace mesh::agent
