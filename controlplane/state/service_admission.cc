// SPDX-License-Identifier: Apache-2.0
#include "controlplane/state/service_admission.h"

#include <algorithm>

#include "common/status.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

constexpr uint64_t kReservedApiServer = 1;
constexpr uint64_t kReservedDns = 10;

// Another's than `key`'s, in the store or on its way there.
template <typename What, typename Held>
std::optional<ObjectKey> OwnerOf(const std::map<What, ObjectKey>& stored, const Held& held,
                                 const What& what, const ObjectKey& key) {
  if (auto it = stored.find(what); it != stored.end() && it->second != key) return it->second;
  if (auto it = held.find(what); it != held.end() && it->second.second != key) {
    return it->second.second;
  }
  return std::nullopt;
}

template <typename Held>
void Drop(Held* held, uint64_t holder) {
  std::erase_if(*held, [&](const auto& entry) { return entry.second.first == holder; });
}

bool NeedsNodePorts(const v1::ServiceSpec& spec) {
  if (spec.type() == "NodePort") return true;
  return spec.type() == "LoadBalancer" && (!spec.has_allocate_load_balancer_node_ports() ||
                                           spec.allocate_load_balancer_node_ports());
}

std::vector<std::string> ClusterIpsOf(const v1::ServiceSpec& spec) {
  if (!spec.cluster_ips().empty()) return {spec.cluster_ips().begin(), spec.cluster_ips().end()};
  if (!spec.cluster_ip().empty()) return {spec.cluster_ip()};
  return {};
}

// Who serves that port at an address of the pool.
std::optional<ObjectKey> BalancerWith(const ClusterState& state, const ExternalPort& port) {
  const auto it = state.index().balancer_ips.find(port.ip);
  if (it == state.index().balancer_ips.end()) return std::nullopt;
  const auto service = state.services.find(it->second);
  if (service == state.services.end()) return std::nullopt;
  for (const v1::ServicePort& other : service->second->spec().ports()) {
    if (other.port() == port.port && other.protocol() == port.protocol) return it->second;
  }
  return std::nullopt;
}

// The lower part of the range is left to ports that people choose (as in Kubernetes).
int32_t StaticPorts(const ServiceRanges& ranges) {
  const int32_t size = ranges.node_port_last - ranges.node_port_first + 1;
  return std::min(size / 2, std::clamp(size / 32, 16, 128));
}

}  // namespace

ServiceAdmission::ServiceAdmission(ServiceRanges ranges)
    : ranges_(std::move(ranges)), next_node_port_(ranges_.node_port_first + StaticPorts(ranges_)) {}

void ServiceAdmission::Release(uint64_t holder) {
  Drop(&held_ips_, holder);
  Drop(&held_node_ports_, holder);
  Drop(&held_balancer_ips_, holder);
  Drop(&held_external_ports_, holder);
}

absl::Status ServiceAdmission::Admit(const ClusterState& state, uint64_t holder,
                                     const v1::Service* before, v1::Service* service) {
  Release(holder);
  const Request request{.state = state,
                        .holder = holder,
                        .key = {service->metadata().namespace_(), service->metadata().name()}};
  RETURN_IF_ERROR(CompleteFamilies(ranges_.services, request.key, service->mutable_spec()));
  RETURN_IF_ERROR(CheckExternalIps(request.key, service->spec()));
  RETURN_IF_ERROR(AdmitExternalIps(request, before, service->spec()));
  RETURN_IF_ERROR(AdmitClusterIps(request, before, service->mutable_spec()));
  RETURN_IF_ERROR(AdmitNodePorts(request, service->mutable_spec()));
  RETURN_IF_ERROR(CheckBalancerPorts(request, before, *service));
  AdmitBalancer(request, service);
  return absl::OkStatus();
}

