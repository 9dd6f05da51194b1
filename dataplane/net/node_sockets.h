// SPDX-License-Identifier: Apache-2.0
// The programs at the root of the control groups (bpf/progs/sock.bpf.c): NodePorts and host ports
// for processes of the node that dial its own addresses, and what Services serve over TCP at
// addresses that are others' (externalIPs).
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "mesh/shared/config.h"

namespace mesh::dataplane {

struct NodeSockets {
  mesh_config config{};
  int service_map = -1;  // mesh_service
  std::string pin_dir;   // a folder on a bpffs, made when it is missing; all of it belongs to this
  std::optional<mesh_config6> config6;  // of a node with IPv6
  int service_map6 = -1;                // mesh_service6
};

// Attaches the programs for the network namespace the caller is in, or puts them in the place of
// those that a former agent has left: no call of a process goes by neither. They stay until they
// are detached, and are no obstacle to programs of others at the same hooks.
// FAILED_PRECONDITION: this machine cannot have them; nothing is attached then.
absl::Status AttachNodeSockets(const NodeSockets& options);

// Takes them away and removes `pin_dir`. Idempotent.
absl::Status DetachNodeSockets(const std::string& pin_dir);

}  // namespace mesh::dataplane
