// SPDX-License-Identifier: Apache-2.0
#include "cli/output/endpoints_json.h"

#include <map>
#include <nlohmann/json.hpp>

#include "absl/time/time.h"
#include "cli/output/age.h"
#include "cli/output/printers.h"

namespace mesh::cli {
namespace {

using Json = nlohmann::ordered_json;

Json Address(const v1::Endpoint& endpoint, const std::string& ip) {
  Json json = {{"ip", ip}};
  if (!endpoint.node_name().empty()) json["nodeName"] = endpoint.node_name();
  if (!endpoint.target_ref().name().empty()) {
    const v1::ObjectReference& target = endpoint.target_ref();
    json["targetRef"] = {{"kind", target.kind()},
                         {"name", target.name()},
                         {"namespace", target.namespace_()},
                         {"uid", target.uid()}};
  }
  return json;
}

Json Subset(const v1::EndpointSlice& slice) {
  Json ready = Json::array(), not_ready = Json::array(), ports = Json::array();
  for (const auto& endpoint : slice.endpoints()) {
    for (const auto& ip : endpoint.addresses()) {
      (IsReady(endpoint) ? ready : not_ready).push_back(Address(endpoint, ip));
    }
  }
  for (const auto& port : slice.ports()) {
    Json json;
    if (!port.name().empty()) json["name"] = port.name();
    json["port"] = port.port();
    json["protocol"] = port.protocol();
    ports.push_back(std::move(json));
  }
  Json subset;
  if (!ready.empty()) subset["addresses"] = ready;
  if (!not_ready.empty()) subset["notReadyAddresses"] = not_ready;
  if (!ports.empty()) subset["ports"] = ports;
  return subset;
}

}  // namespace

std::string EndpointsJson(const std::vector<v1::Resource>& slices, bool single) {
  std::map<std::pair<std::string, std::string>, Json> services;
  for (const v1::Resource& object : slices) {
    const v1::EndpointSlice& slice = object.endpoint_slice();
    const v1::ObjectMeta& meta = slice.metadata();
    Json& json = services[{meta.namespace_(), ServiceOfSlice(slice)}];
    if (json.is_null()) {
      json["apiVersion"] = "v1";
      json["kind"] = "Endpoints";
      json["metadata"] = {{"name", ServiceOfSlice(slice)}, {"namespace", meta.namespace_()}};
      json["metadata"]["creationTimestamp"] = absl::FormatTime(
          "%Y-%m-%dT%H:%M:%SZ", ToTime(meta.creation_timestamp()), absl::UTCTimeZone());
      json["metadata"]["resourceVersion"] = meta.resource_version();
    }
    if (!slice.endpoints().empty()) json["subsets"].push_back(Subset(slice));
  }
  if (single && services.size() == 1) return services.begin()->second.dump();
  Json items = Json::array();
  for (auto& [key, json] : services) items.push_back(std::move(json));
  return Json{
      {"apiVersion", "v1"}, {"items", items}, {"kind", "List"}, {"metadata", Json::object()}}
      .dump();
}

}  // namespace mesh::cli
