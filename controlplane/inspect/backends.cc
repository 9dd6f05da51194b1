// SPDX-License-Identifier: Apache-2.0
#include "controlplane/inspect/backends.h"

#include <map>
#include <utility>

#include "common/ip_address.h"
#include "controlplane/controllers/objects.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::controlplane {

std::string ProtocolOf(const std::string& protocol) { return protocol.empty() ? "TCP" : protocol; }

std::string PortTitle(const v1::ServicePort& port) {
  return fmt::format("port {}{}", port.port(),
                     port.name().empty() ? "" : fmt::format(" ({})", port.name()));
}

bool IsLoopback(const std::string& address) {
  return address == "::1" || address.starts_with("127.");
}

std::vector<Backend> BackendsOf(const ClusterState& state, const v1::Service& service,
                                const v1::ServicePort* port, const std::string& protocol,
                                const std::set<bool>& families) {
  std::map<std::string, Backend> ready, last;  // one for both families
  for (const v1::EndpointSlice* slice : state.SlicesOf(KeyOfMeta(service.metadata()))) {
    uint32_t number = 0;
    for (const v1::EndpointPort& own : slice->ports())
      if (port == nullptr || (own.name() == port->name() && ProtocolOf(own.protocol()) == protocol))
        number = static_cast<uint32_t>(own.port());
    if (number == 0 && port != nullptr) continue;
    if (!families.contains(slice->address_type() == "IPv6")) continue;
    for (const v1::Endpoint& endpoint : slice->endpoints()) {
      if (endpoint.addresses().empty()) continue;
      const v1::EndpointConditions& is = endpoint.conditions();
      const bool may = !is.has_ready() || is.ready();
      // It serves while nobody else does.
      if (!may && !(is.serving() && is.terminating())) continue;
      const v1::Pod* pod = nullptr;
      if (endpoint.target_ref().kind() == "Pod")
        pod =
            FindObject(state.pods, {service.metadata().namespace_(), endpoint.target_ref().name()});
      const std::string& address = endpoint.addresses(0);
      (may ? ready : last)
          .emplace(pod == nullptr ? address : pod->metadata().name(),
                   Backend{.pod = pod, .address = address, .port = number});
    }
  }
  std::vector<Backend> list;
  for (auto& [name, backend] : ready.empty() ? last : ready) list.push_back(std::move(backend));
  return list;
}

SocketAnswer AskSocket(const ClusterState& state, const v1::ListListenersResponse& sockets,
                       const SocketQuestion& question) {
  const std::string place = fmt::format("{} {}", question.protocol, question.port);
  std::vector<std::string> loopback;
  std::set<uint32_t> others;
  bool of_ipv4 = false;
  for (const v1::Listener& listener : sockets.listeners()) {
    if (listener.protocol() != question.protocol) continue;
    const bool local = IsLoopback(listener.address());
    if (listener.port() != question.port) {
      if (!local) others.insert(listener.port());
      continue;
    }
    if (local) {
      loopback.push_back(listener.address());
      continue;
    }
    // What waits at an address of IPv6 takes IPv4 too, where it is "::".
    const auto waits = IpAddress::Parse(listener.address());
    if (!question.families.contains(false) && waits.ok() && waits->is_v4()) {
      of_ipv4 = true;
      continue;
    }
    return {.listens = true, .text = "listens on " + place, .remedies = {}};
  }
  if (of_ipv4)
    return {.text = fmt::format("listens on {} for IPv4 only, and is asked over IPv6", place),
            .remedies = {"let the program listen on ::"}};
  if (!loopback.empty())
    return {.text = fmt::format("listens on {} at {} only: nobody but the pod itself gets there",
                                place, loopback.front()),
            .remedies = {"let the program listen on 0.0.0.0 or ::"}};
  SocketAnswer out;
  if (!others.empty())
    out.remedies.push_back(question.service == nullptr
                               ? fmt::format("ask port {}", *others.begin())
                               : fmt::format("set targetPort of {} of {} to {}",
                                             question.service_port, ServiceTitle(*question.service),
                                             *others.begin()));
  out.remedies.push_back(
      fmt::format("let the program of {} listen on {}", TemplateTitle(state, question.pod), place));
  out.text = fmt::format("nothing listens on {}{}", place,
                         others.empty()
                             ? fmt::format("; it listens on no {} port at all", question.protocol)
                             : fmt::format("; it listens on {}", fmt::join(others, ", ")));
  return out;
}

}  // namespace mesh::controlplane
