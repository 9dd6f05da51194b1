// SPDX-License-Identifier: Apache-2.0
#include "controlplane/scheduler/node_table.h"

#include <algorithm>

#include "common/check.h"
#include "common/quantity.h"
#include "controlplane/controllers/objects.h"

namespace mesh::controlplane {
namespace {

// What a pod without requests is assumed to use, for scores only (as in Kubernetes).
constexpr int64_t kDefaultCpuMilli = 100;
constexpr int64_t kDefaultMemoryBytes = 200 << 20;
constexpr int64_t kDefaultMaxPods = 110;

int64_t Allocatable(const v1::Node& node, const std::string& name, bool milli, int64_t otherwise) {
  for (const auto* map : {&node.status().allocatable(), &node.status().capacity()}) {
    auto it = map->find(name);
    if (it == map->end()) continue;
    const auto value =
        milli ? ParseQuantityMilli(it->second.text()) : ParseQuantity(it->second.text());
    return value.value_or(otherwise);
  }
  return otherwise;
}

}  // namespace

NodeTable NodeTable::Build(const ClusterState& state) {
  NodeTable out;
  for (const auto& [key, node] : state.nodes) {
    out.names.push_back(key.name);
    out.nodes.push_back(node.get());
    out.ready.push_back(IsNodeReady(*node));
    out.schedulable.push_back(!node->spec().unschedulable() && !IsTerminating(node->metadata()));
    out.cpu_allocatable.push_back(Allocatable(*node, "cpu", true, 0));
    out.memory_allocatable.push_back(Allocatable(*node, "memory", false, 0));
    out.pods_allocatable.push_back(Allocatable(*node, "pods", false, kDefaultMaxPods));
  }
  const size_t count = out.names.size();
  for (auto* used :
       {&out.cpu_used, &out.memory_used, &out.pods_used, &out.cpu_weighed, &out.memory_weighed})
    used->assign(count, 0);
  out.host_ports.resize(count);
  for (const auto& [key, pod] : state.pods) {
    if (!IsBound(*pod) || IsFinished(*pod)) continue;
    if (const int node = out.IndexOf(pod->spec().node_name()); node >= 0) {
      out.Add(node, RequestOf(pod->spec()));
      out.AddHostPorts(node, HostPortsOf(pod->spec()));
    }
  }
  return out;
}

int NodeTable::IndexOf(const std::string& name) const {
  auto it = std::lower_bound(names.begin(), names.end(), name);
  return it == names.end() || *it != name ? -1 : static_cast<int>(it - names.begin());
}

void NodeTable::Add(int node, const Request& request, int sign) {
  cpu_used[node] += sign * request.cpu_milli;
  memory_used[node] += sign * request.memory_bytes;
  pods_used[node] += sign;
  cpu_weighed[node] += sign * (request.cpu_milli > 0 ? request.cpu_milli : kDefaultCpuMilli);
  memory_weighed[node] +=
      sign * (request.memory_bytes > 0 ? request.memory_bytes : kDefaultMemoryBytes);
}

void NodeTable::AddHostPorts(int node, const std::vector<HostPort>& ports) {
  host_ports[node].insert(host_ports[node].end(), ports.begin(), ports.end());
}

bool NodeTable::HasHostPorts(int node, const std::vector<HostPort>& ports) const {
  return std::none_of(ports.begin(), ports.end(), [&](const HostPort& wanted) {
    return std::any_of(host_ports[node].begin(), host_ports[node].end(),
                       [&](const HostPort& taken) { return taken.Conflicts(wanted); });
  });
}

AddressPool::AddressPool(const ClusterState& state, const NodeTable& table, Cursors* cursors)
    : table_(table), ranges_(table.size()), cursors_(cursors) {
  for (size_t i = 0; i < table.size(); ++i) {
    const auto prefix = IpPrefix::Parse(table.nodes[i]->spec().pod_cidr());
    if (!prefix.ok() || !prefix->base().is_v4()) continue;
    Range& range = ranges_[i];
    range.prefix = *prefix;
    for (const std::string& text : table.nodes[i]->spec().pod_cidrs()) {
      const auto other = IpPrefix::Parse(text);
      if (other.ok() && !other->base().is_v4()) range.prefix6 = *other;
    }
    const uint64_t size = std::min<uint64_t>(prefix->size(), 1 << 16);
    range.first = 2;
    range.end = static_cast<uint32_t>(std::max<uint64_t>(size - size / 16, 2));
    range.used.assign(range.end, false);
    range.cursor = range.first;
  }
  std::vector<absl::Time> youngest(table.size(), absl::InfinitePast());
  for (const auto& [key, pod] : state.pods) {
    if (pod->status().pod_ip().empty()) continue;
    const int node = table.IndexOf(pod->spec().node_name());
    if (node < 0) continue;
    Range& range = ranges_[node];
    const auto ip = IpAddress::Parse(pod->status().pod_ip());
    if (!ip.ok() || range.end == 0 || !range.prefix.Contains(*ip)) continue;
    const uint32_t host = ip->v4() - range.prefix.base().v4();
    if (host >= range.end) continue;
    if (!range.used[host] && host >= range.first) ++range.used_count;
    range.used[host] = true;
    const absl::Time born = ToTime(pod->metadata().creation_timestamp());
    if (born >= youngest[node]) {
      youngest[node] = born;
      range.cursor = host + 1;
    }
  }
  for (size_t i = 0; i < table.size(); ++i)
    if (auto it = cursors->find(table.names[i]); it != cursors->end())
      ranges_[i].cursor = it->second;
}

bool AddressPool::HasFree(int node) const {
  const Range& range = ranges_[node];
  return range.end > range.first && range.used_count < range.end - range.first;
}

PodAddresses AddressPool::Take(int node) {
  MESH_CHECK(HasFree(node)) << table_.names[node];
  Range& range = ranges_[node];
  uint32_t host = range.cursor;
  while (host < range.first || host >= range.end || range.used[host])
    host = host + 1 >= range.end ? range.first : host + 1;
  range.used[host] = true;
  ++range.used_count;
  range.cursor = host + 1;
  (*cursors_)[table_.names[node]] = range.cursor;
  return {.v4 = *range.prefix.At(host),
          .v6 = range.prefix6 ? range.prefix6->At(host) : std::nullopt};
}

}  // namespace mesh::controlplane
