// SPDX-License-Identifier: Apache-2.0
#include "controlplane/scheduler/request.h"

#include <string>

#include "common/ip_address.h"
#include "common/quantity.h"

namespace mesh::controlplane {
namespace {

const v1::Quantity* Find(const v1::ResourceRequirements& resources, const std::string& name) {
  if (auto it = resources.requests().find(name); it != resources.requests().end())
    return &it->second;
  auto it = resources.limits().find(name);
  return it == resources.limits().end() ? nullptr : &it->second;
}

// Every address of `b` is one of `a`.
bool Covers(const std::string& a, const std::string& b) {
  const bool is_v6 = b.find(':') != std::string::npos;
  if (a.empty() || a == b) return true;
  return !b.empty() && a == (is_v6 ? "::" : "0.0.0.0");
}

}  // namespace

bool HostPort::Conflicts(const HostPort& other) const {
  return port == other.port && protocol == other.protocol &&
         (Covers(ip, other.ip) || Covers(other.ip, ip));
}

Request RequestOf(const v1::PodSpec& spec) {
  Request out;
  for (const v1::Container& container : spec.containers()) {
    if (const v1::Quantity* cpu = Find(container.resources(), "cpu"))
      out.cpu_milli += ParseQuantityMilli(cpu->text()).value_or(0);
    if (const v1::Quantity* memory = Find(container.resources(), "memory"))
      out.memory_bytes += ParseQuantity(memory->text()).value_or(0);
  }
  return out;
}

std::vector<HostPort> HostPortsOf(const v1::PodSpec& spec) {
  std::vector<HostPort> out;
  for (const v1::Container& container : spec.containers()) {
    for (const v1::ContainerPort& port : container.ports()) {
      if (port.host_port() == 0) continue;
      const auto ip = IpAddress::Parse(port.host_ip());
      out.push_back({ip.ok() ? ip->ToString() : port.host_ip(),
                     port.protocol().empty() ? "TCP" : port.protocol(), port.host_port()});
    }
  }
  return out;
}

}  // namespace mesh::controlplane
