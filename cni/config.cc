// SPDX-License-Identifier: Apache-2.0
#include "cni/config.h"

#include <algorithm>
#include <array>

#include "nlohmann/json.hpp"

namespace mesh::cni {
namespace {

using Json = nlohmann::ordered_json;

// Fields of a plugin configuration that mean something to us or to the runtime alone.
constexpr std::array<std::string_view, 13> kKnownFields = {"cniVersion",
                                                           "cniVersions",
                                                           "name",
                                                           "type",
                                                           "agentSocket",
                                                           "prevResult",
                                                           "dns",
                                                           "args",
                                                           "capabilities",
                                                           "runtimeConfig",
                                                           "disableGC",
                                                           "disableCheck",
                                                           "loadOnlyInlinedPlugins"};

std::string Print(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool IsEmpty(const Json& value) {
  return value.is_null() || ((value.is_object() || value.is_array()) && value.empty());
}

// Absent is empty; false when it is no string.
bool ReadString(const Json& object, const char* key, std::string* out) {
  auto it = object.find(key);
  if (it == object.end() || it->is_null()) return true;
  if (!it->is_string()) return false;
  *out = it->get<std::string>();
  return true;
}

bool ReadStrings(const Json& object, const char* key, std::vector<std::string>* out) {
  auto it = object.find(key);
  if (it == object.end() || it->is_null()) return true;
  if (!it->is_array()) return false;
  for (const Json& item : *it) {
    if (!item.is_string()) return false;
    out->push_back(item.get<std::string>());
  }
  return true;
}

// The configuration says "nameservers", the dns capability of runtimes says "servers" and
// "searches".
bool ReadDns(const Json& json, Dns* out) {
  return json.is_object() && ReadStrings(json, "nameservers", &out->nameservers) &&
         ReadStrings(json, "servers", &out->nameservers) &&
         ReadString(json, "domain", &out->domain) && ReadStrings(json, "search", &out->search) &&
         ReadStrings(json, "searches", &out->search) && ReadStrings(json, "options", &out->options);
}

Json DnsJson(const Dns& dns) {
  Json json = Json::object();
  if (!dns.nameservers.empty()) json["nameservers"] = dns.nameservers;
  if (!dns.domain.empty()) json["domain"] = dns.domain;
  if (!dns.search.empty()) json["search"] = dns.search;
  if (!dns.options.empty()) json["options"] = dns.options;
  return json;
}

Error InvalidField(const std::string& field, const std::string& must) {
  return Error{kInvalidConfig, "network configuration: " + field + " " + must, ""};
}

Error Unsupported(const std::string& field, const Json& value, const std::string& details) {
  return Error{kUnsupportedField,
               "unsupported field in network configuration: " + field + ": " + Print(value),
               details};
}

std::optional<Error> ReadRuntimeConfig(const Json& json, NetworkConfig* out,
                                       std::optional<Error>* unsupported) {
  if (!json.is_object()) return InvalidField("runtimeConfig", "must be an object");
  for (const auto& [key, value] : json.items()) {
    // Names with a dot are notes of the runtime (pod annotations), not instructions.
    if (IsEmpty(value) || key.find('.') != std::string::npos) continue;
    if (key != "dns") {
      *unsupported = Unsupported(
          "runtimeConfig." + key, value,
          "mesh-cni has the capability \"dns\" only; take \"" + key + "\" out of \"capabilities\"");
      continue;
    }
    Dns dns;
    if (!ReadDns(value, &dns)) return InvalidField("runtimeConfig.dns", "is malformed");
    if (!dns.empty()) out->dns = dns;
  }
  return std::nullopt;
}

std::optional<Error> ReadValidAttachments(const Json& json, NetworkConfig* out) {
  const char* must = "must be a list of {containerID, ifname}";
  if (!json.is_array()) return InvalidField("cni.dev/valid-attachments", must);
  out->valid_attachments.emplace();
  for (const Json& item : json) {
    std::pair<std::string, std::string> attachment;
    if (!item.is_object() || !ReadString(item, "containerID", &attachment.first) ||
        !ReadString(item, "ifname", &attachment.second) || attachment.first.empty() ||
        attachment.second.empty())
      return InvalidField("cni.dev/valid-attachments", must);
    out->valid_attachments->push_back(std::move(attachment));
  }
  return std::nullopt;
}

Json InterfaceJson(std::string_view name, std::string_view mac, int mtu, std::string_view sandbox,
                   const NetworkConfig& config) {
  Json json;
  json["name"] = name;
  if (!mac.empty()) json["mac"] = mac;
  if (mtu > 0 && AtLeast(config.version, "1.1.0")) json["mtu"] = mtu;
  if (!sandbox.empty()) json["sandbox"] = sandbox;
  return json;
}

bool IsIpv6(std::string_view address) { return address.find(':') != std::string_view::npos; }

Json AddressJson(std::string_view address, std::string_view gateway, size_t interface,
                 const NetworkConfig& config) {
  Json json;
  // The family went away with 1.0.0.
  if (!AtLeast(config.version, "1.0.0")) json["version"] = IsIpv6(address) ? "6" : "4";
  json["address"] = address;
  if (!gateway.empty()) json["gateway"] = gateway;
  json["interface"] = interface;
  return json;
}

}  // namespace

std::string PeekVersion(std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  std::string version;
  if (json.is_object()) ReadString(json, "cniVersion", &version);
  return version;
}

std::optional<Error> ParseNetworkConfig(std::string_view text, NetworkConfig* out,
                                        std::string* version) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) {
    return Error{kDecodingFailure, "network configuration on standard input is not JSON",
                 text.empty() ? "standard input is empty" : ""};
  }
  if (!json.is_object()) return InvalidField("it", "must be a JSON object");

