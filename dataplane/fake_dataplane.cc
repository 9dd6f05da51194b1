// SPDX-License-Identifier: Apache-2.0
#include "dataplane/fake_dataplane.h"

#include <algorithm>

#include "fmt/format.h"

namespace mesh::dataplane {

absl::Status FakeDataplane::Fault(const char* method) const {
  return fault ? fault(method) : absl::OkStatus();
}

absl::Status FakeDataplane::Apply(const DesiredState& desired) {
  if (absl::Status status = Fault("Apply"); !status.ok()) return status;
  ++applies_;
  // As the kernel's does: what is not named is taken to be as it was.
  const bool everything = !desired.changed_services.has_value() || !applied_ ||
                          (desired.complete && !desired_.complete);
  applied_ = true;
  std::map<std::string, Service> services = std::move(desired_.services);
  if (everything && desired.complete) {
    services = desired.services;
  } else if (everything) {
    for (const auto& [key, service] : desired.services) services[key] = service;
  } else {
    for (const std::string& key : *desired.changed_services) {
      const auto it = desired.services.find(key);
      if (it != desired.services.end()) {
        services[key] = it->second;
      } else if (desired.complete) {
        services.erase(key);
      }
    }
  }
  std::map<std::string, Peer> peers = desired.peers;
  std::map<uint32_t, NamespacePolicy> namespaces = desired.namespaces;
  if (!desired.complete) {
    peers.merge(desired_.peers);
    namespaces.merge(desired_.namespaces);
  }
  desired_ = desired;
  desired_.services = std::move(services);
  desired_.peers = std::move(peers);
  desired_.namespaces = std::move(namespaces);
  for (const auto& [key, service] : desired_.services) {
    if (service.family == Family::kV4 || config_.has_ipv6()) continue;
    return absl::InvalidArgumentError(
        fmt::format("service {}: is of IPv6, and this node has no ranges of IPv6", key));
  }
  return absl::OkStatus();
}

absl::Status FakeDataplane::SetUplinkMtu(int uplink_mtu, const std::vector<PodInterface>& pods) {
  if (absl::Status status = Fault("SetUplinkMtu"); !status.ok()) return status;
  config_.uplink_mtu = uplink_mtu;
  followed_ = pods;
  return absl::OkStatus();
}

absl::StatusOr<Endpoint> FakeDataplane::Attach(const AttachRequest& request) {
  if (absl::Status status = Fault("Attach"); !status.ok()) return status;
  attached_ = request;
  const auto key = std::pair(request.container_id, request.ifname);
  for (const auto& [other, netns] : netns_) {
    if (netns == request.netns && other.second == request.ifname && other != key) {
      return absl::AlreadyExistsError(
          fmt::format("interface {} exists in {}", request.ifname, request.netns));
    }
  }
  for (const auto& [other, endpoint] : endpoints_) {
    const bool same = endpoint.ip == request.ip;
    const bool same6 = request.ip6 != IpAddress() && endpoint.ip6 == request.ip6;
    if (other == key || (!same && !same6)) continue;
    return absl::AlreadyExistsError(fmt::format("address {} belongs to container {}",
                                                (same ? request.ip : request.ip6).ToString(),
                                                other.first));
  }
  if (request.ip6 != IpAddress() && !config_.has_ipv6()) {
    return absl::InvalidArgumentError(
        fmt::format("container {}: address {}: this node has no ranges of IPv6",
                    request.container_id, request.ip6.ToString()));
  }
  Endpoint& endpoint = endpoints_[key];
  endpoint.ip = request.ip;
  endpoint.ip6 = request.ip6;
  if (endpoint.ifindex == 0) endpoint.ifindex = next_ifindex_++;
  endpoint.interface = fmt::format("mesh{}", endpoint.ifindex);
  endpoint.pod_mac = {2, 0, 0, 0, 0, static_cast<uint8_t>(endpoint.ifindex)};
  endpoint.host_mac = {2, 0, 0, 0, 1, static_cast<uint8_t>(endpoint.ifindex)};
  endpoint.identity = request.identity;
  endpoint.ns = request.ns;
  endpoint.pod = request.pod;
  endpoint.container_id = request.container_id;
  endpoint.shaped = request.ingress_bandwidth != 0;
  netns_[key] = request.netns;
  return endpoint;
}

absl::Status FakeDataplane::Detach(const std::string& container_id, const std::string& ifname) {
  if (absl::Status status = Fault("Detach"); !status.ok()) return status;
  endpoints_.erase({container_id, ifname});
  netns_.erase({container_id, ifname});
  return absl::OkStatus();
}

absl::Status FakeDataplane::Check(const AttachRequest& request) {
  if (absl::Status status = Fault("Check"); !status.ok()) return status;
  const auto it = endpoints_.find({request.container_id, request.ifname});
  if (it == endpoints_.end()) {
    return absl::NotFoundError(fmt::format("container {} interface {}: not attached",
                                           request.container_id, request.ifname));
  }
  for (const auto& [has, want] :
       {std::pair(it->second.ip, request.ip), std::pair(it->second.ip6, request.ip6)}) {
    if (has == want) continue;
    return absl::FailedPreconditionError(fmt::format("container {}: address {}, want {}",
                                                     request.container_id, has.ToString(),
                                                     want.ToString()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Endpoint>> FakeDataplane::Endpoints() const {
  std::vector<Endpoint> out;
  for (const auto& [key, endpoint] : endpoints_) out.push_back(endpoint);
  return out;
}

absl::StatusOr<std::vector<ServiceRow>> FakeDataplane::Services() const {
  std::vector<ServiceRow> out;
  uint32_t service_id = 0, backend_id = 0;
  for (const auto& [key, service] : desired_.services) {
    for (const ServicePort& port : service.ports) {
      ServiceRow row;
      row.vip = service.cluster_ip;
      row.port = port.port;
      row.protocol = port.protocol;
      row.service_id = ++service_id;
      row.ns = service.ns;
      row.name = service.name;
      row.kind = FrontendKind::kClusterIp;
      row.algorithm = service.internal_algorithm;
      row.affinity_seconds = service.affinity_seconds;
      for (const Backend& backend : port.backends) {
        ++backend_id;
        if (backend.state == BackendState::kActive) row.backend_ids.push_back(backend_id);
      }
      out.push_back(std::move(row));
    }
  }
  return out;
}

absl::StatusOr<std::vector<BackendRow>> FakeDataplane::Backends() const {
  std::vector<BackendRow> out;
  uint32_t backend_id = 0;
  for (const auto& [key, service] : desired_.services) {
    for (const ServicePort& port : service.ports) {
      for (const Backend& backend : port.backends) {
        out.push_back({++backend_id, backend, port.protocol, service.ns, service.name});
      }
    }
  }
  return out;
}

absl::StatusOr<std::vector<ConntrackRow>> FakeDataplane::Conntrack() const {
  const absl::Status status = Fault("Conntrack");
  return status.ok() ? absl::StatusOr<std::vector<ConntrackRow>>(std::vector<ConntrackRow>())
                     : status;
}

absl::StatusOr<std::vector<Peer>> FakeDataplane::Tunnels() const {
  std::vector<Peer> out;
  for (const auto& [name, peer] : desired_.peers) out.push_back(peer);
  return out;
}

absl::StatusOr<std::map<IpAddress, uint32_t>> FakeDataplane::Identities() const {
  return desired_.pod_identities;
}

absl::StatusOr<MapRows> FakeDataplane::RowsOf(const std::string& map, uint32_t limit) const {
  const auto it = map_rows.find(map);
  if (it == map_rows.end()) return absl::NotFoundError("no map " + map);
  MapRows out;
  for (const MapEntryText& row : it->second) {
    out.more = out.rows.size() == limit;
    if (out.more) break;
    out.rows.push_back(row);
  }
  return out;
}

absl::StatusOr<std::vector<MetricRow>> FakeDataplane::Metrics() const {
  return std::vector<MetricRow>();
}

absl::StatusOr<MapUsage> FakeDataplane::Usage(Table table) const {
  constexpr uint32_t kMax = 65536;
  const auto usage = [&](const auto& rows, const auto& is) {
    return MapUsage{static_cast<uint32_t>(std::count_if(rows.begin(), rows.end(), is)), kMax};
  };
  const Family family = table >= Table::kService6 ? Family::kV6 : Family::kV4;
  if (family == Family::kV6 && !config_.has_ipv6()) {
    return absl::NotFoundError("this node has no ranges of IPv6");
  }
  switch (table) {
    case Table::kService:
    case Table::kService6:
      return usage(*Services(), [&](const auto& row) { return FamilyOf(row.vip) == family; });
    case Table::kBackend:
    case Table::kBackend6:
      return usage(*Backends(),
                   [&](const auto& row) { return FamilyOf(row.backend.ip) == family; });
    case Table::kConntrack:
    case Table::kConntrack6:
      return MapUsage{0, kMax};
    case Table::kEndpoint:
    case Table::kEndpoint6:
      return usage(*Endpoints(), [&](const auto& row) {
        return family == Family::kV4 || row.ip6 != IpAddress();
      });
    case Table::kTunnel:
    case Table::kTunnel6:
      return usage(*Tunnels(), [&](const auto& row) {
        return family == Family::kV4 || row.pod_cidr6 != IpPrefix();
      });
  }
  return absl::InvalidArgumentError("no such table");
}

absl::StatusOr<int> FakeDataplane::CollectGarbage() {
  if (absl::Status status = Fault("CollectGarbage"); !status.ok()) return status;
  return 0;
}

}  // namespace mesh::dataplane
