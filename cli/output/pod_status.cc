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

PodSummary Summarize(const v1::Pod& pod, absl::Time now) {
  PodSummary summary;
  const v1::PodStatus& status = pod.status();
  summary.total = pod.spec().containers_size();
  summary.status = status.reason().empty() ? status.phase() : status.reason();
  if (summary.status.empty()) summary.status = "Pending";

  int restarts = 0;
  bool has_running = false;
  absl::Time last_restart = absl::InfinitePast();
  for (int i = status.container_statuses_size() - 1; i >= 0; --i) {
    const v1::ContainerStatus& container = status.container_statuses(i);
    restarts += container.restart_count();
    if (container.last_state().terminated().has_finished_at()) {
      last_restart =
          std::max(last_restart, ToTime(container.last_state().terminated().finished_at()));
    }
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