  if (!ReadString(json, "cniVersion", &out->version))
    return InvalidField("cniVersion", "must be a string");
  *version = out->version;
  if (!IsSupportedVersion(out->version)) {
    std::string known;
    for (std::string_view v : kSupportedVersions)
      known += (known.empty() ? "" : ", ") + std::string(v);
    return Error{kIncompatibleVersion,
                 "incompatible CNI versions: the configuration asks for \"" + out->version + "\"",
                 "supported are " + known};
  }
  if (!ReadString(json, "name", &out->name) || out->name.empty())
    return InvalidField("name", "must be a string that is not empty");
  if (!ReadString(json, "type", &out->type)) return InvalidField("type", "must be a string");
  if (!ReadString(json, "agentSocket", &out->agent_socket))
    return InvalidField("agentSocket", "must be a string: the path of the agent's cni.sock");

  if (auto it = json.find("dns"); it != json.end() && !IsEmpty(*it) && !ReadDns(*it, &out->dns))
    return InvalidField("dns", "is malformed");
  std::optional<Error> unsupported;
  if (auto it = json.find("runtimeConfig"); it != json.end() && !it->is_null()) {
    if (auto error = ReadRuntimeConfig(*it, out, &unsupported)) return error;
  }
  if (auto it = json.find("prevResult"); it != json.end() && !it->is_null()) {
    if (!it->is_object()) return InvalidField("prevResult", "must be an object");
    out->prev_result = Print(*it);
  }
  if (auto it = json.find("cni.dev/valid-attachments"); it != json.end() && !it->is_null()) {
    if (auto error = ReadValidAttachments(*it, out)) return error;
  }
  for (const auto& [key, value] : json.items()) {
    // Names with a slash belong to somebody's domain ("cni.dev/...") and are hints.
    if (IsEmpty(value) || key.find('/') != std::string::npos) continue;
    if (std::find(kKnownFields.begin(), kKnownFields.end(), key) == kKnownFields.end())
      unsupported = Unsupported(
          key, value, key == "ipam" ? "mesh assigns addresses itself; remove \"ipam\"" : "");
  }
  return unsupported;
}

