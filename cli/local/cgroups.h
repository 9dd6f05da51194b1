// SPDX-License-Identifier: Apache-2.0
// Control groups of nodes, on version 1, hybrid and version 2 hosts.
//
// Each node has the group mesh-CLUSTER/NODE in every hierarchy of the machine. Its processes live
// in a cgroup namespace rooted there, and the node mounts the hierarchies afresh, so that a
// container runtime inside cannot tell it from a machine of its own and can write nowhere else. On
// hybrid hosts the version 2 hierarchy is left out of that view: crun refuses hybrid hosts.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mesh::cli::local {

struct Hierarchy {
  std::string mount_point;
  bool v2 = false;
  // Version 1: the mount options that name it ("cpu,cpuacct", "name=systemd").
  std::string options;
};

// The hierarchies of a mountinfo text (proc(5)); one entry per hierarchy. Pure.
std::vector<Hierarchy> ParseHierarchies(std::string_view mountinfo);
absl::StatusOr<std::vector<Hierarchy>> HostHierarchies();

// Makes the group in every hierarchy and moves the calling process into it.
absl::Status EnterCgroup(const std::vector<Hierarchy>& hierarchies, const std::string& group);
// Inside the node's cgroup and mount namespaces: mounts its view at /sys/fs/cgroup.
absl::Status MountCgroups(const std::vector<Hierarchy>& hierarchies);
// Version 2 only, as the first process of the node: moves itself aside and hands controllers down,
// so that groups below can have limits. No error when the host hands none down.
absl::Status DelegateControllers();

// Processes in the group or below, in any hierarchy.
std::set<int> CgroupProcesses(const std::vector<Hierarchy>& hierarchies, const std::string& group);
// Removes the group and all below. REQUIRES: no process in it.
absl::Status RemoveCgroup(const std::vector<Hierarchy>& hierarchies, const std::string& group);

}  // namespace mesh::cli::local
