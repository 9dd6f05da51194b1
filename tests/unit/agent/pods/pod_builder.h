// SPDX-License-Identifier: Apache-2.0
// Pods and observations for the tests of the pod reconciler.
#pragma once

#include <string>
#include <vector>

#include "agent/pods/pod_model.h"
#include "mesh/v1/core.pb.h"

namespace mesh::agent {

// A pod "web" in namespace "default" with uid "uid-web" and the given containers.
inline v1::Pod MakePod(const std::vector<std::string>& containers = {"app"},
                       const std::string& restart_policy = "Always",
                       const std::string& name = "web") {
  v1::Pod pod;
  pod.mutable_metadata()->set_name(name);
  pod.mutable_metadata()->set_namespace_("default");
  pod.mutable_metadata()->set_uid("uid-" + name);
  pod.mutable_spec()->set_restart_policy(restart_policy);
  pod.mutable_spec()->set_termination_grace_period_seconds(30);
  pod.mutable_status()->set_pod_ip("10.244.1.7");
  for (const std::string& container : containers) {
    v1::Container* out = pod.mutable_spec()->add_containers();
    out->set_name(container);
    out->set_image("registry.local/" + container + ":1");
    out->set_image_pull_policy("IfNotPresent");
  }
  return pod;
}

inline void MarkDeleted(v1::Pod& pod, absl::Time kill_at) {
  pod.mutable_metadata()->mutable_deletion_timestamp()->set_seconds(absl::ToUnixSeconds(kill_at));
}

inline ObservedSandbox MakeSandbox(const std::string& id, uint32_t attempt = 0, bool ready = true) {
  return ObservedSandbox{.id = id, .attempt = attempt, .ready = ready, .ip = "10.244.1.7"};
}

inline ObservedContainer MakeRunning(const std::string& name, uint32_t attempt = 0,
                                     absl::Time started = absl::FromUnixSeconds(1000)) {
  return ObservedContainer{.id = name + "-" + std::to_string(attempt),
                           .sandbox_id = "s0",
                           .name = name,
                           .attempt = attempt,
                           .state = RunState::kRunning,
                           .started_at = started};
}

inline ObservedContainer MakeExited(const std::string& name, int exit_code, uint32_t attempt,
                                    absl::Time started, absl::Time finished) {
  ObservedContainer out = MakeRunning(name, attempt, started);
  out.state = RunState::kExited;
  out.exit_code = exit_code;
  out.finished_at = finished;
  out.reason = exit_code == 0 ? "Completed" : "Error";
  return out;
}

}  // namespace mesh::agent
