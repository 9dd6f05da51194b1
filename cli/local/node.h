// SPDX-License-Identifier: Apache-2.0
// One node: its namespaces, its first process, its services.
//
//   local up ──runs──> local node-start ──forks──> local node-init (PID 1 of the node)
//                                                    ├─ containerd ── shims ── containers
//                                                    ├─ mesh-agent
//                                                    └─ meshd (first node)
//
// node-init restarts what dies and takes up orphans. When it ends, the kernel ends every process of
// the node, and with the last one go its mounts, the bpffs with all pins, and its pods' namespaces.
// Its own network namespace has a name and stays, and programs at its interfaces with it.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace mesh::cli::local {

struct ServiceSpec {
  std::string name;
  std::vector<std::string> argv;
  std::string log_file;
  friend bool operator==(const ServiceSpec&, const ServiceSpec&) = default;
};

struct NodeSpec {
  std::string name;
  std::string netns;   // path
  std::string cgroup;  // see Layout::NodeCgroup
  std::string run_dir;
  std::string log_file;  // of node-init
  // Bound over /run/containerd inside, where containerd's shims keep their sockets.
  std::string shim_dir;
  std::string address6;  // empty: none
  std::vector<ServiceSpec> services;
  friend bool operator==(const NodeSpec&, const NodeSpec&) = default;
};

std::string NodeSpecToJson(const NodeSpec& spec);
absl::StatusOr<NodeSpec> NodeSpecFromJson(const std::string& json);

// Inner PID of a service, written at each start, and the host's PID of node-init.
std::string ServicePidFile(const std::string& run_dir, const std::string& service);
inline constexpr char kInitPidFile[] = "node-init.pid";

// How long a service that ended for the `failures`-th time in a row waits for its next start.
absl::Duration RestartDelay(int failures);

// Makes the namespaces around a new node-init, writes its PID to run_dir and returns. Runs in a
// process of its own: it changes the cgroup of the caller.
absl::Status StartNode(const std::string& spec_file);
// PID 1 of the node. Returns only with an error; ends at SIGTERM.
absl::Status RunNodeInit(const std::string& spec_file);

// Runs a command inside the node of which `init` is the first process; its exit code, 126 and 127
// as a shell has them. REQUIRES: the calling process has one thread.
absl::StatusOr<int> ExecInNode(pid_t init, const std::string& cgroup,
                               const std::vector<std::string>& argv);

}  // namespace mesh::cli::local
