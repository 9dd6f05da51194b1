// SPDX-License-Identifier: Apache-2.0
#include "agent/network/dataplane_rows.h"

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "common/status.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

using dataplane::Dataplane;
using dataplane::Protocol;

const char* ProtocolName(Protocol protocol) { return protocol == Protocol::kUdp ? "UDP" : "TCP"; }

const char* KindName(dataplane::FrontendKind kind) {
  switch (kind) {
    case dataplane::FrontendKind::kClusterIp:
      return "ClusterIP";
    case dataplane::FrontendKind::kNodePort:
      return "NodePort";
    case dataplane::FrontendKind::kLoadBalancer:
      return "LoadBalancer";
    case dataplane::FrontendKind::kExternalIp:
      return "ExternalIP";
    case dataplane::FrontendKind::kHostPort:
      return "HostPort";
    case dataplane::FrontendKind::kUnknown:
      break;
  }
  return "";
}

const char* AlgorithmName(dataplane::Algorithm algorithm) {
  switch (algorithm) {
    case dataplane::Algorithm::kMaglev:
      return "maglev";
    case dataplane::Algorithm::kLeastLoaded:
      return "least-loaded";
    case dataplane::Algorithm::kRandom:
      break;
  }
  return "random";
}

const char* ScopeName(uint8_t scopes) {
  const char* names[] = {"none", "internal", "external", "all"};
  return names[scopes & dataplane::kScopeBoth];
}

// What of the ways a flow goes is worth a word.
std::string FlowKind(const dataplane::ConntrackRow& row) {
  const char* kind = row.translated ? "service" : row.masqueraded ? "masqueraded" : "direct";
  return row.one_way ? fmt::format("{},one-way", kind) : kind;
}

struct ServiceName {
  std::string ns, name;
};

// Names of what the kernel knows by number.
class Names {
 public:
  explicit Names(const NodeState* state) {
    if (state == nullptr) return;
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
          if (auto ip = IpAddress::Parse(backend.ip()); ip.ok())
            backends_[{*ip, backend.port(), protocol}] = {backend.node_name(), backend.pod_name()};
        }
      }
    }
  }

  ServiceName Frontend(const IpAddress& vip, uint32_t port, Protocol protocol) const {
    const auto it = frontends_.find({vip, port, protocol});
    return it == frontends_.end() ? ServiceName() : it->second;
  }
  // Node and pod.
  std::pair<std::string, std::string> Backend(const IpAddress& ip, uint32_t port,
                                              Protocol protocol) const {
    const auto it = backends_.find({ip, port, protocol});
    return it == backends_.end() ? std::pair<std::string, std::string>() : it->second;
  }

 private:
  using Key = std::tuple<IpAddress, uint32_t, Protocol>;
  std::map<Key, ServiceName> frontends_;
  std::map<Key, std::pair<std::string, std::string>> backends_;
};

class Lister {
 public:
  Lister(const v1::ListDataplaneRequest& request, const Dataplane& dataplane,
         const NodeState* state, v1::DataplaneNode* out)
      : request_(request), dataplane_(dataplane), names_(state), out_(out) {}

  absl::Status Run() {
    switch (request_.table()) {
      case v1::DATAPLANE_TABLE_SERVICE:
        RETURN_IF_ERROR(Services());
        return Usage(Dataplane::Table::kService, Dataplane::Table::kService6);
      case v1::DATAPLANE_TABLE_BACKEND:
        RETURN_IF_ERROR(Backends());
        return Usage(Dataplane::Table::kBackend, Dataplane::Table::kBackend6);
      case v1::DATAPLANE_TABLE_CONNTRACK:
        RETURN_IF_ERROR(Conntrack());
        return Usage(Dataplane::Table::kConntrack, Dataplane::Table::kConntrack6);
      case v1::DATAPLANE_TABLE_ENDPOINT:
        RETURN_IF_ERROR(Endpoints());
        return Usage(Dataplane::Table::kEndpoint, Dataplane::Table::kEndpoint6);
      case v1::DATAPLANE_TABLE_TUNNEL:
        RETURN_IF_ERROR(Tunnels());
        return Usage(Dataplane::Table::kTunnel, Dataplane::Table::kTunnel6);
      case v1::DATAPLANE_TABLE_METRICS:
        return Metrics();
      case v1::DATAPLANE_TABLE_FLOW_OWNERS:
        return FlowOwners();
      default:
        return absl::InvalidArgumentError(fmt::format("table {} is not one that can be listed",
                                                      static_cast<int>(request_.table())));
    }
  }

