// SPDX-License-Identifier: Apache-2.0
// A TCP connection into a pod, made in its network namespace, so that servers of 127.0.0.1 are
// reached too.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/unique_fd.h"

namespace mesh::agent {

// Tries 127.0.0.1, [::1] and the addresses of the namespace's interfaces. `netns`: path of the
// namespace; empty: the caller's own, where only loopback is tried. Blocks for `timeout` at most
// per address; any thread. NOT_FOUND when the namespace is gone; FAILED_PRECONDITION when nobody
// answers, with what each address said.
absl::StatusOr<UniqueFd> DialPod(const std::string& netns, uint16_t port, absl::Duration timeout);

}  // namespace mesh::agent
