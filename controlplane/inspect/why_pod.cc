// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "controlplane/controllers/objects.h"
#include "controlplane/inspect/topics.h"
#include "controlplane/scheduler/scheduler.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::controlplane {
namespace {

// What is not yet over when the grace period is.
constexpr absl::Duration kUsualStop = absl::Seconds(5);
// Of the agent (agent/network/port_watch.h), which tells it again each minute.
constexpr char kPortsTaken[] = "SourcePortsTaken";
constexpr absl::Duration kOfLate = absl::Minutes(2);

void WhyTerminating(const ClusterState& state, const v1::Pod& pod, absl::Time now, Report* report) {
  const std::string title = PodTitle(pod);
  const absl::Time end = ToTime(pod.metadata().deletion_timestamp());
  std::vector<std::string> running;
  for (const v1::ContainerStatus& status : pod.status().container_statuses())
    if (status.state().has_running()) running.push_back(status.name());
  const std::string& node = pod.spec().node_name();
  if (!node.empty() && !IsNodeHeard(state, node)) {
    report->Problem(
        title,
        fmt::format("is being deleted, and its node {} {}: only the node can say that the "
                    "containers have stopped",
                    node, state.nodes.contains({"", node}) ? "is silent" : "does not exist"),
        {fmt::format("bring node {} back", node),
         fmt::format("if the machine is gone for good: meshctl delete node {}", node),
         fmt::format("meshctl delete pod {} -n {} --force", pod.metadata().name(),
                     pod.metadata().namespace_())});
    return;
  }
  const std::string when = now < end
                               ? fmt::format("its grace period ends in {}", Elapsed(end - now))
                               : fmt::format("its grace period ended {} ago", Elapsed(now - end));
  if (!running.empty()) {
    const std::string text = fmt::format("is being deleted: container {} still runs; {}",
                                         fmt::join(running, ", "), when);
    if (now > end + kUsualStop) {
      report->Problem(title, text, {fmt::format("look at the container runtime of node {}", node)});
    } else {
      report->Note(title, text,
                   {fmt::format("end it at once: meshctl delete pod {} -n {} --force",
                                pod.metadata().name(), pod.metadata().namespace_())});
    }
    return;
  }
  if (!pod.metadata().finalizers().empty()) {
    report->Problem(
        title,
        fmt::format("is being deleted and has stopped; it waits for who set the finalizers {}",
                    fmt::join(pod.metadata().finalizers(), ", ")),
        {"let their owner finish, or remove metadata.finalizers"});
    return;
  }
  report->Note(title, fmt::format("is being deleted; {}", when));
}

// What agent and scheduler have met that is in no status: calls `told` with each warning about the
// pod.
template <typename Told>
void ForEachWarning(const ClusterState& state, const v1::Pod& pod, const Told& told) {
  for (const auto& [key, event] : InNamespace(state.events, pod.metadata().namespace_())) {
    const v1::ObjectReference& about = event->involved_object();
    if (event->type() != "Warning" || about.kind() != "Pod" ||
        about.name() != pod.metadata().name() || about.uid() != pod.metadata().uid())
      continue;
    told(*event);
  }
}

bool IsNewer(const v1::Event& event, const v1::Event* than) {
  return than == nullptr || ToTime(than->last_timestamp()) < ToTime(event.last_timestamp());
}

void AddNewestWarning(const ClusterState& state, const v1::Pod& pod, absl::Time now,
                      Report* report) {
  const v1::Event* newest = nullptr;
  ForEachWarning(state, pod, [&](const v1::Event& event) {
    if (IsNewer(event, newest)) newest = &event;
  });
  if (newest == nullptr) return;
  report->Note(PodTitle(pod), fmt::format("last warning, {} ago: {}: {}",
                                          Elapsed(now - ToTime(newest->last_timestamp())),
                                          newest->reason(), newest->message()));
}

}  // namespace

void NoteNode(const v1::Node& node, Report* report) {
  for (const char* type : {"AddressesPresent", "MtuFollowed", "PoliciesInForce", "StateSaved"}) {
    const v1::Condition* condition = FindCondition(node.status().conditions(), type);
    if (condition != nullptr && condition->status() == "False")
      report->Note("node " + node.metadata().name(), condition->message());
  }
}