 private:
  bool Wanted(const std::string& ns, const std::string& service) const {
    return (request_.namespace_().empty() || ns == request_.namespace_()) &&
           (request_.service().empty() || service == request_.service());
  }

  absl::Status Usage(Dataplane::Table table, Dataplane::Table table6) {
    ASSIGN_OR_RETURN(const dataplane::MapUsage usage, dataplane_.Usage(table));
    out_->set_entries(usage.entries);
    out_->set_max_entries(usage.max_entries);
    const auto usage6 = dataplane_.Usage(table6);
    if (absl::IsNotFound(usage6.status())) return absl::OkStatus();
    RETURN_IF_ERROR(usage6.status());
    out_->set_entries6(usage6->entries);
    out_->set_max_entries6(usage6->max_entries);
    return absl::OkStatus();
  }

  void Fill(const dataplane::BackendRow& from, const std::string& ns, const std::string& service,
            v1::BackendRow* to) const {
    const auto [node, pod] = names_.Backend(from.backend.ip, from.backend.port, from.protocol);
    to->set_backend_id(from.backend_id);
    to->set_address(from.backend.ip.ToString());
    to->set_port(from.backend.port);
    to->set_protocol(ProtocolName(from.protocol));
    to->set_state(from.backend.state == dataplane::BackendState::kDraining ? "draining" : "active");
    to->set_node(from.backend.node.empty() ? node : from.backend.node);
    to->set_pod(from.backend.pod.empty() ? pod : from.backend.pod);
    to->set_namespace_(ns);
    to->set_service(service);
    to->set_weight(from.backend.weight);
    to->set_scope(ScopeName(from.backend.scopes));
  }

  absl::Status Services() {
    ASSIGN_OR_RETURN(const std::vector<dataplane::ServiceRow> rows, dataplane_.Services());
    ASSIGN_OR_RETURN(const std::vector<dataplane::BackendRow> backends, dataplane_.Backends());
    std::map<uint32_t, const dataplane::BackendRow*> by_id;
    for (const dataplane::BackendRow& backend : backends) by_id[backend.backend_id] = &backend;
    for (const dataplane::ServiceRow& row : rows) {
      const ServiceName name = row.name.empty() ? names_.Frontend(row.vip, row.port, row.protocol)
                                                : ServiceName{row.ns, row.name};
      if (!Wanted(name.ns, name.name)) continue;
      v1::ServiceRow* to = out_->add_services();
      to->set_vip(row.vip.ToString());
      to->set_port(row.port);
      to->set_protocol(ProtocolName(row.protocol));
      to->set_service_id(row.service_id);
      to->set_namespace_(name.ns);
      to->set_service(name.name);
      to->set_type(KindName(row.kind));
      to->set_scope(row.external ? "external" : "internal");
      to->set_algorithm(AlgorithmName(row.algorithm));
      to->set_affinity_seconds(row.affinity_seconds);
      to->set_source_ranges(row.source_ranges);
      if (row.external) to->set_return_path(row.direct_return ? "direct" : "snat");
      for (uint32_t id : row.backend_ids) {
        // A backend may go between the two reads.
        if (const auto it = by_id.find(id); it != by_id.end())
          Fill(*it->second, name.ns, name.name, to->add_backends());
      }
    }
    return absl::OkStatus();
  }

  absl::Status Backends() {
    ASSIGN_OR_RETURN(const std::vector<dataplane::BackendRow> rows, dataplane_.Backends());
    for (const dataplane::BackendRow& row : rows) {
      if (Wanted(row.ns, row.service)) Fill(row, row.ns, row.service, out_->add_backends());
    }
    return absl::OkStatus();
  }

