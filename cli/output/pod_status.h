// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "mesh/v1/core.pb.h"

namespace mesh::cli {

// What `get pods` says about a pod.
struct PodSummary {
  int ready = 0;
  int total = 0;
  // Running, Pending, ContainerCreating, CrashLoopBackOff, Completed, Terminating, ...
  std::string status;
  // "3", or "3 (5m ago)" when the time of the last one is known.
  std::string restarts;
};

// kubectl's rules, in its order: phase, reason of the status, reasons of the containers (the first
// container's wins), deletion.
PodSummary Summarize(const v1::Pod& pod, absl::Time now);

// The condition "Ready" is True.
bool IsReady(const v1::Pod& pod);

}  // namespace mesh::cli