absl::Status ServiceAdmission::AdmitClusterIps(const Request& request, const v1::Service* before,
                                               v1::ServiceSpec* spec) {
  if (spec->type() == "ExternalName") {
    spec->clear_cluster_ip();
    spec->clear_cluster_ips();
    return absl::OkStatus();
  }
  const std::vector<std::string> had =
      before == nullptr ? std::vector<std::string>() : ClusterIpsOf(before->spec());
  const std::vector<std::string> wanted = ClusterIpsOf(*spec);
  if (!had.empty() && !wanted.empty() && wanted[0] != had[0]) {
    return InvalidService(request.key, "spec.clusterIP",
                          fmt::format("Invalid value: \"{}\": may not change once set", wanted[0]));
  }
  std::vector<std::string> ips;
  if ((wanted.empty() ? had : wanted) == std::vector<std::string>{"None"}) {
    ips = {"None"};
  } else {
    for (size_t i = 0; i < static_cast<size_t>(spec->ip_families_size()); ++i) {
      const bool is_v4 = spec->ip_families(static_cast<int>(i)) == kIpv4;
      std::string ip = i < wanted.size() ? wanted[i] : i < had.size() ? had[i] : "";
      if (ip.empty()) {
        ASSIGN_OR_RETURN(ip, TakeClusterIp(request, is_v4));
      } else if (i >= had.size() || ip != had[i]) {
        if (const std::string why = WhyNotClusterIp(request, is_v4, ip); !why.empty()) {
          return InvalidService(request.key, "spec.clusterIPs",
                                fmt::format("Invalid value: [\"{}\"]: failed to allocate IP {}: {}",
                                            fmt::join(wanted, "\", \""), ip, why));
        }
        ip = IpAddress::Parse(ip)->ToString();
      }
      held_ips_[ip] = {request.holder, request.key};
      ips.push_back(std::move(ip));
    }
  }
  spec->set_cluster_ip(ips[0]);
  spec->mutable_cluster_ips()->Assign(ips.begin(), ips.end());
  return absl::OkStatus();
}

// The search goes on where the last one ended, so that an address rests for long before it comes
// back.
absl::StatusOr<std::string> ServiceAdmission::TakeClusterIp(const Request& request, bool is_v4) {
  const IpPrefix& range = *ranges_.services.Of(is_v4);
  const auto& stored = request.state.index().cluster_ips;
  // The last address of an IPv4 range is its broadcast address.
  const uint64_t end = is_v4 ? range.size() - 1 : std::min(range.size(), kServiceAddresses6);
  uint64_t& next = next_ip_index_[is_v4 ? 0 : 1];
  for (uint64_t tried = 0; tried < end; ++tried) {
    const uint64_t index = next;
    next = index + 1 >= end ? 1 : index + 1;
    if (index == 0 || index >= end || index == kReservedApiServer || index == kReservedDns) {
      continue;
    }
    std::string candidate = range.At(index)->ToString();
    if (!OwnerOf(stored, held_ips_, candidate, request.key)) return candidate;
  }
  const auto in_use = std::count_if(stored.begin(), stored.end(), [&](const auto& entry) {
    return (entry.first.find(':') == std::string::npos) == is_v4;
  });
  return absl::ResourceExhaustedError(
      fmt::format("service \"{}\": no free cluster IP in {} ({} in use); delete services or "
                  "start meshd with a larger --service-cidr",
                  request.key.ToString(), range.ToString(), in_use));
}

std::string ServiceAdmission::WhyNotClusterIp(const Request& request, bool is_v4,
                                              const std::string& text) const {
  const IpPrefix& range = *ranges_.services.Of(is_v4);
  const absl::StatusOr<IpAddress> address = IpAddress::Parse(text);
  if (!address.ok() || !range.Contains(*address)) {
    return fmt::format("the provided IP is not in the valid range. The range of valid IPs is {}",
                       range.ToString());
  }
  if (const auto owner =
          OwnerOf(request.state.index().cluster_ips, held_ips_, address->ToString(), request.key)) {
    return fmt::format("provided IP is already allocated, to Service {}", owner->ToString());
  }
  if (*address == range.At(kReservedApiServer) || *address == range.At(kReservedDns) ||
      *address == range.At(0)) {
    return "the IP is reserved by the cluster";
  }
  return "";
}