  absl::Status Conntrack() {
    ASSIGN_OR_RETURN(const std::vector<dataplane::ConntrackRow> rows, dataplane_.Conntrack());
    for (const dataplane::ConntrackRow& row : rows) {
      const ServiceName name =
          row.translated ? names_.Frontend(row.destination, row.destination_port, row.protocol)
                         : ServiceName();
      if (!Wanted(name.ns, name.name)) continue;
      v1::ConntrackRow* to = out_->add_conntrack();
      to->set_protocol(ProtocolName(row.protocol));
      to->set_source(row.source.ToString());
      to->set_source_port(row.source_port);
      to->set_destination(row.destination.ToString());
      to->set_destination_port(row.destination_port);
      if (row.translated) {
        to->set_backend(row.backend.ToString());
        to->set_backend_port(row.backend_port);
      }
      to->set_state(row.state);
      to->set_expires_in_seconds(absl::ToInt64Seconds(row.expires_in));
      to->set_packets(row.packets);
      to->set_bytes(row.bytes);
      to->set_namespace_(name.ns);
      to->set_service(name.name);
      to->set_kind(FlowKind(row));
    }
    return absl::OkStatus();
  }

  absl::Status Endpoints() {
    ASSIGN_OR_RETURN(const std::vector<dataplane::Endpoint> rows, dataplane_.Endpoints());
    for (const dataplane::Endpoint& row : rows) {
      if (!request_.namespace_().empty() && row.ns != request_.namespace_()) continue;
      v1::EndpointRow* to = out_->add_endpoints();
      to->set_address(row.ip.ToString());
      if (row.ip6 != IpAddress()) to->set_address6(row.ip6.ToString());
      to->set_mac(fmt::format("{:02x}", fmt::join(row.pod_mac, ":")));
      to->set_ifindex(static_cast<uint32_t>(row.ifindex));
      to->set_interface(row.interface);
      to->set_identity(row.identity);
      to->set_namespace_(row.ns);
      to->set_pod(row.pod);
    }
    return absl::OkStatus();
  }

  absl::Status Tunnels() {
    ASSIGN_OR_RETURN(const std::vector<dataplane::Peer> rows, dataplane_.Tunnels());
    for (const dataplane::Peer& row : rows) {
      for (const IpPrefix& range : {row.pod_cidr, row.pod_cidr6}) {
        if (!range.is_set()) continue;
        v1::TunnelRow* to = out_->add_tunnels();
        to->set_cidr(range.ToString());
        to->set_node_ip(row.ip.ToString());
        to->set_node(row.name);
      }
    }
    return absl::OkStatus();
  }

  // How full the table is comes with them, counted in connections.
  absl::Status FlowOwners() {
    ASSIGN_OR_RETURN(const dataplane::FlowUsage usage, dataplane_.FlowOwners());
    for (const dataplane::FlowOwner& owner : usage.owners) {
      // Pods of other nodes have no name here; meshd gives it, and chooses.
      const bool nameless = owner.ns.empty() && owner.ip != IpAddress();
      if (!request_.namespace_().empty() && owner.ns != request_.namespace_() && !nameless)
        continue;
      v1::FlowOwnerRow* to = out_->add_flow_owners();
      if (owner.ip != IpAddress()) to->set_address(owner.ip.ToString());
      to->set_namespace_(owner.ns);
      to->set_pod(owner.pod);
      to->set_flows(owner.flows);
      to->set_limit(owner.limit);
    }
    out_->set_entries(usage.flows);
    out_->set_max_entries(usage.capacity);
    out_->set_entries6(usage.flows6);
    out_->set_max_entries6(usage.capacity6);
    return absl::OkStatus();
  }

  absl::Status Metrics() {
    ASSIGN_OR_RETURN(const std::vector<dataplane::MetricRow> rows, dataplane_.Metrics());
    for (const dataplane::MetricRow& row : rows) {
      v1::MetricRow* to = out_->add_metrics();
      to->set_reason(row.reason);
      to->set_direction(row.direction);
      to->set_packets(row.packets);
      to->set_bytes(row.bytes);
    }
    return absl::OkStatus();
  }

  const v1::ListDataplaneRequest& request_;
  const Dataplane& dataplane_;
  const Names names_;
  v1::DataplaneNode* out_;
};

}  // namespace

absl::Status ListRows(const v1::ListDataplaneRequest& request, const Dataplane& dataplane,
                      const NodeState* state, v1::DataplaneNode* out) {
  return Lister(request, dataplane, state, out).Run();
}

}  // namespace mesh::agent
