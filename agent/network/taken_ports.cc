// SPDX-License-Identifier: Apache-2.0
#include "agent/network/taken_ports.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "fmt/format.h"

namespace mesh::agent {

using dataplane::AnyAddress;
using dataplane::Family;
using dataplane::Frontend;
using dataplane::Protocol;

TakenPorts::TakenPorts(std::string node, const IpAddress& node_ip, const IpAddress& node_ip6)
    : node_(std::move(node)), own_{node_ip, node_ip6} {
  own_.erase(IpAddress());
}

void TakenPorts::SetService(const std::string& key, const dataplane::Service* service) {
  named_.erase(key);
  if (service == nullptr || service->external_ips.empty()) return;
  std::vector<Frontend>& named = named_[key];
  for (const dataplane::ServicePort& port : service->ports) {
    for (const IpAddress& ip : service->external_ips)
      named.push_back({ip, port.port, port.protocol});
  }
}

void TakenPorts::SetHealthPort(const std::string& service, uint32_t port) {
  if (port == 0 || port > 65535) {
    health_ports_.erase(service);
  } else {
    health_ports_[service] = static_cast<uint16_t>(port);
  }
}

void TakenPorts::SetListeners(const NodeListeners& now) {
  addresses_ = now.addresses;
  sockets_ = now.sockets;
  std::set_intersection(passing_.begin(), passing_.end(), now.passing.begin(), now.passing.end(),
                        std::inserter(sockets_, sockets_.end()));
  passing_ = now.passing;
}

bool TakenPorts::Listens(const Frontend& at) const {
  const auto is_there = [&](const IpAddress& ip) {
    return sockets_.contains({ip, at.port, at.protocol});
  };
  return is_there(at.vip) || is_there(AnyAddress(Family::kV6)) ||
         (at.vip.is_v4() && is_there(AnyAddress(Family::kV4)));
}

std::map<Frontend, std::string> TakenPorts::Compute() const {
  std::map<Frontend, std::string> out;
  if (named_.empty()) return out;
  std::map<uint16_t, std::string> health;
  for (const auto& [service, port] : health_ports_) health.emplace(port, service);
  for (const auto& [key, frontends] : named_) {
    for (const Frontend& at : frontends) {
      const auto of_health = health.find(at.port);
      if (of_health != health.end() && at.protocol == Protocol::kTcp && own_.contains(at.vip)) {
        out[at] = fmt::format("it is the healthCheckNodePort of service {}", of_health->second);
      } else if (IsHere(at.vip) && Listens(at)) {
        out[at] = fmt::format("a process of node {} listens on port {}/{}", node_, at.port,
                              at.protocol == Protocol::kUdp ? "UDP" : "TCP");
      }
    }
  }
  return out;
}

}  // namespace mesh::agent
