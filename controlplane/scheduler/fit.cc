// SPDX-License-Identifier: Apache-2.0
#include "controlplane/scheduler/fit.h"

#include <algorithm>

#include "common/quantity.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/scheduler/affinity.h"
#include "controlplane/scheduler/node_table.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

std::string SelectorText(const v1::PodSpec& spec) {
  const std::map<std::string, std::string> sorted(spec.node_selector().begin(),
                                                  spec.node_selector().end());
  std::string out;
  for (const auto& [key, value] : sorted)
    out += fmt::format("{}{}={}", out.empty() ? "" : ",", key, value);
  return out;
}

}  // namespace

std::vector<std::string> WhyNeverFits(const ClusterState& state, const v1::PodSpec& spec) {
  if (state.nodes.empty()) return {};
  const NodeTable table = NodeTable::Build(state);
  if (!spec.node_name().empty()) {
    if (table.IndexOf(spec.node_name()) >= 0) return {};
    return {fmt::format("node \"{}\" of spec.nodeName does not exist", spec.node_name())};
  }
  const Request request = RequestOf(spec);
  bool selected = false;
  int64_t most_cpu = 0, most_memory = 0;
  for (size_t i = 0; i < table.size(); ++i) {
    if (!MatchesLabels(spec.node_selector(), table.nodes[i]->metadata().labels())) continue;
    if (!MatchesNodeAffinity(spec, *table.nodes[i])) continue;
    selected = true;
    if (request.cpu_milli <= table.cpu_allocatable[i] &&
        request.memory_bytes <= table.memory_allocatable[i])
      return {};
    most_cpu = std::max(most_cpu, table.cpu_allocatable[i]);
    most_memory = std::max(most_memory, table.memory_allocatable[i]);
  }
  const bool has_affinity =
      spec.affinity().node_affinity().has_required_during_scheduling_ignored_during_execution();
  if (!selected && has_affinity)
    return {"no node matches spec.nodeSelector and spec.affinity.nodeAffinity"};
  if (!selected) return {fmt::format("no node has the labels {}", SelectorText(spec))};
  std::vector<std::string> reasons;
  const std::string_view which =
      spec.node_selector().empty() && !has_affinity ? "node" : "selected node";
  if (request.cpu_milli > most_cpu)
    reasons.push_back(fmt::format("requests cpu {}, the largest {} has {}",
                                  FormatCpuMilli(request.cpu_milli), which,
                                  FormatCpuMilli(most_cpu)));
  if (request.memory_bytes > most_memory)
    reasons.push_back(fmt::format("requests memory {}, the largest {} has {}",
                                  FormatBytes(request.memory_bytes), which,
                                  FormatBytes(most_memory)));
  if (reasons.empty())
    reasons.push_back(fmt::format("no {} has cpu {} and memory {} together", which,
                                  FormatCpuMilli(request.cpu_milli),
                                  FormatBytes(request.memory_bytes)));
  return reasons;
}

}  // namespace mesh::controlplane
