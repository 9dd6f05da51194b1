// SPDX-License-Identifier: Apache-2.0
#include "dataplane/fake_dataplane.h"

#include "fmt/format.h"

namespace mesh::dataplane {

absl::Status FakeDataplane::Fault(const char* method) const {
  return fault ? fault(method) : absl::OkStatus();
}

absl::Status FakeDataplane::Apply(const DesiredState& desired) {
  if (absl::Status status = Fault("Apply"); !status.ok()) return status;
  ++applies_;
  if (desired.complete) {
    desired_ = desired;
    return absl::OkStatus();
  }
  desired_.revision = desired.revision;
  for (const auto& [key, service] : desired.services) desired_.services[key] = service;
  for (const auto& [key, peer] : desired.peers) desired_.peers[key] = peer;
  for (const auto& [key, policy] : desired.namespaces) desired_.namespaces[key] = policy;
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
    if (endpoint.ip == request.ip && other != key) {
      return absl::AlreadyExistsError(
          fmt::format("address {} belongs to container {}", request.ip.ToString(), other.first));
    }
  }
  Endpoint& endpoint = endpoints_[key];
  endpoint.ip = request.ip;
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
  if (it->second.ip != request.ip) {
    return absl::FailedPreconditionError(fmt::format("container {}: address {}, want {}",
                                                     request.container_id, it->second.ip.ToString(),
                                                     request.ip.ToString()));
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
  return std::vector<ConntrackRow>();
}

absl::StatusOr<std::vector<Peer>> FakeDataplane::Tunnels() const {
  std::vector<Peer> out;
  for (const auto& [name, peer] : desired_.peers) out.push_back(peer);
  return out;
}

absl::StatusOr<std::vector<MetricRow>> FakeDataplane::Metrics() const {
  return std::vector<MetricRow>();
}

absl::StatusOr<MapUsage> FakeDataplane::Usage(Table table) const {
  constexpr uint32_t kMax = 65536;
  switch (table) {
    case Table::kService:
      return MapUsage{static_cast<uint32_t>(Services()->size()), kMax};
    case Table::kBackend:
      return MapUsage{static_cast<uint32_t>(Backends()->size()), kMax};
    case Table::kConntrack:
      return MapUsage{0, kMax};
    case Table::kEndpoint:
      return MapUsage{static_cast<uint32_t>(endpoints_.size()), kMax};
    case Table::kTunnel:
      return MapUsage{static_cast<uint32_t>(desired_.peers.size()), kMax};
  }
  return absl::InvalidArgumentError("no such table");
}

absl::StatusOr<int> FakeDataplane::CollectGarbage() {
  if (absl::Status status = Fault("CollectGarbage"); !status.ok()) return status;
  return 0;
}

}  // namespace mesh::dataplane
