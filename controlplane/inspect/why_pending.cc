// SPDX-License-Identifier: Apache-2.0
// A pod that no node takes. What a node lacks is the scheduler's own verdict (scheduler.h); here it
// becomes words and changes.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "common/quantity.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/inspect/topics.h"
#include "controlplane/scheduler/scheduler.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::controlplane {
namespace {

using Kind = Obstacle::Kind;

constexpr size_t kMostNodes = 20;  // told one by one

// One obstacle in words, with the change of the pod and the one of the node that would remove it.
struct Told {
  std::string what;
  std::string pod_change;   // empty: none would
  std::string node_change;  // empty: none would
  // How far away the node is: small for a small change.
  double cost = 0;
};

class Teller {
 public:
  Teller(const ClusterState& state, const v1::Pod& pod, const NodeTable& table)
      : state_(state), pod_(pod), table_(table), owner_(TemplateTitle(state, pod)) {}

  Told Tell(const Obstacle& obstacle, int node) const {
    const std::string& name = table_.names[static_cast<size_t>(node)];
    switch (obstacle.kind) {
      case Kind::kNodeName:
        return {fmt::format("spec.nodeName is {}", pod_.spec().node_name()),
                fmt::format("remove spec.nodeName of {}", owner_), "", 4};
      case Kind::kNodeSelector:
        return Selector(obstacle, node);
      case Kind::kNodeAffinity:
        return {"matches no term of spec.affinity.nodeAffinity",
                fmt::format("give spec.affinity.nodeAffinity of {} a term that node {} matches",
                            owner_, name),
                fmt::format("give node {} the labels of a term", name), 3};
      case Kind::kPodAffinity:
        return {
            "no pod that spec.affinity.podAffinity asks for is near",
            fmt::format("take the required terms out of spec.affinity.podAffinity of {}", owner_),
            fmt::format("run such a pod near node {}", name), 3};
      case Kind::kPodAntiAffinity:
        return {"a pod that spec.affinity.podAntiAffinity keeps away is near",
                fmt::format("take the required terms out of spec.affinity.podAntiAffinity of {}",
                            owner_),
                "", 3};
      case Kind::kExistingPodAntiAffinity:
        return {"a pod is near whose spec.affinity.podAntiAffinity keeps this one away", "",
                fmt::format("move that pod away from node {}", name), 3};
      case Kind::kUnschedulable:
        if (IsTerminating(table_.nodes[static_cast<size_t>(node)]->metadata()))
          return {"is being deleted", "", "", 8};
        return {"takes no new pods (spec.unschedulable)", "",
                fmt::format("set spec.unschedulable of node {} to false", name), 1};
      case Kind::kTaint:
        return {fmt::format("has the taint {{{}}}, which the pod does not tolerate",
                            obstacle.missing.front()),
                fmt::format("give {} a toleration of it", owner_),
                fmt::format("take the taint off: meshctl taint node {} {}-", name,
                            obstacle.missing.front().substr(0, obstacle.missing.front().find(':'))),
                2};
      case Kind::kNoDomain:
        return {"lacks a topologyKey of spec.topologySpreadConstraints",
                fmt::format("take it out of spec.topologySpreadConstraints of {}", owner_),
                fmt::format("give node {} that label", name), 3};
      case Kind::kSkew:
        return {"is where too many of the pods are that spec.topologySpreadConstraints spreads",
                fmt::format("raise maxSkew of {}, or say ScheduleAnyway", owner_),
                "make room in the domains that have fewer", 3};
      case Kind::kNotReady:
        return NotReady(node);
      case Kind::kCpu:
        return Amount(obstacle, node, "cpu", FormatCpuMilli);
      case Kind::kMemory:
        return Amount(obstacle, node, "memory", FormatBytes);
      case Kind::kPods:
        return {fmt::format("has {} pods, as many as it takes", obstacle.capacity), "",
                fmt::format("delete a pod of node {}", name), 1};
      case Kind::kHostPort:
        return Ports(node);
      case Kind::kNoAddress:
        return {fmt::format("has no free pod address in {}",
                            table_.nodes[static_cast<size_t>(node)]->spec().pod_cidr()),
                "", fmt::format("delete a pod of node {}", name), 1};
      case Kind::kVolumeAffinity:
        return {"does not have the volume of a claim", "", "", 9};
      case Kind::kNoVolume:
        return {"has no volume for a claim that waits for the pod, and can make none", "",
                fmt::format("make a PersistentVolume for it on node {}", name), 4};
    }
    return {};
  }

