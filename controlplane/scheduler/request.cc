// SPDX-License-Identifier: Apache-2.0
#include "controlplane/scheduler/request.h"

#include <algorithm>
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

Request OfContainer(const v1::Container& container) {
  Request out;
  if (const v1::Quantity* cpu = Find(container.resources(), "cpu"))
    out.cpu_milli = ParseQuantityMilli(cpu->text()).value_or(0);
  if (const v1::Quantity* memory = Find(container.resources(), "memory"))
    out.memory_bytes = ParseQuantity(memory->text()).value_or(0);
  return out;
}

void Add(const Request& more, Request* out) {
  out->cpu_milli += more.cpu_milli;
  out->memory_bytes += more.memory_bytes;
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
  for (const v1::Container& container : spec.containers()) Add(OfContainer(container), &out);
  // An init container runs alone with the sidecars before it; those run on beside the containers.
  Request sidecars, peak;
  for (const v1::Container& init : spec.init_containers()) {
    Request here = OfContainer(init);
    if (init.restart_policy() == "Always") Add(here, &sidecars);
    if (init.restart_policy() == "Always") here = Request();
    Add(sidecars, &here);
    peak.cpu_milli = std::max(peak.cpu_milli, here.cpu_milli);
    peak.memory_bytes = std::max(peak.memory_bytes, here.memory_bytes);
  }
  Add(sidecars, &out);
  out.cpu_milli = std::max(out.cpu_milli, peak.cpu_milli);
  out.memory_bytes = std::max(out.memory_bytes, peak.memory_bytes);
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
