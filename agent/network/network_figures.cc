// SPDX-License-Identifier: Apache-2.0
#include "agent/network/network_figures.h"

#include <algorithm>
#include <functional>
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

PolicyDropTotals::Key PolicyDropTotals::KeyOf(const v1::PolicySetState& set) {
  std::string ns, names;
  for (const std::string& policy : set.policies()) {
    const size_t slash = policy.find('/');
    ns = policy.substr(0, slash);
    names += (names.empty() ? "" : ",") + policy.substr(slash + 1);
  }
  return {ns, names, set.egress()};
}

void PolicyDropTotals::Note(const std::vector<dataplane::PolicyDrops>& rows,
                            const NodeState& state) {
  std::map<uint32_t, Seen> seen;
  for (const dataplane::PolicyDrops& row : rows) {
    const auto set = state.policy_sets.find(row.set);
    const auto before = seen_.find(row.row);
    // Refused, another set has not taken its place yet.
    if (set == state.policy_sets.end() && before == seen_.end()) continue;
    const bool goes_on = before != seen_.end() && before->second.packets <= row.packets;
    const Key key = set != state.policy_sets.end() ? KeyOf(*set->second) : before->second.key;
    totals_[key] += row.packets - (goes_on ? before->second.packets : 0);
    seen[row.row] = {key, row.packets};
  }
  seen_ = std::move(seen);
}

std::vector<NetworkFigures::PolicyDrops> PolicyDropTotals::Totals() const {
  std::vector<NetworkFigures::PolicyDrops> out;
  for (const auto& [key, packets] : totals_) {
    const auto& [ns, policies, egress] = key;
    out.push_back({.ns = ns, .policies = policies, .egress = egress, .packets = packets});
  }
  std::ranges::stable_sort(out, std::greater<>(), &NetworkFigures::PolicyDrops::packets);
  return out;
}

absl::Status FillFigures(const dataplane::Dataplane& dataplane, const NodeState* state,
                         PolicyDropTotals* drops, NetworkFigures* out) {
  v1::ListDataplaneRequest metrics;
  metrics.set_table(v1::DATAPLANE_TABLE_METRICS);
  absl::Status status = ListRows(metrics, dataplane, state, &out->rows);
  const auto usage = dataplane.FlowOwners();
  status.Update(usage.status());
  if (usage.ok()) FillOccupancy(*usage, &out->rows);
  for (const dataplane::ServiceFlows& row : dataplane.FlowsOfServices())
    out->services.push_back({row.ns, row.service, row.flows});
  const auto dropped = dataplane.DropsOfPolicies();
  status.Update(dropped.status());
  if (dropped.ok() && state != nullptr) drops->Note(*dropped, *state);
  out->policy_drops = drops->Totals();
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