void WhyNetwork(const ClusterState& state, const v1::Pod& pod, absl::Time now, Report* report) {
  // One for each port that is not served; of the others the newest.
  std::map<std::pair<std::string, std::string>, const v1::Event*> warnings;
  ForEachWarning(state, pod, [&](const v1::Event& event) {
    const bool is_of_port = event.reason() == "HostPortNotServed";
    if (!is_of_port && event.reason() != "FlowQuotaReached" && event.reason() != kPortsTaken)
      return;
    const v1::Event*& newest = warnings[{event.reason(), is_of_port ? event.message() : ""}];
    if (IsNewer(event, newest)) newest = &event;
  });
  for (const auto& [key, event] : warnings)
    report->Note(PodTitle(pod), fmt::format("warning, {} ago: {}: {}",
                                            Elapsed(now - ToTime(event->last_timestamp())),
                                            event->reason(), event->message()));
}

std::optional<absl::Time> PortsTakenAt(const ClusterState& state, const v1::Pod& pod,
                                       const std::string& place, absl::Time now) {
  std::optional<absl::Time> out;
  ForEachWarning(state, pod, [&](const v1::Event& event) {
    if (event.reason() != kPortsTaken ||
        event.message().find(" to " + place + " are ") == std::string::npos)
      return;
    const absl::Time at = ToTime(event.last_timestamp());
    if (now - at < kOfLate && (!out.has_value() || *out < at)) out = at;
  });
  return out;
}

void WhyPod(const ClusterState& state, const v1::Pod& pod, absl::Time now, Report* report) {
  const std::string title = PodTitle(pod);
  if (IsTerminating(pod.metadata())) return WhyTerminating(state, pod, now, report);
  if (IsFinished(pod)) {
    if (!pod.status().reason().empty() || !pod.status().message().empty())
      report->Problem(title, fmt::format("{}: {}", pod.status().reason(), pod.status().message()));
    WhyContainers(state, pod, now, report);
    if (!report->HasProblem())
      report->Note(title, fmt::format("has finished: {}", pod.status().phase()));
    return;
  }
  if (!IsBound(pod)) return WhyPending(state, pod, report);
  const std::string& node = pod.spec().node_name();
  if (!IsNodeHeard(state, node)) {
    const v1::Node* object = FindObject(state.nodes, {"", node});
    const v1::Condition* ready =
        object == nullptr ? nullptr : FindCondition(object->status().conditions(), "Ready");
    std::string_view why = ready == nullptr ? std::string_view() : ready->message();
    if (why.ends_with('.')) why.remove_suffix(1);
    report->Problem("node " + node,
                    object == nullptr
                        ? "does not exist any more"
                        : fmt::format("is silent{}{}: what is known of the pod is older",
                                      why.empty() ? "" : ": ", why),
                    {fmt::format("bring node {} back: its mesh-agent or its way to meshd", node)});
  }
  const v1::Node* host = FindObject(state.nodes, {"", node});
  if (host != nullptr && IsNodeHeard(state, node)) NoteNode(*host, report);
  WhyContainers(state, pod, now, report);
  if (report->HasProblem()) {
    AddNewestWarning(state, pod, now, report);
    return;
  }
  if (IsPodConditionReady(pod)) {
    report->Ok(title, fmt::format("runs on node {}, is ready, has address {}", node,
                                  pod.status().pod_ip()));
    WhyNetwork(state, pod, now, report);
    return;
  }
  const v1::Condition* ready = FindCondition(pod.status().conditions(), "Ready");
  if (pod.status().container_statuses().empty()) {
    report->Note(title,
                 fmt::format("was given to node {}, which has not reported on it yet", node));
  } else {
    const std::string why = ready == nullptr ? "" : ready->message();
    report->Problem(title, fmt::format("is not ready{}{}", why.empty() ? "" : ": ", why));
  }
  AddNewestWarning(state, pod, now, report);
}

std::optional<v1::Finding> ProblemOf(const ClusterState& state, const v1::Pod& pod,
                                     absl::Time now) {
  Report report;
  WhyPod(state, pod, now, &report);
  const auto& findings = report.response().findings();
  for (const v1::Finding& finding : findings)
    if (finding.verdict() == v1::Finding::PROBLEM) return finding;
  if (IsPodReady(state, pod) && !IsTerminating(pod.metadata())) return std::nullopt;
  return findings.Get(0);
}

std::string OneLine(const v1::Finding& finding, const v1::Pod& pod) {
  const std::string title = PodTitle(pod);
  if (finding.object() == title) return finding.text();
  std::string object = finding.object();
  if (object.ends_with(" of " + title)) object.resize(object.size() - title.size() - 4);
  return fmt::format("{} {}", object, finding.text());
}

}  // namespace mesh::controlplane
