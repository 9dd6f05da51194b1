// SPDX-License-Identifier: Apache-2.0
#include "agent/network/network_figures.h"

#include <utility>
#include <vector>

#include "agent/network/dataplane_rows.h"
#include "mesh/shared/service_traffic_map.h"

namespace mesh::agent {
namespace {

// Upper ends of the buckets of mesh_svc_count but for the last.
std::vector<absl::Duration> HandshakeBounds() {
  std::vector<absl::Duration> out;
  for (int i = 0; i < MESH_HANDSHAKE_BUCKETS - 1; ++i)
    out.push_back(absl::Nanoseconds(MESH_HANDSHAKE_FIRST_NS << i));
  return out;
}

}  // namespace

absl::Status FillFigures(const dataplane::Dataplane& dataplane, const NodeState* state,
                         NetworkFigures* out) {
  v1::ListDataplaneRequest metrics;
  metrics.set_table(v1::DATAPLANE_TABLE_METRICS);
  absl::Status status = ListRows(metrics, dataplane, state, &out->rows);
  const auto usage = dataplane.FlowOwners();
  status.Update(usage.status());
  if (usage.ok()) FillOccupancy(*usage, &out->rows);
  for (const dataplane::ServiceFlows& row : dataplane.FlowsOfServices())
    out->services.push_back({row.ns, row.service, row.flows});
  const auto traffic = dataplane.TrafficOfServices();
  status.Update(traffic.status());
  if (!traffic.ok()) return status;
  for (const dataplane::ServiceTraffic& row : *traffic) {
    DurationHistogram handshakes(HandshakeBounds());
    handshakes.Add(row.handshakes, row.handshake_time);
    out->traffic.push_back({row.ns, row.service, row.connections, std::move(handshakes)});
  }
  return status;
}

}  // namespace mesh::agent
