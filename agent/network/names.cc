// SPDX-License-Identifier: Apache-2.0
#include "agent/network/names.h"

#include <algorithm>
#include <cstdlib>

#include "fmt/format.h"

namespace mesh::agent {

using dataplane::Protocol;

const std::map<uint32_t, std::string> kReservedIdentities = {
    {1, "host"}, {2, "world"}, {3, "unmanaged"}, {4, "world-direct"}, {5, "resolver"}};

Names::Names(const NodeState* state) {
  if (state == nullptr) return;
  for (const auto& [identity, ns] : state->namespaces) namespaces_[identity] = ns->name();
  for (const auto& [number, identity] : state->identities) {
    const auto ns = state->namespaces.find(identity->namespace_number());
    if (ns != state->namespaces.end()) namespaces_[number] = ns->second->name();
  }
  for (const auto& [key, shared] : state->services) {
    const v1::ServiceState& service = *shared;
    const ServiceName name{service.namespace_(), service.name()};
    for (const v1::ServicePortState& port : service.ports()) {
      const auto protocol = static_cast<Protocol>(port.protocol());
      const auto add = [&](const std::string& text, uint32_t number) {
        if (auto vip = IpAddress::Parse(text); vip.ok())
          frontends_[{*vip, number, protocol}] = name;
      };
      add(service.cluster_ip(), port.port());
      for (const std::string& ip : service.cluster_ips()) add(ip, port.port());
      for (const std::string& ip : service.load_balancer_ips()) add(ip, port.port());
      for (const std::string& ip : service.external_ips()) add(ip, port.port());
      // Any address of the node.
      if (port.node_port() != 0) {
        add("0.0.0.0", port.node_port());
        add("::", port.node_port());
      }
      for (const v1::BackendState& backend : port.backends()) {
        const auto ip = IpAddress::Parse(backend.ip());
        if (!ip.ok()) continue;
        backends_[{*ip, backend.port(), protocol}] = {backend.node_name(), backend.pod_name()};
        if (!backend.pod_name().empty())
          pods_[*ip] = fmt::format("{}/{}", service.namespace_(), backend.pod_name());
      }
    }
  }
}

void Names::AddPods(const std::vector<dataplane::Endpoint>& endpoints) {
  for (const dataplane::Endpoint& pod : endpoints) {
    const std::string name = fmt::format("{}/{}", pod.ns, pod.pod);
    pods_[pod.ip] = name;
    if (pod.ip6 != IpAddress()) pods_[pod.ip6] = name;
  }
}

ServiceName Names::Frontend(const IpAddress& vip, uint32_t port, Protocol protocol) const {
  const auto it = frontends_.find({vip, port, protocol});
  return it == frontends_.end() ? ServiceName() : it->second;
}

std::string Names::Namespace(uint32_t identity) const {
  const auto it = namespaces_.find(identity);
  return it == namespaces_.end() ? "" : it->second;
}

std::string Names::Pod(const IpAddress& ip) const {
  const auto it = pods_.find(ip);
  return it == pods_.end() ? "" : it->second;
}

std::pair<std::string, std::string> Names::Backend(const IpAddress& ip, uint32_t port,
                                                   Protocol protocol) const {
  const auto it = backends_.find({ip, port, protocol});
  return it == backends_.end() ? std::pair<std::string, std::string>() : it->second;
}

std::string Names::Named(const std::string& fields) const {
  std::string out;
  for (size_t begin = 0; begin < fields.size();) {
    const size_t end = std::min(fields.find(' ', begin), fields.size());
    const std::string field = fields.substr(begin, end - begin);
    if (!out.empty()) out += ' ';
    out += field;
    const std::string name = NameOf(field);
    if (!name.empty()) out += fmt::format("({})", name);
    begin = end + 1;
  }
  return out;
}

std::string Names::NameOf(const std::string& field) const {
  const size_t equals = field.find('=');
  if (equals == std::string::npos) return "";
  const std::string value = field.substr(equals + 1);
  if (field.substr(0, equals).ends_with("identity")) {
    const auto number = static_cast<uint32_t>(std::strtoul(value.c_str(), nullptr, 10));
    if (std::string ns = Namespace(number); !ns.empty()) return ns;
    const auto reserved = kReservedIdentities.find(number);
    return reserved == kReservedIdentities.end() ? "" : reserved->second;
  }
  const auto ip = IpAddress::Parse(value);
  return ip.ok() ? Pod(*ip) : "";
}

}  // namespace mesh::agent
