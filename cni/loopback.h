// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "cni/protocol.h"

namespace mesh::cni {

// Sets the flag IFF_UP of `invocation.ifname` ("lo") in invocation.netns. Leaves the calling thread
// in that namespace: for a process that ends after it.
std::optional<Error> SetLoopback(const Invocation& invocation, bool up);
// Code 101 when it is down.
std::optional<Error> CheckLoopback(const Invocation& invocation);

}  // namespace mesh::cni