 private:
  Told Selector(const Obstacle& obstacle, int node) const {
    const v1::Node& object = *table_.nodes[static_cast<size_t>(node)];
    std::vector<std::string> has;
    for (const std::string& pair : obstacle.missing) {
      const std::string key = pair.substr(0, pair.find('='));
      const auto it = object.metadata().labels().find(key);
      if (it != object.metadata().labels().end())
        has.push_back(fmt::format("{}={}", key, it->second));
    }
    const std::string wanted = fmt::format("{}", fmt::join(obstacle.missing, ","));
    return {fmt::format("lacks the label{} {} of spec.nodeSelector{}",
                        obstacle.missing.size() == 1 ? "" : "s", wanted,
                        has.empty() ? "" : fmt::format(" (it has {})", fmt::join(has, ","))),
            fmt::format("take {} out of spec.nodeSelector of {}", wanted, owner_),
            fmt::format("give node {} the label{} {}", table_.names[static_cast<size_t>(node)],
                        obstacle.missing.size() == 1 ? "" : "s", wanted),
            2.0 * static_cast<double>(obstacle.missing.size())};
  }

  Told NotReady(int node) const {
    const v1::Node& object = *table_.nodes[static_cast<size_t>(node)];
    const v1::Condition* ready = FindCondition(object.status().conditions(), "Ready");
    std::string why = ready == nullptr ? "it has not reported yet" : ready->message();
    if (why.empty() && ready != nullptr) why = ready->reason();
    return {fmt::format("is not ready{}{}", why.empty() ? "" : ": ", why), "",
            fmt::format("bring node {} back: its mesh-agent, its container runtime or its way to "
                        "meshd",
                        table_.names[static_cast<size_t>(node)]),
            5};
  }

  template <typename Format>
  Told Amount(const Obstacle& o, int node, std::string_view resource, Format format) const {
    const std::string& name = table_.names[static_cast<size_t>(node)];
    const int64_t missing = o.wanted - o.free;
    Told out;
    out.what = fmt::format("needs {} {}, {} of {} free", format(o.wanted), resource, format(o.free),
                           format(o.capacity));
    if (o.free > 0) {
      out.pod_change =
          fmt::format("lower the {} request of {} to {}", resource, owner_, format(o.free));
    } else if (o.capacity > 0 && o.wanted > o.capacity) {
      out.pod_change = "";
    }
    if (o.wanted <= o.capacity) {
      out.node_change = fmt::format("free {} {} on node {}", format(missing), resource, name);
      if (const std::string pod = SmallestAtLeast(missing, node, resource == "cpu"); !pod.empty())
        out.node_change += fmt::format(" (pod {} asks for enough)", pod);
    }
    out.cost = static_cast<double>(missing) /
               static_cast<double>(std::max<int64_t>(std::max(o.wanted, o.capacity), 1));
    return out;
  }

  // The pod of the node that asks for the least that is enough; empty: none does.
  std::string SmallestAtLeast(int64_t amount, int node, bool cpu) const {
    std::string best;
    int64_t best_amount = 0;
    for (const auto& [key, pod] : state_.pods) {
      if (pod->spec().node_name() != table_.names[static_cast<size_t>(node)]) continue;
      if (!IsBound(*pod) || IsFinished(*pod)) continue;
      const Request request = RequestOf(pod->spec());
      const int64_t has = cpu ? request.cpu_milli : request.memory_bytes;
      if (has < amount || (!best.empty() && has >= best_amount)) continue;
      best = key.ToString();
      best_amount = has;
    }
    return best;
  }

  Told Ports(int node) const {
    const std::vector<HostPort> wanted = HostPortsOf(pod_.spec());
    for (const auto& [key, other] : state_.pods) {
      if (other->spec().node_name() != table_.names[static_cast<size_t>(node)]) continue;
      if (!IsBound(*other) || IsFinished(*other)) continue;
      for (const HostPort& taken : HostPortsOf(other->spec())) {
        for (const HostPort& port : wanted) {
          if (!taken.Conflicts(port)) continue;
          return {fmt::format("hostPort {} is taken by pod {}", port.port, key.ToString()),
                  fmt::format("give {} another hostPort than {}", owner_, port.port),
                  fmt::format("delete pod {}", key.ToString()), 2};
        }
      }
    }
    return {"a hostPort is taken", fmt::format("give {} another hostPort", owner_), "", 2};
  }

