// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics.h"

#include <algorithm>
#include <string>

#include "common/version.h"

namespace mesh::agent {
namespace {

bool IsForwarded(const std::string& reason) {
  return reason == "forwarded" || reason == "forwarded_xdp";
}
// Neither carried nor lost: the node's own stack has it, or it was answered here.
bool IsHandled(const std::string& reason) { return reason == "to_stack" || reason == "answered"; }

void WritePackets(const v1::DataplaneNode& rows, MetricsWriter& out) {
  for (const v1::MetricRow& row : rows.metrics()) {
    MetricsWriter::Labels labels = {{"direction", row.direction()}};
    const auto packets = static_cast<double>(row.packets());
    const auto bytes = static_cast<double>(row.bytes());
    if (IsForwarded(row.reason())) {
      labels.emplace_back("hook", row.reason() == "forwarded" ? "tc" : "xdp");
      out.Counter("mesh_datapath_forwarded_packets_total", "Packets that were carried on.", labels,
                  packets);
      out.Counter("mesh_datapath_forwarded_bytes_total",
                  "Bytes of carried packets, with their Ethernet headers.", labels, bytes);
      continue;
    }
    labels.emplace_back("reason", row.reason());
    if (IsHandled(row.reason())) {
      out.Counter("mesh_datapath_handled_packets_total",
                  "Packets left to the node's own stack, or answered in the datapath.", labels,
                  packets);
      continue;
    }
    out.Counter("mesh_datapath_dropped_packets_total", "Packets that were dropped, by reason.",
                labels, packets);
    out.Counter("mesh_datapath_dropped_bytes_total",
                "Bytes of dropped packets, with their Ethernet headers.", labels, bytes);
  }
}

void WriteConnections(const v1::DataplaneNode& rows, MetricsWriter& out) {
  const auto write = [&](const char* family, uint32_t entries, uint32_t max_entries) {
    if (max_entries == 0) return;
    out.Gauge("mesh_datapath_connections", "Connections that the node follows.",
              {{"family", family}}, entries);
    out.Gauge("mesh_datapath_connections_max", "Connections that the node has room for.",
              {{"family", family}}, max_entries);
  };
  write("ipv4", rows.entries(), rows.max_entries());
  write("ipv6", rows.entries6(), rows.max_entries6());
}

void WriteServices(const NetworkFigures& figures, MetricsWriter& out) {
  const char* name = "mesh_service_connections";
  const char* help = "Connections through a Service that clients of this node have open.";
  uint64_t others = 0;
  for (size_t i = 0; i < figures.services.size(); ++i) {
    const NetworkFigures::ServiceConnections& row = figures.services[i];
    if (i >= kServicesShown) {
      others += row.connections;
      continue;
    }
    out.Gauge(name, help, {{"namespace", row.ns}, {"service", row.service}}, row.connections);
  }
  if (others > 0) {
    out.Gauge(name, help, {{"namespace", ""}, {"service", "(other)"}}, static_cast<double>(others));
  }
}

// No sum of the others: a Service that leaves it would look like a counter that begins anew.
void WriteTraffic(const NetworkFigures& figures, MetricsWriter& out) {
  for (size_t i = 0; i < std::min(figures.traffic.size(), kServicesShown); ++i) {
    const NetworkFigures::ServiceTraffic& row = figures.traffic[i];
    const MetricsWriter::Labels labels = {{"namespace", row.ns}, {"service", row.service}};
    out.Counter("mesh_service_connections_total", "Connections begun through a Service.", labels,
                static_cast<double>(row.connections));
    if (row.handshakes.count() == 0) continue;
    out.Histogram("mesh_service_handshake_seconds",
                  "From the first SYN through a Service to its first answer.", labels,
                  row.handshakes);
  }
}

void WritePolicyDrops(const NetworkFigures& figures, MetricsWriter& out) {
  for (size_t i = 0; i < std::min(figures.policy_drops.size(), kServicesShown); ++i) {
    const NetworkFigures::PolicyDrops& row = figures.policy_drops[i];
    out.Counter("mesh_policy_dropped_packets_total",
                "Packets that no rule of the policies allowed that select the pod.",
                {{"direction", row.egress ? "egress" : "ingress"},
                 {"namespace", row.ns},
                 {"policies", row.policies}},
                static_cast<double>(row.packets));
  }
}

void WriteMaps(const v1::DataplaneNode& rows, MetricsWriter& out) {
  for (const v1::MapRow& row : rows.maps()) {
    const MetricsWriter::Labels labels = {{"map", row.name()}};
    out.Gauge("mesh_datapath_map_memory_bytes", "Memory that the kernel accounts to a BPF map.",
              labels, static_cast<double>(row.memory_bytes()));
    // An array has all its rows from the beginning: that is no pressure.
    if (row.type().find("array") != std::string::npos) continue;
    out.Gauge("mesh_datapath_map_entries", "Rows of a BPF map.", labels, row.entries());
    out.Gauge("mesh_datapath_map_max_entries", "Rows that a BPF map has room for.", labels,
              row.max_entries());
  }
}

void WriteSync(const NetworkFigures& figures, MetricsWriter& out) {
  out.Gauge("mesh_agent_ready", "1 when pods can be attached.", {}, figures.ready ? 1 : 0);
  out.Gauge("mesh_agent_received_revision", "Newest revision that the control plane has sent.", {},
            static_cast<double>(figures.newest_revision));
  out.Gauge("mesh_agent_applied_revision", "Revision that the maps hold.", {},
            static_cast<double>(figures.applied_revision));
  if (figures.applied_at != absl::InfinitePast()) {
    out.Gauge("mesh_agent_last_apply_timestamp_seconds",
              "When the maps were last brought to a state.", {},
              absl::ToDoubleSeconds(figures.applied_at - absl::UnixEpoch()));
  }
  out.Counter("mesh_agent_applies_total", "Times that the maps were brought to a state.", {},
              static_cast<double>(figures.applies));
  out.Counter("mesh_agent_failed_applies_total", "Those that failed, and are tried again.", {},
              static_cast<double>(figures.failed_applies));
  out.Counter("mesh_agent_apply_seconds_total", "Time that they took.", {},
              absl::ToDoubleSeconds(figures.apply_time));
}

void WriteDns(const v1::DataplaneNode& rows, MetricsWriter& out) {
  for (const v1::DnsCounter& row : rows.dns_counters()) {
    const auto count = static_cast<double>(row.count());
    if (row.name() == "queries") {
      out.Counter("mesh_agent_dns_queries_total", "Questions of pods to the node's resolver.", {},
                  count);
    } else if (row.name().starts_with("upstream_")) {
      out.Counter("mesh_agent_dns_upstream_total", "Questions passed on, by what came back.",
                  {{"outcome", row.name().substr(9)}}, count);
    } else if (row.name() != "queries_tcp") {
      out.Counter("mesh_agent_dns_answers_total", "What became of questions.",
                  {{"outcome", row.name()}}, count);
    }
  }
}

}  // namespace

void WriteFigures(const NetworkFigures& figures, MetricsWriter& out) {
  out.Gauge("mesh_agent_build_info", "1; the version is in the label.", {{"version", kVersion}}, 1);
  WriteSync(figures, out);
  WritePackets(figures.rows, out);
  WriteConnections(figures.rows, out);
  WriteServices(figures, out);
  WriteTraffic(figures, out);
  WritePolicyDrops(figures, out);
  WriteMaps(figures.rows, out);
  WriteDns(figures.rows, out);
}

}  // namespace mesh::agent
