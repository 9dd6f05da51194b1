// SPDX-License-Identifier: Apache-2.0
// What the reconciler knows about one pod: values without behaviour.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "mesh/v1/pod.pb.h"

namespace mesh::agent {

struct ObservedSandbox {
  std::string id;
  uint32_t attempt = 0;
  bool ready = false;
  // Empty: the network namespace is gone.
  std::string ip;
  absl::Time created_at;
};

enum class RunState : uint8_t { kCreated, kRunning, kExited, kUnknown };

struct ObservedContainer {
  std::string id;
  std::string sandbox_id;
  std::string name;
  // How many containers of this name ran before: the restart count. Kept by the runtime, so that it
  // survives the agent.
  uint32_t attempt = 0;
  RunState state = RunState::kUnknown;
  absl::Time created_at, started_at, finished_at;
  int exit_code = 0;
  std::string reason;   // as the runtime gives it
  std::string message;  // the runtime's, and what the container has left (termination_message.h)
  std::string image, image_ref;
  // Of the spec it was made from (SpecHash).
  std::string spec_hash;
  bool has_last_words = false;  // `message` is complete
  // The runtime has told of its end and still shows it as running: it says more of it later.
  bool just_ended = false;
};

struct ObservedPod {
  std::vector<ObservedSandbox> sandboxes;     // newest attempt first
  std::vector<ObservedContainer> containers;  // by name, then newest attempt first

  const ObservedContainer* Newest(const std::string& name) const;
  // The one before the newest, or null.
  const ObservedContainer* Previous(const std::string& name) const;
};

// A failed try of something that is tried again.
struct Retry {
  std::string reason;  // word for people, "ErrImagePull"; empty: the last try was good
  std::string message;
  absl::Time failed_at = absl::InfinitePast();
  absl::Time next_at = absl::InfinitePast();
  absl::Duration delay = absl::ZeroDuration();

  bool failed() const { return !reason.empty(); }
};

// What probes and hooks say of a container that runs.
struct ContainerHealth {
  bool started = true;  // its start hook is done, its startup probe has passed
  bool ready = true;    // its readiness probe has passed
  bool in_post_start = false;
  // A probe has given it up: stopped, and killed by then.
  absl::Time kill_by = absl::InfiniteFuture();
  std::string kill_why;  // "failed liveness probe"
  // What the last probe that failed asked, and what came; empty: none fails.
  std::string failing;

  bool given_up() const { return kill_by != absl::InfiniteFuture(); }
};

struct ContainerMemory {
  // Wait after an exit before the next start; zero for the first restart.
  absl::Duration restart_delay = absl::ZeroDuration();
  Retry start;
};

// What the agent remembers between steps. Lost with the process: a restarted agent starts with
// fresh back-offs and repeats idempotent stops.
struct PodMemory {
  std::map<std::string, ContainerMemory> containers;  // by name
  std::map<std::string, ContainerHealth> health;      // by id, of those that run
  absl::Time deadline_at = absl::InfiniteFuture();    // all is ended then (pod_deadline.h)
  // Why the pod was evicted; empty: it was not. After a restart the pod's own status has it.
  std::string evicted;
  Retry sandbox;
  Retry cleanup;
  // Nothing runs of these containers; forgotten when a clean-up fails.
  std::set<std::string> ended_tasks;
  std::set<std::string> stopped_sandboxes;  // StopSandbox succeeded: their address is free
};

// Of a container that runs: as `memory` has it; one that nobody has looked at yet is neither ready
// nor started where probes ask for it.
ContainerHealth HealthOf(const v1::Container& spec, const ObservedContainer& running,
                         const PodMemory& memory);

}  // namespace mesh::agent