absl::Status ServiceAdmission::AdmitExternalIps(const Request& request, const v1::Service* before,
                                                const v1::ServiceSpec& spec) {
  std::vector<ExternalPort> had;
  if (before != nullptr) had = ExternalPortsOf(before->spec());
  for (const ExternalPort& port : ExternalPortsOf(spec)) {
    const auto refuse = [&](const std::string& why) {
      int i = 0;
      while (IpAddress::Parse(spec.external_ips(i))->ToString() != port.ip) ++i;
      return InvalidService(request.key, fmt::format("spec.externalIPs[{}]", i),
                            fmt::format("Invalid value: \"{}\": {}", spec.external_ips(i), why));
    };
    // What was stored before stays.
    if (std::find(had.begin(), had.end(), port) == had.end()) {
      const IpAddress ip = *IpAddress::Parse(port.ip);
      for (const auto& [what, ranges] :
           {std::pair("service", &ranges_.services), {"pod", &ranges_.pods}}) {
        if (!ranges->Contains(ip)) continue;
        return refuse(
            fmt::format("is in the {} range {}: an external address may not be one that "
                        "the cluster gives out",
                        what, ranges->Of(ip.is_v4())->ToString()));
      }
      auto owner =
          OwnerOf(request.state.index().external_ports, held_external_ports_, port, request.key);
      if (!owner) owner = BalancerWith(request.state, port);
      if (owner && *owner != request.key) {
        return refuse(fmt::format("port {}/{} of it is already served, by Service {}", port.port,
                                  port.protocol, owner->ToString()));
      }
    }
    held_external_ports_[port] = {request.holder, request.key};
  }
  return absl::OkStatus();
}

absl::Status ServiceAdmission::AdmitNodePorts(const Request& request, v1::ServiceSpec* spec) {
  if (spec->type() != "NodePort" && spec->type() != "LoadBalancer") return absl::OkStatus();
  // First those that are given, so that none of them is handed out to another port.
  std::map<int32_t, std::pair<int32_t, std::string>> by_port;  // port -> node port, its protocol
  for (int i = 0; i < spec->ports_size(); ++i) {
    v1::ServicePort* port = spec->mutable_ports(i);
    if (port->node_port() == 0) continue;
    int32_t taken = 0;
    RETURN_IF_ERROR(TakeNodePort(request, fmt::format("spec.ports[{}].nodePort", i),
                                 port->node_port(), &taken));
    by_port[port->port()] = {taken, port->protocol()};
  }
  const bool checked = spec->type() == "LoadBalancer" && spec->external_traffic_policy() == "Local";
  const auto take_health_port = [&]() -> absl::Status {
    int32_t taken = 0;
    RETURN_IF_ERROR(
        TakeNodePort(request, "spec.healthCheckNodePort", spec->health_check_node_port(), &taken));
    spec->set_health_check_node_port(taken);
    return absl::OkStatus();
  };
  if (const int32_t asked = spec->health_check_node_port(); checked && asked != 0) {
    for (const v1::ServicePort& port : spec->ports()) {
      if (port.node_port() != asked) continue;
      return InvalidService(request.key, "spec.healthCheckNodePort",
                            fmt::format("Invalid value: {}: provided port is already allocated, to "
                                        "a port of the Service itself",
                                        asked));
    }
    RETURN_IF_ERROR(take_health_port());
  }
  if (NeedsNodePorts(*spec)) {
    for (int i = 0; i < spec->ports_size(); ++i) {
      v1::ServicePort* port = spec->mutable_ports(i);
      if (port->node_port() != 0) continue;
      // One number over both protocols stays one number.
      auto same = by_port.find(port->port());
      int32_t taken = 0;
      if (same != by_port.end() && same->second.second != port->protocol()) {
        taken = same->second.first;
      } else {
        RETURN_IF_ERROR(TakeNodePort(request, "", 0, &taken));
      }
      port->set_node_port(taken);
      by_port.try_emplace(port->port(), taken, port->protocol());
    }
  }
  return checked && spec->health_check_node_port() == 0 ? take_health_port() : absl::OkStatus();
}

