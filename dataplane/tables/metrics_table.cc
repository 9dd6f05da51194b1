// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/metrics_table.h"

#include "dataplane/reasons.h"

namespace mesh::dataplane {

MetricRow DecodeMetric(uint32_t index, const std::vector<mesh_metrics_value>& per_cpu) {
  MetricRow row;
  row.reason = ReasonName(index / 2);
  row.direction = index % 2 == MESH_DIRECTION_EGRESS ? "egress" : "ingress";
  for (const mesh_metrics_value& value : per_cpu) {
    row.packets += value.packets;
    row.bytes += value.bytes;
  }
  return row;
}

void AddTraffic(const std::vector<mesh_service_traffic_value>& per_cpu, ServiceTraffic* to) {
  to->handshakes.resize(MESH_HANDSHAKE_BUCKETS);
  for (const mesh_service_traffic_value& value : per_cpu) {
    to->connections += value.connections;
    to->handshake_time += absl::Nanoseconds(value.handshake_ns);
    for (size_t i = 0; i < to->handshakes.size(); ++i) to->handshakes[i] += value.handshakes[i];
  }
}

}  // namespace mesh::dataplane
