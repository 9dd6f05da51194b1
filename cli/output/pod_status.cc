// SPDX-License-Identifier: Apache-2.0
#include "cli/output/pod_status.h"

#include <algorithm>

#include "cli/output/age.h"
#include "fmt/format.h"

namespace mesh::cli {

bool IsReady(const v1::Pod& pod) {
  const auto& conditions = pod.status().conditions();
  return std::any_of(conditions.begin(), conditions.end(), [](const v1::Condition& c) {
    return c.type() == "Ready" && c.status() == "True";
  });
}

namespace {

bool IsSidecar(const v1::Pod& pod, const std::string& name) {
  const auto& all = pod.spec().init_containers();
  return std::any_of(all.begin(), all.end(), [&](const v1::Container& init) {
    return init.name() == name && init.restart_policy() == "Always";
  });
}

bool IsInitialized(const v1::Pod& pod) {
  const auto& conditions = pod.status().conditions();
  return std::any_of(conditions.begin(), conditions.end(), [](const v1::Condition& c) {
    return c.type() == "Initialized" && c.status() == "True";
  });
}

void CountRestarts(const v1::ContainerStatus& container, int* restarts, absl::Time* last) {
  *restarts += container.restart_count();
  const v1::ContainerStateTerminated& end = container.last_state().terminated();
  if (end.has_finished_at()) *last = std::max(*last, ToTime(end.finished_at()));
}

// "Init:0/2", "Init:CrashLoopBackOff", "Init:Error"; empty: this one holds nothing up.
std::string InitText(const v1::Pod& pod, int index) {
  const v1::ContainerStatus& init = pod.status().init_container_statuses(index);
  const v1::ContainerState& state = init.state();
  if (state.has_terminated() && state.terminated().exit_code() == 0) return "";
  if (IsSidecar(pod, init.name()) && init.started()) return "";
  if (state.has_terminated()) {
    const v1::ContainerStateTerminated& end = state.terminated();
    if (!end.reason().empty()) return "Init:" + end.reason();
    return end.signal() != 0 ? fmt::format("Init:Signal:{}", end.signal())
                             : fmt::format("Init:ExitCode:{}", end.exit_code());
  }
  const std::string& waiting = state.waiting().reason();
  if (!waiting.empty() && waiting != "PodInitializing") return "Init:" + waiting;
  return fmt::format("Init:{}/{}", index, pod.spec().init_containers_size());
}

}  // namespace

PodSummary Summarize(const v1::Pod& pod, absl::Time now) {
  PodSummary summary;
  const v1::PodStatus& status = pod.status();
  summary.total = pod.spec().containers_size();
  summary.status = status.reason().empty() ? status.phase() : status.reason();
  if (summary.status.empty()) summary.status = "Pending";

  int restarts = 0;
  bool has_running = false, initializing = false;
  absl::Time last_restart = absl::InfinitePast();
  for (int i = 0; i < status.init_container_statuses_size(); ++i) {
    const v1::ContainerStatus& init = status.init_container_statuses(i);
    const bool sidecar = IsSidecar(pod, init.name());
    if (sidecar) ++summary.total;
    if (sidecar && init.ready() && init.started()) ++summary.ready;
    // Once it runs, what it took to get there is history.
    if (sidecar || !IsInitialized(pod)) CountRestarts(init, &restarts, &last_restart);
    if (initializing || IsInitialized(pod)) continue;
    const std::string text = InitText(pod, i);
    if (text.empty()) continue;
    summary.status = text;
    initializing = true;
  }
  for (int i = status.container_statuses_size() - 1; i >= 0 && !initializing; --i) {
    const v1::ContainerStatus& container = status.container_statuses(i);
    CountRestarts(container, &restarts, &last_restart);
    const v1::ContainerState& state = container.state();
    if (!state.waiting().reason().empty()) {
      summary.status = state.waiting().reason();
    } else if (state.has_terminated()) {
      const v1::ContainerStateTerminated& end = state.terminated();
      if (!end.reason().empty()) {
        summary.status = end.reason();
      } else if (end.signal() != 0) {
        summary.status = fmt::format("Signal:{}", end.signal());
      } else {
        summary.status = fmt::format("ExitCode:{}", end.exit_code());
      }
    } else if (container.ready() && state.has_running()) {
      has_running = true;
      ++summary.ready;
    }
  }
  // One container ended well while another still runs: the pod runs.
  if (summary.status == "Completed" && has_running) {
    summary.status = IsReady(pod) ? "Running" : "NotReady";
  }
  if (pod.metadata().has_deletion_timestamp()) {
    const bool ended = status.phase() == "Succeeded" || status.phase() == "Failed";
    if (status.reason() == "NodeLost") {
      summary.status = "Unknown";
    } else if (!ended) {
      summary.status = "Terminating";
    }
  }
  summary.restarts = std::to_string(restarts);
  if (restarts > 0 && last_restart != absl::InfinitePast()) {
    summary.restarts += fmt::format(" ({} ago)", HumanDuration(now - last_restart));
  }
  return summary;
}

}  // namespace mesh::cli
