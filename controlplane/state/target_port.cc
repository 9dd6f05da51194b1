// SPDX-License-Identifier: Apache-2.0
#include "controlplane/state/target_port.h"

#include <string>

namespace mesh::controlplane {
namespace {

std::string ProtocolOf(const std::string& protocol) { return protocol.empty() ? "TCP" : protocol; }

}  // namespace

int32_t ResolvePort(const v1::ServicePort& port, const v1::Pod& pod) {
  if (!port.target_port().has_string_value())
    return port.target_port().has_int_value() && port.target_port().int_value() != 0
               ? port.target_port().int_value()
               : port.port();
  const auto named = [&](const v1::Container& container) {
    for (const v1::ContainerPort& candidate : container.ports())
      if (candidate.name() == port.target_port().string_value() &&
          ProtocolOf(candidate.protocol()) == ProtocolOf(port.protocol()))
        return candidate.container_port();
    return 0;
  };
  for (const v1::Container& container : pod.spec().containers())
    if (const int32_t found = named(container); found != 0) return found;
  for (const v1::Container& init : pod.spec().init_containers()) {
    if (init.restart_policy() != "Always") continue;  // a sidecar serves
    if (const int32_t found = named(init); found != 0) return found;
  }
  return 0;
}

}  // namespace mesh::controlplane