std::optional<Error> BuildResult(const NetworkConfig& config, const Attachment& attachment,
                                 std::string* out) {
  Json result =
      config.prev_result ? Json::parse(*config.prev_result, nullptr, false) : Json::object();
  if (!result.is_object()) return InvalidField("prevResult", "must be an object");
  result["cniVersion"] = config.version;
  // All keys before the first reference: an ordered object moves its values when it grows.
  for (const char* key : {"interfaces", "ips", "routes"}) {
    Json& value = result[key];
    if (value.is_null()) value = Json::array();
    if (!value.is_array())
      return InvalidField("prevResult", std::string("must have a list as ") + key);
  }
  Json& interfaces = result["interfaces"];
  interfaces.push_back(
      InterfaceJson(attachment.host_interface, attachment.host_mac, attachment.mtu, "", config));
  interfaces.push_back(
      InterfaceJson(attachment.ifname, attachment.mac, attachment.mtu, attachment.netns, config));
  for (const auto& [address, gateway] : attachment.addresses) {
    result["ips"].push_back(AddressJson(address, gateway, interfaces.size() - 1, config));
    Json route;
    route["dst"] = IsIpv6(address) ? "::/0" : "0.0.0.0/0";
    route["gw"] = gateway;
    result["routes"].push_back(std::move(route));
  }
  if (auto it = result.find("dns"); it == result.end() || IsEmpty(*it)) {
    const Dns& dns = config.dns.empty() ? attachment.dns : config.dns;
    result["dns"] = DnsJson(dns);
  }
  *out = Print(result);
  return std::nullopt;
}

std::optional<Error> CheckPrevResult(const NetworkConfig& config, std::string_view ifname,
                                     std::string_view netns,
                                     const std::vector<std::string>& addresses) {
  if (!config.prev_result) return InvalidField("prevResult", "is required for CHECK");
  const Json result = Json::parse(*config.prev_result, nullptr, false);
  const auto interfaces = result.find("interfaces");
  const auto ips = result.find("ips");
  if (interfaces == result.end() || !interfaces->is_array() || ips == result.end() ||
      !ips->is_array())
    return InvalidField("prevResult", "must hold interfaces and ips");

  auto differs = [](std::string message) {
    return Error{kAttachmentDiffers, std::move(message), ""};
  };
  const std::string where = "interface " + std::string(ifname) + " in " + std::string(netns);
  std::optional<size_t> index;
  for (size_t i = 0; i < interfaces->size(); ++i) {
    std::string name, sandbox;
    if (!(*interfaces)[i].is_object()) continue;
    ReadString((*interfaces)[i], "name", &name);
    ReadString((*interfaces)[i], "sandbox", &sandbox);
    if (name == ifname && sandbox == netns) index = i;
  }
  if (!index) return differs("prevResult does not list " + where);
  std::vector<std::string> found;
  for (const Json& ip : *ips) {
    if (!ip.is_object()) continue;
    const auto of = ip.find("interface");
    std::string value;
    if (of == ip.end() || !of->is_number_integer() ||
        of->get<int64_t>() != static_cast<int64_t>(*index))
      continue;
    ReadString(ip, "address", &value);
    found.push_back(std::move(value));
  }
  for (const std::string& address : addresses) {
    if (std::find(found.begin(), found.end(), address) != found.end()) continue;
    std::string list;
    for (const std::string& other : found) list += (list.empty() ? "" : ", ") + other;
    return differs(where + " has " + address + ", prevResult says " +
                   (list.empty() ? "it has no address" : list));
  }
  return std::nullopt;
}

std::string LoopbackResult(const NetworkConfig& config, std::string_view ifname,
                           std::string_view netns) {
  Json result;
  if (config.prev_result) {
    result = Json::parse(*config.prev_result, nullptr, false);
    result["cniVersion"] = config.version;
    return Print(result);
  }
  result["cniVersion"] = config.version;
  result["interfaces"] =
      Json::array({InterfaceJson(ifname, "00:00:00:00:00:00", 65536, netns, config)});
  result["ips"] = Json::array({AddressJson("127.0.0.1/8", "", 0, config)});
  result["routes"] = Json::array();
  result["dns"] = Json::object();
  return Print(result);
}

}  // namespace mesh::cni
