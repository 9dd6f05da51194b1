// SPDX-License-Identifier: Apache-2.0
#include "agent/network/dataplane_rows.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "agent/network/names.h"
#include "agent/network/policy_refusal.h"
#include "agent/network/policy_rows.h"
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

const char* StateName(dataplane::BackendState state) {
  switch (state) {
    case dataplane::BackendState::kDraining:
      return "draining";
    case dataplane::BackendState::kLeft:
      return "left";
    default:
      return "active";
  }
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

constexpr uint32_t kMapRowsDefault = 100, kMapRowsMax = 100'000;

class Lister {
 public:
  Lister(const v1::ListDataplaneRequest& request, const Dataplane& dataplane,
         const NodeState* state, v1::DataplaneNode* out)
      : request_(request), dataplane_(dataplane), state_(state), names_(state), out_(out) {}

  absl::Status Run() {
    RETURN_IF_ERROR(ReadIp());
    switch (request_.table()) {
      case v1::DATAPLANE_TABLE_SERVICE:
        RETURN_IF_ERROR(Services());
        return Usage(Dataplane::Table::kService, Dataplane::Table::kService6);
      case v1::DATAPLANE_TABLE_BACKEND:
        RETURN_IF_ERROR(Backends());
        return Usage(Dataplane::Table::kBackend, Dataplane::Table::kBackend6);
      case v1::DATAPLANE_TABLE_CONNTRACK: {
        ASSIGN_OR_RETURN(const std::vector<dataplane::Endpoint> pods, dataplane_.Endpoints());
        return Flows(pods);
      }
      case v1::DATAPLANE_TABLE_ENDPOINT:
        RETURN_IF_ERROR(Endpoints());
        return Usage(Dataplane::Table::kEndpoint, Dataplane::Table::kEndpoint6);
      case v1::DATAPLANE_TABLE_TUNNEL:
        RETURN_IF_ERROR(Tunnels());
        return Usage(Dataplane::Table::kTunnel, Dataplane::Table::kTunnel6);
      case v1::DATAPLANE_TABLE_METRICS:
        return Metrics();
      case v1::DATAPLANE_TABLE_IDENTITY:
        return Identities();
      case v1::DATAPLANE_TABLE_POLICY:
        return Policies();
      case v1::DATAPLANE_TABLE_POLICY_STATS:
        RETURN_IF_ERROR(Refusal());
        return Maps("mesh_pol_");
      case v1::DATAPLANE_TABLE_PROGRAM:
        return Programs();
      case v1::DATAPLANE_TABLE_MAP:
        return Maps();
      case v1::DATAPLANE_TABLE_MAP_ROWS:
        return MapRows();
      case v1::DATAPLANE_TABLE_FLOW_OWNERS:
        return FlowOwners();
      default:
        return absl::InvalidArgumentError(fmt::format("table {} is not one that can be listed",
                                                      static_cast<int>(request_.table())));
    }
  }

  absl::Status RunFlows(const std::vector<dataplane::Endpoint>& pods) {
    RETURN_IF_ERROR(ReadIp());
    return Flows(pods);
  }

 private:
  absl::Status ReadIp() {
    if (request_.ip().empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(wanted_ip_, IpAddress::Parse(request_.ip()));
    return absl::OkStatus();
  }

  bool Wanted(const std::string& ns, const std::string& service) const {
    return (request_.namespace_().empty() || ns == request_.namespace_()) &&
           WantsService(ns, service);
  }
  bool WantsService(const std::string& ns, const std::string& name) const {
    return request_.service().empty() || name == request_.service() ||
           fmt::format("{}/{}", ns, name) == request_.service();
  }

  // A request for one pod names it with its namespace.
  bool WantsPod(const std::string& pod) const {
    return request_.pod().empty() || pod == request_.pod() ||
           (request_.pod().find('/') == std::string::npos && pod.ends_with("/" + request_.pod()) &&
            !pod.empty());
  }
  bool HasPod(const v1::IdentityRow& row) const {
    return std::ranges::any_of(row.pods(), [&](const std::string& pod) { return WantsPod(pod); });
  }
  bool WantsProtocol(Protocol protocol) const {
    return request_.protocol().empty() || request_.protocol() == ProtocolName(protocol);
  }
  // Addresses compare as such: IPv6 is written in many ways.
  template <typename Addresses>
  bool WantsIp(const Addresses& addresses) const {
    if (request_.ip().empty()) return true;
    return std::ranges::any_of(addresses, [&](const std::string& address) {
      const auto ip = IpAddress::Parse(address);
      return ip.ok() && *ip == wanted_ip_;
    });
  }
  bool WantsIp(std::initializer_list<IpAddress> addresses) const {
    if (request_.ip().empty()) return true;
    return std::ranges::find(addresses, wanted_ip_) != addresses.end();
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
    to->set_state(StateName(from.backend.state));
    to->set_node(from.backend.node.empty() ? node : from.backend.node);
    to->set_pod(from.backend.pod.empty() ? pod : from.backend.pod);
    to->set_namespace_(ns);
    to->set_service(service);
    to->set_weight(from.backend.weight);
    to->set_scope(ScopeName(from.backend.scopes));
  }

  // Its address or one of its backends, where they are asked for.
  bool WantsService(const dataplane::ServiceRow& row,
                    const std::map<uint32_t, const dataplane::BackendRow*>& by_id) const {
    bool pod = request_.pod().empty(), ip = WantsIp({row.vip});
    for (uint32_t id : row.backend_ids) {
      const auto it = by_id.find(id);
      if (it == by_id.end()) continue;
      const IpAddress& address = it->second->backend.ip;
      pod = pod || WantsPod(names_.Pod(address));
      ip = ip || WantsIp({address});
    }
    return pod && ip;
  }

  absl::Status Services() {
    ASSIGN_OR_RETURN(const std::vector<dataplane::ServiceRow> rows, dataplane_.Services());
    ASSIGN_OR_RETURN(const std::vector<dataplane::BackendRow> backends, dataplane_.Backends());
    std::map<uint32_t, const dataplane::BackendRow*> by_id;
    for (const dataplane::BackendRow& backend : backends) by_id[backend.backend_id] = &backend;
    for (const dataplane::ServiceRow& row : rows) {
      const ServiceName name = row.name.empty() ? names_.Frontend(row.vip, row.port, row.protocol)
                                                : ServiceName{row.ns, row.name};
      if (!Wanted(name.ns, name.name) || !WantsProtocol(row.protocol)) continue;
      if (!WantsService(row, by_id)) continue;
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
      if (Wanted(row.ns, row.service) && WantsProtocol(row.protocol) &&
          WantsPod(names_.Pod(row.backend.ip)) && WantsIp({row.backend.ip}))
        Fill(row, row.ns, row.service, out_->add_backends());
    }
    return absl::OkStatus();
  }

  absl::Status Flows(const std::vector<dataplane::Endpoint>& pods) {
    names_.AddPods(pods);
    ASSIGN_OR_RETURN(const std::vector<dataplane::ConntrackRow> rows, dataplane_.Conntrack());
    for (const dataplane::ConntrackRow& row : rows) {
      const ServiceName name =
          row.translated ? names_.Frontend(row.destination, row.destination_port, row.protocol)
                         : ServiceName();
      const std::string source = names_.Pod(row.source);
      const std::string destination = names_.Pod(row.translated ? row.backend : row.destination);
      if (!WantsFlow(row, name, source, destination)) continue;
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
      to->set_source_pod(source);
      to->set_destination_pod(destination);
    }
    return Usage(Dataplane::Table::kConntrack, Dataplane::Table::kConntrack6);
  }

  bool WantsFlow(const dataplane::ConntrackRow& row, const ServiceName& service,
                 const std::string& source, const std::string& destination) const {
    const std::string& ns = request_.namespace_();
    const bool of_namespace = ns.empty() || service.ns == ns || source.starts_with(ns + "/") ||
                              destination.starts_with(ns + "/");
    return of_namespace && WantsService(service.ns, service.name) && WantsProtocol(row.protocol) &&
           (WantsPod(source) || WantsPod(destination)) &&
           WantsIp({row.source, row.destination, row.backend});
  }

  absl::Status Endpoints() {
    ASSIGN_OR_RETURN(const std::vector<dataplane::Endpoint> rows, dataplane_.Endpoints());
    for (const dataplane::Endpoint& row : rows) {
      if (!request_.namespace_().empty() && row.ns != request_.namespace_()) continue;
      if (!WantsPod(fmt::format("{}/{}", row.ns, row.pod)) || !WantsIp({row.ip, row.ip6})) continue;
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
    const bool native = dataplane_.routing() == dataplane::Routing::kNative;
    for (const dataplane::Peer& row : rows) {
      for (const IpPrefix& range : {row.pod_cidr, row.pod_cidr6}) {
        if (!range.is_set()) continue;
        if (!request_.ip().empty() && !range.Contains(wanted_ip_) && !WantsIp({row.ip})) continue;
        v1::TunnelRow* to = out_->add_tunnels();
        to->set_cidr(range.ToString());
        to->set_node_ip(row.ip.ToString());
        to->set_node(row.name);
        to->set_routing(native ? "native" : "vxlan");
      }
    }
    return absl::OkStatus();
  }

  absl::Status Identities() {
    ASSIGN_OR_RETURN(const std::vector<dataplane::Endpoint> endpoints, dataplane_.Endpoints());
    ASSIGN_OR_RETURN(const auto others, dataplane_.Identities());
    std::map<uint32_t, v1::IdentityRow> rows;
    for (const auto& [identity, name] : kReservedIdentities) rows[identity].set_name(name);
    for (const auto& [identity, ns] : names_.namespaces()) rows[identity].set_namespace_(ns);
    for (const dataplane::Endpoint& pod : endpoints) {
      v1::IdentityRow& row = rows[pod.identity];
      row.set_namespace_(pod.ns);
      row.add_pods(fmt::format("{}/{}", pod.ns, pod.pod));
    }
    for (const auto& [ip, identity] : others) rows[identity].add_addresses(ip.ToString());
    for (auto& [identity, row] : rows) {
      if (!request_.namespace_().empty() && row.namespace_() != request_.namespace_()) continue;
      if (!request_.pod().empty() && !HasPod(row)) continue;
      if (!WantsIp(row.addresses())) continue;
      row.set_identity(identity);
      *out_->add_identities() = std::move(row);
    }
    return absl::OkStatus();
  }

  absl::Status Programs() {
    ASSIGN_OR_RETURN(const std::vector<dataplane::ProgramRow> rows, dataplane_.LoadedPrograms());
    for (const dataplane::ProgramRow& row : rows) {
      v1::ProgramRow* to = out_->add_programs();
      to->set_name(row.name);
      to->set_hook(row.hook);
      for (const std::string& interface : row.interfaces) to->add_attached_to(interface);
      to->set_family(row.family);
      to->set_tag(row.tag);
      to->set_id(row.id);
      to->set_instructions(row.instructions);
      to->set_machine_bytes(row.machine_bytes);
      to->set_memory_bytes(row.memory_bytes);
      to->set_runs(row.runs);
      to->set_run_time_ns(row.run_time_ns);
      to->mutable_loaded()->set_seconds(absl::ToUnixSeconds(row.loaded));
    }
    return absl::OkStatus();
  }

  absl::Status Policies() {
    ASSIGN_OR_RETURN(const std::vector<dataplane::Endpoint> endpoints, dataplane_.Endpoints());
    ASSIGN_OR_RETURN(const auto classes, dataplane_.Policies());
    const std::string prefix = request_.namespace_() + "/";
    const auto of_namespace = [&](const std::string& name) { return name.starts_with(prefix); };
    for (v1::PolicyRow& row : PolicyRows(classes, endpoints, names_, state_)) {
      // Policies select pods of their own namespace.
      if (prefix.size() > 1 && !std::ranges::any_of(row.pods(), of_namespace)) continue;
      if (!request_.pod().empty() &&
          !std::ranges::any_of(row.pods(), [&](const std::string& pod) { return WantsPod(pod); }))
        continue;
      const auto named = [&](const std::string& policy) {
        return policy == request_.policy() || policy.ends_with("/" + request_.policy());
      };
      // What no rule is about is dropped because of all of them.
      if (!request_.policy().empty() &&
          !(row.policy().empty() ? std::ranges::any_of(row.policies(), named)
                                 : named(row.policy())))
        continue;
      *out_->add_policies() = std::move(row);
    }
    return absl::OkStatus();
  }

  absl::Status Refusal() {
    ASSIGN_OR_RETURN(const std::vector<dataplane::Endpoint> endpoints, dataplane_.Endpoints());
    auto refusal = NameRefusal(dataplane_.PolicyProblems(), endpoints, state_);
    if (refusal.has_value()) *out_->mutable_refusal() = *std::move(refusal);
    return absl::OkStatus();
  }

  // Those whose names begin so.
  absl::Status Maps(std::string_view prefix = "") {
    ASSIGN_OR_RETURN(const std::vector<dataplane::MapRow> rows, dataplane_.LoadedMaps());
    for (const dataplane::MapRow& row : rows) {
      if (!row.name.starts_with(prefix)) continue;
      v1::MapRow* to = out_->add_maps();
      to->set_name(row.name);
      to->set_type(row.type);
      to->set_key_bytes(row.key_bytes);
      to->set_value_bytes(row.value_bytes);
      to->set_entries(row.entries);
      to->set_max_entries(row.max_entries);
      to->set_memory_bytes(row.memory_bytes);
      to->set_id(row.id);
    }
    return absl::OkStatus();
  }

  absl::Status MapRows() {
    if (request_.map().empty()) return absl::InvalidArgumentError("the map's name is missing");
    const uint32_t limit = request_.limit() == 0 ? kMapRowsDefault : request_.limit();
    ASSIGN_OR_RETURN(const dataplane::MapRows rows,
                     dataplane_.RowsOf(request_.map(), std::min(limit, kMapRowsMax)));
    ASSIGN_OR_RETURN(const std::vector<dataplane::Endpoint> endpoints, dataplane_.Endpoints());
    names_.AddPods(endpoints);
    for (const dataplane::MapEntryText& row : rows.rows) {
      v1::MapEntry* to = out_->add_map_entries();
      to->set_key(names_.Named(row.key));
      for (const std::string& value : row.values) to->add_values(names_.Named(value));
    }
    if (rows.more) out_->set_more(true);
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
    FillOccupancy(usage, out_);
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
  const NodeState* const state_;
  Names names_;
  v1::DataplaneNode* out_;
  IpAddress wanted_ip_;  // if request_ has one
};

}  // namespace

absl::Status ListRows(const v1::ListDataplaneRequest& request, const Dataplane& dataplane,
                      const NodeState* state, v1::DataplaneNode* out) {
  return Lister(request, dataplane, state, out).Run();
}

absl::Status ListConntrack(const v1::ListDataplaneRequest& request, const Dataplane& dataplane,
                           const std::vector<dataplane::Endpoint>& endpoints,
                           const NodeState* state, v1::DataplaneNode* out) {
  return Lister(request, dataplane, state, out).RunFlows(endpoints);
}

void FillOccupancy(const dataplane::FlowUsage& usage, v1::DataplaneNode* out) {
  out->set_entries(usage.flows);
  out->set_max_entries(usage.capacity);
  out->set_entries6(usage.flows6);
  out->set_max_entries6(usage.capacity6);
}

void SubtractRuns(const v1::DataplaneNode& before, absl::Duration duration,
                  v1::DataplaneNode* after) {
  for (v1::ProgramRow& row : *after->mutable_programs()) {
    row.set_measured_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(duration)));
    for (const v1::ProgramRow& earlier : before.programs()) {
      if (earlier.id() != row.id()) continue;
      row.set_runs(row.runs() - earlier.runs());
      row.set_run_time_ns(row.run_time_ns() - earlier.run_time_ns());
    }
  }
}

}  // namespace mesh::agent
