// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <set>
#include <utility>

#include "api/schema/rules.h"

namespace mesh::schema::internal {
namespace {

constexpr int kMaxEndpoints = 1000;
constexpr int kMaxAddresses = 100;
constexpr int kMaxPorts = 100;
constexpr int kMaxWeight = 1000;
constexpr char kWeightAnnotation[] = "mesh.io/weight";

void CheckEndpoint(const v1::Endpoint& endpoint, const std::string& path, const std::string& family,
                   Problems* problems) {
  if (endpoint.addresses_size() > kMaxAddresses) {
    Add(problems, path + ".addresses", "Too many: {}: must have at most {} items",
        endpoint.addresses_size(), kMaxAddresses);
  }
  for (int i = 0; i < endpoint.addresses_size(); ++i) {
    const std::string& text = endpoint.addresses(i);
    const auto address = IpAddress::Parse(text);
    const bool is_v6 = family == "IPv6";
    const bool fits = address.ok() && address->is_v4() != is_v6;
    const std::string why = fits    ? WhyNotUnicast(*address)
                            : is_v6 ? "must be a valid IPv6 address, (e.g. 2001:db8::9)"
                                    : "must be a valid IPv4 address, (e.g. 10.9.8.7)";
    if (!why.empty()) {
      Add(problems, fmt::format("{}.addresses[{}]", path, i), "{}", InvalidText(text, why));
    }
  }
}

}  // namespace

void CheckWeight(const google::protobuf::Map<std::string, std::string>& annotations,
                 const std::string& path, Problems* problems) {
  auto it = annotations.find(kWeightAnnotation);
  if (it == annotations.end()) return;
  const std::string& text = it->second;
  int weight = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), weight);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  if (whole && weight >= 1 && weight <= kMaxWeight) return;
  Add(problems, fmt::format("{}.annotations[{}]", path, kWeightAnnotation), "{}",
      InvalidText(text, fmt::format("must be a number between 1 and {}, inclusive", kMaxWeight)));
}

void CheckEndpointSlice(const v1::EndpointSlice& object, Problems* problems) {
  CheckWeight(object.metadata().annotations(), "metadata", problems);
  if (object.endpoints_size() > kMaxEndpoints) {
    Add(problems, "endpoints", "Too many: {}: must have at most {} items", object.endpoints_size(),
        kMaxEndpoints);
  }
  if (object.ports_size() > kMaxPorts) {
    Add(problems, "ports", "Too many: {}: must have at most {} items", object.ports_size(),
        kMaxPorts);
  }
  for (int i = 0; i < object.endpoints_size(); ++i) {
    CheckEndpoint(object.endpoints(i), fmt::format("endpoints[{}]", i), object.address_type(),
                  problems);
  }
  std::set<std::string> names;
  for (int i = 0; i < object.ports_size(); ++i) {
    if (!names.insert(object.ports(i).name()).second) {
      Add(problems, fmt::format("ports[{}].name", i), "{}", DuplicateText(object.ports(i).name()));
    }
  }
}

}  // namespace mesh::schema::internal
