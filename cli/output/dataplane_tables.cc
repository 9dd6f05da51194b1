// SPDX-License-Identifier: Apache-2.0
#include "cli/output/dataplane_tables.h"

#include <vector>

#include "absl/time/time.h"
#include "cli/output/age.h"
#include "cli/output/inspection_tables.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::cli {
namespace {

using Row = std::vector<std::string>;

// Backends that fit on a line; wide shows them all.
constexpr size_t kShownBackends = 4;

std::string OrDash(const std::string& text) { return text.empty() ? "-" : text; }

std::string AddressPort(const std::string& address, uint32_t port) {
  if (address.empty()) return "-";
  return address.find(':') == std::string::npos ? fmt::format("{}:{}", address, port)
                                                : fmt::format("[{}]:{}", address, port);
}

std::string Frontend(const v1::ServiceRow& row) {
  return fmt::format("{}/{}", AddressPort(row.vip(), row.port()), row.protocol());
}

std::string BackendsText(const v1::ServiceRow& row, bool all) {
  std::vector<std::string> shown;
  for (const v1::BackendRow& backend : row.backends()) {
    if (!all && shown.size() == kShownBackends) break;
    std::string text = AddressPort(backend.address(), backend.port());
    if (!backend.state().empty() && backend.state() != "active") {
      text += fmt::format("({})", backend.state());
    }
    shown.push_back(std::move(text));
  }
  if (shown.empty()) return "<none>";
  const size_t more = static_cast<size_t>(row.backends_size()) - shown.size();
  std::string text = fmt::format("{}", fmt::join(shown, ","));
  return more == 0 ? text : text + fmt::format(" + {} more...", more);
}

std::string AffinityText(const v1::ServiceRow& row) {
  return row.affinity_seconds() == 0 ? "-" : HumanDuration(absl::Seconds(row.affinity_seconds()));
}

std::string PodsText(const v1::ServiceRow& row) {
  std::vector<std::string> pods;
  for (const v1::BackendRow& backend : row.backends()) pods.push_back(OrDash(backend.pod()));
  return pods.empty() ? "<none>" : fmt::format("{}", fmt::join(pods, ","));
}

void AddRows(v1::DataplaneTable table, const v1::DataplaneNode& node, bool wide,
             std::vector<Row>* rows) {
  switch (table) {
    case v1::DATAPLANE_TABLE_SERVICE:
      for (const auto& r : node.services()) {
        Row row = {node.node(), OrDash(r.namespace_()), OrDash(r.service()),  OrDash(r.type()),
                   Frontend(r), OrDash(r.algorithm()),  BackendsText(r, wide)};
        if (wide) {
          row.insert(row.end(),
                     {std::to_string(r.service_id()), OrDash(r.scope()), AffinityText(r),
                      r.source_ranges() ? "yes" : "no", OrDash(r.return_path()), PodsText(r)});
        }
        rows->push_back(std::move(row));
      }
      break;
    case v1::DATAPLANE_TABLE_BACKEND:
      for (const auto& r : node.backends()) {
        rows->push_back({node.node(), std::to_string(r.backend_id()), OrDash(r.namespace_()),
                         OrDash(r.service()),
                         fmt::format("{}/{}", AddressPort(r.address(), r.port()), r.protocol()),
                         OrDash(r.state()), std::to_string(r.weight()), OrDash(r.scope()),
                         OrDash(r.pod()), OrDash(r.node())});
      }
      break;
    case v1::DATAPLANE_TABLE_CONNTRACK:
      for (const auto& r : node.conntrack()) {
        Row row = {node.node(),
                   r.protocol(),
                   AddressPort(r.source(), r.source_port()),
                   AddressPort(r.destination(), r.destination_port()),
                   AddressPort(r.backend(), r.backend_port()),
                   OrDash(r.state()),
                   HumanDuration(absl::Seconds(r.expires_in_seconds())),
                   std::to_string(r.packets()),
                   std::to_string(r.bytes())};
        if (wide) {
          row.insert(row.end(), {OrDash(r.namespace_()), OrDash(r.service()), OrDash(r.kind()),
                                 OrDash(r.source_pod()), OrDash(r.destination_pod())});
        }
        rows->push_back(std::move(row));
      }
      break;
    case v1::DATAPLANE_TABLE_ENDPOINT:
      for (const auto& r : node.endpoints()) {
        Row row = {
            node.node(), OrDash(r.namespace_()), OrDash(r.pod()),
            r.address6().empty() ? r.address() : fmt::format("{},{}", r.address(), r.address6()),
            OrDash(r.interface())};
        if (wide) {
          row.insert(row.end(),
                     {OrDash(r.mac()), std::to_string(r.ifindex()), std::to_string(r.identity())});
        }
        rows->push_back(std::move(row));
      }
      break;
    case v1::DATAPLANE_TABLE_TUNNEL:
      for (const auto& r : node.tunnels()) {
        rows->push_back(
            {node.node(), r.cidr(), OrDash(r.node()), r.node_ip(), OrDash(r.routing())});
      }
      break;
    case v1::DATAPLANE_TABLE_METRICS:
      for (const auto& r : node.metrics()) {
        rows->push_back({node.node(), r.reason(), OrDash(r.direction()),
                         std::to_string(r.packets()), std::to_string(r.bytes())});
      }
      break;
    case v1::DATAPLANE_TABLE_FLOW_OWNERS:
      for (const auto& r : node.flow_owners()) {
        rows->push_back({node.node(), OrDash(r.namespace_()),
                         r.address().empty() ? "(node)" : OrDash(r.pod()), OrDash(r.address()),
                         std::to_string(r.flows()), std::to_string(r.limit())});
      }
      if (node.max_entries() > 0) {
        rows->push_back({node.node(), "-", "(all)", "-", std::to_string(node.entries()),
                         std::to_string(node.max_entries())});
      }
      if (node.max_entries6() > 0) {
        rows->push_back({node.node(), "-", "(all, IPv6)", "-", std::to_string(node.entries6()),
                         std::to_string(node.max_entries6())});
      }
      break;
    default:
      AddInspectionRows(table, node, wide, rows);
      break;
  }
}

Row HeadersOf(v1::DataplaneTable table, bool wide) {
  switch (table) {
    case v1::DATAPLANE_TABLE_SERVICE: {
      Row row = {"NODE", "NAMESPACE", "SERVICE", "TYPE", "FRONTEND", "ALGORITHM", "BACKENDS"};
      if (wide) row.insert(row.end(), {"ID", "SCOPE", "AFFINITY", "RANGES", "RETURN", "PODS"});
      return row;
    }
    case v1::DATAPLANE_TABLE_BACKEND:
      return {"NODE",  "ID",     "NAMESPACE", "SERVICE", "BACKEND",
              "STATE", "WEIGHT", "SCOPE",     "POD",     "ON"};
    case v1::DATAPLANE_TABLE_CONNTRACK: {
      Row row = {"NODE",  "PROTO",   "SOURCE",  "DESTINATION", "BACKEND",
                 "STATE", "EXPIRES", "PACKETS", "BYTES"};
      if (wide) row.insert(row.end(), {"NAMESPACE", "SERVICE", "KIND", "FROM", "TO"});
      return row;
    }
    case v1::DATAPLANE_TABLE_ENDPOINT: {
      Row row = {"NODE", "NAMESPACE", "POD", "ADDRESS", "INTERFACE"};
      if (wide) row.insert(row.end(), {"MAC", "IFINDEX", "IDENTITY"});
      return row;
    }
    case v1::DATAPLANE_TABLE_TUNNEL:
      return {"NODE", "CIDR", "PEER", "VIA", "ROUTING"};
    case v1::DATAPLANE_TABLE_METRICS:
      return {"NODE", "REASON", "DIRECTION", "PACKETS", "BYTES"};
    case v1::DATAPLANE_TABLE_FLOW_OWNERS:
      return {"NODE", "NAMESPACE", "POD", "ADDRESS", "FLOWS", "LIMIT"};
    default:
      return InspectionHeaders(table, wide);
  }
}

}  // namespace

Table DataplaneTableOf(v1::DataplaneTable table, const v1::ListDataplaneResponse& response,
                       bool wide) {
  Table out;
  out.headers = HeadersOf(table, wide);
  for (const v1::DataplaneNode& node : response.nodes()) {
    if (node.error().empty()) AddRows(table, node, wide, &out.rows);
  }
  return out;
}

std::string OccupancyText(const v1::ListDataplaneResponse& response) {
  std::string text;
  for (const v1::DataplaneNode& node : response.nodes()) {
    if (!node.error().empty()) continue;
    std::string ipv6;
    if (node.max_entries6() > 0)
      ipv6 = fmt::format(", of IPv6 {} of {}", node.entries6(), node.max_entries6());
    text += fmt::format("{}: {} of {} entries{}, revision {}\n", node.node(), node.entries(),
                        node.max_entries(), ipv6, node.revision());
  }
  return text;
}

std::string FailureText(const v1::ListDataplaneResponse& response) {
  std::string text;
  for (const v1::DataplaneNode& node : response.nodes()) {
    if (!node.error().empty()) text += fmt::format("warning: {}: {}\n", node.node(), node.error());
  }
  return text;
}

}  // namespace mesh::cli
