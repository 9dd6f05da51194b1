// SPDX-License-Identifier: Apache-2.0
// Who listens in a pod: the sockets of its network namespace that wait for peers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "mesh/v1/node.pb.h"

namespace mesh::agent {

// Pure: the rows of a /proc/net/{tcp,tcp6,udp,udp6} that wait. `protocol` is "TCP" or "UDP".
std::vector<v1::Listener> ParseListeners(std::string_view table, const std::string& protocol);

// Reads them in the network namespace at `netns`, by address and port. Blocks for less than a
// millisecond; any thread. NOT_FOUND when the namespace is gone.
absl::StatusOr<v1::ListListenersResponse> LoadListeners(const std::string& netns);

}  // namespace mesh::agent
