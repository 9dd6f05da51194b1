// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "agent/cri/cri_client.h"

namespace mesh::agent {

// containerd (1.6 or newer) behind its unix socket. Connects on first use and again by itself.
// Errors carry the runtime's own message; UNAVAILABLE: nobody listens on the socket.
// Calls in flight when it is destroyed are cancelled and have reported when the destructor returns.
std::unique_ptr<CriClient> NewGrpcCriClient(const std::string& socket_path);

}  // namespace mesh::agent