absl::Status ServiceAdmission::TakeNodePort(const Request& request, const std::string& path,
                                            int32_t wanted, int32_t* port) {
  const auto& stored = request.state.index().node_ports;
  if (wanted != 0) {
    auto own = stored.find(wanted);
    const bool has_it = own != stored.end() && own->second == request.key;
    if (!has_it && (wanted < ranges_.node_port_first || wanted > ranges_.node_port_last)) {
      return InvalidService(
          request.key, path,
          fmt::format("Invalid value: {}: provided port is not in the valid range. "
                      "The range of valid ports is {}-{}",
                      wanted, ranges_.node_port_first, ranges_.node_port_last));
    }
    if (const auto other = OwnerOf(stored, held_node_ports_, wanted, request.key)) {
      return InvalidService(request.key, path,
                            fmt::format("Invalid value: {}: provided port is already "
                                        "allocated, to Service {}",
                                        wanted, other->ToString()));
    }
    // Pods that wait for the number will be told; those that run would lose it.
    const auto& pods = request.state.index().host_ports;
    if (const auto it = pods.find(wanted); !has_it && it != pods.end()) {
      return InvalidService(request.key, path,
                            fmt::format("Invalid value: {}: provided port is already in use, as "
                                        "hostPort of pod {}",
                                        wanted, it->second.begin()->ToString()));
    }
    held_node_ports_[wanted] = {request.holder, request.key};
    *port = wanted;
    return absl::OkStatus();
  }
  const int32_t size = ranges_.node_port_last - ranges_.node_port_first + 1;
  const int32_t dynamic = ranges_.node_port_first + StaticPorts(ranges_);
  // Round the upper part first; the lower one is for when that is full.
  for (int32_t tried = 0; tried < size; ++tried) {
    const int32_t upper = ranges_.node_port_last - dynamic + 1;
    const int32_t candidate = tried < upper ? dynamic + (next_node_port_ - dynamic + tried) % upper
                                            : ranges_.node_port_first + (tried - upper);
    if (stored.contains(candidate) || held_node_ports_.contains(candidate) ||
        request.state.index().host_ports.contains(candidate)) {
      continue;
    }
    if (candidate >= dynamic) {
      next_node_port_ = candidate == ranges_.node_port_last ? dynamic : candidate + 1;
    }
    held_node_ports_[candidate] = {request.holder, request.key};
    *port = candidate;
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(fmt::format(
      "service \"{}\": no free node port in {}-{} ({} in use); delete services or start meshd with "
      "a larger --node-port-range",
      request.key.ToString(), ranges_.node_port_first, ranges_.node_port_last, stored.size()));
}

absl::Status ServiceAdmission::CheckBalancerPorts(const Request& request, const v1::Service* before,
                                                  const v1::Service& service) const {
  if (before == nullptr || service.spec().type() != "LoadBalancer") return absl::OkStatus();
  for (int i = 0; i < service.spec().ports_size(); ++i) {
    const v1::ServicePort& port = service.spec().ports(i);
    const bool had = std::ranges::any_of(before->spec().ports(), [&](const v1::ServicePort& old) {
      return old.port() == port.port() && old.protocol() == port.protocol();
    });
    if (had) continue;
    for (const std::string& ip : BalancerAddressesOf(*before)) {
      const auto owner = OwnerOf(request.state.index().external_ports, held_external_ports_,
                                 {ip, port.port(), port.protocol()}, request.key);
      if (!owner) continue;
      return InvalidService(
          request.key, fmt::format("spec.ports[{}].port", i),
          fmt::format("Invalid value: {0}: port {0}/{1} of {2}, the address of this Service, is "
                      "already served, by Service {3} as one of its externalIPs",
                      port.port(), port.protocol(), ip, owner->ToString()));
    }
  }
  return absl::OkStatus();
}

void ServiceAdmission::AdmitBalancer(const Request& request, v1::Service* service) {
  if (service->spec().type() != "LoadBalancer") {
    if (service->has_status()) service->mutable_status()->clear_load_balancer();
    return;
  }
  if (IsForeignBalancer(*service)) return;
  const BalancerChoice choice =
      ChooseBalancerAddresses(ranges_.load_balancer_pools, *service, next_balancer_,
                              {.pool =
                                   [&](const std::string& ip) {
                                     return OwnerOf(request.state.index().balancer_ips,
                                                    held_balancer_ips_, ip, request.key);
                                   },
                               .external =
                                   [&](const ExternalPort& port) {
                                     return OwnerOf(request.state.index().external_ports,
                                                    held_external_ports_, port, request.key);
                                   }});
  const std::vector<std::string> present = BalancerAddressesOf(*service);
  if (choice.ips != present) {
    service->mutable_status()->clear_load_balancer();
    for (const std::string& ip : choice.ips) {
      v1::LoadBalancerIngress* entry =
          service->mutable_status()->mutable_load_balancer()->add_ingress();
      entry->set_ip(ip);
      entry->set_ip_mode("VIP");
      if (std::find(present.begin(), present.end(), ip) != present.end()) continue;
      ++next_balancer_[ip.find(':') == std::string::npos ? 0 : 1];
    }
  }
  for (const std::string& ip : choice.ips) {
    held_balancer_ips_[ip] = {request.holder, request.key};
  }
}

}  // namespace mesh::controlplane
