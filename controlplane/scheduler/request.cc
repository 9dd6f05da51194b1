// SPDX-License-Identifier: Apache-2.0
#include "controlplane/scheduler/request.h"

#include <string>

#include "common/quantity.h"

namespace mesh::controlplane {
namespace {

const v1::Quantity* Find(const v1::ResourceRequirements& resources, const std::string& name) {
  if (auto it = resources.requests().find(name); it != resources.requests().end())
    return &it->second;
  auto it = resources.limits().find(name);
  return it == resources.limits().end() ? nullptr : &it->second;
}

}  // namespace

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
      const std::string ip = port.host_ip() == "0.0.0.0" ? "" : port.host_ip();
      out.push_back({ip, port.protocol().empty() ? "TCP" : port.protocol(), port.host_port()});
    }
  }
  return out;
}

}  // namespace mesh::controlplane