  const ClusterState& state_;
  const v1::Pod& pod_;
  const NodeTable& table_;
  const std::string owner_;
};

// One node, with all that it has against the pod.
struct Candidate {
  int node = 0;
  double cost = 0;
  std::string text;
  std::vector<std::string> remedies;
};

// Every obstacle has to go: one change of the pod for each, or one of the node where the pod
// cannot give way; and the other way round.
std::vector<std::string> Remedies(const std::vector<Told>& told) {
  std::vector<std::string> out;
  for (const bool pod_first : {true, false}) {
    std::vector<std::string> parts;
    for (const Told& one : told) {
      const std::string& first = pod_first ? one.pod_change : one.node_change;
      const std::string& second = pod_first ? one.node_change : one.pod_change;
      parts.push_back(first.empty() ? second : first);
    }
    if (std::ranges::any_of(parts, [](const std::string& part) { return part.empty(); })) return {};
    std::string all = fmt::format("{}", fmt::join(parts, " and "));
    if (std::ranges::find(out, all) == out.end()) out.push_back(std::move(all));
  }
  return out;
}

}  // namespace

void WhyPending(const ClusterState& state, const v1::Pod& pod, Report* report) {
  const std::string title = PodTitle(pod);
  const std::string& ns_name = pod.metadata().namespace_();
  const v1::Namespace* ns = FindObject(state.namespaces, {"", ns_name});
  if (ns == nullptr || ns->status().identity() == 0) {
    report->Problem(title,
                    fmt::format("namespace {} {}, so nobody could be told who the pod is", ns_name,
                                ns == nullptr ? "does not exist" : "has no identity yet"),
                    ns == nullptr ? Report::Remedies{fmt::format("create namespace {}", ns_name)}
                                  : Report::Remedies{});
    return;
  }
  if (state.nodes.empty()) {
    report->Problem(title, "no node takes it: the cluster has no nodes",
                    {"start mesh-agent on a machine"});
    return;
  }
  const std::string taken = NodePortAmong(state, HostPortsOf(pod.spec()));
  if (!taken.empty()) {
    report->Problem(title, "no node takes it: " + taken,
                    {fmt::format("give {} another hostPort", TemplateTitle(state, pod))});
    return;
  }
  const PodVolumes volumes(state, pod);
  if (!volumes.problem().empty()) {
    report->Problem(title, "no node takes it: " + volumes.problem());
    return;
  }
  if (!volumes.awaited().empty()) {
    report->Note(title, "waits for its volume: " + volumes.awaited());
    return;
  }
  const NodeTable table = NodeTable::Build(state);
  const std::string& node_name = pod.spec().node_name();
  if (!node_name.empty() && table.IndexOf(node_name) < 0) {
    report->Problem(title, fmt::format("spec.nodeName is {}, and there is no such node", node_name),
                    {fmt::format("remove spec.nodeName of {}, or name one of {}",
                                 TemplateTitle(state, pod), NameList(table.names))});
    return;
  }
  AddressPool::Cursors cursors;
  const AddressPool addresses(state, table, &cursors);
  const PodAffinity near(state, table, FindAntiAffine(state, table), pod);
  const Teller teller(state, pod, table);
  std::vector<Candidate> candidates;
  for (size_t i = 0; i < table.size(); ++i) {
    const int node = static_cast<int>(i);
    const auto obstacles = ObstaclesOf(table, addresses, pod.spec(), node, near, volumes);
    if (obstacles.empty()) {
      report->Note(title,
                   fmt::format("waits for the scheduler: node {} has room for it", table.names[i]));
      return;
    }
    Candidate candidate{.node = node};
    std::vector<Told> told;
    for (const Obstacle& obstacle : obstacles) {
      told.push_back(teller.Tell(obstacle, node));
      candidate.text += (candidate.text.empty() ? "" : "; ") + told.back().what;
      candidate.cost += told.back().cost;
    }
    candidate.remedies = Remedies(told);
    if (candidate.remedies.empty()) candidate.cost += 1000;
    candidates.push_back(std::move(candidate));
  }
  std::ranges::stable_sort(candidates, {}, &Candidate::cost);
  Report::Remedies smallest = candidates.front().remedies;
  if (smallest.empty()) {
    const Request request = RequestOf(pod.spec());
    smallest.push_back(fmt::format("add a node with {} cpu and {} memory free",
                                   FormatCpuMilli(request.cpu_milli),
                                   FormatBytes(request.memory_bytes)));
  }
  report->Problem(
      title,
      fmt::format("pending: {}", Explain(table, addresses, pod.spec(), near, volumes).ToString()),
      smallest);
  for (size_t i = 0; i < candidates.size() && i < kMostNodes; ++i) {
    const Candidate& candidate = candidates[i];
    report->Note("node " + table.names[static_cast<size_t>(candidate.node)], candidate.text,
                 candidate.remedies);
  }
  if (candidates.size() > kMostNodes)
    report->Note(title,
                 fmt::format("{} more nodes are further away", candidates.size() - kMostNodes));
}

}  // namespace mesh::controlplane
