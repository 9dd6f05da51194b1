// SPDX-License-Identifier: Apache-2.0
#include "cni/protocol.h"

#include <algorithm>
#include <cctype>
#include <vector>

#include "nlohmann/json.hpp"

namespace mesh::cni {
namespace {

using Json = nlohmann::ordered_json;

bool IsIdentifier(std::string_view text) {
  if (text.empty() || !std::isalnum(static_cast<unsigned char>(text[0]))) return false;
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '_' || c == '.' || c == '-';
  });
}

// The kernel's rule for names of network devices (dev_valid_name).
bool IsInterfaceName(std::string_view text) {
  if (text.empty() || text.size() > 15 || text == "." || text == "..") return false;
  return std::none_of(text.begin(), text.end(), [](unsigned char c) {
    return c == '/' || c == ':' || c == '%' || std::isspace(c) || std::iscntrl(c);
  });
}

std::string Join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string out;
  for (const std::string& part : parts) {
    if (!out.empty()) out += separator;
    out += part;
  }
  return out;
}

std::string OutputVersion(std::string_view version) {
  return std::string(IsSupportedVersion(version) ? version : kLatestVersion);
}

// Messages carry text of the caller, which need not be UTF-8.
std::string Print(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

bool IsSupportedVersion(std::string_view version) {
  return std::find(kSupportedVersions.begin(), kSupportedVersions.end(), version) !=
         kSupportedVersions.end();
}

bool AtLeast(std::string_view version, std::string_view than) {
  const auto begin = kSupportedVersions.begin(), end = kSupportedVersions.end();
  return std::find(begin, end, version) >= std::find(begin, end, than);
}

std::optional<Error> ReadEnvironment(const GetEnv& get, Invocation* out) {
  auto read = [&](const char* name) -> std::string {
    const char* value = get(name);
    return value == nullptr ? "" : value;
  };
  out->command = read("CNI_COMMAND");
  out->container_id = read("CNI_CONTAINERID");
  out->netns = read("CNI_NETNS");
  out->ifname = read("CNI_IFNAME");
  out->args = read("CNI_ARGS");
  out->path = read("CNI_PATH");

  const std::string& command = out->command;
  static constexpr std::array<std::string_view, 6> kCommands = {"ADD",    "DEL", "CHECK",
                                                                "STATUS", "GC",  "VERSION"};
  if (command.empty())
    return Error{kInvalidEnvironment, "required environment variable CNI_COMMAND is missing", ""};
  if (std::find(kCommands.begin(), kCommands.end(), command) == kCommands.end())
    return Error{kInvalidEnvironment, "CNI_COMMAND: unknown command \"" + command + "\"",
                 "known are ADD, DEL, CHECK, STATUS, GC and VERSION"};

  const bool attachment = command == "ADD" || command == "DEL" || command == "CHECK";
  if (!attachment) return std::nullopt;
  std::vector<std::string> missing;
  if (out->container_id.empty()) missing.push_back("CNI_CONTAINERID");
  if (out->netns.empty() && command != "DEL") missing.push_back("CNI_NETNS");
  if (out->ifname.empty()) missing.push_back("CNI_IFNAME");
  if (!missing.empty())
    return Error{
        kInvalidEnvironment,
        "required environment variables missing for " + command + ": " + Join(missing, ", "), ""};
  if (!IsIdentifier(out->container_id))
    return Error{kInvalidEnvironment,
                 "CNI_CONTAINERID: \"" + out->container_id + "\" is not a container id",
                 "it must start with a letter or digit, followed by letters, digits, '_', '.' or "
                 "'-'"};
  if (!IsInterfaceName(out->ifname))
    return Error{kInvalidEnvironment,
                 "CNI_IFNAME: \"" + out->ifname + "\" is not a name for an interface",
                 "1 to 15 characters, no '/', ':', '%' or blanks, neither \".\" nor \"..\""};
  return std::nullopt;
}

std::string_view FindArg(std::string_view args, std::string_view key) {
  while (!args.empty()) {
    const size_t end = args.find(';');
    const std::string_view pair = args.substr(0, end);
    const size_t equals = pair.find('=');
    if (equals != std::string_view::npos && pair.substr(0, equals) == key)
      return pair.substr(equals + 1);
    if (end == std::string_view::npos) break;
    args.remove_prefix(end + 1);
  }
  return {};
}

std::string ErrorJson(std::string_view version, const Error& error) {
  Json json;
  json["cniVersion"] = OutputVersion(version);
  json["code"] = error.code;
  json["msg"] = error.message;
  if (!error.details.empty()) json["details"] = error.details;
  return Print(json);
}

std::string VersionJson(std::string_view version) {
  Json json;
  json["cniVersion"] = OutputVersion(version);
  json["supportedVersions"] = kSupportedVersions;
  return Print(json);
}

}  // namespace mesh::cni
