// SPDX-License-Identifier: Apache-2.0
#include "controlplane/figures.h"

#include <map>
#include <string>
#include <utility>

#include "common/version.h"
#include "controlplane/controllers/objects.h"

namespace mesh::controlplane {
namespace {

std::vector<absl::Duration> CommitBounds() {
  std::vector<absl::Duration> out;
  for (int ms : {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000})
    out.push_back(absl::Milliseconds(ms));
  return out;
}

std::vector<absl::Duration> SchedulingBounds() {
  std::vector<absl::Duration> out;
  for (int ms : {5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10'000, 60'000, 600'000})
    out.push_back(absl::Milliseconds(ms));
  return out;
}

}  // namespace

CountedCommits::CountedCommits(EventLoop& loop, std::unique_ptr<CommitQueue> queue)
    : loop_(loop),
      counts_(std::make_shared<Counts>(Counts{.time = DurationHistogram(CommitBounds())})),
      queue_(std::move(queue)) {}

void CountedCommits::Commit(Transaction transaction, Done done) {
  queue_->Commit(std::move(transaction), [counts = counts_, &loop = loop_, begin = loop_.Now(),
                                          done = std::move(done)](auto result) {
    counts->time.Add(loop.Now() - begin);
    if (!result.ok()) ++counts->failures;
    if (result.ok() && !result->succeeded) ++counts->conflicts;
    done(std::move(result));
  });
}

ControlFigures::ControlFigures(EventLoop& loop, WatchCache& cache)
    : loop_(loop), cache_(cache), scheduling_(SchedulingBounds()) {
  subscription_ = cache_.Subscribe([this](const ChangeBatch& batch) {
    for (const Change& change : batch.changes) OnChange(change);
  });
}

// A pod has got its node. One that is written with a node has not waited.
void ControlFigures::OnChange(const Change& change) {
  if (change.before == nullptr || change.after == nullptr || !change.after->has_pod()) return;
  if (change.after->pod().spec().node_name().empty() ||
      !change.before->pod().spec().node_name().empty())
    return;
  scheduling_.Add(loop_.Now() - ToTime(change.after->pod().metadata().creation_timestamp()));
}

void ControlFigures::WriteObjects(MetricsWriter& out) const {
  const ClusterState& state = cache_.state();
  for (const auto& [kind, count] : {std::pair{"Namespace", state.namespaces.size()},
                                    {"Node", state.nodes.size()},
                                    {"Pod", state.pods.size()},
                                    {"ReplicaSet", state.replica_sets.size()},
                                    {"Deployment", state.deployments.size()},
                                    {"Service", state.services.size()},
                                    {"EndpointSlice", state.endpoint_slices.size()},
                                    {"NetworkPolicy", state.network_policies.size()},
                                    {"Event", state.events.size()}}) {
    out.Gauge("mesh_control_objects", "Objects in the store.", {{"kind", kind}},
              static_cast<double>(count));
  }
  std::map<std::string, uint64_t> phases = {
      {"Pending", 0}, {"Running", 0}, {"Succeeded", 0}, {"Failed", 0}, {"Unknown", 0}};
  uint64_t unscheduled = 0, ready = 0;
  for (const auto& [key, pod] : state.pods) {
    const std::string& phase = pod->status().phase();
    ++phases[phases.contains(phase) ? phase : "Pending"];
    unscheduled += pod->spec().node_name().empty() ? 1 : 0;
  }
  for (const auto& [key, node] : state.nodes) ready += IsNodeReady(*node) ? 1 : 0;
  for (const auto& [phase, count] : phases) {
    out.Gauge("mesh_control_pods", "Pods by phase.", {{"phase", phase}},
              static_cast<double>(count));
  }
  out.Gauge("mesh_control_unscheduled_pods", "Pods without a node.", {},
            static_cast<double>(unscheduled));
  out.Gauge("mesh_control_ready_nodes", "Nodes that are ready.", {}, static_cast<double>(ready));
}

void ControlFigures::Write(const CountedCommits& commits, const Others& others,
                           MetricsWriter& out) const {
  out.Gauge("mesh_control_build_info", "1; the version is in the label.", {{"version", kVersion}},
            1);
  out.Gauge("mesh_control_revision", "Revision of the store.", {},
            static_cast<double>(cache_.revision()));
  WriteObjects(out);
  out.Gauge("mesh_control_watches", "Open watches of clients.", {},
            static_cast<double>(others.watches));
  out.Gauge("mesh_control_connected_nodes", "Nodes whose agent has a stream.", {},
            static_cast<double>(others.connected_nodes));
  out.Gauge("mesh_control_nodes_behind",
            "Connected nodes whose maps do not hold yet what they were sent.", {},
            static_cast<double>(others.nodes_behind));
  out.Gauge("mesh_control_revisions_behind_max", "Revisions by which the slowest of them is.", {},
            static_cast<double>(others.revisions_behind_max));
  out.Histogram("mesh_control_commit_seconds", "From handing a transaction over to its result.", {},
                commits.time());
  out.Counter("mesh_control_commit_conflicts_total",
              "Transactions that were not written because an object had changed.", {},
              static_cast<double>(commits.conflicts()));
  out.Counter("mesh_control_commit_failures_total", "Transactions that the store refused.", {},
              static_cast<double>(commits.failures()));
  out.Histogram("mesh_control_scheduling_seconds", "From a pod's creation until it has a node.", {},
                scheduling_);
  out.Counter("mesh_control_controller_steps_total", "Objects that controllers looked at.", {},
              static_cast<double>(others.controllers.steps));
  out.Counter("mesh_control_controller_writes_total", "What controllers wrote.", {},
              static_cast<double>(others.controllers.writes));
  out.Counter("mesh_control_controller_failures_total", "Looks that failed, and are repeated.", {},
              static_cast<double>(others.controllers.failed_steps));
}

}  // namespace mesh::controlplane
